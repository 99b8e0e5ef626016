"""Key figures of a microgrid, recomputed in float64 from the written time series and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vmax.data.calendar import local_time
from vmax.data.days import SEASONS
from vmax.envs.microgrid.balance import Flows, residual_kw
from vmax.envs.microgrid.settings import TERMS, MicrogridConfig

TOLD = (
    "pv_kw", "curtailed_kw", "mall_kw", "ev_kw", "ev_back_kw", "charge_kw", "discharge_kw", "soc", "soc_end",
    "grid_import_kw", "grid_export_kw", "unserved_kw", "carbon_kg_per_kwh", "price_per_kwh", "ev_wanted_kwh",
    "ev_unmet_kwh", "energy_cost", "demand_cost", "wear_cost", "co2_kg", *(f"term_{name}" for name in TERMS),
    *(f"saturated_{name}" for name in TERMS), "shaping",
)  # fmt: skip
"""Entries of the info that the time series has, after `utc`, `policy` and `lane`."""
MONEY = ("energy_cost", "demand_cost", "wear_cost")
TOLERANCE = 1e-6


def days_of_rows(table: pd.DataFrame, timezone: str) -> np.ndarray:
    """The number of each row's local day, counted through all lanes of one policy, `[rows]`."""
    date, lane = local_time(table["utc"].to_numpy(), timezone).date, table["lane"].to_numpy()
    return np.cumsum(np.append(False, (date[1:] != date[:-1]) | (lane[1:] != lane[:-1])))


def timeseries(name: str, info: dict[str, Any], steps: Any, scale: float) -> pd.DataFrame:
    """One row for each lane and step of a rollout; `info` entries are `[T, L]`."""
    told = {key: np.asarray(value) for key, value in info.items()}
    lanes = [(lane, int(count)) for lane, count in enumerate(np.asarray(steps))]

    def column(key: str) -> np.ndarray:
        return np.concatenate([told[key][:count, lane] for lane, count in lanes])

    table = pd.DataFrame({"utc": column("minutes").astype("datetime64[m]").astype("datetime64[s]")})
    table["policy"] = name
    table["lane"] = np.concatenate([np.full(count, lane, np.int32) for lane, count in lanes])
    table = table.assign(**{key: column(key) for key in TOLD})
    terms = sum(table[f"term_{term}"].to_numpy(np.float64) for term in TERMS)
    cost = sum(table[key].to_numpy(np.float64) for key in MONEY)
    return table.assign(
        net_grid_kw=table["grid_import_kw"] - table["grid_export_kw"],
        cost=cost,
        reward=(table["shaping"] - terms) * scale,
        profit_eur=-cost,
        terminal_value_eur=0.0,
    )


def key_figures(
    table: pd.DataFrame,
    config: MicrogridConfig,
    dt_h: float,
    worst: tuple[float, float],
    end_worth: float,
    lanes_a_year: float,
) -> dict[str, Any]:
    """Key figures of one policy's time series; sums and means are those of a year, which has so many lanes.

    `worst`: the dearest price and the dirtiest intensity, at which unmet energy counts. `end_worth`: what a kWh left in
    the battery is worth in money.
    """
    lane = table["lane"].to_numpy()
    years = (int(lane.max()) + 1) / lanes_a_year
    of = {key: table[key].to_numpy(np.float64) for key in (*TOLD, "cost")}
    yearly = lambda values: float(values.sum()) / years  # noqa: E731
    energy = lambda name: yearly(of[name]) * dt_h  # noqa: E731
    usable = config.battery.capacity_kwh * (config.battery.soc_max - config.battery.soc_min)
    local = pd.DatetimeIndex(table["utc"]).tz_localize("UTC").tz_convert(config.data.timezone)
    months = np.asarray(local.month)
    by_month = lane * 100 + months
    first = np.append(True, lane[1:] != lane[:-1])
    import_kw, unmet = of["grid_import_kw"], yearly(of["ev_unmet_kwh"])
    wanted = yearly(of["ev_wanted_kwh"])
    peaks = np.maximum.reduceat(import_kw, np.flatnonzero(np.append(True, np.diff(by_month) != 0)))
    used, load = (
        energy("pv_kw") - energy("curtailed_kw") - energy("grid_export_kw"),
        energy("mall_kw") + energy("ev_kw"),
    )
    cost = yearly(of["cost"])
    return {
        "cost": cost,
        "cost_with_unmet": cost + unmet * worst[0],
        "energy_cost": yearly(of["energy_cost"]),
        "demand_cost": yearly(of["demand_cost"]),
        "wear_cost": yearly(of["wear_cost"]),
        "co2_kg": yearly(of["co2_kg"]),
        "co2_with_unmet_kg": yearly(of["co2_kg"]) + unmet * worst[1],
        "surplus_kwh": energy("curtailed_kw") + energy("grid_export_kw"),
        "grid_import_kwh": energy("grid_import_kw"),
        "grid_export_kwh": energy("grid_export_kw"),
        "curtailed_kwh": energy("curtailed_kw"),
        "peak_import_kw": float(import_kw.max()),
        "monthly_peak_kw": float(peaks.mean()),
        "self_consumption": used / max(energy("pv_kw"), 1e-9),
        "self_sufficiency": 1.0 - energy("grid_import_kw") / max(load, 1e-9),
        "ev_service": 1.0 - unmet / wanted if wanted > 0 else 1.0,
        "ev_unmet_kwh": unmet,
        "ev_wanted_kwh": wanted,
        "ev_back_kwh": energy("ev_back_kw"),
        "battery_cycles": energy("discharge_kw") / usable,
        "cycles_per_day": energy("discharge_kw") / usable / (len(table) / years * dt_h / 24.0),
        "load_factor": float(import_kw.mean()) / max(float(import_kw.max()), 1e-9),
        "ramping_kw": yearly(np.where(first, 0.0, np.abs(np.diff(import_kw, prepend=0.0)))),
        "max_residual_kw": float(np.abs(residual_kw(flows_of(of))).max()),
        "unserved_kwh": energy("unserved_kw"),
        "violations": int(violations(table, of, config).sum()),
        "terms": {name: yearly(of[f"term_{name}"]) / (len(table) / years) for name in TERMS},
        "saturated": {name: float(of[f"saturated_{name}"].mean()) for name in TERMS},
        "reward_mean": float(np.mean(table["reward"].to_numpy(np.float64))),
        "end_worth": float(_ends(table, of["soc_end"] - of["soc"][0]).sum())
        / years
        * config.battery.capacity_kwh
        * end_worth,
        "profit_eur": -cost,
        "profit_eur_by_month": {f"{m:02d}": -float(of["cost"][months == m].sum()) / years for m in np.unique(months)},
        "profit_eur_by_season": {
            str(s): -float(of["cost"][SEASONS[months - 1] == s].sum()) / years for s in np.unique(SEASONS[months - 1])
        },
    }


def flows_of(values: dict[str, Any]) -> Flows:
    """The flows of a table's columns."""
    return Flows(
        pv_kw=values["pv_kw"],
        curtailed_kw=values["curtailed_kw"],
        mall_kw=values["mall_kw"],
        ev_kw=values["ev_kw"],
        charge_kw=values["charge_kw"],
        discharge_kw=values["discharge_kw"],
        soc_end=values["soc_end"],
        import_kw=values["grid_import_kw"],
        export_kw=values["grid_export_kw"],
        unserved_kw=values["unserved_kw"],
    )


def violations(table: pd.DataFrame, values: dict[str, np.ndarray], config: MicrogridConfig) -> np.ndarray:
    """Whether a row breaks a limit: charge window, charge carried on, rated power, one direction, connection, chargers,
    or load that is not served."""
    battery, grid, chargers = config.battery, config.grid, config.data.chargers
    charge, discharge, soc, soc_end = (values[k] for k in ("charge_kw", "discharge_kw", "soc", "soc_end"))
    lane = table["lane"].to_numpy()
    torn = np.zeros(len(table), bool)
    torn[1:] = (lane[1:] == lane[:-1]) & (np.abs(soc[1:] - soc_end[:-1]) > TOLERANCE)
    limit = lambda value: np.inf if value is None else value * (1.0 + TOLERANCE)  # noqa: E731
    return (
        torn
        | (np.minimum(soc, soc_end) < battery.soc_min - TOLERANCE)
        | (np.maximum(soc, soc_end) > battery.soc_max + TOLERANCE)
        | (np.maximum(charge, discharge) > battery.power_kw * (1.0 + TOLERANCE))
        | (np.minimum(charge, discharge) != 0.0)
        | (values["grid_import_kw"] > limit(grid.import_limit_kw))
        | (values["grid_export_kw"] > limit(grid.export_limit_kw))
        | (values["ev_kw"] > chargers.limit_kw * (1.0 + TOLERANCE))
        | (values["unserved_kw"] > 1e-3)
    )


def _ends(table: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """The last value of each lane."""
    lane = table["lane"].to_numpy()
    return values[np.append(lane[1:] != lane[:-1], True)]
