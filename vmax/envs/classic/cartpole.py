"""The pole on a cart with the equations of Gymnasium's CartPole-v1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.environment import Checks, Plain, Step
from vmax.errors import UserError
from vmax.spaces import Box, Discrete, Feature

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class CartPoleConfig:
    """What `env=cartpole` sets."""

    name: Literal["cartpole"]
    max_steps: int

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise UserError(f"env.max_steps={self.max_steps}: must be at least 1")


@struct.dataclass
class CartPoleParams:
    """The physical numbers, float32 scalars; `half_length_m` is half of the pole's length."""

    gravity_m_per_s2: Array
    cart_mass_kg: Array
    pole_mass_kg: Array
    half_length_m: Array
    force_n: Array
    dt_s: Array
    max_position_m: Array
    max_angle_rad: Array


@struct.dataclass
class CartPoleState:
    """Position, speed, angle and angular speed, `[4]`, and the steps of the episode so far."""

    motion: Array
    time: Array


@dataclass(frozen=True)
class CartPole(Plain):
    """Keep a pole upright by pushing its cart left (0) or right (1).

    An episode terminates when the pole falls or the cart leaves the track, and is truncated after `max_steps`.
    """

    config: CartPoleConfig

    @property
    def name(self) -> str:
        return "cartpole"

    @property
    def observation_space(self) -> Box:
        angle = 24.0 * math.pi / 180.0
        return Box(
            (
                Feature("position", "m", -4.8, 4.8),
                Feature("speed", "m/s", -math.inf, math.inf),
                Feature("angle", "rad", -angle, angle),
                Feature("angular_speed", "rad/s", -math.inf, math.inf),
            )
        )

    @property
    def action_space(self) -> Discrete:
        return Discrete(2, ("push_left", "push_right"))

    @property
    def info_space(self) -> tuple[Feature, ...]:
        return (Feature("upright", "1", 0.0, 1.0),)

    @property
    def min_episode_steps(self) -> int:
        return self.config.max_steps

    @property
    def max_episode_steps(self) -> int:
        return self.config.max_steps

    @property
    def checks(self) -> Checks:
        """The end of the track is out of reach of runs without good control."""
        return Checks(exempt={"param_live/max_position_m": "the pole falls before the cart leaves the track"})

    def params(self, split: str) -> CartPoleParams:
        """The numbers of CartPole-v1; every split is the same world."""
        values = (9.8, 1.0, 0.1, 0.5, 10.0, 0.02, 2.4, 12.0 * math.pi / 180.0)
        return CartPoleParams(*(jnp.float32(x) for x in values))

    def reset(self, key: Key, params: CartPoleParams, start: Array | None = None) -> tuple[CartPoleState, Array]:
        """All four numbers within ±0.05, uniform; or `start`, `[4]`."""
        drawn = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05) if start is None else jnp.asarray(start)
        motion = drawn.astype(jnp.float32)
        return CartPoleState(motion, jnp.int32(0)), motion

    def step(self, key: Key, state: CartPoleState, action: Array, params: CartPoleParams) -> tuple[CartPoleState, Step]:
        """One Euler step of 0.02 s; reward 1. Source: Florian (2007), Correct equations for the cart-pole system."""
        _, speed, angle, turn = state.motion
        total_kg = params.cart_mass_kg + params.pole_mass_kg
        pole_kgm = params.pole_mass_kg * params.half_length_m
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        force_n = jnp.where(action == 1, params.force_n, -params.force_n)
        push = (force_n + pole_kgm * jnp.square(turn) * sin) / total_kg
        inertia = params.half_length_m * (4.0 / 3.0 - params.pole_mass_kg * jnp.square(cos) / total_kg)
        turn_rate = (params.gravity_m_per_s2 * sin - cos * push) / inertia
        acceleration = push - pole_kgm * turn_rate * cos / total_kg

        motion = state.motion + params.dt_s * jnp.stack([speed, acceleration, turn, turn_rate])
        fallen = (jnp.abs(motion[0]) > params.max_position_m) | (jnp.abs(motion[2]) > params.max_angle_rad)
        time = state.time + 1
        return CartPoleState(motion, time), Step(
            observation=motion,
            reward=jnp.float32(1.0),
            terminated=fallen,
            truncated=time >= self.config.max_steps,
            info={"upright": (~fallen).astype(jnp.float32)},
        )
