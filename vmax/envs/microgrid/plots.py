"""Pictures of a microgrid's operation, from the written time series."""

from __future__ import annotations

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.plotting import canvas, colour

WEEK = pd.Timedelta(days=7)
PARTS = {"mall_kw": ("mall", "#78909c"), "ev_kw": ("vehicles", "#8e6bbf"), "charge_kw": ("battery charges", "#64b5f6")}
SOURCES = {
    "pv_used_kw": ("PV", "#f5b342"),
    "discharge_kw": ("battery discharges", "#1565c0"),
    "grid_import_kw": ("grid", "#b71c1c"),
}


def week(timeseries: pd.DataFrame, policy: str, timezone: str) -> Figure:
    """The energy balance of a policy in the week with the median PV: what comes in above, what is used below, and the
    charge."""
    table = _first_lane(timeseries, policy, timezone)
    table["pv_used_kw"] = table["pv_kw"] - table["curtailed_kw"] - table["grid_export_kw"]
    first = _typical_week(table)
    shown = table[(table["local"] >= first) & (table["local"] < first + WEEK)]
    with canvas(11, 6.5, rows=2, sharex=True, height_ratios=[3, 1]) as (figure, (flows, charge)):
        for chosen, sign in ((SOURCES, 1.0), (PARTS, -1.0)):
            names = list(chosen)
            flows.stackplot(
                shown["local"], *(sign * shown[name] for name in names), step="post",
                labels=[chosen[n][0] for n in names], colors=[chosen[n][1] for n in names], linewidth=0,
            )  # fmt: skip
        flows.axhline(0.0, color="#37474f", linewidth=0.8)
        flows.set(title=f"{policy}: sources above, uses below", ylabel="kW")
        flows.legend(ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.03))
        charge.plot(shown["local"], 100.0 * shown["soc"], color=colour(policy), linewidth=1.6)
        charge.set(title="State of charge", ylabel="% of capacity", ylim=(0, 100), xlim=(first, first + WEEK))
        charge.xaxis.set_major_locator(mdates.DayLocator(tz=timezone))
        charge.xaxis.set_major_formatter(mdates.DateFormatter("%a %d %b", tz=timezone))
    return figure


def duration(timeseries: pd.DataFrame, policies: list[str]) -> Figure:
    """Import of some policies and of no control, sorted: how many hours a year lie above a power."""
    with canvas(9, 4.5) as (figure, axes):
        for name in dict.fromkeys(["no_control", *policies]):
            values = np.sort(timeseries.loc[timeseries["policy"] == name, "grid_import_kw"].to_numpy(np.float64))[::-1]
            axes.plot(np.linspace(0, 100, len(values)), values, color=colour(name), label=name, linewidth=1.6)
        axes.set(title="Duration curve of import", xlabel="% of the time", ylabel="kW", xlim=(0, 100))
        axes.legend()
    return figure


def front(timeseries: pd.DataFrame, currency: str) -> Figure:
    """Cost and CO2 of a mean year, a point for each policy."""
    years = timeseries["lane"].max() + 1
    sums = timeseries.groupby("policy", sort=False)[["cost", "co2_kg"]].sum() / years
    with canvas(8, 5.5) as (figure, axes):
        for name, row in sums.iterrows():
            axes.scatter(row["co2_kg"] / 1000.0, row["cost"] / 1000.0, s=60, color=colour(str(name)), zorder=3)
            axes.annotate(
                str(name), (row["co2_kg"] / 1000.0, row["cost"] / 1000.0), xytext=(6, 4), textcoords="offset points",
                fontsize=9, color=colour(str(name)),
            )  # fmt: skip
        axes.set(title="CO2 and cost of a year", xlabel="t CO2", ylabel=f"thousand {currency}")
    return figure


def ev_service(timeseries: pd.DataFrame, policy: str, timezone: str) -> Figure:
    """How many days had which share of the wanted energy served."""
    table = timeseries[timeseries["policy"] == policy]
    local = pd.DatetimeIndex(table["utc"]).tz_localize("UTC").tz_convert(timezone)
    by_day = table.groupby([table["lane"].to_numpy(), local.date])[["ev_wanted_kwh", "ev_unmet_kwh"]].sum()
    wanted = by_day["ev_wanted_kwh"].to_numpy(np.float64)
    served = 100.0 * (1.0 - by_day["ev_unmet_kwh"].to_numpy(np.float64)[wanted > 0] / wanted[wanted > 0])
    with canvas(8, 4) as (figure, axes):
        axes.hist(served, bins=np.linspace(min(90.0, served.min(initial=100.0)), 100.0, 41), color=colour(policy))
        axes.set(title=f"{policy}: EV energy served, by day", xlabel="% of what was wanted", ylabel="days")
    return figure


def _first_lane(timeseries: pd.DataFrame, policy: str, timezone: str) -> pd.DataFrame:
    table = timeseries[(timeseries["policy"] == policy) & (timeseries["lane"] == 0)].copy()
    table["local"] = pd.DatetimeIndex(table["utc"]).tz_localize("UTC").tz_convert(timezone)
    return table


def _typical_week(table: pd.DataFrame) -> pd.Timestamp:
    """The Monday of the whole week whose PV is the median; the first day where no week is whole."""
    days = table["local"].dt.normalize()
    monday = days - pd.to_timedelta(table["local"].dt.weekday, unit="D")
    size, energy = monday.groupby(monday).size(), table.groupby(monday)["pv_kw"].sum()
    whole = energy[size == size.max()].sort_values()
    return whole.index[len(whole) // 2]
