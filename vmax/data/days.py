"""Local days: which are whole, how they are sorted by season and by the spread of their prices, and typical ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vmax.data.calendar import local_time
from vmax.data.series import Series

SEASONS = np.repeat(["winter", "spring", "summer", "autumn", "winter"], [2, 3, 3, 3, 1])
"""Of each month from January on."""
SEASON_NAMES = ("winter", "spring", "summer", "autumn")
QUARTILES = ("q1", "q2", "q3", "q4")
"""From the calmest days to the wildest."""


@dataclass(frozen=True)
class DayGroups:
    """Days sorted into groups.

    Attributes:
      names: of the groups.
      of_day: the group of each day, `[days]`, an index into `names`.
      facts: what is to be said of them, such as their edges.
    """

    names: tuple[str, ...]
    of_day: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """The facts, and the number of days in each group."""
        counts = np.bincount(self.of_day, minlength=len(self.names))
        return {**self.facts, "days": dict(zip(self.names, counts.tolist(), strict=True))}


def whole_days(series: Series, split: str) -> np.ndarray:
    """First steps of the local days of 24 h that a split holds without a gap, in order of time, `[D]`.

    The days on which the clock changes, of 23 or 25 hours, are none of them.
    """
    size, last_hour = series.steps_per_day, 24.0 - series.dt_h
    found = []
    for first, stop in series.splits[split]:
        _, place, steps = np.unique(series.local_day[first:stop], return_index=True, return_counts=True)
        start = first + place[steps == size]
        # of 25 h, cut short by a gap, 24 may be left: the clock tells them from a whole day
        on_clock = (series.local_hour[start] == 0.0) & (series.local_hour[start + size - 1] == last_hour)
        found.append(start[on_clock])
    return np.concatenate(found)


def local_dates(series: Series, steps: np.ndarray) -> np.ndarray:
    """The local date of each of these steps of the series, datetime64[D]."""
    return local_time(series.utc[steps], series.timezone).date if len(steps) else np.array([], "datetime64[D]")


def dates_left_out(series: Series, split: str) -> np.ndarray:
    """The local dates of a split, from its first to its last, that are no whole days, datetime64[D]."""
    blocks = series.splits[split]
    first, last = local_dates(series, np.array([blocks[0][0], blocks[-1][1] - 1]))
    return np.setdiff1d(np.arange(first, last + 1), local_dates(series, whole_days(series, split)))


def season_groups(dates: np.ndarray) -> DayGroups:
    """Days by season of their dates (datetime64[D]); only the seasons that there are, from winter on."""
    season = SEASONS[dates.astype("datetime64[M]").astype(int) % 12]
    names = tuple(name for name in SEASON_NAMES if name in season)
    return DayGroups(names, np.array([names.index(name) for name in season], int))


def spread_groups(spread_eur_per_mwh: np.ndarray) -> DayGroups:
    """Days by quartile of their spread, `[days]`; a day on an edge counts to the calmer quartile."""
    edges = np.quantile(spread_eur_per_mwh, (0.25, 0.5, 0.75))
    return DayGroups(QUARTILES, np.searchsorted(edges, spread_eur_per_mwh), {"edges_eur_per_mwh": edges.tolist()})


def spread_of_days(price_eur_per_mwh: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Highest price minus lowest of each day; `day` numbers them from 0 for each price."""
    spread = np.full((2, day.max() + 1), -np.inf)
    np.maximum.at(spread[0], day, price_eur_per_mwh)
    np.maximum.at(spread[1], day, -price_eur_per_mwh)
    return spread.sum(axis=0)


def typical_days(series: Series, split: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """First step and season of one whole day of each season: the one whose price spread is the season's median.

    Of an even number it is the lower of the two in the middle, of equals the earliest. Seasons without days are absent.
    """
    starts = whole_days(series, split)
    if not len(starts):
        return starts, ()
    groups = season_groups(local_dates(series, starts))
    price = series.values["price"][starts[:, None] + np.arange(series.steps_per_day)]
    spread, found = np.ptp(price, axis=1), []
    for season in range(len(groups.names)):
        days = np.flatnonzero(groups.of_day == season)
        found.append(days[np.argsort(spread[days], kind="stable")[(len(days) - 1) // 2]])
    return starts[found], groups.names
