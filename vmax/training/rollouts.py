"""Sizes of a run whose rollouts are the batch: settings of the replay have no meaning then, the rest follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmax.conversion import convert, show
from vmax.errors import UserError

OFF_POLICY = ("updates_per_iteration", "batch_size", "replay_capacity", "warmup_steps", "warmup_rule", "warmup_noise")
"""Of `training`, beside the groups `sequences` and `priorities`: null with an on-policy algorithm."""
NO_GROUPS = {
    "sequences": {"length": 1, "kind": "window", "stride": 1, "burn_in": 0},
    "priorities": {"exponent": 0.0, "correction": 0.0, "offset": 1.0, "max_share": 0.0},
}
"""What stands for them; it is not read."""


def settled(training: Any, algorithm: Any) -> Any:
    """The group `training` with what an on-policy algorithm leaves null filled in; of another one as it is.

    Raises: UserError for a setting that has no meaning.
    """
    if not getattr(algorithm, "on_policy", False) or not isinstance(training, Mapping):
        return training
    for key, value in _given(training):
        raise UserError(
            f"training.{key}={show(value)}: must be null with algorithm={algorithm.name}, which learns from each "
            "rollout once and keeps no replay"
        )
    num_envs, unroll = (convert(int, training.get(name), f"training.{name}") for name in ("num_envs", "unroll"))
    rollout = num_envs * unroll
    sizes = {
        "updates_per_iteration": algorithm.updates,
        "batch_size": max(1, rollout // algorithm.parts),
        "replay_capacity": rollout,
        "warmup_steps": 0,
        "warmup_noise": 0.0,
    }
    return {**training, **sizes, **NO_GROUPS}


def _given(training: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Settings of the replay that are not null."""
    found = [(key, training.get(key)) for key in OFF_POLICY]
    for group in NO_GROUPS:
        values = training.get(group)
        found += [(f"{group}.{k}", v) for k, v in values.items()] if isinstance(values, Mapping) else [(group, values)]
    return [(key, value) for key, value in found if value is not None]
