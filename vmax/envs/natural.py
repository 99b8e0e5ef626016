"""An environment's vectors in the units of the world: what a controller in use is given, and what it answers.

Inside, observations are scaled to about [-1, 1] and actions lie within [-1, 1]. Each number of an observation is a
fixed, invertible function of one quantity of the world; each action becomes a quantity of the world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vmax.spaces import Box

Array = jax.Array
Units = Callable[[Array, Array], Array]
"""`(raw observations [N, D], actions [N, A] in [-1, 1]) -> actions in units [N, U]`."""


@dataclass(frozen=True)
class Quantity:
    """What one number of a vector stands for in the world: its unit, its bounds, and how it becomes the number.

    number = (f(value) - offset) / scale,   f(value) = value                        `linear`
                                                       arcsinh(value)               `arcsinh`
                                                       arcsinh(reference / value)   `arcsinh_of_share`
    """

    name: str
    unit: str
    low: float
    high: float
    meaning: str = ""
    curve: Literal["linear", "arcsinh", "arcsinh_of_share"] = "linear"
    offset: float = 0.0
    scale: float = 1.0
    reference: float = 1.0

    def value(self, number: Any) -> np.ndarray:
        """The value of which a number tells, float64 in the number's shape: inverse of `to_numbers`."""
        bent = self.offset + self.scale * np.asarray(number, np.float64)
        if self.curve == "linear":
            return bent
        opened = np.sinh(bent)
        if self.curve == "arcsinh":
            return opened
        with np.errstate(divide="ignore"):
            return self.reference / opened


@dataclass(frozen=True)
class Natural:
    """How the vectors of an environment read in the world.

    Attributes:
      observation: one for each number of the observation, in order.
      action: one for each number that `units` gives; curve, offset and scale are not used.
      units: actions in units.
      data: facts about the data of the splits, for whoever reads about a policy; plain values.
    """

    observation: tuple[Quantity, ...]
    action: tuple[Quantity, ...]
    units: Units = field(default=lambda raw, action: action)
    data: Mapping[str, Any] = field(default_factory=dict)


def as_declared(box: Box) -> tuple[Quantity, ...]:
    """The numbers of a vector that is in the units of the world already."""
    features = [feature for feature in box.features for _ in range(feature.size)]
    return tuple(Quantity(n, f.unit, f.low, f.high) for n, f in zip(box.names, features, strict=True))


def to_numbers(quantities: Sequence[Quantity], values: Array) -> Array:
    """Values in units `[..., D]` as the numbers of the vector, `[..., D]`, float32."""
    column = lambda name: np.array([getattr(q, name) for q in quantities], np.float32)  # noqa: E731
    curves = np.array([q.curve for q in quantities])
    inner = values
    if (curves == "arcsinh_of_share").any():
        share = curves == "arcsinh_of_share"
        inner = jnp.where(share, column("reference") / jnp.where(share, values, 1.0), values)
    if (curves != "linear").any():
        inner = jnp.where(curves == "linear", inner, jnp.arcsinh(jnp.where(curves == "linear", 0.0, inner)))
    if not np.any(column("offset")) and (column("scale") == 1.0).all():
        return inner
    return (inner - column("offset")) / column("scale")


def to_values(quantities: Sequence[Quantity], vector: Any) -> np.ndarray:
    """The numbers of a vector `[..., D]` as values in units, float64: inverse of `to_numbers`."""
    vector = np.asarray(vector)
    return np.stack([q.value(vector[..., i]) for i, q in enumerate(quantities)], axis=-1)
