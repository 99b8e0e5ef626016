"""Whole local days, seasons and spreads of days, against days counted and worked by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from data_config import SHIPPED

from vmax.data.days import (
    QUARTILES,
    dates_left_out,
    local_dates,
    season_groups,
    spread_groups,
    spread_of_days,
    typical_days,
    whole_days,
)
from vmax.data.series import load_series

AUTUMN = {
    "train": ("2024-10-25", "2024-10-29"),
    "validation": ("2024-10-30", "2024-10-31"),
    "test": ("2024-11-01", "2024-11-02"),
}
"""The clock goes back on 27 October."""


def with_gaps(tmp_path, *missing):
    """Hourly prices around the end of summer time, local splits; rows at these UTC times are missing."""
    utc = pd.date_range("2024-10-24 22:00", "2024-11-02 22:00", freq="h")
    table = pd.DataFrame({"utc": utc, "price_eur_per_mwh": np.arange(1.0, len(utc) + 1.0)})
    table = table[~np.isin(utc.to_numpy(), np.array(missing, "datetime64[s]"))]
    table.to_csv(tmp_path / "prices.csv", index=False)
    return load_series(replace(SHIPPED, path=str(tmp_path / "prices.csv"), gaps="segments", **AUTUMN))


def dates(values):
    return [str(day) for day in values]


def test_the_shipped_years_lack_the_eight_days_on_which_the_clock_changes():
    series = load_series(SHIPPED)
    starts = whole_days(series, "train")
    assert len(starts) == 4 * 365 + 1 - 8 and (series.local_hour[starts] == 0).all()
    assert dates(dates_left_out(series, "train"))[:2] == ["2019-03-31", "2019-10-27"]
    each = series.local_day[starts[:, None] + np.arange(24)]
    assert (each == each[:, :1]).all() and len(np.unique(each[:, 0])) == len(starts)


@pytest.mark.parametrize(
    ("missing", "left_out"),
    [
        ((), ["2024-10-27"]),
        (("2024-10-27 22:00",), ["2024-10-27"]),  # its last hour: 24 are left, but they are not those of a day
        (("2024-10-26 22:00",), ["2024-10-27"]),  # its first
        (("2024-10-25 10:00", "2024-10-28 12:00"), ["2024-10-25", "2024-10-27", "2024-10-28"]),
    ],
)
def test_days_that_are_not_whole_are_left_out_by_name(tmp_path, missing, left_out):
    series = with_gaps(tmp_path, *missing)
    assert dates(dates_left_out(series, "train")) == left_out
    left = [f"2024-10-{day}" for day in range(25, 30) if f"2024-10-{day}" not in left_out]
    assert dates(local_dates(series, whole_days(series, "train"))) == left


def test_seasons_are_those_of_the_weather_and_only_those_that_there_are():
    days = np.array(["2024-02-29", "2024-03-01", "2024-12-01", "2024-05-31"], "datetime64[D]")
    groups = season_groups(days)
    assert groups.names == ("winter", "spring") and groups.of_day.tolist() == [0, 1, 0, 1]
    assert groups.described() == {"days": {"winter": 2, "spring": 2}}


def test_quartiles_of_the_spread_and_days_on_an_edge():
    groups = spread_groups(np.array([50.0, 10.0, 20.0, 30.0, 40.0]))
    assert groups.facts == {"edges_eur_per_mwh": [20.0, 30.0, 40.0]} and groups.names == QUARTILES
    assert groups.of_day.tolist() == [3, 0, 0, 1, 2]
    assert spread_groups(np.zeros(4)).described()["days"] == {"q1": 4, "q2": 0, "q3": 0, "q4": 0}


def test_the_spread_is_the_highest_price_minus_the_lowest_of_the_day():
    spread = spread_of_days(np.array([5.0, -3.0, 7.0, 100.0]), np.array([0, 0, 1, 0]))
    assert spread.tolist() == [103.0, 0.0]


def test_the_typical_day_of_a_season_has_the_median_spread():
    """January: spreads 3, 1, 2, 4, of which 2 is the lower middle one; May: 6 and 6, the earlier."""
    utc = np.concatenate(
        [np.datetime64(f"2024-{month}-01T00") + np.arange(days * 24) for month, days in (("01", 4), ("05", 2))]
    ).astype("datetime64[s]")
    day = np.repeat(np.arange(6), 24)
    price = np.zeros((6, 24))
    price[:, 3] = [3, 1, 2, 4, 6, 6]
    series = SimpleNamespace(
        utc=utc,
        timezone="UTC",
        local_day=day,
        local_hour=np.tile(np.arange(24.0), 6),
        dt_h=1.0,
        steps_per_day=24,
        values={"price": price.ravel()},
        splits={"validation": ((0, 96), (96, 144))},
    )
    steps, seasons = typical_days(series, "validation")  # pyright: ignore[reportArgumentType]
    assert seasons == ("winter", "spring") and steps.tolist() == [48, 96]
