"""What a policy draws its actions from: a diagonal Gaussian, clipped or squashed into [-1, 1], or one of some choices.

`parameters` are what the actor's head gives. What is drawn is the raw action, before it is clipped or squashed: its
probability is what counts, so that it is stored and never recovered from the action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vmax.networks.heads import log_slope

Array = jax.Array
Key = jax.Array

NODES, WEIGHTS = (x.astype(np.float32) for x in np.polynomial.hermite_e.hermegauss(16))
"""Gauss-Hermite quadrature under the standard normal density; the weights add up to sqrt(2 π)."""


class Distribution(Protocol):
    """Shapes: `[..., A]` of parameters and raw actions; a choice is `[...]`, int32."""

    def sample(self, parameters: Any, key: Key) -> Array:
        """A raw action."""
        ...

    def mode(self, parameters: Any) -> Array:
        """The raw action of a policy that does not explore."""
        ...

    def action(self, raw: Array) -> Array:
        """What the environment is given."""
        ...

    def log_prob(self, parameters: Any, raw: Array) -> Array:
        """`[...]`."""
        ...

    def entropy(self, parameters: Any) -> Array:
        """In nats, `[...]`."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Independent normal numbers; the environment is given what lies in [-1, 1], or with `squashed` their tanh.

    Parameters: mean and log standard deviation.
    """

    squashed: bool

    def sample(self, parameters: tuple[Array, Array], key: Key) -> Array:
        mean, log_std = parameters
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)

    def mode(self, parameters: tuple[Array, Array]) -> Array:
        return parameters[0]

    def action(self, raw: Array) -> Array:
        return jnp.tanh(raw) if self.squashed else jnp.clip(raw, -1.0, 1.0)

    def log_prob(self, parameters: tuple[Array, Array], raw: Array) -> Array:
        """Of the raw action or, squashed, of its tanh: log N(u; μ, σ) - log(1 - tanh(u)²)."""
        mean, log_std = parameters
        chex.assert_equal_shape([mean, log_std, raw])
        log_normal = -0.5 * jnp.square((raw - mean) * jnp.exp(-log_std)) - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
        return jnp.sum(log_normal - log_slope(raw) if self.squashed else log_normal, axis=-1)

    def entropy(self, parameters: tuple[Array, Array]) -> Array:
        """½ log(2 π e σ²) of each number and, squashed, E log(1 - tanh(u)²) by quadrature."""
        mean, log_std = parameters
        normal = log_std + 0.5 * jnp.log(2.0 * jnp.pi * jnp.e)
        if not self.squashed:
            return jnp.sum(normal, axis=-1)
        slopes = log_slope(mean[..., None] + jnp.exp(log_std)[..., None] * NODES)
        return jnp.sum(normal + jnp.sum(slopes * WEIGHTS, axis=-1) / np.sqrt(2.0 * np.pi), axis=-1)


FORBIDDEN = -1e9
"""The unnormalised log-probability of a choice that is not allowed: e^-1e9 is 0 in float32. Minus infinity would make
gradients of the entropy not a number."""


@dataclass(frozen=True)
class Categorical:
    """One of A choices, by unnormalised log-probabilities; `FORBIDDEN` of those that are not allowed."""

    def sample(self, parameters: Array, key: Key) -> Array:
        return jax.random.categorical(key, parameters).astype(jnp.int32)

    def mode(self, parameters: Array) -> Array:
        return jnp.argmax(parameters, axis=-1).astype(jnp.int32)

    def action(self, raw: Array) -> Array:
        return raw

    def log_prob(self, parameters: Array, raw: Array) -> Array:
        log_p = jax.nn.log_softmax(parameters)
        return jnp.take_along_axis(log_p, raw[..., None], axis=-1)[..., 0]

    def entropy(self, parameters: Array) -> Array:
        log_p = jax.nn.log_softmax(parameters)
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
