"""A small sound environment that keeps a tank half full against a known demand; `broken.py` breaks it in every way."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.checks.settings import SizesConfig
from vmax.envs.environment import Checks, Plain, Step
from vmax.spaces import Box, Feature

HOURS = 12
SIZES = SizesConfig(
    lanes=4, steps=60, most_steps=60, hold=4, states=6, trial=8, episodes=8, linear=12, rounds=3, corners=32
)  # fmt: skip


@struct.dataclass
class TankParams:
    demand: Any  # share of the tank per hour, [T]
    pump: Any
    valve: Any
    target: Any
    price: Any


@struct.dataclass
class TankState:
    level: Any
    row: Any
    end: Any


@dataclass(frozen=True)
class Tank(Plain):
    """Two actions: a pump that fills and a valve that drains. The demand of this hour and the next one is known."""

    name = "tank"
    observation_space = Box(
        (Feature("level"), Feature("demand", "tank", 0.0, 1.0), Feature("next_demand", "tank", 0.0, 1.0))
    )
    action_space = Box((Feature("pump", "rated"), Feature("valve", "rated")))
    info_space = (
        Feature("level_cost", "1", 0.0, 1.0),
        Feature("pump_cost", "1", 0.0, 1.0),
        Feature("inflow", "tank", 0.0, 1.0),
        Feature("outflow", "tank", 0.0, 1.0),
        Feature("demand", "tank", 0.0, 1.0),
    )
    min_episode_steps = HOURS

    @property
    def checks(self):
        return Checks(
            reward_terms=("level_cost", "pump_cost"),
            kpi={"level_cost": -1.0, "pump_cost": -1.0},
            load=("demand",),
            residual=lambda state, step, params: {"water": self.water(state, step)},
            altered=altered,
            rules={"keep": Keep()},
            quicker=Tank(),
        )

    @staticmethod
    def water(state, step):
        level = 0.5 * (step.observation[0] + 1.0)
        return level - state.level - step.info["inflow"] + step.info["outflow"]

    def demand(self):
        hours = np.arange(600)
        noise = np.random.default_rng(0).uniform(-0.02, 0.02, 600)
        return 0.06 + 0.04 * np.sin(hours / 4.0) + noise

    def params(self, split) -> Any:
        numbers = (jnp.float32(x) for x in (0.2, 0.1, 0.5, 0.1))
        return TankParams(jnp.asarray(self.demand(), jnp.float32), *numbers)

    def reset(self, key, params, start=None) -> Any:
        level_key, row_key = jax.random.split(key)
        row = jax.random.randint(row_key, (), 0, 500)
        state = TankState(jax.random.uniform(level_key, (), minval=0.2, maxval=0.8), row, row + HOURS)
        return state, self.observe(state, params)

    def step(self, key, state, action, params):
        pump, valve = self.decode(jnp.clip(action, -1.0, 1.0))
        demand = params.demand[state.row]
        wanted = params.valve * valve + demand
        outflow = jnp.minimum(wanted, state.level)
        inflow = jnp.minimum(params.pump * pump, 1.0 - state.level + outflow)
        level = state.level + inflow - outflow
        info = {
            "level_cost": jnp.square(level - params.target),
            "pump_cost": params.price * inflow,
            "inflow": inflow,
            "outflow": outflow,
            "demand": demand,
        }
        state = self.following(state, level)
        return state, Step(
            observation=self.observe(state, params),
            reward=self.reward(info, action),
            terminated=jnp.array(False),
            truncated=state.row >= state.end,
            info=info,
        )

    def decode(self, action):
        return 0.5 * (1.0 + action[0]), 0.5 * (1.0 + action[1])

    def following(self, state, level):
        return TankState(level, state.row + 1, state.end)

    def reward(self, info, action):
        return -info["level_cost"] - info["pump_cost"]

    def observe(self, state, params):
        return jnp.stack([2.0 * state.level - 1.0, params.demand[state.row], params.demand[state.row + 1]])


@struct.dataclass
class Keep:
    """Pumps below the middle, drains above it."""

    def initial(self, env, params, starts):
        return ()

    def act(self, env, states, seen, params, carry, key):
        high = jnp.sign(seen[:, 0])
        return jnp.stack([-high, high], axis=1), carry


def altered(state, params, seed):
    """All demand from the hour after next on is unknown."""
    demand, first = np.array(params.demand), int(state.row) + 2
    demand[first:] = np.random.default_rng(seed).uniform(0.0, 0.2, len(demand) - first)
    return params.replace(demand=jnp.asarray(demand))
