"""Simple rules that dispatch the battery: the marks that a learned policy has to pass. Vehicles charge on arrival.

A rule is a pytree whose numbers are leaves, with the contract of every policy that is evaluated
(`vmax.envs.rollout.Policy`). Whatever it knows of the future it reads from `env.known`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.microgrid.balance import KW
from vmax.envs.microgrid.chargers import could_take, within_limits

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid
    from vmax.envs.microgrid.params import MicrogridParams
    from vmax.envs.microgrid.state import State

Array = jax.Array

BISECTIONS = 24
NEARLY_KW = 1.0
"""Surpluses below this do not count as the next one."""


class Rule(ABC):
    """What rules share: no memory, and a battery power from the state and what is known at the step."""

    @abstractmethod
    def battery_kw(
        self, env: Microgrid, state: State, params: MicrogridParams, deficit_kw: Array, ev_kw: Array
    ) -> Array:
        """Requested power, discharge positive, for one environment whose load less PV is `deficit_kw`."""

    def initial(self, env: Microgrid, params: Any, starts: Any) -> tuple[()]:
        """A rule carries nothing."""
        return ()

    def act(
        self, env: Microgrid, states: Any, observation: Array, params: Any, carry: tuple[()], key: Array
    ) -> tuple[Array, tuple[()]]:
        """Actions `[L, A]` for the states of L lanes."""

        def one(state: State) -> Array:
            deficit_kw, ev_kw = present_deficit_kw(env, state, params)
            power_kw = self.battery_kw(env, state, params, deficit_kw, ev_kw)
            return env.actions.action_for(power_kw, jnp.ones(env.actions.charger_count), deficit_kw)

        return jax.vmap(one)(states), carry


def present_deficit_kw(env: Microgrid, state: State, params: MicrogridParams) -> tuple[Array, Array]:
    """Load less PV of this step if vehicles charge on arrival, and what they take."""
    could = env.groups.total(could_take(state.vehicles, params.limits, env.dt_h))
    ev_kw = within_limits(could, params.limits).sum()
    data, at = params.data, (state.year, state.time)
    return data.mall_kw[at] + ev_kw - data.pv_kw[at], ev_kw


@struct.dataclass
class NoControl(Rule):
    """The battery rests."""

    def battery_kw(self, env: Any, state: Any, params: Any, deficit_kw: Array, ev_kw: Array) -> Array:
        return jnp.zeros_like(deficit_kw)


@struct.dataclass
class Greedy(Rule):
    """Surplus PV into the battery, battery out whenever PV is short."""

    def battery_kw(self, env: Any, state: Any, params: Any, deficit_kw: Array, ev_kw: Array) -> Array:
        return deficit_kw


@struct.dataclass
class Level(Rule):
    """Spreads what is stored over the deficit that is expected until the next surplus, so that import is as flat as
    that allows: it holds the level L with Σ max(deficit - L, 0) dt = the energy that can be drawn."""

    def battery_kw(self, env: Any, state: Any, params: Any, deficit_kw: Array, ev_kw: Array) -> Array:
        coming = expected_deficits_kw(env, state, params, deficit_kw)
        battery = params.battery
        drawn_kwh = (state.soc - battery.soc_min) * battery.capacity_mwh * KW * battery.eta_discharge
        level = level_kw(coming, drawn_kwh, env.dt_h)
        return jnp.where(deficit_kw > 0.0, jnp.maximum(deficit_kw - level, 0.0), deficit_kw)


def expected_deficits_kw(env: Microgrid, state: State, params: MicrogridParams, deficit_kw: Array) -> Array:
    """Load less PV of this step and those expected after it, from the last day, until the next surplus, 0 from then on,
    `[W]`."""
    known = env.known(state, params, "last_day")
    coming = (known.mall_kw + known.ev_kw - known.pv_kw).at[0].set(deficit_kw)
    surplus = (coming < -NEARLY_KW) & (jnp.arange(len(coming)) > 0)
    return jnp.where(jnp.cumsum(surplus) > 0, 0.0, jnp.maximum(coming, 0.0))


def level_kw(deficits_kw: Array, energy_kwh: Array, dt_h: float) -> Array:
    """The lowest level L at which Σ max(deficit - L, 0) dt does not exceed an energy."""

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        enough = jnp.maximum(deficits_kw - middle, 0.0).sum() * dt_h <= energy_kwh
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    bounds = (jnp.zeros(()), deficits_kw.max())
    _, high = jax.lax.fori_loop(0, BISECTIONS, halve, bounds)
    none = deficits_kw.sum() * dt_h <= energy_kwh
    return jnp.where(none, 0.0, high)


@struct.dataclass
class ConstantTargets(Rule):
    """The battery holds one import in peak hours and another one else, grid charging included."""

    peak_kw: Any
    offpeak_kw: Any

    def battery_kw(self, env: Any, state: Any, params: Any, deficit_kw: Array, ev_kw: Array) -> Array:
        return deficit_kw - jnp.where(params.data.peak[state.year, state.time], self.peak_kw, self.offpeak_kw)


@struct.dataclass
class TimeOfUse(Rule):
    """Surplus PV into the battery, and from the grid as much as fills it by the tariff's peak, evenly over `hours`
    before it; in the peak the battery covers all it can; at other times it rests."""

    hours: Any

    def battery_kw(self, env: Any, state: Any, params: Any, deficit_kw: Array, ev_kw: Array) -> Array:
        battery, until = params.battery, params.data.hours_to_peak[state.year, state.time]
        room_kwh = (battery.soc_max - state.soc) * battery.capacity_mwh * KW / battery.eta_charge
        filling = -room_kwh / jnp.maximum(until, env.dt_h)
        before = (until > 0.0) & (until <= self.hours)
        resting = jnp.minimum(deficit_kw, 0.0)
        off_peak = jnp.where(before, jnp.minimum(filling, resting), resting)
        return jnp.where(params.data.peak[state.year, state.time], deficit_kw, off_peak)


@struct.dataclass
class PriorityRules(Rule):
    """The priorities of a site controller: PV to the vehicles, PV to the battery, battery to the vehicles after dark,
    battery to the mall above a charge, and else the grid; each only down to the charge that is wanted at the hour."""

    def battery_kw(self, env: Any, state: Any, params: Any, deficit_kw: Array, ev_kw: Array) -> Array:
        return priority_power_kw(env, state, params, deficit_kw, ev_kw)


def priority_power_kw(env: Microgrid, state: State, params: MicrogridParams, deficit_kw: Array, ev_kw: Array) -> Array:
    """Battery power, discharge positive, by the priority rules (`env.rules`)."""
    rules, battery = env.config.rules, params.battery
    pv_kw = params.data.pv_kw[state.year, state.time]
    until = params.data.hours_to_peak[state.year, state.time]
    in_peak = params.data.peak[state.year, state.time]
    before = (until > 0.0) & (until <= rules.hours_before_peak)
    wanted = jnp.where(in_peak, rules.soc_in_peak, jnp.where(before, rules.soc_before_peak, rules.soc_normal))
    wanted = jnp.maximum(wanted, battery.soc_min)
    above_kw = jnp.maximum(state.soc - wanted, 0.0) * battery.capacity_mwh * KW * battery.eta_discharge / env.dt_h
    short_kw = jnp.maximum(ev_kw - pv_kw, 0.0)
    to_ev = jnp.minimum(short_kw, rules.ev_limit_kw)
    to_mall = jnp.clip(deficit_kw - short_kw, 0.0, rules.mall_limit_kw)
    to_mall = jnp.where(state.soc >= rules.soc_for_mall, to_mall, 0.0)
    return jnp.where(deficit_kw < 0.0, deficit_kw, jnp.minimum(to_ev + to_mall, above_kw))
