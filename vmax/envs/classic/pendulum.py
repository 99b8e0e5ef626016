"""The pendulum swing-up with the equations of Gymnasium's Pendulum-v1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.environment import Checks, Plain, Step
from vmax.envs.natural import Natural, Quantity, as_declared
from vmax.errors import UserError
from vmax.spaces import Box, Feature

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class PendulumConfig:
    """What `env=pendulum` sets."""

    name: Literal["pendulum"]
    max_steps: int
    show_speed: bool = True

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise UserError(f"env.max_steps={self.max_steps}: must be at least 1")


@struct.dataclass
class PendulumParams:
    """The physical numbers, float32 scalars."""

    gravity_m_per_s2: Array
    mass_kg: Array
    length_m: Array
    dt_s: Array
    max_speed_rad_per_s: Array
    max_torque_nm: Array


@struct.dataclass
class PendulumState:
    """Angle from upright and its speed, and the steps of the episode so far."""

    angle_rad: Array
    speed_rad_per_s: Array
    time: Array


@dataclass(frozen=True)
class Pendulum(Plain):
    """Swing up and hold a pendulum; an episode is truncated after `max_steps` and never terminates.

    Without `show_speed` the observation is the angle alone, so that one step does not tell where it is going.
    """

    config: PendulumConfig

    @property
    def name(self) -> str:
        return "pendulum"

    @property
    def observation_space(self) -> Box:
        angle = (Feature("cos_angle"), Feature("sin_angle"))
        return Box((*angle, Feature("speed", "rad/s", -8.0, 8.0)) if self.config.show_speed else angle)

    @property
    def action_space(self) -> Box:
        return Box((Feature("torque", "share of the greatest torque"),))

    @property
    def info_space(self) -> tuple[Feature, ...]:
        return (
            Feature("angle_cost", "rad^2", 0.0, float(jnp.pi**2)),
            Feature("speed_cost", "1", 0.0, 6.4),
            Feature("torque_cost", "1", 0.0, 0.004),
        )

    @property
    def min_episode_steps(self) -> int:
        return self.config.max_steps

    @property
    def max_episode_steps(self) -> int:
        return self.config.max_steps

    @property
    def checks(self) -> Checks:
        """The terms of its reward."""
        return Checks(reward_terms=tuple(feature.name for feature in self.info_space))

    def params(self, split: str) -> PendulumParams:
        """The numbers of Pendulum-v1; every split is the same world."""
        return PendulumParams(*(jnp.float32(x) for x in (10.0, 1.0, 1.0, 0.05, 8.0, 2.0)))

    def natural(self, params: PendulumParams) -> Natural:
        """The observation is in units already; an action becomes a torque."""
        most = float(params.max_torque_nm)
        torque = Quantity("torque_nm", "Nm", -most, most, "torque on the pivot")
        return Natural(as_declared(self.observation_space), (torque,), lambda raw, action: most * action)

    def reset(self, key: Key, params: PendulumParams, start: Array | None = None) -> tuple[PendulumState, Array]:
        """Angle within ±π and speed within ±1 rad/s, uniform; or `start`, `[2]`: (angle, speed)."""
        high = jnp.array([jnp.pi, 1.0])
        drawn = jax.random.uniform(key, (2,), minval=-high, maxval=high) if start is None else jnp.asarray(start)
        state = PendulumState(drawn[0].astype(jnp.float32), drawn[1].astype(jnp.float32), jnp.int32(0))
        return state, self._observe(state)

    def step(self, key: Key, state: PendulumState, action: Array, params: PendulumParams) -> tuple[PendulumState, Step]:
        """One step of 0.05 s; the cost is that of the state before it. Source: Gymnasium, `PendulumEnv.step`."""
        torque_nm = params.max_torque_nm * jnp.clip(action[0], -1.0, 1.0)
        angle = (state.angle_rad + jnp.pi) % (2.0 * jnp.pi) - jnp.pi
        info = {
            "angle_cost": jnp.square(angle),
            "speed_cost": 0.1 * jnp.square(state.speed_rad_per_s),
            "torque_cost": 0.001 * jnp.square(torque_nm),
        }
        acceleration = 1.5 * params.gravity_m_per_s2 / params.length_m * jnp.sin(state.angle_rad)
        acceleration += 3.0 / (params.mass_kg * params.length_m**2) * torque_nm
        limit = params.max_speed_rad_per_s
        speed = jnp.clip(state.speed_rad_per_s + acceleration * params.dt_s, -limit, limit)
        state = PendulumState(state.angle_rad + speed * params.dt_s, speed, state.time + 1)
        return state, Step(
            observation=self._observe(state),
            reward=-(info["angle_cost"] + info["speed_cost"] + info["torque_cost"]),
            terminated=jnp.array(False),
            truncated=state.time >= self.config.max_steps,
            info=info,
        )

    def _observe(self, state: PendulumState) -> Array:
        seen = [jnp.cos(state.angle_rad), jnp.sin(state.angle_rad), state.speed_rad_per_s]
        return jnp.stack(seen if self.config.show_speed else seen[:2])
