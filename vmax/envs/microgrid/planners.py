"""Policies that solve programs: the optimum with everything known, and a plan made anew at every step.

They minimise the weighted objectives that the reward is made of. Vehicles charge on arrival.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.course import Course, follow
from vmax.envs.microgrid.balance import KW
from vmax.envs.microgrid.climate import Outlook
from vmax.envs.microgrid.objectives import Imports
from vmax.envs.microgrid.optimum import Before, Plan, Prices, Storage, Stretch, optimise
from vmax.envs.microgrid.receding import Receding
from vmax.envs.microgrid.rules import NoControl, present_deficit_kw
from vmax.envs.microgrid.settings import Forecast
from vmax.envs.rollout import rollout

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid

Array = jax.Array


def prices_of(params: Any) -> Prices:
    """What each quantity counts in the objective."""
    valued = params.valued
    weight, mean = np.asarray(valued.weights, np.float64), np.asarray(valued.mean_terms, np.float64)
    tariff, eta = valued.tariff, float(params.battery.eta_discharge)
    cost = weight[2] / mean[2]
    return Prices(
        per_money=cost,
        per_kg=weight[0] / mean[0],
        export_kwh=cost * float(valued.connection.export_price_per_kwh),
        spill_kwh=weight[1] / mean[1],
        moved_kwh=cost * float(valued.wear_per_kwh),
        ramp_kw=0.5 * weight[4] / mean[5],
        peak_kw=cost * float(tariff.demand_peak_per_kw),
        excess_kw=cost * float(tariff.demand_excess_per_kw),
        highest_kw=0.5 * weight[4] / mean[4],
        stored_kwh=float(valued.stored_worth(valued.weights, eta)),
    )


def storage_of(params: Any, soc: float) -> Storage:
    """The battery at a charge."""
    battery = params.battery
    capacity_kwh = float(battery.capacity_mwh) * KW
    low, high = (float(x) * capacity_kwh for x in (battery.soc_min, battery.soc_max))
    return Storage(capacity_kwh, low, high, soc * capacity_kwh, float(battery.power_mw) * KW, float(battery.eta_charge))


@dataclass(frozen=True)
class PerfectForesight:
    """Follows the optimum with everything known, lane by lane."""

    def course(self, env: Microgrid, params: Any, starts: Any) -> Course:
        """The actions that carry the plans out."""
        deficit_kw = lane_deficits_kw(env, params, starts)
        actions = []
        for lane, plan in enumerate(plans(env, params, starts, deficit_kw)):
            shares = jnp.ones((len(plan.power_kw), env.actions.charger_count))
            power = jnp.asarray(plan.power_kw, jnp.float32)
            actions.append(jax.vmap(env.actions.action_for)(power, shares, jnp.asarray(deficit_kw[lane], jnp.float32)))
        longest = max(len(course) for course in actions)
        return Course(jnp.stack([jnp.pad(course, ((0, longest - len(course)), (0, 0))) for course in actions]))


def lane_deficits_kw(env: Microgrid, params: Any, starts: Any) -> list[np.ndarray]:
    """Load less PV of each lane if vehicles charge on arrival."""
    record = rollout(env, NoControl(), params, starts)
    info = {name: np.asarray(record.info[name], np.float64) for name in ("mall_kw", "ev_kw", "pv_kw")}
    net = info["mall_kw"] + info["ev_kw"] - info["pv_kw"]
    return [net[:steps, lane] for lane, steps in enumerate(np.asarray(record.steps))]


def plans(env: Microgrid, params: Any, starts: Any, deficit_kw: list[np.ndarray]) -> list[Plan]:
    """The optimum of each lane."""
    data, connection, found = params.data, params.valued.connection, []
    months = np.cumsum(np.asarray(data.month_begins), axis=1) - 1
    for lane, net_kw in enumerate(deficit_kw):
        year, first = int(starts.year[lane]), int(starts.time[lane])
        rows = slice(first, first + len(net_kw))
        stretch = Stretch(
            net_kw=net_kw,
            price_per_kwh=np.asarray(data.price_per_kwh[year, rows], np.float64),
            carbon_kg_per_kwh=np.asarray(data.carbon_kg_per_kwh[year, rows], np.float64),
            peak=np.asarray(data.peak[year, rows]),
            month=months[year, rows] - months[year, first],
            dt_h=env.dt_h,
            before=Before(last_kw=max(float(data.mall_kw[year, first] - data.pv_kw[year, first]), 0.0)),
            import_limit_kw=float(connection.import_limit_kw),
            export_limit_kw=float(connection.export_limit_kw),
        )
        found.append(optimise(stretch, prices_of(params), storage_of(params, float(starts.soc[lane]))))
    return found


@struct.dataclass
class View:
    """What the planner reads: the outlook, the present deficit, the charge and the month's imports so far."""

    outlook: Outlook
    deficit_kw: Array
    soc: Array
    imports: Imports


@dataclass(frozen=True)
class MPC:
    """Plans the next 36 hours anew at every step, on what is known and expected, and carries out the first of it.

    Up to the month's highest imports so far import raises no demand charge. `pv_factor` is what of the PV that
    `forecast` expects is counted on, `end_factor` what of the worth of the energy left at the end of the window.
    """

    pv_factor: float
    end_factor: float
    forecast: Forecast = "weather"

    def view(self, env: Microgrid, state: Any, params: Any) -> View:
        deficit_kw, _ = present_deficit_kw(env, state, params)
        return View(env.known(state, params, self.forecast), deficit_kw, state.soc, state.imports)

    def start(self, env: Microgrid, params: Any, starts: Any) -> list[Receding]:
        return [
            Receding(
                env.window,
                env.dt_h,
                prices_of(params),
                storage_of(params, float(starts.soc[lane])),
                float(params.valued.connection.import_limit_kw),
                self.end_factor,
            )
            for lane in range(len(starts.year))
        ]

    def decide(self, view: View, active: np.ndarray, memory: list[Receding]) -> np.ndarray:
        power_kw = np.zeros(len(memory))
        for lane in np.flatnonzero(active):
            of = jax.tree.map(lambda leaf, lane=lane: leaf[lane], view)
            known = of.outlook
            net_kw = np.asarray(known.mall_kw + known.ev_kw - self.pv_factor * known.pv_kw, np.float64)
            net_kw[0] = of.deficit_kw
            power_kw[lane] = memory[lane].solve(net_kw, known, of.imports, float(of.soc))
        return power_kw

    def action(self, env: Microgrid, state: Any, params: Any, decision: Array) -> Array:
        """The action `[A]` of a battery power, for one environment."""
        deficit_kw, _ = present_deficit_kw(env, state, params)
        return env.actions.action_for(decision, jnp.ones(env.actions.charger_count), deficit_kw)

    def course(self, env: Microgrid, params: Any, starts: Any) -> Course:
        """What the planner does in the lanes `starts`."""
        return follow(env, self, params, starts)
