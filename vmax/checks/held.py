"""Actions held from the same states with the same keys: what each of them does to the state and to the return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from vmax.envs.environment import HELD_LEVELS
from vmax.spaces import Discrete

BASES = (-1.0, 0.0, 1.0)
"""Where the other components stand while one goes through its levels."""
RANDOM = 8
"""Random actions besides the levels of each component."""
TOLERANCE = 1e-5
"""Scaled difference below which two results count as the same: rounding in another order."""


@dataclass(frozen=True)
class Held:
    """What actions led to.

    Attributes:
      actions: `[B, A]`, of discrete spaces `[B]` or `[B, count]`; `RANDOM` random ones come last.
      groups: which of them have to differ, see `held_actions`.
      plant: the plant after the first and after the last step, `[S, B, 2 F]`. total: the return until then, `[S, B]`.
    """

    actions: np.ndarray
    groups: dict[str, list[list[int]]]
    plant: np.ndarray
    total: np.ndarray

    @property
    def moves(self) -> bool:
        """Whether any action leads to another state than the others."""
        return bool(distance(self.plant, self.plant[:, :1]).max(initial=0.0) > TOLERANCE)

    @property
    def pays_otherwise(self) -> bool:
        """Whether any action pays more from one state than from another."""
        return bool(np.ptp(self.total, axis=0).max() > TOLERANCE * (np.abs(self.total).max() + 1e-12))

    @property
    def pays_by_state(self) -> bool:
        """Whether what one action pays more than another hangs on the state."""
        rest = self.total - self.total.mean(axis=1, keepdims=True)
        rest = rest - rest.mean(axis=0)
        return bool(np.abs(rest).max() > TOLERANCE * (np.abs(self.total).max() + 1e-12))

    def alike(self, values: np.ndarray) -> tuple[list[str], int]:
        """Pairs that have to differ and lead to the same values `[S, B, F]` from all states, and how many there are."""
        found, pairs = [], 0
        size = scale(values)
        for name, places in self.groups.items():
            for a in range(len(places[0])):
                for b in range(a + 1, len(places[0])):
                    pairs += 1
                    apart = max(distance(values[:, row[a]], values[:, row[b]], size).max() for row in places)
                    if not apart > TOLERANCE:
                        found.append(f"{name}: {' and '.join(labels(*(self.actions[places[0][i]] for i in (a, b))))}")
        return found, pairs


def scale(values: np.ndarray) -> np.ndarray:
    """The size of each of F figures over all states and actions, `[F]`."""
    return np.abs(values).max(axis=(0, 1)) + 1e-12


def distance(one: np.ndarray, other: np.ndarray, size: np.ndarray | None = None) -> np.ndarray:
    """How far figures are apart, in units of their size; what is no number in either counts as the same."""
    return np.nan_to_num(np.abs(one - other) / (scale(one) if size is None else size), nan=0.0)


def held_actions(space: Any) -> tuple[Any, dict[str, list[list[int]]]]:
    """Actions `[B, A]`, and which of them have to differ: by name, a row of indices for each base.

    Components go through `HELD_LEVELS`, the others at each of `BASES`; two components raised in turn must differ too.
    """
    if isinstance(space, Discrete):
        each = np.zeros((space.count, space.size, space.count), np.int32)  # one goes through all, the others rest
        for i in range(space.count):
            each[i, :, i] = np.arange(space.size)
        places = np.arange(space.count * space.size).reshape(space.count, 1, space.size).tolist()
        found = jnp.asarray(each.reshape(-1, *space.shape))
        return found, dict(zip(space.labels, places, strict=True))
    actions, groups = [], {}

    def add(*changes: tuple[int, float], base: float) -> int:
        action = np.full(space.size, base, np.float32)
        for component, value in changes:
            action[component] = value
        actions.append(action)
        return len(actions) - 1

    bases = BASES if space.size > 1 else (0.0,)
    for i, name in enumerate(space.names):
        groups[name] = [[add((i, level), base=base) for level in HELD_LEVELS] for base in bases]
    for i in range(space.size - 1):
        name = f"{space.names[i]} or {space.names[i + 1]}"
        groups[name] = [
            [add((i, 1.0), (i + 1, -1.0), base=base), add((i, -1.0), (i + 1, 1.0), base=base)] for base in bases
        ]
    return jnp.asarray(np.stack(actions)), groups


def labels(one: np.ndarray, other: np.ndarray) -> tuple[str, str]:
    """Two actions for people: where they differ in one component its values, else both as they are."""
    one, other = np.asarray(one), np.asarray(other)
    apart = np.flatnonzero(one != other)
    if one.ndim == 1 and len(apart) == 1:
        return f"{one[apart[0]]:g}", f"{other[apart[0]]:g}"
    return label(one), label(other)


def label(action: Any) -> str:
    return np.array2string(np.asarray(action), precision=2, separator=" ")
