"""Who comes: vehicles by source and time, fluid or drawn, the same for every policy.

Rates follow a pattern: `steady`; `swinging`, a sine between the least and the greatest of each source; `time_of_day`,
steady times a share for the hour of the day. All are times a level. Arrivals of a step are drawn from a key that
depends on the episode's own key and the time alone, never on what signals did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.traffic_signal.arrays import Network

Array = jax.Array
Key = jax.Array

Pattern = Literal["steady", "swinging", "time_of_day"]
MOST = 12
"""Arrivals of one class at one source in a sub-step that can be drawn; at a mean of 1 more come once in 10^10."""


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
    """How vehicles arrive."""

    pattern: Pattern
    period_s: float
    by_hour: tuple[float, ...]
    poisson: bool

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
        return poisson(jax.random.uniform(key, mean.shape), mean)


def poisson(uniform: Array, mean: Array) -> Array:
    """Poisson numbers by inversion, for means up to about 1: how many of the probabilities P(n <= k) lie below.

    The draw stops at `MOST`. No loop whose length depends on the draw, so it is quick for many at once.
    """
    term = jnp.exp(-mean)
    below, found = term, jnp.zeros_like(mean)
    for k in range(1, MOST + 1):
        found = found + (uniform >= below)
        term = term * mean / k
        below = below + term
    return found
