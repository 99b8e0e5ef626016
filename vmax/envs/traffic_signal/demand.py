"""Who comes: vehicles by source and time, fluid or drawn, the same for every policy.

Rates follow a pattern: `steady`; `swinging`, a sine between the least and the greatest of each source; `time_of_day`,
steady times a share for the hour of the day. All are times a level. Arrivals of a step are drawn from a key that
depends on the episode's own key and the time alone, never on what signals did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.traffic_signal.arrays import Network
from vmax.envs.traffic_signal.network import Description

Array = jax.Array
Key = jax.Array

Pattern = Literal["steady", "swinging", "time_of_day"]
MOST = 12
"""Arrivals that one draw can give; at a mean of 1, which no draw goes beyond, more come once in 10^10."""


@struct.dataclass
class Drawn:
    """What an episode drew: times of the steady demand, where the swing begins (share of its period), the hour of the
    day at which it starts, shares of the classes `[K]`, and the key of its arrivals."""

    level: Array
    phase: Array
    hour: Array
    shares: Array
    key: Key


@dataclass(frozen=True)
class Arrivals:
    """How vehicles arrive. `draws`: independent ones that make the arrivals of a sub-step, so many that each has a mean
    of at most 1."""

    pattern: Pattern
    period_s: float
    by_hour: tuple[float, ...]
    poisson: bool
    draws: int

    def rates(self, network: Network, drawn: Drawn, time_s: Array) -> Array:
        """Vehicles of all classes a second, `[L]`."""
        if self.pattern == "swinging":
            turn = time_s / self.period_s + drawn.phase + network.swing_phase
            middle, half = (network.high_per_s + network.low_per_s) / 2, (network.high_per_s - network.low_per_s) / 2
            return drawn.level * (middle + half * jnp.sin(2.0 * jnp.pi * turn)) * network.roads.source
        if self.pattern == "time_of_day":
            hour = jnp.floor(drawn.hour + time_s / 3600.0).astype(jnp.int32) % 24
            return drawn.level * jnp.asarray(self.by_hour, jnp.float32)[hour] * network.steady_per_s
        return drawn.level * network.steady_per_s

    def of_step(self, network: Network, drawn: Drawn, step: Array, count: int, dt_s: float) -> Array:
        """Vehicles that arrive in each of the `count` sub-steps of a step, `[count, K, L]`."""
        times = dt_s * (step * count + jnp.arange(count))
        mean = jax.vmap(lambda t: self.rates(network, drawn, t))(times) * dt_s
        mean = mean[:, None, :] * drawn.shares[:, None]
        if not self.poisson:
            return mean
        key = jax.random.fold_in(drawn.key, step)
        return poisson(jax.random.uniform(key, (self.draws, *mean.shape)), mean / self.draws).sum(axis=0)


def draws(networks: Sequence[Description], level: float, busiest: float, dt_s: float) -> int:
    """How many draws the arrivals of a sub-step need at this level, `busiest` the hour's share of steady demand."""
    demands = [demand for network in networks for demand in network.demand.values()]
    per_h = max(max(demand.swing[1], busiest * demand.per_h) for demand in demands)
    return max(1, math.ceil(level * per_h / 3600.0 * dt_s))


def poisson(uniform: Array, mean: Array) -> Array:
    """Poisson numbers by inversion, for means up to about 1: how many of the probabilities P(n <= k) lie below.

    A draw stops at `MOST`. No loop whose length depends on the draw, so it is quick for many at once.
    """
    term = jnp.exp(-mean)
    below, found = term, jnp.zeros_like(mean)
    for k in range(1, MOST + 1):
        found = found + (uniform >= below)
        term = term * mean / k
        below = below + term
    return found
