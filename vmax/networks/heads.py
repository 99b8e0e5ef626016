"""What stands on a torso: actors (squashed Gaussian, deterministic; free Gaussian, choices), critics and values."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from vmax.networks.mlp import NetworkConfig, Torso
from vmax.networks.orthogonal import orthogonal
from vmax.networks.recurrent import joined

Array = jax.Array

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
SMALL = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
"""First actions lie near the middle of the range, whatever the observation."""
ORTHOGONAL, SMALL_ORTHOGONAL = orthogonal(math.sqrt(2.0)), orthogonal(0.01)
"""Of hidden and last layers. Source: Andrychowicz et al. (2021), What Matters in On-Policy Reinforcement Learning."""


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
    """The action before tanh: `[..., D]` -> `[..., A]`, float32; `memory` as above."""

    config: NetworkConfig
    actions: int

    @nn.compact
    def __call__(self, observation: Array, memory: Array | None = None) -> Array:
        hidden = Torso(self.config, "actor")(joined(observation, memory))
        mean = nn.Dense(self.actions, dtype=jnp.dtype(self.config.dtype), kernel_init=SMALL, name="mean")(hidden)
        return mean.astype(jnp.float32)


class GaussianPolicy(nn.Module):
    """Mean and log standard deviation of the raw action: `[..., D]` -> two `[..., A]`, float32; `memory` as above.

    The standard deviation begins at `initial_std`. With `free_std` it is a parameter, the same everywhere; else it
    depends on the observation, its logarithm squashed smoothly into [-5, 2]. Orthogonal weights, small last ones.
    """

    config: NetworkConfig
    actions: int
    free_std: bool
    initial_std: float

    @nn.compact
    def __call__(self, observation: Array, memory: Array | None = None) -> tuple[Array, Array]:
        hidden = Torso(self.config, "actor", ORTHOGONAL)(joined(observation, memory))
        last = partial(nn.Dense, self.actions, dtype=jnp.dtype(self.config.dtype), kernel_init=SMALL_ORTHOGONAL)
        mean = last(name="mean")(hidden).astype(jnp.float32)
        begin = math.log(self.initial_std)
        if self.free_std:
            log_std = self.param("log_std", nn.initializers.constant(begin), (self.actions,))
            return mean, jnp.broadcast_to(log_std, mean.shape)
        middle, half = (LOG_STD_MAX + LOG_STD_MIN) / 2, (LOG_STD_MAX - LOG_STD_MIN) / 2
        bias = nn.initializers.constant(math.atanh((begin - middle) / half))
        spread = last(bias_init=bias, name="spread")(hidden)
        return mean, middle + half * jnp.tanh(spread.astype(jnp.float32))


class CategoricalPolicy(nn.Module):
    """Unnormalised log-probabilities of the choices: `[..., D]` -> `[..., A]`, float32; `memory` as above."""

    config: NetworkConfig
    choices: int

    @nn.compact
    def __call__(self, observation: Array, memory: Array | None = None) -> Array:
        hidden = Torso(self.config, "actor", ORTHOGONAL)(joined(observation, memory))
        dtype = jnp.dtype(self.config.dtype)
        logits = nn.Dense(self.choices, dtype=dtype, kernel_init=SMALL_ORTHOGONAL, name="logits")(hidden)
        return logits.astype(jnp.float32)


class ChoiceValues(nn.Module):
    """The value of each choice: `[..., D]` -> `[..., *choices]`, float32; `memory` as above.

    `choices`: (P,), or (C, P) of C choices at once that read the same. With `dueling` V + A - mean A, of each.
    """

    config: NetworkConfig
    choices: tuple[int, ...]
    dueling: bool

    @nn.compact
    def __call__(self, observation: Array, memory: Array | None = None) -> Array:
        hidden = Torso(self.config, "critic")(joined(observation, memory))
        dtype = jnp.dtype(self.config.dtype)
        advantage = nn.DenseGeneral(self.choices, dtype=dtype, name="advantage")(hidden).astype(jnp.float32)
        if not self.dueling:
            return advantage
        value = nn.Dense(1, dtype=dtype, name="value")(hidden).astype(jnp.float32)
        value = value.reshape(*value.shape, *(1,) * (len(self.choices) - 1))
        return value + advantage - advantage.mean(axis=-1, keepdims=True)


class StateValue(nn.Module):
    """The value of a state: `[..., D]` -> `[...]`, float32; `memory` as above. Orthogonal weights."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, observation: Array, memory: Array | None = None) -> Array:
        hidden = Torso(self.config, "critic", ORTHOGONAL)(joined(observation, memory))
        last = nn.Dense(1, dtype=jnp.dtype(self.config.dtype), kernel_init=orthogonal(1.0))
        return last(hidden)[..., 0].astype(jnp.float32)


def action_size(params: Any) -> int:
    """How many numbers an action has, or choices there are, read from an actor's parameters."""
    layers = params["params"]
    return layers["logits" if "logits" in layers else "mean"]["bias"].shape[-1]


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
    slope = log_slope(raw)
    return jnp.tanh(raw), jnp.sum(log_normal - slope, axis=-1)


def log_slope(raw: Array) -> Array:
    """log(1 - tanh(u)²) of each number, exact where tanh saturates."""
    return 2.0 * (jnp.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))


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
