"""What stands on a torso: the squashed Gaussian and the deterministic actor, and the critic ensemble."""

from __future__ import annotations

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from vmax.networks.mlp import NetworkConfig, Torso
from vmax.networks.recurrent import joined

Array = jax.Array

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
SMALL = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
"""First actions lie near the middle of the range, whatever the observation."""


class GaussianActor(nn.Module):
    """Mean and log standard deviation of the action before tanh: `[..., D]` -> two `[..., A]`, float32.

    `memory` is what `recurrent.remember` gives for the same steps, `[..., units]`.

    log_std is squashed smoothly into [-5, 2], so that its gradient never dies at a bound.
    """

    config: NetworkConfig
    actions: int

    @nn.compact
    def __call__(self, observation: Array, memory: Array | None = None) -> tuple[Array, Array]:
        hidden = Torso(self.config, "actor")(joined(observation, memory))
        dtype = jnp.dtype(self.config.dtype)
        mean = nn.Dense(self.actions, dtype=dtype, kernel_init=SMALL, name="mean")(hidden)
        spread = nn.Dense(self.actions, dtype=dtype, kernel_init=SMALL, name="spread")(hidden)
        middle, half = (LOG_STD_MAX + LOG_STD_MIN) / 2, (LOG_STD_MAX - LOG_STD_MIN) / 2
        return mean.astype(jnp.float32), middle + half * jnp.tanh(spread.astype(jnp.float32))


class DeterministicActor(nn.Module):
    """The action itself, tanh of the last layer: `[..., D]` -> `[..., A]` in [-1, 1], float32; `memory` as above."""

    config: NetworkConfig
    actions: int

    @nn.compact
    def __call__(self, observation: Array, memory: Array | None = None) -> Array:
        hidden = Torso(self.config, "actor")(joined(observation, memory))
        mean = nn.Dense(self.actions, dtype=jnp.dtype(self.config.dtype), kernel_init=SMALL, name="mean")(hidden)
        return jnp.tanh(mean.astype(jnp.float32))


def action_size(params: Any) -> int:
    """How many numbers an action has, read from an actor's parameters."""
    return params["params"]["mean"]["bias"].shape[-1]


def squash(mean: Array, log_std: Array, noise: Array) -> tuple[Array, Array]:
    """A reparametrised tanh-Gaussian sample and its log-probability.

        a = tanh(u),  u = μ + σ ε
        log π(a) = Σ_i [ log N(u_i; μ_i, σ_i) - log(1 - tanh(u_i)²) ]

    log(1 - tanh(u)²) is taken as 2 (log 2 - u - softplus(-2u)) on the sample before tanh; it is exact where tanh
    saturates. Source: Haarnoja et al. (2018), appendix C; stable form as in the TFP TanhBijector.

    Args: mean, log standard deviation and standard normal noise, each `[..., A]`.
    Returns: `(action [..., A], log-probability [...])`.
    """
    chex.assert_equal_shape([mean, log_std, noise])
    raw = mean + jnp.exp(log_std) * noise
    log_normal = -0.5 * jnp.square(noise) - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    log_slope = 2.0 * (jnp.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))
    return jnp.tanh(raw), jnp.sum(log_normal - log_slope, axis=-1)


class _Value(nn.Module):
    """One critic: `[..., I]` -> `[...]`, float32."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, inputs: Array, memory: Array | None) -> Array:
        hidden = Torso(self.config, "critic")(joined(inputs, memory))
        return nn.Dense(1, dtype=jnp.dtype(self.config.dtype))(hidden)[..., 0].astype(jnp.float32)


class CriticEnsemble(nn.Module):
    """`size` critics with parameters of their own, drawn independently, in one batched matrix product a layer.

    `[B, I]` -> `[size, B]`, float32. Every parameter has the leading dimension `size`, and so has `memory`, `[size, B,
    units]`: each critic remembers for itself.
    """

    config: NetworkConfig
    size: int

    @nn.compact
    def __call__(self, inputs: Array, memory: Array | None = None) -> Array:
        members = nn.vmap(
            _Value,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(None, 0),  # pyright: ignore[reportArgumentType]
            out_axes=0,
            axis_size=self.size,
        )
        return members(self.config, name="members")(inputs, memory)
