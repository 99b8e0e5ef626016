"""Simple rules that trade a battery: the marks that a learned policy has to pass.

A rule is a pytree whose numbers are leaves, so many settings of it can run side by side when it is tuned. It has the
contract of every policy that is evaluated (`vmax.envs.rollout.Policy`). Whatever a rule knows of the future it reads
from `env.known`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.battery import Site, feasible_power
from vmax.envs.bess.known import Known, block_prices
from vmax.envs.bess.reserve import full_commitment

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

Array = jax.Array

HALF_DAY_H = 12
DEEP_H = 2
"""Hours of full power each way in a half-day: about one full cycle of a battery of two hours."""


class Rule(ABC):
    """What rules share: no memory, and a decision in MW from what is known at the step."""

    @abstractmethod
    def power_mw(self, known: Known, site: Site, dt_h: float) -> Array:
        """Requested AC power, discharge positive, for one environment."""

    def initial(self, env: Bess, params: Any, starts: Any) -> tuple[()]:
        """A rule carries nothing."""
        return ()

    def act(
        self, env: Bess, states: Any, observation: Array, params: Any, carry: tuple[()], key: Array
    ) -> tuple[Array, tuple[()]]:
        """Actions `[L, 1]` for the states of L lanes."""

        def one(state: Any) -> Array:
            power_mw = self.power_mw(env.known(state, params), env.site(state, params), env.dt_h)
            return env.action_for_power(power_mw, state, params)

        return jax.vmap(one)(states), carry


@struct.dataclass
class DoNothing(Rule):
    """The battery rests; PV is sold."""

    def power_mw(self, known: Known, site: Site, dt_h: float) -> Array:
        return jnp.zeros_like(site.power_mw)


@struct.dataclass
class TwoCycle(Rule):
    """Per local half-day full discharge in the 2 dearest hours and full charge in the 2 cheapest before them.

    Nothing is done in a half-day whose mean dear price exceeds the mean cheap one by no more than `gate_eur_per_mwh`.
    """

    gate_eur_per_mwh: Any

    def power_mw(self, known: Known, site: Site, dt_h: float) -> Array:
        price, now = block_prices(known, HALF_DAY_H, dt_h)
        deep, step = round(DEEP_H / dt_h), jnp.arange(len(price))
        exists = jnp.isfinite(price)
        dear = (_rank(jnp.where(exists, -price, jnp.inf)) < deep) & exists
        before = exists & (step < jnp.min(jnp.where(dear, step, len(price))))
        cheap = (_rank(jnp.where(before, price, jnp.inf)) < deep) & before
        worth = cheap.any() & (_mean(price, dear) - _mean(price, cheap) > self.gate_eur_per_mwh)
        sign = dear[now].astype(jnp.float32) - cheap[now].astype(jnp.float32)
        return jnp.where(worth, sign, 0.0) * site.power_mw


@struct.dataclass
class CheapDear(Rule):
    """Full charge in the `hours` cheapest hours of the local day, full discharge in as many dearest ones."""

    hours: Any

    def power_mw(self, known: Known, site: Site, dt_h: float) -> Array:
        price, now = block_prices(known, 24, dt_h)
        exists = jnp.isfinite(price)
        deep = self.hours / dt_h
        dear = _rank(jnp.where(exists, -price, jnp.inf))[now] < deep
        cheap = _rank(jnp.where(exists, price, jnp.inf))[now] < deep
        return (dear.astype(jnp.float32) - cheap.astype(jnp.float32)) * site.power_mw


@struct.dataclass
class Threshold(Rule):
    """Full discharge above the trailing weekly mean price plus `width` within-day standard deviations, full charge
    below it minus as much."""

    width: Any

    def power_mw(self, known: Known, site: Site, dt_h: float) -> Array:
        deviation = (known.price_eur_per_mwh[0] - known.mean_eur_per_mwh) / known.spread_eur_per_mwh
        return jnp.where(jnp.abs(deviation) > self.width, jnp.sign(deviation), 0.0) * site.power_mw


@struct.dataclass
class Idle:
    """Sells reserve and does not trade: charges once until it backs rated power each way that is sold (or as much as
    the battery can), keeps that charge, and bids all of it."""

    def initial(self, env: Bess, params: Any, starts: Any) -> tuple[()]:
        """It carries nothing."""
        return ()

    def act(
        self, env: Bess, states: Any, observation: Array, params: Any, carry: tuple[()], key: Array
    ) -> tuple[Array, tuple[()]]:
        """Actions `[L, A]`."""

        def one(state: Any) -> Array:
            site = env.site(state, params)
            up_mw, down_mw, lowest, highest = full_commitment(env.config.reserve, params.reserve.backing_h, site)
            charge_mw, _ = feasible_power(replace(site, soc_max=lowest), state.soc, -site.power_mw, env.dt_h)
            _, discharge_mw = feasible_power(replace(site, soc_min=highest), state.soc, site.power_mw, env.dt_h)
            return env.action_for_power(discharge_mw - charge_mw, state, params, up_mw, down_mw)

        return jax.vmap(one)(states), carry


def _rank(values: Array) -> Array:
    """Place of each value in ascending order, ties in order of time, `[S]`."""
    return jnp.argsort(jnp.argsort(values, stable=True), stable=True)


def _mean(values: Array, chosen: Array) -> Array:
    return jnp.sum(jnp.where(chosen, values, 0.0)) / jnp.maximum(chosen.sum(), 1)
