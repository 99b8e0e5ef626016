"""A run's written time series, as a page needs it: the dispatch of a few policies, and what days were worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import csv

from vmax.evaluation.evaluate import OPTIMUM
from vmax.evaluation.statistics import block_resamples, interval
from vmax.plotting import colour

NEEDED = ("utc", "policy", "lane", "price_eur_per_mwh", "charge_mw", "discharge_mw", "soc")
"""Columns without which there is no dispatch to show."""
IN_KW = {"price_eur_per_mwh": ("price_per_kwh", 1000.0), "charge_mw": ("charge_kw", 0.001),
         "discharge_mw": ("discharge_kw", 0.001), "pv_mw": ("pv_kw", 0.001)}  # fmt: skip
"""Of sites that are reckoned in kW: the column that one of those follows from, and the factor."""
MONEY = ("profit_eur", "terminal_value_eur")
MOST_STEPS = 36_000
"""Of a policy's steps so many are put into a page: a year of quarter-hours. More would make it slow on a phone."""
RESAMPLES = 1000
MEDIAN = "median spread"


@dataclass(frozen=True)
class Shown:
    """A policy of a dispatch view: its name in `table`, what it is called and its colour; `on`: from the beginning."""

    name: str
    label: str
    colour: str
    table: pd.DataFrame
    on: bool


def read_timeseries(path: Path) -> pd.DataFrame:
    """The columns of a time series that a page uses; empty where there is no such file, or it has no dispatch.

    Raises OSError or ValueError (pyarrow's ArrowInvalid is one) where it cannot be read.
    """
    if not path.exists():
        return pd.DataFrame()
    with path.open(encoding="utf-8") as file:
        header = file.readline().strip().split(",")
    columns = [name for name in (*NEEDED, "pv_mw", *MONEY, *(kw for kw, _ in IN_KW.values())) if name in header]
    table = csv.read_csv(path, convert_options=csv.ConvertOptions(include_columns=columns)).to_pandas()
    table = in_mw(table)
    if not set(NEEDED) <= set(table.columns):
        return pd.DataFrame()
    return table.assign(utc=pd.DatetimeIndex(table["utc"]).tz_localize(None))


def in_mw(table: pd.DataFrame) -> pd.DataFrame:
    """A table with the columns in MW and per MWh that a page uses, also where it has them in kW."""
    found = {name: table[kw] * factor for name, (kw, factor) in IN_KW.items() if kw in table and name not in table}
    return table.assign(**found)


def daily_value_eur(table: pd.DataFrame, zone: str) -> pd.DataFrame:
    """Profit with the value of the energy left, by local day (rows) and policy, for a mean draw of forecast errors."""
    if not set(MONEY) <= set(table.columns):
        return pd.DataFrame()
    policy, names = pd.factorize(table["policy"])
    utc, value = _utc(table), _numbers(table, "profit_eur") + _numbers(table, "terminal_value_eur")
    of_first = utc[policy == 0]
    draws = int((of_first == of_first.min()).sum())
    days, day = np.unique(local(utc, zone).astype("datetime64[D]"), return_inverse=True)
    sums = np.bincount(policy * len(days) + day, value, len(names) * len(days)).reshape(len(names), -1)
    return pd.DataFrame(sums.T / draws, index=pd.DatetimeIndex(days), columns=list(names))


def lead_eur(daily: pd.DataFrame, ours: str, theirs: str, seed: int = 0) -> tuple[float, list[float]] | None:
    """By how much one policy earned more than another, with the 95 % interval of a block bootstrap over the days that
    both are judged on; None without such days."""
    if ours not in daily or theirs not in daily:
        return None
    lead = _numbers(daily, ours) - _numbers(daily, theirs)
    if len(lead) < 2:
        return None
    return float(lead.sum()), interval(block_resamples(len(lead), RESAMPLES, seed) @ lead)


def dispatch_view(policies: Sequence[Shown], zone: str, currency: str) -> dict[str, Any] | None:
    """The data of an interactive dispatch, numbers rounded; None where a policy has no steps.

    Of lanes over one period (draws of forecast errors) the first is shown. All policies must have the same steps; one
    that has others is left out.
    """
    courses = {shown.name: _course(shown.table, shown.name) for shown in policies}
    whole = courses[policies[0].name]
    if len(whole) < 2:
        return None
    first, utc = whole.iloc[:MOST_STEPS], _utc(whole)[:MOST_STEPS]
    rows = {name: course.iloc[:MOST_STEPS] for name, course in courses.items()}
    kept = [shown for shown in policies if np.array_equal(_utc(rows[shown.name]), utc)]
    clock, price = local(utc, zone), _numbers(first, "price_eur_per_mwh")
    pv = _numbers(first, "pv_mw") if "pv_mw" in first else np.zeros(1)
    step_h = float(np.median(np.diff(utc)) / np.timedelta64(1, "h"))
    weeks = _weeks(price, rows, kept, clock)
    return {
        "kind": "dispatch",
        "zone": zone,
        "step_h": step_h,
        "runs": _runs(clock, step_h),
        "left_out": len(whole) - len(first),
        "opening": weeks.pop(MEDIAN),
        "weeks": [{"label": label, "day": day} for label, day in weeks.items()],
        "price": compact(price, 2),
        "price_unit": f"{currency}/MWh",
        "pv": compact(pv, 2) if pv.max() > 0 else None,
        "policies": [_policy(shown, rows[shown.name]) for shown in kept],
    }


def compact(values: np.ndarray, digits: int) -> list[float | int | None]:
    """Numbers in few characters: rounded, whole ones without a point, what is not finite as null."""
    rounded = np.round(np.asarray(values, np.float64), digits)
    return [None if x != x else int(x) if x == int(x) else x for x in np.where(np.isfinite(rounded), rounded, np.nan)]


def local(utc: np.ndarray, zone: str) -> np.ndarray:
    """The market's clock at these times, without a zone; the hour that comes twice in autumn stands there twice."""
    return np.asarray(pd.DatetimeIndex(utc).tz_localize("UTC").tz_convert(zone).tz_localize(None))


def _course(table: pd.DataFrame, policy: str) -> pd.DataFrame:
    """A policy's rows in order of time; of lanes over one period the first."""
    rows = table.loc[(table["policy"] == policy).to_numpy()]
    _, first = np.unique(_utc(rows), return_index=True)
    return rows.iloc[first]


def _policy(shown: Shown, rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "name": shown.name,
        "label": shown.label,
        "colour": shown.colour,
        "fill": f"{shown.colour}33" if shown.colour.startswith("#") else "rgba(128,128,128,0.2)",
        "shown": shown.on,
        "power": compact(_numbers(rows, "discharge_mw") - _numbers(rows, "charge_mw"), 3),
        "charge": compact(100.0 * _numbers(rows, "soc"), 1),
    }


def _runs(clock: np.ndarray, step_h: float) -> list[tuple[str, int]]:
    """Stretches of even steps, `(first, how many)`: a new one begins at a gap and where the clock is changed."""
    even = np.diff(clock) == np.timedelta64(round(step_h * 3600), "s")
    begins = np.flatnonzero(np.append(True, ~even))
    counts = np.diff(np.append(begins, len(clock)))
    firsts = np.datetime_as_string(clock[begins], unit="m")
    return [(str(first), int(count)) for first, count in zip(firsts, counts, strict=True)]


def _weeks(
    price: np.ndarray, rows: Mapping[str, pd.DataFrame], kept: Sequence[Shown], clock: np.ndarray
) -> dict[str, str]:
    """Mondays of weeks worth a look: with the median and the widest daily price spread, and where the first policy
    earned least beside the last."""
    days = clock.astype("datetime64[D]")
    begins = np.flatnonzero(np.append(True, days[1:] != days[:-1]))
    spread = np.maximum.reduceat(price, begins) - np.minimum.reduceat(price, begins)
    mondays, mean = _by_week(days[begins], spread)
    ordered = mondays[np.argsort(mean)]
    found = {MEDIAN: ordered[len(ordered) // 2], "widest spread": ordered[-1]}
    courses = [rows[shown.name] for shown in kept]
    if len(kept) > 1 and "profit_eur" in courses[0]:
        gap = _numbers(courses[-1], "profit_eur") - _numbers(courses[0], "profit_eur")
        mondays, mean = _by_week(days[begins], np.add.reduceat(gap, begins))
        found[f"furthest behind {kept[-1].label}"] = mondays[np.argmax(mean)]
    return {label: str(monday) for label, monday in found.items()}


def _by_week(days: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mondays and the means of their weeks; of weeks with all their days, where there are such."""
    monday = days - (days.astype(np.int64) + 3) % 7  # the first day that NumPy counts is a Thursday
    mondays, week, count = np.unique(monday, return_inverse=True, return_counts=True)
    mean = np.bincount(week, values) / count
    whole = count == 7 if (count == 7).any() else count > 0
    return mondays[whole], mean[whole]


def _utc(table: pd.DataFrame) -> np.ndarray:
    return np.asarray(table["utc"], "datetime64[s]")


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    return np.asarray(table[column], np.float64)


def policy_colour(policy: str) -> str:
    """A policy's colour; what is nearly black there follows the page's theme."""
    return "@ink" if policy == OPTIMUM else colour(policy)
