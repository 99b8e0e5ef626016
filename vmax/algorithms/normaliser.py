"""Running mean and variance of observations, the same on every device."""

from __future__ import annotations

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
    return Normaliser(count, mean, normaliser.variance + (squares - frames * normaliser.variance) / count)


def normalise(normaliser: Normaliser | None, observation: Array) -> Array:
    """Observations `[..., D]` with mean 0 and variance 1, within ±10, float32; without a normaliser as they are."""
    observation = observation.astype(jnp.float32)
    if normaliser is None:
        return observation
    return jnp.clip((observation - normaliser.mean) / jnp.sqrt(normaliser.variance + 1e-8), -CLIP, CLIP)
