"""Small worlds that are sound though a question of the checks does not apply to them, and some that only look like one.

Every world here is told nothing about itself: what does not apply has to be measured.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.environment import Plain, Step
from vmax.spaces import Box, Discrete, Feature

STEPS = 12
TARGETS = tuple(0.3 * (7 * i % 11) / 11 for i in range(2 * STEPS))
CHOICES = Discrete(3)
PAIR = Box((Feature("a"), Feature("b")))


@struct.dataclass
class Place:
    x: Any
    time: Any


@dataclass(frozen=True)
class Corridor(Plain):
    """A place that choices move, one start, nothing random, and params without anything."""

    name = "corridor"
    observation_space = Box((Feature("x", low=0.0, high=1.0), Feature("time", low=0.0, high=1.0)))
    action_space: Any = CHOICES
    info_space = ()
    min_episode_steps = STEPS

    def params(self, split) -> Any:
        return ()

    def reset(self, key, params, start=None):
        return self.begin(0.4)

    def begin(self, x) -> Any:
        state = Place(jnp.float32(x), jnp.int32(0))
        return state, self.observe(state)

    def step(self, key, state, action, params) -> Any:
        state = Place(jnp.clip(state.x + 0.07 * (action - 1), 0.0, 1.0), state.time + 1)
        return state, Step(self.observe(state), self.reward(state, params), jnp.array(False), state.time >= STEPS, {})

    def reward(self, state, params):
        return -jnp.square(state.x - 0.9)

    def observe(self, state):
        return jnp.stack([state.x, state.time / STEPS])


class TwoStarts(Corridor):
    """Its params hold whole numbers and an array."""

    def params(self, split) -> Any:
        return {"targets": jnp.asarray(TARGETS, jnp.float32), "deep": {"from": jnp.int32(3)}}

    def reset(self, key, params, start=None):
        return self.begin(jnp.where(jax.random.bernoulli(key), 0.2, 0.8))

    def reward(self, state, params):
        return -jnp.square(state.x - params["targets"][state.time + params["deep"]["from"]])


class Quiet(Corridor):
    """One start; the noise of its steps has the size 0, which is a number of the params."""

    def params(self, split) -> Any:
        return {"noise": jnp.float32(0.0)}

    def step(self, key, state, action, params):
        gust = params["noise"] * jax.random.normal(key)
        return super().step(key, state.replace(x=state.x + gust), action, params)


class KeyOfItsOwn(TwoStarts):
    """Draws its start from the same key for ever."""

    def reset(self, key, params, start=None):
        return super().reset(jax.random.key(0), params)


class KeyInTheState(Corridor):
    """Draws its steps from a key that each episode begins with."""

    @struct.dataclass
    class Keyed:
        place: Any
        key: Any

    def reset(self, key, params, start=None) -> Any:
        place, seen = super().reset(key, params)
        return self.Keyed(place, jax.random.key_data(jax.random.key(3))), seen

    def step(self, key, state, action, params):
        key, own = jax.random.split(jax.random.wrap_key_data(state.key))
        place = state.place.replace(x=state.place.x + 0.05 * jax.random.normal(own))
        place, step = super().step(own, place, action, params)
        return self.Keyed(place, jax.random.key_data(key)), step


@dataclass(frozen=True)
class Bandit(Plain):
    """What is seen is drawn; an action pays by how near it is to that, and moves nothing."""

    steps: int
    name = "bandit"
    observation_space = PAIR
    action_space = PAIR
    info_space = ()

    @property
    def min_episode_steps(self):
        return self.steps

    def params(self, split) -> Any:
        return None

    def reset(self, key, params, start=None):
        state = Place(jax.random.uniform(key, (2,), minval=-1.0), jnp.int32(0))
        return state, state.x

    def step(self, key, state, action, params):
        reward, terminates = self.pays(state.x, action), self.steps == 1
        state = Place(jax.random.uniform(key, (2,), minval=-1.0), state.time + 1)
        ends = state.time >= self.steps
        return state, Step(state.x, reward, ends & terminates, ends & (not terminates), {})

    def pays(self, seen, action):
        return -jnp.square(seen - action).sum()


class Arms(Bandit):
    """A bandit without a context: what is seen never changes."""

    observation_space = Box((Feature("nothing"),))

    def reset(self, key, params, start=None):
        return Place(jnp.zeros(1), jnp.int32(0)), jnp.zeros(1)

    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return Place(jnp.zeros(1), state.time), replace(step, observation=jnp.zeros(1))

    def pays(self, seen, action):
        return -jnp.square(action - 0.3).sum()


class BlindBandit(Bandit):
    """A bandit whose observation stands still though its context does not."""

    def reset(self, key, params, start=None):
        state, seen = super().reset(key, params)
        return state, 0.0 * seen

    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return state, replace(step, observation=0.0 * step.observation)


class Signs(Bandit):
    """A bandit with four contexts: an episode may begin with what the last one ended with."""

    def reset(self, key, params, start=None):
        state, seen = super().reset(key, params)
        return Place(jnp.sign(seen), state.time), jnp.sign(seen)

    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return Place(jnp.sign(step.observation), state.time), replace(step, observation=jnp.sign(step.observation))


class HalfRead(Bandit):
    """A bandit that does not read the second part of the action."""

    def pays(self, seen, action):
        return -jnp.square(seen[0] - action[0])


class OnlyCosts(Bandit):
    """An action that is paid for and does not arrive: it moves nothing, and costs the same whatever is seen."""

    def pays(self, seen, action):
        return -seen[0] - 0.1 * jnp.square(action - 0.3).sum()


class WithinEpisodesOfAnyLength(Corridor):
    """Declares twelve steps; at the right end it looks no further after five."""

    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return state, replace(step, truncated=step.truncated | ((state.x >= 0.75) & (state.time >= 5)))
