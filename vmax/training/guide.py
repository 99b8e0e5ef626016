"""Who acts during the warm-up: chance, or a rule of the environment with noise; of choices only those allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vmax.algorithms.algorithm import Spec
from vmax.envs.environment import Environment
from vmax.envs.rollout import Policy
from vmax.spaces import Discrete, choosable, random_actions

Array = jax.Array


@dataclass(frozen=True)
class Guide:
    """A rule, with noise of this standard deviation added to its actions; of choices, the share of random ones."""

    rule: Policy
    noise: float


def first_actions(
    guide: Guide | None, environment: Environment, spec: Spec, states: Any, observation: Array, params: Any, key: Array
) -> Array:
    """Actions of N environments during the warm-up, `[N, A]` in [-1, 1] or choices, int32.

    Uniformly random without a guide. What a guide asks for and is not allowed gives way to a random choice that is.
    """
    space, noise_key, may = environment.action_space, jax.random.fold_in(key, 1), None
    if isinstance(space, Discrete) and spec.allowed:
        may = choosable(spec.allowed, observation, space.size)
    at_random = random_actions(space, key, (len(observation),), may)
    if guide is None:
        return at_random
    told, _ = guide.rule.act(environment, states, observation, params, (), key)
    if not isinstance(space, Discrete):
        return jnp.clip(told + guide.noise * jax.random.normal(key, told.shape), -1.0, 1.0)
    instead = jax.random.uniform(noise_key, told.shape) < guide.noise
    if may is not None:
        chosen = told.reshape(*may.shape[:-1], 1).astype(jnp.int32)
        instead |= ~jnp.take_along_axis(may, chosen, axis=-1).reshape(told.shape)
    return jnp.where(instead, at_random, told)
