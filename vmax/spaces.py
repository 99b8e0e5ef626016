"""Named, bounded vectors: what an observation, an action or an info entry consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

Number = float | tuple[float, float]
"""A setting that is one number, or a range [low, high] to draw from for each episode."""


@dataclass(frozen=True)
class Feature:
    """One named part of a vector: `size` numbers of one unit within [low, high]."""

    name: str
    unit: str = "1"
    low: float = -1.0
    high: float = 1.0
    size: int = 1


@dataclass(frozen=True)
class Box:
    """A vector made of named features, in order."""

    features: tuple[Feature, ...]

    @property
    def size(self) -> int:
        return sum(feature.size for feature in self.features)

    @property
    def shape(self) -> tuple[int]:
        return (self.size,)

    @property
    def low(self) -> np.ndarray:
        """Lower bounds, `[size]` float32."""
        return np.concatenate([np.full(f.size, f.low, np.float32) for f in self.features])

    @property
    def high(self) -> np.ndarray:
        """Upper bounds, `[size]` float32."""
        return np.concatenate([np.full(f.size, f.high, np.float32) for f in self.features])

    @property
    def names(self) -> tuple[str, ...]:
        """One name per number: a feature of several numbers is counted up (`price_0`, `price_1`, …)."""
        return tuple(
            name
            for f in self.features
            for name in ([f.name] if f.size == 1 else [f"{f.name}_{i}" for i in range(f.size)])
        )

    def slice(self, name: str) -> slice:
        """Where the feature stands in the vector. Raises KeyError for a name that is not in it."""
        start = 0
        for feature in self.features:
            if feature.name == name:
                return slice(start, start + feature.size)
            start += feature.size
        raise KeyError(name)

    def entries(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Indices of all numbers of the named features, in order. Raises KeyError for a name that is not in it."""
        return tuple(i for name in names for i in range(self.size)[self.slice(name)])

    def __contains__(self, name: str) -> bool:
        return any(feature.name == name for feature in self.features)


@dataclass(frozen=True)
class Discrete:
    """One choice among `size`, an int32 from 0; `names` of the choices in order, or none. With `count` above 1 so many
    choices at once, `[count]`, each among the same."""

    size: int
    names: tuple[str, ...] = field(default=(), repr=False)
    count: int = field(default=1, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one action: a number, or `[count]`."""
        return () if self.count == 1 else (self.count,)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each of the choices at once is called."""
        return ("choice",) if self.count == 1 else tuple(f"choice_{i}" for i in range(self.count))

    @property
    def choices(self) -> tuple[str, ...]:
        """What each choice is called."""
        return self.names or tuple(str(i) for i in range(self.size))


def choosable(entries: Sequence[int] | jax.Array, observation: jax.Array, size: int) -> jax.Array:
    """Which choices are allowed, `[..., count, size]` bool, from raw observations `[..., D]`.

    `entries`: those of the observation that say so, above 0.5 where a choice is allowed; `size` for each choice at
    once, in turn. Where none is allowed all are: something has to be chosen.
    """
    may = observation[..., jnp.asarray(entries, jnp.int32)] > 0.5
    may = may.reshape(*observation.shape[:-1], -1, size)
    return may | ~may.any(axis=-1, keepdims=True)


def random_actions(
    space: Box | Discrete, key: jax.Array, shape: tuple[int, ...], may: jax.Array | None = None
) -> jax.Array:
    """Uniform actions `[*shape, A]`; of a discrete space choices, int32, `[*shape]` or `[*shape, count]`.

    `may`: which choices are allowed, `[*shape, count, size]`, from `choosable`; None: all are.
    """
    if not isinstance(space, Discrete):
        return jax.random.uniform(key, (*shape, space.size), minval=-1.0, maxval=1.0)
    if may is None:
        return jax.random.randint(key, (*shape, *space.shape), 0, space.size)
    drawn = jax.random.categorical(key, jnp.where(may, 0.0, -jnp.inf))
    return drawn.astype(jnp.int32).reshape(*shape, *space.shape)
