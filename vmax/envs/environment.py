"""The environment contract and its two wrappers: auto-reset and episode statistics.

An environment is a frozen dataclass of static settings with pure methods. Everything that is an array or a number that
changes no shape is in `params`, which is always passed in. One instance describes one world; batches are the caller's
`vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
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


@dataclass(frozen=True)
class AutoReset:
    """N environments side by side: where an episode ends, a new one starts, from a fresh draw, in that very step.

    `step` returns the observations to act on next apart from `Step.observation`, which stay the true final ones.
    """

    environment: Environment

    def reset(self, keys: Array, params: Params) -> tuple[State, Array]:
        """States and observations `[N, D]` for keys `[N]`."""
        return jax.vmap(self.environment.reset, in_axes=(0, None))(keys, params)

    def step(self, key: Array, states: State, actions: Array, params: Params) -> tuple[State, Array, Step]:
        """One step of all: `(states, next observations, step)`. Nothing is drawn where no episode ends."""
        count = len(actions)
        states, step = jax.vmap(self.environment.step, in_axes=(0, 0, 0, None))(
            _keys(key, count, 0), states, actions, params
        )
        done = step.terminated | step.truncated

        def renew(states: State, observations: Array) -> tuple[State, Array]:
            fresh = self.reset(_keys(key, count, 1), params)
            where = jax.vmap(lambda done, a, b: jax.tree.map(partial(jnp.where, done), a, b))
            return where(done, fresh, (states, observations))

        states, observations = jax.lax.cond(done.any(), renew, lambda *as_is: as_is, states, step.observation)
        return states, observations, step


def _keys(key: Array, count: int, which: int) -> Array:
    """The first or second key of each of `count` environments."""
    return jax.vmap(lambda own: jax.random.split(own)[which])(jax.random.split(key, count))


@struct.dataclass
class EpisodeState:
    """States of N wrapped environments and the running figures of their episodes, `[N]`."""

    inner: Any
    episode_return: Array
    episode_length: Array


@dataclass(frozen=True)
class EpisodeStatistics:
    """Adds `episode_return` and `episode_length` to the info: those of the episode up to and with this step."""

    environment: AutoReset

    def reset(self, keys: Array, params: Params) -> tuple[EpisodeState, Array]:
        """States and observations `[N, D]` for keys `[N]`."""
        inner, observations = self.environment.reset(keys, params)
        return EpisodeState(inner, jnp.zeros(len(keys)), jnp.zeros(len(keys), jnp.int32)), observations

    def step(self, key: Array, state: EpisodeState, actions: Array, params: Params) -> tuple[EpisodeState, Array, Step]:
        """One step of all, as `AutoReset.step`."""
        inner, observations, step = self.environment.step(key, state.inner, actions, params)
        total, length = state.episode_return + step.reward, state.episode_length + 1
        info = {**step.info, "episode_return": total, "episode_length": length}
        goes_on = ~(step.terminated | step.truncated)
        state = EpisodeState(inner, jnp.where(goes_on, total, 0.0), jnp.where(goes_on, length, 0))
        return state, observations, replace(step, info=info)
