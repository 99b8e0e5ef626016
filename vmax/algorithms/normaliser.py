"""Running mean and variance of observations and of discounted rewards, the same on every device.

The count is a float32: from some 2^24 frames of one environment on it stands still, and statistics become those of the
latest 2^24 frames or so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array

CLIP = 10.0


@struct.dataclass
class Normaliser:
    """Statistics of all frames seen: count `[]`, mean and variance `[D]`, float32."""

    count: Array
    mean: Array
    variance: Array


def init(size: int) -> Normaliser:
    """Statistics before the first frame: they leave an observation as it is."""
    return Normaliser(jnp.zeros(()), jnp.zeros(size), jnp.ones(size))


def observe(normaliser: Normaliser, observation: Array, axis: str | None) -> Normaliser:
    """Takes in fresh frames `[N, D]` of every device on `axis`.

        μ' = μ + Σ (x - μ) / n',   v' = v + (Σ (x - μ)(x - μ') - N v) / n'

    Source: Chan, Golub & LeVeque (1983), eq. 2.1, summed over a batch.
    """
    chex.assert_rank(observation, 2)

    def total(values: Array) -> Array:
        summed = jnp.sum(values, axis=0)
        return summed if axis is None else jax.lax.psum(summed, axis)

    observation = observation.astype(jnp.float32)
    frames = total(jnp.ones(observation.shape[0]))
    count = normaliser.count + frames
    mean = normaliser.mean + total(observation - normaliser.mean) / count
    squares = total((observation - normaliser.mean) * (observation - mean))
    variance = jnp.where(
        normaliser.count > 0.0, normaliser.variance, 0.0
    )  # the 1 of no frames would swallow small ones
    return Normaliser(count, mean, variance + (squares - frames * variance) / count)


def normalise(normaliser: Normaliser | None, observation: Array) -> Array:
    """Observations `[..., D]` with mean 0 and variance 1, within ±10, float32; without a normaliser as they are."""
    observation = observation.astype(jnp.float32)
    if normaliser is None:
        return observation
    return jnp.clip((observation - normaliser.mean) / jnp.sqrt(normaliser.variance + 1e-8), -CLIP, CLIP)


def taken_in(state: Any, observation: Array, discounted: Array | None, axis: str | None) -> Any:
    """A learner's state, fields `normaliser` and `reward_scale`, after fresh observations `[N, D]` and the discounted
    rewards of their episodes so far, `[N]`; a field that is None stays so."""
    if state.normaliser is not None:
        state = replace(state, normaliser=observe(state.normaliser, observation, axis))
    if state.reward_scale is not None and discounted is not None:
        state = replace(state, reward_scale=observe(state.reward_scale, discounted[:, None], axis))
    return state


def reward_unit(scale: Normaliser) -> Array:
    """What rewards are divided by: the running deviation of their discounted sums, `[]`; 1 where those are all 0.

    Sums that are all alike count with a thousandth of their size, which is then what deviates.
    """
    unit = jnp.sqrt(scale.variance[0] + jnp.square(1e-3 * scale.mean[0]))
    return jnp.where(unit > 0.0, unit, 1.0)
