"""The algorithm contract: what the training loop, the evaluation and the export know of a learner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax

from vmax.replay.transitions import Batch
from vmax.spaces import Box, Discrete

__all__ = ["TD_ERROR", "Algorithm", "Batch", "Spec", "Valuing"]

Array = jax.Array
Key = jax.Array

TD_ERROR = "td_error"
"""What |δ| of each sample is called among the metrics of an update."""


@dataclass(frozen=True)
class Spec:
    """What an algorithm needs to know of the environment and the run.

    `post_decision(observation, action, context) -> (known_reward, post_observation)` works on one sample;
    `context` is a pytree of numbers that it reads (kept in the learner's state, so no value is compiled in).
    `controlled` are the entries of the observation that only decisions move, such as the charge of a store: all others
    go their way whatever is done. `news_moves` tells that what happens after a decision moves them as well.
    `axis` names the mapped device axis; gradients are averaged over it. `total_updates` sets learning-rate schedules.
    """

    observation_space: Box
    action_space: Box | Discrete
    total_updates: int
    axis: str | None = None
    post_decision: Callable[[Array, Array, Any], tuple[Array, Array]] | None = None
    context: Any = None
    controlled: tuple[int, ...] = ()
    news_moves: bool = False


class Algorithm(Protocol):
    """Pure functions on explicit state. Numbers that change no shape are leaves of the state (`state.hyper`)."""

    @property
    def name(self) -> str: ...

    def init(self, key: Key, spec: Spec) -> Any: ...

    def initial_carry(self, batch: int) -> Any:
        """The recurrent state of an acting policy; an empty tuple for a feed-forward one."""
        ...

    def observe(self, state: Any, observation: Array, spec: Spec) -> Any:
        """Takes in fresh observations `[N, D]` once (running statistics of a normaliser)."""
        ...

    def policy(self, state: Any, averaged: bool = False) -> Any:
        """The parameters that `act` needs, the averaged ones for evaluation if `averaged` and the option is on."""
        ...

    def act(self, params: Any, observation: Array, carry: Any, key: Key, explore: bool) -> tuple[Array, Any, Any]:
        """`[N, D]` -> `(action [N, A] in [-1, 1], carry, extras)`; without `explore` the deterministic action."""
        ...

    def update(self, state: Any, batch: Batch, key: Key, spec: Spec) -> tuple[Any, dict[str, Array]]:
        """U gradient updates on a batch with leading dimensions `[U, B]`; metrics are scalars averaged over them.

        `key` is the same on every device of `spec.axis`; `batch` is this device's share, B of the global batch. Where
        `batch.place` is given, `TD_ERROR` stands among the metrics: |δ| of each sample of this device, in the shape of
        `batch.reward`.
        """
        ...


@runtime_checkable
class Valuing(Protocol):
    """What an algorithm may offer besides: what its critics say of decisions, for evaluation (optional)."""

    def critics(self, state: Any) -> Any:
        """What `value` needs of a state; its `discount` is the γ that the value is discounted with."""
        ...

    def value(self, critics: Any, observation: Array, action: Array, spec: Spec) -> Array:
        """The value of each decision along N trajectories from their beginnings: `[T, N, D]`, `[T, N, A]` -> `[T, N]`.

        Critics with memory read the trajectories in turn.
        """
        ...
