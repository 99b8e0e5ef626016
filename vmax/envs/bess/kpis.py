"""Key figures of a battery, recomputed in float64 from the written time series and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vmax.data.days import SEASONS
from vmax.data.series import Series
from vmax.envs.battery import Site, energy_residual_mwh, flows_of
from vmax.envs.bess import reserve
from vmax.envs.bess.state import AUCTION_INFO

COLUMNS = (
    "price_eur_per_mwh",
    "charge_mw",
    "discharge_mw",
    "soc",
    "soc_end",
    "pv_mw",
    "curtailed_mw",
    "standby_mw",
    "energy_revenue_eur",
    "fee_eur",
    "wear_cost_eur",
    "soh_loss",
    "profit_eur",
    "terminal_value_eur",
)
"""Info entries that make up the time series, after `utc`, `policy` and `lane`."""
RESERVE_COLUMNS = tuple(feature.name for feature in reserve.INFO)
AUCTION_COLUMNS = tuple(feature.name for feature in AUCTION_INFO)
OPTIONAL = (*AUCTION_COLUMNS, *RESERVE_COLUMNS, "capacity_mwh", "wear_overflow")
"""Those that only some markets and models of wear have."""
YEAR_H = 8760.0
TOLERANCE = 1e-6
"""Float32 rounding of a state of charge near 1; powers are allowed the same share of rated power."""


def timeseries(name: str, info: dict[str, Any], steps: Any, series: Series) -> pd.DataFrame:
    """One row per lane and step of a policy's rollout; `info` entries are `[T, L]`, `steps` `[L]`."""
    info = {key: np.asarray(value) for key, value in info.items()}
    lanes = [(lane, int(count)) for lane, count in enumerate(np.asarray(steps))]

    def column(key: str) -> np.ndarray:
        return np.concatenate([info[key][:count, lane] for lane, count in lanes])

    table = pd.DataFrame({"utc": series.utc[column("time")]})
    table["policy"] = name
    table["lane"] = np.concatenate([np.full(count, lane, np.int32) for lane, count in lanes])
    return table.assign(**{key: column(key) for key in (*COLUMNS, *OPTIONAL) if key in info})


def key_figures(table: pd.DataFrame, sites: Sequence[Site], dt_h: float, draws: int, series: Series) -> dict[str, Any]:
    """Key figures of one policy's time series.

    Money and energy are sums over the lanes, divided by `draws` (lanes that repeat the same period with other forecast
    errors). `profit_eur` is the sum of its column; the value of the energy left at the end stands apart. A cycle is the
    usable energy discharged once, measured at the AC terminals.
    """
    values = {key: table[key].to_numpy(np.float64) for key in (*COLUMNS, *OPTIONAL) if key in table}
    hours = len(table) * dt_h / draws
    site: dict[str, Any] = {
        key: np.asarray([getattr(s, key) for s in sites])[table["lane"].to_numpy()] for key in sites[0].numbers
    }
    usable_mwh = float(np.mean((site["soc_max"] - site["soc_min"]) * site["capacity_mwh"]))
    site["capacity_mwh"] = values.get("capacity_mwh", site["capacity_mwh"])
    residual_mwh = energy_residual_mwh(Site(**site), values["soc"], flows_of(values), dt_h)
    profit_eur = values["profit_eur"].sum() / draws
    local = pd.DatetimeIndex(table["utc"]).tz_localize("UTC").tz_convert(series.timezone)
    months = local.year.to_numpy() * 100 + local.month.to_numpy()
    seasons = SEASONS[local.month.to_numpy() - 1]
    return {
        "profit_eur": profit_eur,
        "profit_eur_per_mw_year": profit_eur / float(np.mean(site["power_mw"])) * YEAR_H / hours,
        "terminal_value_eur": values["terminal_value_eur"].sum() / draws,
        "energy_revenue_eur": values["energy_revenue_eur"].sum() / draws,
        "fee_eur": values["fee_eur"].sum() / draws,
        "wear_cost_eur": values["wear_cost_eur"].sum() / draws,
        "soh_loss": values["soh_loss"].sum() / draws,
        "soh_percent_per_year": 100.0 * values["soh_loss"].sum() / draws * YEAR_H / hours,
        **_of_auction(table, draws, dt_h),
        "cycles_per_day": values["discharge_mw"].sum() * dt_h / draws / usable_mwh / (hours / 24.0),
        "curtailed_mwh": values["curtailed_mw"].sum() * dt_h / draws,
        "violations": int(violations(table, values, site).sum()),
        "max_energy_residual_mwh": float(np.abs(residual_mwh).max()),
        **({"wear_overflows": int(values["wear_overflow"].sum())} if "wear_overflow" in values else {}),
        "profit_eur_by_month": {
            f"{m // 100}-{m % 100:02d}": float(values["profit_eur"][months == m].sum() / draws)
            for m in np.unique(months)
        },
        "profit_eur_by_season": {
            str(s): float(values["profit_eur"][seasons == s].sum() / draws) for s in np.unique(seasons)
        },
        **(_reserve_figures(table, site, dt_h, draws) if RESERVE_COLUMNS[0] in table else {}),
    }


def _reserve_figures(table: pd.DataFrame, site: dict[str, np.ndarray], dt_h: float, draws: int) -> dict[str, Any]:
    """Figures of reserve: its streams of money, mean power held, energy called, and rows that break its rules.

    A row breaks them if the schedule leaves no room for what is held; a step with more than rounding
    (`reserve.TOLERANCE` of rated power) not delivered is a non-delivery.
    """
    values = {key: table[key].to_numpy(np.float64) for key in (*RESERVE_COLUMNS, "charge_mw", "discharge_mw")}
    up_mw, down_mw, moved_mwh = (values[key] for key in ("reserve_up_mw", "reserve_down_mw", "activated_mwh"))
    planned_mw = values["discharge_mw"] - values["charge_mw"] - moved_mwh / dt_h
    rated = site["power_mw"] * (1.0 + 2.0 * TOLERANCE)
    sums = ("reserve_revenue_eur", "activation_revenue_eur", "penalty_eur", "non_delivered_mwh")
    return {
        **{key: float(values[key].sum() / draws) for key in sums},
        "mean_reserve_up_mw": float(up_mw.mean()),
        "mean_reserve_down_mw": float(down_mw.mean()),
        "activated_up_mwh": float(np.maximum(moved_mwh, 0.0).sum() / draws),
        "activated_down_mwh": float(np.maximum(-moved_mwh, 0.0).sum() / draws),
        "non_deliveries": int((values["non_delivered_mwh"] > reserve.TOLERANCE * site["power_mw"] * dt_h).sum()),
        "reserve_violations": int(((planned_mw + up_mw > rated) | (planned_mw - down_mw < -rated)).sum()),
    }


def _of_auction(table: pd.DataFrame, draws: int, dt_h: float) -> dict[str, float]:
    """What an auction adds: energy that was not delivered as sold, and its price."""
    if "sold_mw" not in table:
        return {}
    return {
        "imbalance_mwh": float(np.abs(table["imbalance_mw"].to_numpy(np.float64)).sum()) * dt_h / draws,
        "imbalance_cost_eur": float(table["imbalance_cost_eur"].to_numpy(np.float64).sum()) / draws,
    }


def violations(table: pd.DataFrame, values: dict[str, np.ndarray], site: dict[str, np.ndarray]) -> np.ndarray:
    """Whether a row breaks a limit: SOC window, SOC carried on, rated power, one direction, grid connection."""
    charge, discharge, soc, soc_end = (values[k] for k in ("charge_mw", "discharge_mw", "soc", "soc_end"))
    rated = site["power_mw"] * (1.0 + TOLERANCE)
    export_mw = values["pv_mw"] - values["curtailed_mw"] + discharge - charge - values["standby_mw"]
    slack = TOLERANCE * (site["power_mw"] + site["pv_capacity_mw"])
    lane = table["lane"].to_numpy()
    torn = np.zeros(len(table), bool)
    torn[1:] = (lane[1:] == lane[:-1]) & (np.abs(soc[1:] - soc_end[:-1]) > TOLERANCE)
    return (
        torn
        | (np.minimum(soc, soc_end) < site["soc_min"] - TOLERANCE)
        | (np.maximum(soc, soc_end) > site["soc_max"] + TOLERANCE)
        | (np.maximum(charge, discharge) > rated)
        | (np.minimum(charge, discharge) != 0.0)
        | (export_mw > site["export_limit_mw"] + slack)
        | (-export_mw > site["import_limit_mw"] + values["standby_mw"] + slack)
        | (values["curtailed_mw"] < -slack)
    )


def daily_eur(table: pd.DataFrame, draws: int, series: Series, column: str) -> np.ndarray:
    """Sum of a money column by local day, `[days]`, days in order of time; lanes of the same period averaged."""
    _, index = days_of(table, series)
    return np.bincount(index, table[column].to_numpy(np.float64)) / draws


def days_of(table: pd.DataFrame, series: Series) -> tuple[np.ndarray, np.ndarray]:
    """The local days of a table: a step of the series in each, `[days]`, in order of time, and the day of each row."""
    step = np.searchsorted(series.utc, table["utc"].to_numpy())
    _, first, index = np.unique(series.local_day[step], return_index=True, return_inverse=True)
    return step[first], index
