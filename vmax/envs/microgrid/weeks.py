"""One or two years for all splits: which weeks are held out for validation and for test.

The days 1-7, 8-14, 15-21 and 22-28 of a month are its weeks. Of every month one is held out, for validation and for
test in turn, so that both have six weeks a year, in all seasons; the other 36 weeks and the days behind the 28th are
for training. No week crosses the end of a month: its demand charge is that of one month.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vmax.data.calendar import LocalTime

DAYS = 7
MONTH_SHARE = DAYS * 12 / 365
"""What a week is of a mean month: so much of the demand charge of its highest import is counted, since the other weeks
of the month would bear the rest."""
A_YEAR = 365 / DAYS
HELD_OUT = ("validation", "test")


def blocks_of(local: list[LocalTime]) -> dict[str, np.ndarray]:
    """The stretches of each split as rows (year, first step, step behind the last), `[N, 3]`, for the local calendars
    of Y years."""
    found: dict[str, list[tuple[int, int, int]]] = {name: [] for name in ("train", *HELD_OUT)}
    for year, of in enumerate(local):
        month = np.asarray(of.month) - 1
        day = (of.date.astype("M8[D]") - of.date.astype("M8[M]").astype("M8[D]")).astype(int)
        held = day // DAYS == (month // 2 + year) % 4
        split = np.where(held, 1 + (month + year) % 2, 0)
        edges = np.flatnonzero(np.diff(split, prepend=-1, append=-1))
        for first, stop in pairwise(edges):
            found[("train", *HELD_OUT)[split[first]]].append((year, int(first), int(stop)))
    return {name: np.asarray(rows, np.int64) for name, rows in found.items()}
