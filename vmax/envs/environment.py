"""The environment contract and its two wrappers: auto-reset and episode statistics.

An environment is a frozen dataclass of static settings with pure methods. Everything that is an array or a number that
changes no shape is in `params`, which is always passed in. One instance describes one world; batches are the caller's
`vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from vmax.spaces import Box, Discrete, Feature

Array = jax.Array
Params = Any
State = Any


@struct.dataclass
class Step:
    """What one step of an environment tells.

    `observation` is the one that the step led to, also at the end of an episode (the true final observation).
    `terminated`: the world ended, nothing follows. `truncated`: we stopped looking; the value goes on.
    A step that is both is terminated. `info` holds named scalars, declared in `Environment.info_space`.
    """

    observation: Array
    reward: Array
    terminated: Array
    truncated: Array
    info: dict[str, Array]


class Environment(Protocol):
    """What every environment offers. What is optional, the last four, is explained and has its default in `Plain`."""

    @property
    def name(self) -> str: ...

    @property
    def observation_space(self) -> Box: ...

    @property
    def action_space(self) -> Box | Discrete:
        """Continuous actions are within [-1, 1]; the environment maps them to units."""
        ...

    @property
    def info_space(self) -> tuple[Feature, ...]: ...

    @property
    def min_episode_steps(self) -> int:
        """No episode is truncated before so many steps, but for the first one after a fresh start."""
        ...

    def params(self, split: str) -> Params:
        """Host-side: the arrays and numbers of a split, `train`, `validation` or `test`."""
        ...

    def reset(self, key: Array, params: Params, start: Any = None) -> tuple[State, Array]: ...

    def step(self, key: Array, state: State, action: Array, params: Params) -> tuple[State, Step]: ...

    @property
    def assessment(self) -> Any: ...

    @property
    def post_decision(self) -> Callable[[Array, Array, Any], tuple[Array, Array]] | None: ...

    def post_decision_context(self, params: Params) -> Any: ...

    @property
    def controlled(self) -> tuple[str, ...]: ...


class Plain:
    """What an environment has that offers none of the optional things: subclass it and override what you offer."""

    @property
    def assessment(self) -> Any:
        """How policies are judged over whole splits (`vmax.evaluation.evaluate.Assessment`); None: by episodes."""
        return None

    @property
    def post_decision(self) -> Callable[[Array, Array, Any], tuple[Array, Array]] | None:
        """`(observation, action, context) -> (known reward, post-decision observation)`, of one sample; None: none.

        What is certain the moment a decision is taken, differentiable in the action, and the features that remain.
        """
        return None

    def post_decision_context(self, params: Params) -> Any:
        """A pytree of the numbers that `post_decision` reads."""
        return None

    @property
    def controlled(self) -> tuple[str, ...]:
        """Features of the observation, within [-1, 1], that only decisions move: all others go their own way."""
        return ()


@struct.dataclass
class EpisodeState:
    """The state of a wrapped environment and the running figures of its episode."""

    inner: Any
    episode_return: Array
    episode_length: Array


@dataclass(frozen=True)
class AutoReset:
    """Starts a new episode, from a fresh draw, in the very step in which one ends.

    `step` returns the observation to act on next apart from `Step.observation`, which stays the true final one.
    """

    environment: Environment

    def reset(self, key: Array, params: Params) -> tuple[State, Array]:
        return self.environment.reset(key, params)

    def step(self, key: Array, state: State, action: Array, params: Params) -> tuple[State, Array, Step]:
        """One step of one environment; returns `(state, next observation, step)`."""
        step_key, reset_key = jax.random.split(key)
        state, step = self.environment.step(step_key, state, action, params)
        fresh, first = self.environment.reset(reset_key, params)
        done = step.terminated | step.truncated
        state = jax.tree.map(lambda a, b: jnp.where(done, a, b), fresh, state)
        return state, jnp.where(done, first, step.observation), step


@dataclass(frozen=True)
class EpisodeStatistics:
    """Adds `episode_return` and `episode_length` to the info: those of the episode up to and with this step."""

    environment: AutoReset

    def reset(self, key: Array, params: Params) -> tuple[EpisodeState, Array]:
        inner, observation = self.environment.reset(key, params)
        return EpisodeState(inner, jnp.float32(0.0), jnp.int32(0)), observation

    def step(self, key: Array, state: EpisodeState, action: Array, params: Params) -> tuple[EpisodeState, Array, Step]:
        inner, observation, step = self.environment.step(key, state.inner, action, params)
        total, length = state.episode_return + step.reward, state.episode_length + 1
        info = {**step.info, "episode_return": total, "episode_length": length}
        goes_on = ~(step.terminated | step.truncated)
        state = EpisodeState(inner, jnp.where(goes_on, total, 0.0), jnp.where(goes_on, length, 0))
        return state, observation, replace(step, info=info)
