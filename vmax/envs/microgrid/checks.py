"""What the microgrid tells the checks before training (docs/checks.md)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from vmax.envs.environment import Checks, Step
from vmax.envs.microgrid.balance import residual_kw
from vmax.envs.microgrid.kpis import flows_of
from vmax.envs.microgrid.rules import Greedy, Level, NoControl, TimeOfUse
from vmax.envs.microgrid.settings import TERMS

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid
    from vmax.envs.microgrid.params import MicrogridParams
    from vmax.envs.microgrid.state import State


def microgrid_checks(env: Microgrid) -> Checks:
    """The hooks of this configuration."""
    return Checks(
        reward_terms=(*(f"term_{name}" for name in TERMS), "shaping"),
        kpi={f"term_{name}": -1.0 for name in TERMS},
        load=("mall_kw", "pv_kw"),
        rules={
            "no_control": NoControl(),
            "greedy": Greedy(),
            "level": Level(),
            "time_of_use": TimeOfUse(jnp.float32(6.0)),
        },
        residual=partial(residual, env),
        altered=partial(altered, env),
        exempt=_exempt(env),
    )


def residual(env: Microgrid, state: State, step: Step, params: MicrogridParams) -> dict[str, Any]:
    """Power from nowhere, and energy from nowhere in the battery, as shares of its power and capacity."""
    info, battery, dt_h = step.info, env.config.battery, env.dt_h
    moved = params.battery.eta_charge * info["charge_kw"] - info["discharge_kw"] / params.battery.eta_discharge
    stored = (info["soc_end"] - info["soc"]) * battery.capacity_kwh - moved * dt_h
    return {"power": residual_kw(flows_of(info)) / battery.power_kw, "energy": stored / battery.capacity_kwh}


def altered(env: Microgrid, state: State, params: MicrogridParams, seed: int) -> MicrogridParams:
    """All that comes after the present step is other PV, load and vehicles, all that no forecast tells yet is other in
    the forecasts; the features are made anew from it."""
    from vmax.envs.microgrid.climate import Expected, expected_of
    from vmax.envs.microgrid.params import calendar_of, fitted, prices_of
    from vmax.envs.microgrid.tables import features_of
    from vmax.envs.microgrid.years import make_years

    years, year, time = make_years(env.config.data, "train"), int(state.year), int(state.time)
    random, later = np.random.default_rng(seed), slice(time + 1, None)
    changed: dict[str, np.ndarray] = {}
    for name in ("pv_kw", "mall_kw"):
        values = getattr(years, name).copy()
        values[year, later] *= random.uniform(0.3, 1.0, values[year, later].shape).astype(np.float32)
        changed[name] = values
    need = years.need_kwh.copy()
    need[year, later] = need[year, later] * 0.5
    calendar, climate = calendar_of(env.config, years), fitted(env.config)
    untold = slice(int(calendar.told_until(env.config.data.files.forecast_hour)[year, time]), None)
    for name in ("pv_forecast_kw", "mall_forecast_kw", "exogenous"):
        if (values := getattr(years, name)) is not None:
            values = values.copy()
            values[year, untold] *= random.uniform(0.3, 1.0, values[year, untold].shape).astype(np.float32)
            changed[name] = values
    years = replace(years, need_kwh=need, **changed)
    expected = expected_of(climate, years, calendar)
    table = features_of(env.config, years, calendar, climate, expected, prices_of(env.config, years, calendar))
    data = replace(
        params.data,
        pv_kw=jnp.asarray(years.pv_kw),
        mall_kw=jnp.asarray(years.mall_kw),
        pv_forecast_kw=None if years.pv_forecast_kw is None else jnp.asarray(years.pv_forecast_kw),
        mall_forecast_kw=None if years.mall_forecast_kw is None else jnp.asarray(years.mall_forecast_kw),
        need_kwh=jnp.asarray(years.need_kwh),
        table=jnp.asarray(table),
        expected=Expected(**{name: jnp.asarray(value) for name, value in expected.items()}),
    )
    return replace(params, data=data)


def _exempt(env: Microgrid) -> dict[str, str]:
    """What is as it is for a reason in this configuration."""
    outlook = "read by rules and planners alone"
    unused = ("wear_eur_per_mwh", "pv_capacity_mw", "inverter_mw", "import_limit_mw", "export_limit_mw")
    unused += ("import_fee_eur_per_mwh", "export_fee_eur_per_mwh", "quadratic_loss", "self_discharge_per_h")
    reasons = {
        **{f"param_live/battery.{name}": "the battery module's own, not used by this site" for name in unused},
        "param_live/data.expected": outlook,
        "param_live/data.hours_to_peak": outlook,
        "param_live/valued.dirtiest_kg_per_kwh": "counts where a vehicle leaves unserved",
        "param_live/valued.dearest_per_kwh": "counts where a vehicle leaves unserved",
        "obs_live/carbon_now": "the intensity is constant here",
    }
    if env.lanes_a_year != 1.0:
        reasons["eval_parity/valued.tariff"] = "a held-out week bears its share of the month's demand charge"
    if env.config.reward.conditioned:
        reasons["param_live/valued.weights"] = "drawn anew for each episode"
    tariff = env.config.billing
    if tariff.kind == "flat" and env.config.data.files.tariff is None:
        reasons["obs_live/price_now"] = "the tariff is flat"
    if tariff.kind == "flat" or not (tariff.demand_peak_per_kw or tariff.demand_excess_per_kw):
        reasons |= dict.fromkeys(
            ("param_live/valued.tariff.demand_peak_per_kw", "param_live/valued.tariff.demand_excess_per_kw"),
            "there is no demand charge",
        )
    if tariff.peak_hours[0] == tariff.peak_hours[1]:
        reasons |= dict.fromkeys(("obs_live/peak", "obs_live/hours_to_peak"), "there are no peak hours")
    return reasons
