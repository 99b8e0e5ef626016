"""The tank of `sound.py`, broken once for each check, with the worst that the check says of it."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from sound import HOURS, Tank, TankState

from vmax.spaces import Discrete

BIG = np.arange(2**15, dtype=np.float32)
CALLS = []
GENERATOR = np.random.default_rng(0)


class FloatClock(Tank):
    def following(self, state, level):
        return TankState(level, state.row + 1, 1.0 * state.end)


class Undeclared(Tank):
    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return state, replace(step, info={**step.info, "extra": step.reward})


class WeakStart(Tank):
    def reset(self, key, params, start=None):
        state, seen = super().reset(key, params)
        return state.replace(level=0.5), seen


class CallsHost(Tank):
    def reward(self, info, action):
        kept = jax.pure_callback(np.square, jax.ShapeDtypeStruct((), jnp.float32), info["level_cost"])
        return kept - info["pump_cost"]


class ClosesOver(Tank):
    def reward(self, info, action):
        return super().reward(info, action) * jnp.asarray(BIG)[1]


class GlobalRandom(Tank):
    def reward(self, info, action):
        return super().reward(info, action) + GENERATOR.uniform()


class RemembersOutside(Tank):
    """A number in the compiled program that depends on how often it was traced."""

    def following(self, state, level):
        CALLS.append(None)
        return TankState(level * (1.0 - 0.01 * (len(CALLS) % 7)), state.row + 1, state.end)


class OtherWhenCompiled(Tank):
    def reward(self, info, action):
        compiled = isinstance(info["level_cost"], Tracer)
        return (2.0 if compiled else 1.0) * super().reward(info, action)


@jax.custom_batching.custom_vmap
def _alone(value):
    return value


@_alone.def_vmap
def _together(axis_size, in_batched, value):
    return value - value.mean(), True  # a reduction over all lanes


class MixesLanes(Tank):
    def reward(self, info, action):
        return _alone(super().reward(info, action))


class IgnoresKey(Tank):
    def reset(self, key, params, start=None):
        return super().reset(jax.random.key(0), params)


class Logarithm(Tank):
    def reward(self, info, action):
        return super().reward(info, action) + 0.0 * jnp.log(info["inflow"])


class Unscaled(Tank):
    def observe(self, state, params):
        return super().observe(state, params) * jnp.array([1.5, 1.0, 1.0])


class CutOff(Tank):
    def observe(self, state, params):
        return super().observe(state, params).at[0].set(jnp.clip(40.0 * (state.level - 0.9), -1.0, 1.0))


class SteepRoot(Tank):
    def reward(self, info, action):
        x = jnp.maximum(action[0] - 2.0, 0.0)  # never above 0
        return super().reward(info, action) + jnp.where(x > 0.0, jnp.sqrt(x), 0.0)


class Truncates(Tank):
    def decode(self, action):
        return super().decode(jnp.trunc(action))


class Disconnected(Tank):
    def decode(self, action):
        return 0.5 * (1.0 + action[0]), 0.5


class SameWire(Tank):
    """The valve's action moves the pump as well."""

    def decode(self, action):
        return 0.25 * (2.0 + action[0] + action[1]), 0.0


class TwiceTheSame(Tank):
    """Three choices, of which the last two are the same."""

    action_space: Any = Discrete(3)

    def step(self, key, state, action, params):
        levels = jnp.array([[-1.0, -1.0], [1.0, -1.0], [1.0, -1.0]])
        return super().step(key, state, levels[action], params)


class Stale(Tank):
    def observe(self, state, params):
        return super().observe(state.replace(row=0 * state.row, level=0.5 + 0.0 * state.level), params)


class DeadEntry(Tank):
    def observe(self, state, params):
        return super().observe(state, params).at[2].set(0.5)


class Unread(Tank):
    def reward(self, info, action):
        return -info["level_cost"]

    def step(self, key, state, action, params):
        return super().step(key, state, action, params.replace(price=jnp.float32(0.1)))


class Leaks(Tank):
    """Clips the level afterwards, so that water appears and is lost."""

    def following(self, state, level):
        return TankState(jnp.clip(level, 0.3, 0.7), state.row + 1, state.end)


class NoLoad(Tank):
    def demand(self):
        return np.full(600, 0.06)


class Noise(Tank):
    """A day between two steps: what is seen has nothing to do with what was seen before."""

    def demand(self):
        return np.random.default_rng(0).uniform(0.0, 0.12, 600)

    def observe(self, state, params):
        return params.demand[state.row + jnp.array([0, 100, 50])]


class Seldom(Tank):
    """Decides for four hours."""

    min_episode_steps = HOURS // 4

    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        info, reward = step.info, step.reward
        for _ in range(3):
            state, step = super().step(key, state, action, params)
            info, reward = jax.tree.map(jnp.add, info, step.info), reward + step.reward
        return state, replace(step, reward=reward, info=info)


class Silent(Tank):
    def reward(self, info, action):
        return jnp.float32(-1.0) + 0.0 * info["level_cost"]


class Sign(Tank):
    def reward(self, info, action):
        return jnp.sign(0.02 - info["level_cost"])


class Millions(Tank):
    def reward(self, info, action):
        return 1e6 * super().reward(info, action)


class PaysDemand(Tank):
    def reward(self, info, action):
        return -info["demand"]


class OneTerm(Tank):
    def params(self, split):
        return super().params(split).replace(price=jnp.float32(30.0))


class BestStandsStill(Tank):
    """What counts is to keep both actions at 0, whatever is seen."""

    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        cost = jnp.square(action).sum()
        info = {**step.info, "level_cost": jnp.where(cost > 0.1, 1.0, cost), "pump_cost": 0.0 * cost}
        return state, replace(step, reward=-info["level_cost"], info=info)


class WrongSign(Tank):
    def reward(self, info, action):
        return info["level_cost"] + info["pump_cost"]


class StartsAnew(Tank):
    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        fresh, seen = self.reset(key, params)
        state = jax.tree.map(lambda new, old: jnp.where(step.truncated, new, old), fresh, state)
        return state, replace(step, observation=jnp.where(step.truncated, seen, step.observation))

    def reset(self, key, params, start=None):
        state, _ = super().reset(key, params)
        state = state.replace(row=0 * state.row, end=0 * state.row + HOURS)
        return state, self.observe(state, params)


class TooShort(Tank):
    min_episode_steps = HOURS + 6


class Endless(Tank):
    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return state, replace(step, truncated=jnp.array(False))


class Terminates(Tank):
    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return state, replace(step, terminated=step.truncated, truncated=jnp.array(False))


class SeesAhead(Tank):
    def observe(self, state, params):
        return super().observe(state, params).at[2].set(params.demand[state.row + 5])


class CheaperTest(Tank):
    def params(self, split):
        return super().params(split).replace(price=jnp.float32(0.05 if split == "test" else 0.1))


class ScaledBySplit(Tank):
    """A further number in the params of one split."""

    def params(self, split):
        params = super().params(split)
        return params if split == "train" else params.replace(demand=(params.demand, params.demand.max()))


BROKEN = [
    ("pytree", FloatClock(), "FAIL"),
    ("pytree", Undeclared(), "FAIL"),
    ("retrace", WeakStart(), "FAIL"),
    ("transfer", CallsHost(), "FAIL"),
    ("constants", ClosesOver(), "WARN"),
    ("purity", GlobalRandom(), "FAIL"),
    ("jit_equals_eager", OtherWhenCompiled(), "FAIL"),
    ("vmap_equals_loop", MixesLanes(), "FAIL"),
    ("scan_equals_loop", RemembersOutside(), "FAIL"),
    ("seeding", IgnoresKey(), "FAIL"),
    ("finite", Logarithm(), "FAIL"),
    ("bounds", Unscaled(), "FAIL"),
    ("saturation", CutOff(), "WARN"),
    ("gradient", SteepRoot(), "FAIL"),
    ("action_reaches_plant", Truncates(), "FAIL"),
    ("action_reaches_plant", Disconnected(), "FAIL"),
    ("action_reaches_plant", SameWire(), "FAIL"),
    ("action_reaches_plant", TwiceTheSame(), "FAIL"),
    ("obs_live", Stale(), "FAIL"),
    ("obs_live", DeadEntry(), "WARN"),
    ("param_live", Unread(), "FAIL"),
    ("conservation", Leaks(), "FAIL"),
    ("load", NoLoad(), "FAIL"),
    ("timescale", Noise(), "WARN"),
    ("interval", Seldom(), "WARN"),
    ("reward_spread", Silent(), "FAIL"),
    ("reward_unique", Sign(), "WARN"),
    ("reward_scale", Millions(), "WARN"),
    ("reward_by_action", PaysDemand(), "FAIL"),
    ("reward_terms", OneTerm(), "WARN"),
    ("headroom", BestStandsStill(), "WARN"),
    ("agreement", WrongSign(), "FAIL"),
    ("final_observation", StartsAnew(), "FAIL"),
    ("episode_length", TooShort(), "FAIL"),
    ("episode_end", Endless(), "FAIL"),
    ("time_limit", Terminates(), "WARN"),
    ("leak", SeesAhead(), "FAIL"),
    ("eval_parity", CheaperTest(), "FAIL"),
    ("eval_parity", ScaledBySplit(), "FAIL"),
]
