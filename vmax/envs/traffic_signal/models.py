"""Models of traffic flow behind one interface: `ctm`, `lwr`, `arz` (one class of vehicles) and `arz2` (two classes).

State of every model: occupancies `r` of K classes (their sum is the share of jam density that is taken, at most 1) and
`y = r w`, both `[K, L, N]` of L links of N cells; the last cell is at the stop line. Flows are shares of jam density
times the class's free speed. A model says what passes between two cells, what a last cell sends, what a first cell
takes, and how speeds adapt; flow.py knows nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

from vmax.envs.traffic_signal.diagram import Diagram, PowerLaw, carried, demand, power, supply

Array = jax.Array


class Model(Protocol):
    """Shapes: `[K, ...]` of a class, `[...]` of all classes together."""

    def curve(self, kind: int) -> Diagram:
        """The fundamental diagram of a class alone on the road."""
        ...

    def fastest_wave(self, limit: float = 1.0) -> float:
        """Bound of all wave speeds, share of the largest free speed V, where nobody goes faster than `limit` of it: the
        CFL bound is dt V <= dx / fastest_wave."""
        ...

    def carried(self, limit: Array) -> Array:
        """The most that a place carries under a limit of speed that the rest does not know of, `[K, ...]`; infinity: no
        less than without."""
        ...

    def wanted(self, r: Array, y: Array) -> Array:
        """w = y / r; 1 where there is no vehicle."""
        ...

    def speed(self, r: Array, w: Array) -> Array:
        """Speeds, share of free speed, `[K, ...]`."""
        ...

    def passing(self, r: Array, w: Array, r_ahead: Array, w_ahead: Array) -> Array:
        """What passes from a cell to the one ahead of it, `[K, ...]`."""
        ...

    def sent(self, r: Array, w: Array) -> Array:
        """The most that a last cell sends into an empty road, `[K, ...]`."""
        ...

    def slowed(self, w: Array, r_ahead: Array) -> Array:
        """The share of it that goes at the speed that the occupancies ahead allow, `[K, ...]`."""
        ...

    def taken(self, w: Array, r: Array, w_here: Array) -> Array:
        """The most that a first cell at (r, w_here) takes of vehicles of w, `[K, ...]`; infinity: see `slowed`."""
        ...

    def admitted(self, r: Array, w_here: Array, limit: Array | None) -> Array:
        """The most that a first cell takes from outside the network, `[K, ...]`."""
        ...

    def adapt(self, r: Array, y: Array, fading: Array) -> Array:
        """y after drivers adapted their speeds: exact, of u' = (u_e - u) / τ; `fading` is exp(-dt / τ), `[K, ...]`."""
        ...


def empty_as_free(r: Array, y: Array) -> Array:
    """w = y / r, within [0, 1]; 1 where (next to) no vehicle is."""
    least = 1e-7 if r.dtype == jnp.float32 else 1e-14
    there = r > least
    return jnp.where(there, jnp.clip(y / jnp.where(there, r, 1.0), 0.0, 1.0), 1.0)


@dataclass(frozen=True)
class OneClass:
    """Godunov's scheme as demand and supply, exact for `ctm` and `lwr`, and for `arz` on each wave.

        F = min(D(r, w), S(w, u ahead)),   F_y = w F

    `adapts`: whether y is a state of its own (`arz`) or w = 1 (`ctm`, `lwr`). Source: Lebacque et al. (2007).
    """

    diagram: Diagram
    adapts: bool

    def curve(self, kind: int) -> Diagram:
        return self.diagram

    def fastest_wave(self, limit: float = 1.0) -> float:
        return self.diagram.fastest_wave(limit)

    def carried(self, limit: Array) -> Array:
        return carried(self.diagram, limit)

    def wanted(self, r: Array, y: Array) -> Array:
        return empty_as_free(r, y) if self.adapts else jnp.ones_like(r)

    def speed(self, r: Array, w: Array) -> Array:
        return self.diagram.speed(r, w)

    def passing(self, r: Array, w: Array, r_ahead: Array, w_ahead: Array) -> Array:
        ahead = self.diagram.speed(r_ahead, w_ahead)
        return jnp.minimum(demand(self.diagram, r, w), supply(self.diagram, w, ahead))

    def sent(self, r: Array, w: Array) -> Array:
        return demand(self.diagram, r, w)

    def slowed(self, w: Array, r_ahead: Array) -> Array:
        return jnp.ones_like(w)

    def taken(self, w: Array, r: Array, w_here: Array) -> Array:
        return supply(self.diagram, w, self.diagram.speed(r, w_here))

    def admitted(self, r: Array, w_here: Array, limit: Array | None) -> Array:
        return self.taken(jnp.ones_like(r), r, w_here)

    def adapt(self, r: Array, y: Array, fading: Array) -> Array:
        if not self.adapts:
            return r
        u, at_rest = self.diagram.speed(r, self.wanted(r, y)), self.diagram.equilibrium(r)
        return r * self.diagram.want(r, at_rest + (u - at_rest) * fading)


@dataclass(frozen=True)
class TwoClass:
    """Motorcycles and cars that share the road: class k slows with all occupancy, u = w - r^(beta_k) at r = Σ r_k.

        F_k = r_k max(w_k - r_ahead^(beta_k), 0),   F_y,k = w_k F_k

    The upwind density at the downstream speed: no root, no flow into a full cell. Motorcycles with beta 2 keep their
    speed when cars (beta 1) already crawl. Source of the flux: Hilliges and Weidlich (1995); of many classes that share
    a road: Bürger, García, Karlsen and Towers (2008).
    """

    betas: tuple[float, ...]

    def curve(self, kind: int) -> Diagram:
        return PowerLaw(self.betas[kind])

    def fastest_wave(self, limit: float = 1.0) -> float:
        """dt V <= dx keeps r_k >= 0, dt V beta <= dx the sum of all at most 1; 2 bounds u + r |u_e'| of beta = 1."""
        return max(limit + 1.0, *self.betas)

    def carried(self, limit: Array) -> Array:
        """Nothing in this flux knows a largest flow: where one is, it comes about."""
        return jnp.full_like(limit, jnp.inf)

    def wanted(self, r: Array, y: Array) -> Array:
        return empty_as_free(r, y)

    def _pressure(self, r: Array) -> Array:
        """p_k of the occupancy of all classes, `[K, ...]`."""
        total = jnp.clip(jnp.sum(r, axis=0), 0.0, 1.0)
        return jnp.stack([power(total, beta) for beta in self.betas])

    def speed(self, r: Array, w: Array) -> Array:
        return jnp.maximum(w - self._pressure(r), 0.0)

    def passing(self, r: Array, w: Array, r_ahead: Array, w_ahead: Array) -> Array:
        return r * jnp.maximum(w - self._pressure(r_ahead), 0.0)

    def sent(self, r: Array, w: Array) -> Array:
        return r * w

    def slowed(self, w: Array, r_ahead: Array) -> Array:
        return jnp.maximum(w - self._pressure(r_ahead), 0.0) / jnp.maximum(w, 1e-6)

    def taken(self, w: Array, r: Array, w_here: Array) -> Array:
        return jnp.full(w.shape, jnp.inf)

    def admitted(self, r: Array, w_here: Array, limit: Array | None) -> Array:
        """As from a half full cell before the first: of the linear class as much as a road carries at most; under a
        limit of speed as from a cell with the density at which the road carries most of that class."""
        speed = 1.0 - self._pressure(r)
        if limit is None:
            return 0.5 * speed
        free = jnp.ones_like(limit[0])
        most = [
            jnp.maximum(self.curve(k).density(free, limit[k]), self.curve(k).critical(free))
            for k in range(len(self.betas))
        ]
        return jnp.where(limit < 1.0, jnp.stack(most), 0.5) * jnp.minimum(speed, limit)

    def adapt(self, r: Array, y: Array, fading: Array) -> Array:
        pressure = self._pressure(r)
        u = jnp.maximum(self.wanted(r, y) - pressure, 0.0)
        at_rest = 1.0 - pressure
        return r * (at_rest + (u - at_rest) * fading + pressure)
