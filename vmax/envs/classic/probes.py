"""Probe environments: the smallest worlds that each fail if one part of a learner is wrong.

`constant`: the value of a state is learned. `observation`: it depends on the observation. `discount`: it reaches back
one step. `action`: the policy climbs the value. `both`: the best action depends on the observation. `endless`: a time
limit truncates, so the value is 1 / (1 - γ) and not the finite sum. `memory`: a cue that is shown at the first step
alone decides the best action of the last. After Jones (2021), Debugging RL, Without the
Agonizing Pain, and the note on time limits of Pardo et al. (2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.environment import Plain, Step
from vmax.spaces import Box, Feature

Array = jax.Array
Key = jax.Array

BEST_ACTION = 0.5
"""Where the reward of `action` is greatest, 0; those of `both` and `memory` are so at this times the sign shown."""
RECALL_STEPS = 4
"""Length of an episode of `memory`."""


@struct.dataclass
class ProbeState:
    """A sign drawn for the episode, and its steps so far."""

    sign: Array
    time: Array


@dataclass(frozen=True)
class Probe(Plain):
    """An episode of `steps` steps that then terminates, or is truncated.

    `shown(state)` is the observation, a number; `reward(state, action)` that of a step, from the state before it.
    """

    name: str
    steps: int
    truncates: bool
    shown: Callable[[ProbeState], Array]
    reward: Callable[[ProbeState, Array], Array]

    @property
    def observation_space(self) -> Box:
        return Box((Feature("shown"),))

    @property
    def action_space(self) -> Box:
        return Box((Feature("action"),))

    @property
    def info_space(self) -> tuple[Feature, ...]:
        return ()

    @property
    def min_episode_steps(self) -> int:
        return self.steps

    @property
    def max_episode_steps(self) -> int:
        return self.steps

    def params(self, split: str) -> tuple[()]:
        """A probe has no numbers."""
        return ()

    def reset(self, key: Key, params: tuple[()], start: Array | None = None) -> tuple[ProbeState, Array]:
        """A random sign, or `start` itself."""
        sign = jax.random.rademacher(key, (), jnp.float32) if start is None else jnp.float32(start)
        state = ProbeState(sign, jnp.int32(0))
        return state, self._observe(state)

    def step(self, key: Key, state: ProbeState, action: Array, params: tuple[()]) -> tuple[ProbeState, Step]:
        """One step; the last one of an episode ends it."""
        reward = self.reward(state, action[0])
        state = ProbeState(state.sign, state.time + 1)
        ended = state.time >= self.steps
        return state, Step(
            observation=self._observe(state),
            reward=jnp.float32(reward),
            terminated=ended & (not self.truncates),
            truncated=ended & self.truncates,
            info={},
        )

    def _observe(self, state: ProbeState) -> Array:
        return jnp.float32(self.shown(state))[None]


def _nothing(state: ProbeState) -> Array:
    return jnp.float32(0.0)


def _sign(state: ProbeState) -> Array:
    return state.sign


def _time(state: ProbeState) -> Array:
    return state.time.astype(jnp.float32)


def _cue(state: ProbeState) -> Array:
    return jnp.where(state.time == 0, state.sign, 0.0)


def _recall(state: ProbeState, action: Array) -> Array:
    return jnp.where(state.time == RECALL_STEPS - 1, -jnp.square(action - BEST_ACTION * state.sign), 0.0)


PROBES = {
    probe.name: probe
    for probe in (
        Probe("constant", 1, False, _nothing, lambda state, action: jnp.float32(1.0)),
        Probe("observation", 1, False, _sign, lambda state, action: state.sign),
        Probe("discount", 2, False, lambda state: jnp.minimum(_time(state), 1.0), lambda state, action: _time(state)),
        Probe("action", 1, False, _nothing, lambda state, action: -jnp.square(action - BEST_ACTION)),
        Probe("both", 1, False, _sign, lambda state, action: -jnp.square(action - BEST_ACTION * state.sign)),
        Probe("endless", 10, True, _nothing, lambda state, action: jnp.float32(1.0)),
        Probe("memory", RECALL_STEPS, False, _cue, _recall),
    )
}
"""By name; each with one observed number and one action."""
