"""Figures by group of days, worked by hand, and in the evaluation of a small battery."""

import numpy as np
import pytest

from vmax.data.days import DayGroups
from vmax.evaluation.groups import QUIET, grouped

GROUPS = DayGroups(("winter", "summer", "autumn"), np.array([0, 0, 1, 1]))


def test_sums_and_shares_of_four_days():
    found = grouped(
        GROUPS,
        profit_eur=np.array([1.0, 2.0, 3.0, 4.0]),
        uplift_eur=np.array([2.0, 4.0, 5.0, 0.0]),
        best_uplift_eur=np.array([4.0, 8.0, 10.0, 10.0]),
        cycles=np.array([1.0, 2.0, 0.5, 0.0]),
    )
    assert found["winter"] == {"profit_eur": 3.0, "uplift_eur": 6.0, "capture": 0.5, "cycles_per_day": 1.5}
    assert found["summer"] == {"profit_eur": 7.0, "uplift_eur": 5.0, "capture": 0.25, "cycles_per_day": 0.25}
    assert found["autumn"] == {"profit_eur": 0.0, "uplift_eur": 0.0, "capture": None, "cycles_per_day": None}


@pytest.mark.parametrize(
    ("quiet_eur", "capture"),
    [
        (0.0, None),  # nothing to earn
        (-1.0, None),  # even the optimum only lays up for other days
        (100.0 * QUIET * 0.9, None),  # next to nothing
        (10.0, 0.1),
    ],
)
def test_a_quiet_season_has_no_capture_rather_than_a_huge_one(quiet_eur, capture):
    best = np.array([200.0 - quiet_eur, 200.0 - quiet_eur, quiet_eur, quiet_eur])  # the mean is 100 a day
    own = np.array([100.0, 100.0, 1.0, 1.0])
    found = grouped(GROUPS, own, own, best, own)
    assert found["summer"]["capture"] == capture and found["summer"]["uplift_eur"] == 2.0


def test_where_even_the_optimum_loses_there_is_no_capture_at_all():
    found = grouped(GROUPS, *(np.full(4, -1.0) for _ in range(4)))
    assert {values["capture"] for values in found.values()} == {None}
