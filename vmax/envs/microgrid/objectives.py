"""The objectives of a step, lower is better, in units of what no control comes to on the training years.

| term | counted | unit for normalising |
| --- | --- | --- |
| co2 | kg of imported energy, and of unmet energy at the dirtiest hour | kg |
| solar | PV energy fed in or curtailed, so not used on site | kWh |
| cost | energy, rise of the month's demand charge, wear, less what is fed in; unmet energy at the dearest | money |
| ev | unmet energy of vehicles that left, and load not served, as a share of no control's mean charging | kWh |
| grid | half the rise of the month's highest import, half the change of import from step to step | kW each |
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.battery import Site
from vmax.envs.microgrid.balance import KW, Connection, Flows, Tariff
from vmax.envs.microgrid.settings import TERMS

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid

Array = jax.Array

__all__ = ["TERMS", "Holdings", "Imports", "Moment", "Reward", "StepTerms", "Valuation", "normalisers"]

NORMALISING_YEARS = 8
"""Training years over which no control's mean step is taken."""


@struct.dataclass
class Moment:
    """Price, intensity, whether it is a peak hour, and the share of the month that is left before and after a step (0
    after the last one, although the next begins)."""

    price_per_kwh: Array
    carbon_kg_per_kwh: Array
    peak: Array
    month_left: Array
    month_left_after: Array


@struct.dataclass
class Imports:
    """The month's highest imports so far, in peak hours and in the others, and that of the last step, kW."""

    peak_kw: Array
    offpeak_kw: Array
    last_kw: Array

    def after(self, import_kw: Array, peak: Array) -> Imports:
        """Those after a step with this import."""
        return Imports(
            jnp.maximum(self.peak_kw, jnp.where(peak, import_kw, 0.0)),
            jnp.maximum(self.offpeak_kw, jnp.where(peak, 0.0, import_kw)),
            import_kw,
        )

    @property
    def excess_kw(self) -> Array:
        """What the other hours exceed the peak hours by."""
        return jnp.maximum(self.offpeak_kw - self.peak_kw, 0.0)


@struct.dataclass
class Holdings:
    """What a potential counts: the charge, kWh that present vehicles still want, the month's highest imports so far and
    the share of the month that is left."""

    soc: Array
    open_kwh: Array
    imports: Imports
    month_left: Array


@struct.dataclass
class Valuation:
    """What a step is valued by.

    `mean_terms`: no control's mean step on the training years, `[6]`: CO2 kg, surplus kWh, cost, EV kWh, rise of the
    month's highest import kW, ramp kW. `dearest_per_kwh`, `dirtiest_kg_per_kwh`: what unmet EV energy is counted at.
    `price_mean`, `carbon_mean`: of the training years. `weights`: of the objectives, `[5]`.
    """

    connection: Connection
    tariff: Tariff
    wear_per_kwh: Array
    mean_terms: Array
    dearest_per_kwh: Array
    dirtiest_kg_per_kwh: Array
    price_mean: Array
    carbon_mean: Array
    weights: Array
    scale: Array
    shaping: Array
    shaping_discount: Array

    def stored_worth(self, weights: Array, eta: Array) -> Array:
        """What a stored kWh saves where it replaces an import at the mean price and intensity, in units of the
        terms."""
        mean = self.mean_terms
        return eta * (weights[0] * self.carbon_mean / mean[0] + weights[2] * self.price_mean / mean[2])

    def potential(self, weights: Array, battery: Site, held: Holdings) -> Array:
        """Φ of reward shaping: what stored energy saves, less what present vehicles still want, and the part of the
        month's demand charge and highest import that falls to the rest of the month. With it a highest import is paid
        for bit by bit over the month, not at once when it occurs."""
        mean, imports = self.mean_terms, held.imports
        stored_kwh = (held.soc - battery.soc_min) * battery.capacity_mwh * KW
        stored = self.stored_worth(weights, battery.eta_discharge) * stored_kwh
        wanted = self.stored_worth(weights, jnp.ones(())) * held.open_kwh
        charge = weights[2] * self.tariff.demand(imports.peak_kw, imports.excess_kw) / mean[2]
        highest = 0.5 * weights[4] * jnp.maximum(imports.peak_kw, imports.offpeak_kw) / mean[4]
        return self.shaping * (stored - wanted + held.month_left * (charge + highest))


@struct.dataclass
class StepTerms:
    """One step, in units of the world."""

    co2_kg: Array
    surplus_kwh: Array
    energy_cost: Array
    demand_cost: Array
    wear_cost: Array
    unmet_kwh: Array
    rise_kw: Array
    ramp_kw: Array

    @classmethod
    def of(
        cls, flows: Flows, unmet_kwh: Array, moment: Moment, imports: Imports, valued: Valuation, dt_h: float
    ) -> StepTerms:
        """What a step comes to; `imports` are those before it."""
        import_kwh, export_kwh = flows.import_kw * dt_h, flows.export_kw * dt_h
        now = imports.after(flows.import_kw, moment.peak)
        demand = valued.tariff.demand(now.peak_kw - imports.peak_kw, now.excess_kw - imports.excess_kw)
        rise = jnp.maximum(now.peak_kw, now.offpeak_kw) - jnp.maximum(imports.peak_kw, imports.offpeak_kw)
        return cls(
            co2_kg=import_kwh * moment.carbon_kg_per_kwh,
            surplus_kwh=export_kwh + flows.curtailed_kw * dt_h,
            energy_cost=import_kwh * moment.price_per_kwh - export_kwh * valued.connection.export_price_per_kwh,
            demand_cost=demand,
            wear_cost=(flows.charge_kw + flows.discharge_kw) * dt_h * valued.wear_per_kwh,
            unmet_kwh=unmet_kwh,
            rise_kw=rise,
            ramp_kw=jnp.abs(flows.import_kw - imports.last_kw),
        )

    def paying(self, amount: Array) -> StepTerms:
        """The same with so much more paid."""
        return replace(self, energy_cost=self.energy_cost + amount)

    def normalised(self, valued: Valuation) -> Array:
        """The terms `[5]` in the order of `TERMS`, each over no control's mean step."""
        mean, unmet = valued.mean_terms, self.unmet_kwh
        cost = self.energy_cost + self.demand_cost + self.wear_cost + unmet * valued.dearest_per_kwh
        return jnp.stack(
            [
                (self.co2_kg + unmet * valued.dirtiest_kg_per_kwh) / mean[0],
                self.surplus_kwh / mean[1],
                cost / mean[2],
                unmet / mean[3],
                0.5 * self.rise_kw / mean[4] + 0.5 * self.ramp_kw / mean[5],
            ]
        )


@struct.dataclass
class Reward:
    """A reward and its parts: the weighted terms `[5]`, whether each lies at `reward.clip`, and the shaping."""

    value: Array
    weighted: Array
    saturated: Array
    shaping: Array

    @classmethod
    def of(
        cls,
        terms: StepTerms,
        before: Holdings,
        after: Holdings,
        weights: Array,
        battery: Site,
        valued: Valuation,
        clip: float | None,
    ) -> Reward:
        """The reward of a step from `before` to `after`, when those who leave have left and nobody new has come.

        Shaping by a potential leaves the best policy as it is: Ng, Harada & Russell (1999), Policy invariance under
        reward transformations. What arriving vehicles add to it does not depend on decisions and is left out.
        """
        each = terms.normalised(valued)
        saturated = jnp.zeros_like(each)
        if clip is not None:
            saturated = (jnp.abs(each) >= clip).astype(jnp.float32)
            each = jnp.clip(each, -clip, clip)
        weighted = weights * each
        held = lambda holdings: valued.potential(weights, battery, holdings)  # noqa: E731
        shaping = valued.shaping_discount * held(after) - held(before)
        return cls((shaping - weighted.sum()) * valued.scale, weighted, saturated, shaping)


def normalisers(env: Microgrid) -> tuple[np.ndarray, float]:
    """No control's mean step on the training years, `[6]` (see `Valuation.mean_terms`), and its mean monthly
    peak in kW. A term that no control does not have counts in its own unit."""
    return _normalisers(env)


@lru_cache(maxsize=8)
def _normalisers(env: Microgrid) -> tuple[np.ndarray, float]:
    from vmax.envs.microgrid.climate import arrival_load_kw
    from vmax.envs.microgrid.params import calendar_of, prices_of
    from vmax.envs.microgrid.years import make_years

    config = env.config
    years = make_years(config.data, "train")
    chosen, calendar = slice(0, NORMALISING_YEARS), calendar_of(config, years)
    peak = calendar.peak[chosen]
    price, carbon = prices_of(config, years, calendar)[chosen], years.carbon_kg_per_kwh[chosen]
    ev_kw = arrival_load_kw(years, config.data.chargers, env.dt_h)[chosen]
    own = years.own[chosen]
    net_kw = np.where(own, years.mall_kw[chosen] + ev_kw - years.pv_kw[chosen], 0.0).astype(np.float64)
    ev_kw = ev_kw * own
    import_kw, surplus_kw = np.maximum(net_kw, 0.0), np.maximum(-net_kw, 0.0)
    export_kw = np.minimum(surplus_kw, np.inf if config.grid.export_limit_kw is None else config.grid.export_limit_kw)
    months = [_by_month(np.where(which, import_kw, 0.0), calendar) for which in (peak, ~peak)]
    demand = 0.0
    if config.billing.kind == "time_of_use":
        charge = config.billing.demand_peak_per_kw * months[0]
        charge = charge + config.billing.demand_excess_per_kw * np.maximum(months[1] - months[0], 0.0)
        demand = float(charge.sum()) / config.billing.local_per_unit
    highest_kw = np.maximum(*months)
    paid = float((import_kw * price).sum()) * env.dt_h
    sold = float(export_kw.sum()) * env.dt_h * config.grid.export_price_per_kwh
    sums = [
        float((import_kw * carbon).sum()) * env.dt_h,
        float(surplus_kw.sum()) * env.dt_h,
        paid - sold,
        float(ev_kw.sum()) * env.dt_h,
        float(highest_kw.sum()),
        float(np.abs(np.diff(import_kw, axis=1))[own[:, 1:] & own[:, :-1]].sum()),
    ]
    mean = np.asarray(sums) / own.sum()
    mean[2] += demand / own.size  # the highest imports of months are those of all their steps
    mean[4] *= own.sum() / own.size
    return np.where(mean > 1e-9, mean, 1.0).astype(np.float32), float(highest_kw.mean())


def _by_month(values: np.ndarray, calendar: Any) -> np.ndarray:
    """The highest value of each month, `[Y, 12]`."""
    begins = calendar.month_begins
    return np.stack([np.maximum.reduceat(of, np.flatnonzero(begins[year])) for year, of in enumerate(values)])
