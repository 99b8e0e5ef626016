"""Checks of the settings that learners share, and the numbers among them that a run may carry as arrays."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, TypeVar

import jax.numpy as jnp

from vmax.counters import MOST
from vmax.errors import UserError
from vmax.spaces import Box

T = TypeVar("T")

RANGES = {
    "learning_rate": (0.0, 1.0),
    "critic_learning_rate": (0.0, 1.0),
    "alpha_learning_rate": (0.0, 1.0),
    "discount": (0.0, 1.0),
    "n_step": (1, math.inf),
    "polyak": (0.0, 1.0),
    "num_critics": (1, math.inf),
    "counterfactuals": (0, math.inf),
    "slope_weight": (0.0, math.inf),
    "initial_temperature": (1e-12, math.inf),
    "policy_delay": (1, math.inf),
    "target_noise": (0.0, math.inf),
    "target_noise_clip": (0.0, math.inf),
    "exploration_noise": (0.0, math.inf),
    "saturation_weight": (0.0, math.inf),
    "max_grad_norm": (1e-12, math.inf),
    "schedule_constant_share": (0.0, 1.0),
    "average_actor": (0.0, 1.0),
    "adam_eps": (1e-16, 1.0),
    "huber_delta": (1e-12, math.inf),
    "target_every": (1, math.inf),
    "epsilon_start": (0.0, 1.0),
    "epsilon_end": (0.0, 1.0),
    "epsilon_steps": (0, MOST),
    "gae_lambda": (0.0, 1.0),
    "value_weight": (0.0, math.inf),
    "entropy_weight": (0.0, math.inf),
    "initial_std": (0.01, 7.0),
    "clip_ratio": (1e-12, math.inf),
    "value_clip": (1e-12, math.inf),
    "target_kl": (1e-12, math.inf),
    "epochs": (1, math.inf),
    "minibatches": (1, math.inf),
}
"""What each number of an algorithm's config may be; null where the config allows it."""


def check_ranges(config: Any) -> None:
    """Raises UserError, naming the key, for a number out of its range."""
    for name, (low, high) in RANGES.items():
        value = getattr(config, name, None)
        if value is not None and not low <= value <= high:
            raise UserError(f"algorithm.{name}={value}: must be {_words(low, high)}")


def check(config: Any) -> None:
    """Raises UserError for a number out of its range, or settings of an actor-critic that contradict each other."""
    check_ranges(config)
    if config.post_decision_critic and config.normalise_observations:
        raise UserError("algorithm.normalise_observations=true: must be false with algorithm.post_decision_critic=true")
    if config.post_decision_critic and config.normalize_rewards:
        raise UserError("algorithm.normalize_rewards=true: must be false with algorithm.post_decision_critic=true")
    if config.counterfactuals and not (config.post_decision_critic and config.n_step == 1):
        raise UserError(
            f"algorithm.counterfactuals={config.counterfactuals}: needs algorithm.post_decision_critic=true and "
            "algorithm.n_step=1; set 0"
        )
    if config.counterfactual_actor and not config.counterfactuals:
        raise UserError("algorithm.counterfactual_actor=true: needs algorithm.counterfactuals of at least 1")


def _words(low: float, high: float) -> str:
    if high == math.inf:
        return "above 0" if 0 < low < 1 else f"at least {low:g}"
    return f"above 0 and at most {high:g}" if 0 < low < 1 else f"within [{low:g}, {high:g}]"


def continuous_actions(name: str, space: Any) -> int:
    """The size of a continuous action. Raises UserError for an environment with discrete ones."""
    if not isinstance(space, Box):
        raise UserError(f"algorithm={name}: needs continuous actions; this environment has {space}")
    return space.size


def numbers(kind: type[T], config: Any, **others: float) -> T:
    """A struct of float32 scalars, one a field: from `others`, else from the config; null becomes inf (no limit)."""
    values = {field.name: others.get(field.name, getattr(config, field.name, None)) for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    return kind(**{name: jnp.float32(math.inf if value is None else value) for name, value in values.items()})
