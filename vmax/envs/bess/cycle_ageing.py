"""Wear models that count cycles: a power law of depth, and Xu et al. 2018. The interface stands in `degradation.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.battery import Dispatch, Site
from vmax.envs.bess import depth_stress, rainflow

if TYPE_CHECKING:
    from vmax.envs.bess.degradation import WearNumbers, WearStep

Array = jax.Array


@dataclass(frozen=True)
class Rainflow:
    """Cycles counted by rainflow, each taking a share of the life that grows as a power of its depth.

    A step pays what it adds to the sum over all cycles and half cycles so far.
    """

    stack: int
    by_half_day, stacked = False, True

    @property
    def observed_size(self) -> int:
        return rainflow.OBSERVED

    def initial(self, soc: Array) -> rainflow.Stack:
        return rainflow.begin(soc, self.stack)

    def step(
        self,
        numbers: WearNumbers,
        memory: Any,
        site: Site,
        soc: Array,
        flows: Dispatch,
        starts_half: Array,
        dt_h: float,
    ) -> tuple[Any, WearStep]:
        share, exponent = numbers.model["life_share_per_cycle"], numbers.model["exponent"]
        stress = lambda depth, mean: depth_stress.power_law(depth, share, exponent)  # noqa: E731
        memory, added, overflow = rainflow.advance(memory, soc, flows.soc_end, stress)
        return memory, numbers.by_loss(site.capacity_mwh, added * numbers.end_of_life_loss, overflow)

    def observed(self, memory: Any, soc: Array) -> Array:
        return rainflow.observed(memory, soc)

    def recover(self, seen: Array, soc: Array) -> Any:
        return rainflow.recover(seen, soc)

    def price_eur_per_mwh(self, numbers: WearNumbers, site: Site) -> None:
        return None


GENTLE_DEPTH = 0.05
"""The slope of S_δ has no limit at 0, so an actor that follows slopes would never leave its rest. Up to this depth it
is given that of the chord from 0; the cost itself is exact."""


@struct.dataclass
class Age:
    """Open turning points, and the stress that has accumulated since the episode began (dimensionless, f_d)."""

    stack: rainflow.Stack
    stress: Array


@dataclass(frozen=True)
class Xu:
    """Xu et al. 2018: depth, mean charge and temperature of each rainflow cycle, and time, make stress; it takes life.

    New cells lose their first percents fast (`start_soh` sets where an episode begins).
    """

    stack: int
    by_half_day, stacked = False, True

    @property
    def observed_size(self) -> int:
        return rainflow.OBSERVED + 1

    def initial(self, soc: Array) -> Age:
        return Age(rainflow.begin(soc, self.stack), jnp.zeros_like(soc))

    def step(
        self,
        numbers: WearNumbers,
        memory: Age,
        site: Site,
        soc: Array,
        flows: Dispatch,
        starts_half: Array,
        dt_h: float,
    ) -> tuple[Age, WearStep]:
        k, temperature_c = numbers.model, numbers.temperature_c

        def stress(depth: Array, mean: Array) -> Array:
            at = lambda depth: depth_stress.xu_cycle(k, depth, mean, temperature_c)  # noqa: E731
            least = jnp.maximum(depth, GENTLE_DEPTH)
            gentle = at(least) * depth / least
            return gentle + jax.lax.stop_gradient(at(depth) - gentle)

        stack, added, overflow = rainflow.advance(memory.stack, soc, flows.soc_end, stress)
        added = added + depth_stress.xu_calendar(k, dt_h, 0.5 * (soc + flows.soc_end), temperature_c)
        lost = depth_stress.xu_life_added(k, k["start_stress"] + memory.stress, added)
        return Age(stack, memory.stress + added), numbers.by_loss(site.capacity_mwh, lost, overflow)

    def observed(self, memory: Age, soc: Array) -> Array:
        """Turning points, then exp(−f) as [-1, 1]."""
        return jnp.append(rainflow.observed(memory.stack, soc), 2.0 * jnp.exp(-memory.stress) - 1.0)

    def recover(self, seen: Array, soc: Array) -> Age:
        stress = -jnp.log(jnp.clip(0.5 * (seen[-1] + 1.0), 1e-3, 1.0))
        return Age(rainflow.recover(seen[:-1], soc), stress)

    def price_eur_per_mwh(self, numbers: WearNumbers, site: Site) -> None:
        return None
