"""Pictures of a microgrid's operation, from the written time series."""

from __future__ import annotations

from typing import Any

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.envs.microgrid import kpis
from vmax.plotting import canvas, colour

WEEK = np.timedelta64(7, "D")
PARTS = {
    "mall_kw": ("mall", "#78909c"),
    "ev_charge_kw": ("vehicles", "#8e6bbf"),
    "charge_kw": ("battery charges", "#64b5f6"),
}
SOURCES = {
    "pv_used_kw": ("PV", "#f5b342"),
    "discharge_kw": ("battery discharges", "#1565c0"),
    "ev_back_kw": ("vehicles give back", "#ce93d8"),
    "grid_import_kw": ("grid", "#b71c1c"),
}


def week(timeseries: pd.DataFrame, policy: str, timezone: str) -> Figure:
    """The energy balance of a policy in the week with the median PV: what comes in above, what is used below, and the
    charge."""
    of, local = _first_lane(timeseries, policy, timezone)
    of["ev_charge_kw"] = of["ev_kw"] + of["ev_back_kw"]
    of["pv_used_kw"] = of["pv_kw"] - of["curtailed_kw"] - of["grid_export_kw"]
    first = _typical_week(of["pv_kw"], local)
    shown = (local >= first) & (local < first + WEEK)
    clock = local[shown]
    with canvas(11, 6.5, rows=2, sharex=True, height_ratios=[3, 1]) as (figure, (flows, charge)):
        for chosen, sign in ((SOURCES, 1.0), (PARTS, -1.0)):
            names = [name for name in chosen if name != "ev_back_kw" or of[name].any()]
            flows.stackplot(
                clock, *(sign * of[name][shown] for name in names), step="post", linewidth=0,
                labels=[chosen[n][0] for n in names], colors=[chosen[n][1] for n in names],
            )  # fmt: skip
        flows.axhline(0.0, color="#37474f", linewidth=0.8)
        flows.set(title=f"{policy}: sources above, uses below", ylabel="kW")
        flows.legend(ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.03))
        charge.plot(clock, 100.0 * of["soc"][shown], color=colour(policy), linewidth=1.6)
        charge.set(title="State of charge", ylabel="% of capacity", ylim=(0, 100), xlim=(first, first + WEEK))
        charge.xaxis.set_major_locator(mdates.DayLocator())
        charge.xaxis.set_major_formatter(mdates.DateFormatter("%a %d %b"))
    return figure


def duration(timeseries: pd.DataFrame, policies: list[str]) -> Figure:
    """Import of some policies and of no control, sorted: how much of the time lies above a power."""
    name_of, import_kw = timeseries["policy"].to_numpy(), timeseries["grid_import_kw"].to_numpy(np.float64)
    with canvas(9, 4.5) as (figure, axes):
        for name in dict.fromkeys(["no_control", *policies]):
            values = np.sort(import_kw[name_of == name])[::-1]
            axes.plot(np.linspace(0, 100, len(values)), values, color=colour(name), label=name, linewidth=1.6)
        axes.set(title="Duration curve of import", xlabel="% of the time", ylabel="kW", xlim=(0, 100))
        axes.legend()
    return figure


def front(timeseries: pd.DataFrame, currency: str) -> Figure:
    """Cost and CO2 of a mean year, a point for each policy."""
    codes, names = pd.factorize(timeseries["policy"])
    years = float(timeseries["lane"].to_numpy().max() + 1)
    tonnes, thousands = (
        np.bincount(codes, timeseries[key].to_numpy(np.float64)) / years / 1000.0 for key in ("co2_kg", "cost")
    )
    with canvas(8, 5.5) as (figure, axes):
        places: dict[tuple[float, float], list[str]] = {}
        for name, x, y in zip(map(str, names), tonnes, thousands, strict=True):
            places.setdefault((round(x, 1), round(y, 1)), []).append(name)
        for place, here in sorted(places.items(), key=lambda item: -item[0][1]):  # the legend as the points: dear above
            axes.scatter(*place, s=60, color=colour(here[0]), zorder=3, label=",\n".join(here))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        axes.set(title="CO2 and cost of a year", xlabel="t CO2", ylabel=f"thousand {currency}")
    return figure


def ev_service(timeseries: pd.DataFrame, policy: str, timezone: str) -> Figure:
    """How many days had which share of the wanted energy served."""
    chosen: Any = timeseries[timeseries["policy"] == policy]
    day = kpis.days_of_rows(chosen, timezone)
    wanted, unmet = (np.bincount(day, chosen[key].to_numpy(np.float64)) for key in ("ev_wanted_kwh", "ev_unmet_kwh"))
    served = 100.0 * (1.0 - unmet[wanted > 0] / wanted[wanted > 0])
    with canvas(8, 4) as (figure, axes):
        axes.hist(served, bins=np.linspace(min(90.0, served.min(initial=100.0)), 100.0, 41), color=colour(policy))
        axes.set(title=f"{policy}: EV energy served, by day", xlabel="% of what was wanted", ylabel="days")
    return figure


def season_days(table: pd.DataFrame, timezone: str) -> Figure:
    """PV, import and state of charge of one day of each season, side by side in local hours."""
    seasons, apart, marks = list(dict.fromkeys(table["season"])), 30, (0, 6, 12, 18, 24)
    with canvas(12, 5, rows=2, sharex=True) as (figure, (power, charge)):
        for number, season in enumerate(seasons):
            shown = {name: np.asarray(values) for name, values in table[table["season"] == season].items()}
            begins = pd.Timestamp(shown["utc"][0], tz="UTC").tz_convert(timezone)
            hour = apart * number + np.linspace(0.0, 24.0, len(shown["utc"]) + 1)
            for name, source in (("pv_kw", "pv_used_kw"), ("grid_import_kw", "grid_import_kw")):
                label, shade = SOURCES[source]
                power.stairs(shown[name], hour, color=shade, linewidth=1.4, label=None if number else label)
            charge.plot(hour, 100 * np.append(shown["soc"], shown["soc_end"][-1]), color=colour("best"))
            title = f"{season}, {begins:%d %b}"
            power.text(hour[0], 1.05, title, transform=power.get_xaxis_transform(), weight="bold")
        days = [apart * number for number in range(len(seasons))]
        charge.set_xticks([day + mark for day in days for mark in marks], [str(mark) for _ in days for mark in marks])
        charge.set(xlabel="local hour", ylabel="state of charge, %", ylim=(0, 100), xlim=(-3, days[-1] + 27))
        power.set_ylabel("kW")
        power.legend(loc="upper right")
    return figure


def _first_lane(timeseries: pd.DataFrame, policy: str, timezone: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns of a policy's first year as numbers, and its local clock."""
    rows = (timeseries["policy"].to_numpy() == policy) & (timeseries["lane"].to_numpy() == 0)
    names = (*PARTS, *SOURCES, "ev_kw", "pv_kw", "curtailed_kw", "grid_export_kw", "soc")
    of = {name: timeseries[name].to_numpy(np.float64)[rows] for name in names if name in timeseries}
    utc = pd.DatetimeIndex(timeseries["utc"].to_numpy()[rows]).tz_localize("UTC")
    return of, utc.tz_convert(timezone).tz_localize(None).to_numpy()


def _typical_week(pv_kw: np.ndarray, local: np.ndarray) -> Any:
    """The Monday of the whole week whose PV is the median; of the longest weeks where none is whole; the first day
    where there are no more than seven."""
    days = local.astype("datetime64[D]")
    if days[-1] - days[0] < np.timedelta64(7, "D"):
        return days[0]
    mondays, week, count = np.unique(days - (days.astype(np.int64) + 3) % 7, return_inverse=True, return_counts=True)
    whole = mondays[count == count.max()]
    energy = np.bincount(week, pv_kw)[count == count.max()]
    return whole[np.argsort(energy)[len(whole) // 2]]
