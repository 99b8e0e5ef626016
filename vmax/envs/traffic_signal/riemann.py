"""The exact solution of the Riemann problem of the Aw-Rascle-Zhang model without relaxation, in NumPy.

    ρ_t + (ρ v)_x = 0,  (ρ w)_t + (ρ w v)_x = 0,  w = v + p(ρ),  p(ρ) = c ρ^γ

A wave with speed λ1 = v - ρ p'(ρ), across which w stays, then a contact with speed v, across which v stays. Shocks and
rarefactions of the first family lie on the same curve. Source: Aw and Rascle (2000), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Side:
    """Density and speed on one side, in any consistent units."""

    density: float
    speed: float


@dataclass(frozen=True)
class Pressure:
    """p(ρ) = scale ρ^γ."""

    scale: float
    exponent: float

    def of(self, density: float) -> float:
        return self.scale * density**self.exponent

    def inverse(self, pressure: Array) -> Array:
        return (np.maximum(pressure, 0.0) / self.scale) ** (1.0 / self.exponent)


def solve(left: Side, right: Side, pressure: Pressure, xi: Array) -> tuple[Array, Array]:
    """Density and speed on the rays x / t = `xi` from the jump, each of the shape of `xi`.

    Where the road is empty the speed is that of the ray (vacuum between two fans), or the one on the empty side.
    """
    xi = np.asarray(xi, np.float64)
    w = left.speed + pressure.of(left.density)
    empty_between = right.speed >= w
    middle = 0.0 if empty_between else float(pressure.inverse(np.asarray(w - right.speed)))
    head, tail = _first_wave(left, middle, w, right.speed, pressure)
    density, speed = np.full(xi.shape, left.density), np.full(xi.shape, left.speed)

    fan = (xi > head) & (xi <= tail)
    inside, fan_speed = _fan(xi, w, pressure)
    density, speed = np.where(fan, inside, density), np.where(fan, fan_speed, speed)
    between = (xi > tail) & (xi <= right.speed)
    density = np.where(between, middle, density)
    speed = np.where(between, xi if empty_between else right.speed, speed)
    after = xi > max(right.speed, tail)
    return np.where(after, right.density, density), np.where(after, right.speed, speed)


def _first_wave(left: Side, middle: float, w: float, speed: float, pressure: Pressure) -> tuple[float, float]:
    """The slowest and the fastest ray of the first wave; equal for a shock."""
    slope = lambda density: pressure.exponent * pressure.of(density)  # noqa: E731  (ρ p')
    if left.density == 0.0:
        return -np.inf, -np.inf
    if np.isclose(middle, left.density, rtol=1e-9):
        ray = left.speed - slope(left.density)
        return ray, ray
    if middle > left.density:
        shock = (middle * speed - left.density * left.speed) / (middle - left.density)
        return shock, shock
    tail = w if middle == 0.0 else speed - slope(middle)
    return left.speed - slope(left.density), tail


def _fan(xi: Array, w: float, pressure: Pressure) -> tuple[Array, Array]:
    """Inside of a rarefaction: p(ρ) = (w - ξ) / (γ + 1), v = (γ w + ξ) / (γ + 1)."""
    gamma = pressure.exponent
    return pressure.inverse((w - xi) / (gamma + 1.0)), (gamma * w + xi) / (gamma + 1.0)


def cell_means(left: Side, right: Side, pressure: Pressure, edges: Array, time: float, points: int = 64) -> Array:
    """Mean density of the cells between `edges` (metres from the jump) after `time`, `[len(edges) - 1]`.

    Midpoint rule on `points` points a cell.
    """
    widths = np.diff(edges)
    x = edges[:-1, None] + widths[:, None] * (np.arange(points) + 0.5) / points
    return solve(left, right, pressure, x / time)[0].mean(axis=1)
