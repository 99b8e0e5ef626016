"""The algorithm contract: what the training loop, the evaluation and the export know of a learner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct

from vmax.replay.transitions import Batch
from vmax.spaces import Box, Discrete

__all__ = ["TD_ERROR", "Algorithm", "Batch", "Rollout", "Spec", "Valuing"]

Array = jax.Array
Key = jax.Array

TD_ERROR = "td_error"
"""What |δ| of each sample is called among the metrics of an update."""


Controlled = tuple[tuple[int, float, float], ...]
"""Entries of the observation, each with its least and greatest value."""


@dataclass(frozen=True)
class Spec:
    """What an algorithm needs to know of the environment and the run.

    `post_decision(observation, action, context) -> (known_reward, post_observation)` works on one sample;
    `context` is a pytree of numbers that it reads (kept in the learner's state, so no value is compiled in).
    `controlled` are the entries of the observation that only decisions move, such as the charge of a store: whatever
    their values, all others go the same way. `news_moves` tells that what happens after a decision moves them as well.
    `allowed` are the entries of the observation that say which choices are allowed, above 0.5 where one is. `blocks`
    tells that the observation is as many blocks of equal build as there are choices at once, one for each.
    `axis` names the mapped device axis; gradients are averaged over it. `total_updates` sets learning-rate schedules.
    """

    observation_space: Box
    action_space: Box | Discrete
    total_updates: int
    axis: str | None = None
    post_decision: Callable[[Array, Array, Any], tuple[Array, Array]] | None = None
    context: Any = None
    controlled: Controlled = ()
    news_moves: bool = False
    allowed: tuple[int, ...] = ()
    blocks: bool = False


@struct.dataclass
class Rollout:
    """T steps of N environments in turn under one policy: what an on-policy algorithm learns from, once.

    Attributes:
      observation, action, extras: what was seen `[T, N, D]`, what the environment was given, what `act` told.
      reward, terminated, truncated: of each step, `[T, N]`.
      next_observation: what each step led to, `[T, N, D]`; at the end of an episode its true final observation.
      discounted: discounted sum of the rewards of the episode so far, this step's included, `[T, N]`.
      carry: what the policy remembered before the first step, leaves `[N, …]`.
    """

    observation: Array
    action: Array
    extras: Any
    reward: Array
    terminated: Array
    truncated: Array
    next_observation: Array
    discounted: Array
    carry: Any

    @property
    def ended(self) -> Array:
        """Where an episode ended with the step, `[T, N]`."""
        return self.terminated | self.truncated

    @property
    def first(self) -> Array:
        """Where one began before the step, `[T, N]`; of the first step, `carry` tells."""
        return jnp.concatenate([jnp.zeros_like(self.ended[:1]), self.ended[:-1]])


class Algorithm(Protocol):
    """Pure functions on explicit state. Numbers that change no shape are leaves of the state (`state.hyper`).

    `on_policy`: whether it learns from each rollout of its own policy once, and from nothing else: `update` is then
    given a `Rollout`. Otherwise steps go into the replay, and it is given samples of that.
    """

    on_policy: bool

    @property
    def name(self) -> str: ...

    def init(self, key: Key, spec: Spec) -> Any: ...

    def initial_carry(self, batch: int) -> Any:
        """The recurrent state of an acting policy; an empty tuple for a feed-forward one."""
        ...

    def observe(self, state: Any, observation: Array, spec: Spec) -> Any:
        """Takes in fresh observations `[N, D]` once (running statistics of a normaliser).

        An off-policy learner whose state has a `reward_scale` that is not None is also given `discounted`, `[N]`: the
        discounted sum of the rewards of each episode up to and with the step that follows the observation.
        """
        ...

    def policy(self, state: Any, averaged: bool = False) -> Any:
        """The parameters that `act` needs, the averaged ones for evaluation if `averaged` and the option is on."""
        ...

    def act(self, params: Any, observation: Array, carry: Any, key: Key, explore: bool) -> tuple[Array, Any, Any]:
        """`[N, D]` -> `(action, carry, extras)`; without `explore` the deterministic action.

        Actions are `[N, A]` in [-1, 1] or, of a `Discrete` space, choices, int32: `[N]`, or `[N, C]` of C at once.
        `extras`: leaves `[N, …]` that an on-policy update needs of acting.
        """
        ...

    def update(self, state: Any, batch: Any, key: Key, spec: Spec) -> tuple[Any, dict[str, Array]]:
        """U gradient updates on a `Batch` with leading dimensions `[U, B]`, or on a `Rollout`; metrics are scalars
        averaged over them.

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
