"""Fundamental diagrams, in shares: occupancy r of jam density, speed u of free speed, and w of free speed, what drivers
would drive on an empty road.

All drivers of one w make one curve u(r; w). It is what a conserved `y = r w` adds to a first-order model: with w = 1
everywhere the second-order model is the first-order one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

Array = jax.Array

TINY = 1e-8
"""Below it a root is not taken: the slope of x^(1/γ) at 0 has no bound."""


class Diagram(Protocol):
    """All shapes are equal and free, `[...]`."""

    def speed(self, r: Array, w: Array) -> Array:
        """u(r; w), at least 0."""
        ...

    def want(self, r: Array, u: Array) -> Array:
        """w of drivers who go u at r: the inverse of `speed`."""
        ...

    def density(self, w: Array, u: Array) -> Array:
        """The r at which drivers of w go u; where all r up to some go u, the largest of them."""
        ...

    def critical(self, w: Array) -> Array:
        """The r with the largest flow."""
        ...

    def equilibrium(self, r: Array) -> Array:
        """The speed that drivers of r adapt to."""
        ...

    def fastest_wave(self, limit: float) -> float:
        """Bound of all wave speeds, share of free speed, where nobody goes faster than `limit`."""
        ...

    def capacity(self, limit: float) -> float:
        """The largest flow in equilibrium where nobody goes faster than `limit`: max r min(u(r), limit)."""
        ...


def power(x: Array, exponent: float) -> Array:
    """x to the exponent, x at least 0: whole ones by products, which are many times as fast."""
    if exponent == round(exponent):
        return jax.lax.integer_pow(x, round(exponent))
    safe = jnp.maximum(x, TINY)
    return jnp.where(x > TINY, safe**exponent, 0.0)


@dataclass(frozen=True)
class PowerLaw:
    """u = w - p(r), p(r) = c r^γ, and in equilibrium u = 1 - r^γ (Greenshields: γ = 1).

    `pressure_scale` c = 1 is the largest that is stable in the sense of Whitham and makes ARZ with w = 1 equal to LWR;
    below 1 small disturbances grow into stop-and-go waves. Source: Aw and Rascle (2000); Zhang (2002).
    """

    exponent: float = 1.0
    pressure_scale: float = 1.0

    def pressure(self, r: Array) -> Array:
        """p(r)."""
        return self.pressure_scale * power(r, self.exponent)

    def speed(self, r: Array, w: Array) -> Array:
        return jnp.maximum(w - self.pressure(r), 0.0)

    def want(self, r: Array, u: Array) -> Array:
        return u + self.pressure(r)

    def density(self, w: Array, u: Array) -> Array:
        return power(jnp.maximum(w - u, 0.0) / self.pressure_scale, 1.0 / self.exponent)

    def critical(self, w: Array) -> Array:
        """Where d/dr [r (w - p(r))] = 0: p(r) = w / (1 + γ)."""
        return self.density(w, w * (self.exponent / (1.0 + self.exponent)))

    def equilibrium(self, r: Array) -> Array:
        return jnp.maximum(1.0 - power(r, self.exponent), 0.0)

    def fastest_wave(self, limit: float) -> float:
        """|λ1| = |u - r p'(r)| <= γ w."""
        return max(limit, self.exponent)

    def capacity(self, limit: float) -> float:
        """At the density with the largest r (1 - r^γ), or at the one from which on drivers go slower than `limit`."""
        best = (1.0 / (1.0 + self.exponent)) ** (1.0 / self.exponent)
        r = max(best, (1.0 - limit) ** (1.0 / self.exponent))
        return r * min(limit, 1.0 - r**self.exponent)


@dataclass(frozen=True)
class Triangular:
    """u = min(1, b (1/r - 1)): free flow up to the critical occupancy, then queues that discharge backwards at `b`.

    First order only: w is 1. Source: Newell (1993); Daganzo (1994), the cell transmission model.
    """

    backward_wave: float

    def speed(self, r: Array, w: Array) -> Array:
        congested = self.backward_wave * (1.0 / jnp.maximum(r, TINY) - 1.0)
        return jnp.clip(congested, 0.0, w)

    def want(self, r: Array, u: Array) -> Array:
        return jnp.ones_like(u)

    def density(self, w: Array, u: Array) -> Array:
        return self.backward_wave / (u + self.backward_wave)

    def critical(self, w: Array) -> Array:
        return self.density(w, jnp.ones_like(w))

    def equilibrium(self, r: Array) -> Array:
        return self.speed(r, jnp.ones_like(r))

    def fastest_wave(self, limit: float) -> float:
        return max(limit, self.backward_wave)

    def capacity(self, limit: float) -> float:
        return limit * self.backward_wave / (limit + self.backward_wave)


def flow(diagram: Diagram, r: Array, w: Array) -> Array:
    """r u(r; w), share of jam density times free speed, `[...]`."""
    return r * diagram.speed(r, w)


def demand(diagram: Diagram, r: Array, w: Array) -> Array:
    """The most that drivers at (r, w) send on: their flow, and in a queue the largest of their curve, `[...]`.

    Source: Lebacque (1996); for y = r w: Lebacque, Mammar and Haj-Salem (2007).
    """
    return flow(diagram, jnp.minimum(r, diagram.critical(w)), w)


def supply(diagram: Diagram, w: Array, u_ahead: Array) -> Array:
    """The most that a place takes of drivers of w when those ahead go `u_ahead`, `[...]`.

    Behind the contact drivers of w go as fast as those ahead: at the density that their own curve gives for that.
    """
    ahead = diagram.density(w, u_ahead)
    return flow(diagram, jnp.maximum(ahead, diagram.critical(w)), w)


def carried(diagram: Diagram, limit: Array) -> Array:
    """The most that a place carries where nobody goes faster than `limit`; infinity where the curve's own largest flow
    is reached below it, and `demand` and `supply` know it, `[...]`."""
    r = jnp.minimum(diagram.density(jnp.ones_like(limit), limit), 1.0)
    return jnp.where(r > diagram.critical(jnp.ones_like(limit)), r * limit, jnp.inf)
