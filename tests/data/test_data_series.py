"""The shipped series, formats, resolutions, daylight saving, gaps and splits, through `load_series`."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from data_config import SHIPPED

from vmax.data.series import check_split_lengths, load_series
from vmax.errors import UserError


def frame(start="2023-02-28 23:00", days=40, minutes=60, zone=None):
    """Prices that name their step: 1, 2, 3, …"""
    utc = pd.date_range(start, periods=days * 24 * 60 // minutes, freq=f"{minutes}min", tz=zone)
    return pd.DataFrame({"utc": utc, "price_eur_per_mwh": np.arange(1.0, len(utc) + 1.0)})


def load(tmp_path, table, name="prices.csv", **changes):
    path = tmp_path / name
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    return load_series(replace(SHIPPED, path=str(path), **changes))


def span(series, split):
    """First and last UTC step of a split of one block."""
    ((start, stop),) = series.splits[split]
    return str(series.utc[start]), str(series.utc[stop - 1]), stop - start


def test_shipped_series_is_complete_and_split_into_local_years():
    series = load_series(SHIPPED)
    assert len(series.utc) == 87_672
    assert (np.diff(series.utc) == np.timedelta64(1, "h")).all()
    assert series.segment.max() == 0
    assert series.dt_h == 1.0
    assert span(series, "train") == ("2018-12-31T23:00:00", "2022-12-31T22:00:00", 4 * 8760 + 24)
    assert span(series, "validation") == ("2022-12-31T23:00:00", "2023-12-31T22:00:00", 8760)
    assert span(series, "test") == ("2023-12-31T23:00:00", "2024-12-31T22:00:00", 8784)
    assert series.values["price"][0] == 34.94
    # The two hours that the source lacks are the mean of their neighbours: (43.23 + 12.56) / 2, (36.47 + 54.90) / 2
    for hour, price in (("2023-12-30T23:00:00", 27.89), ("2024-12-30T23:00:00", 45.69)):
        assert series.values["price"][series.utc == np.datetime64(hour)] == pytest.approx(price)


def test_local_calendar_has_23_and_25_hours_where_the_clock_is_changed():
    series = load_series(SHIPPED)
    day = series.local_day[series.utc == np.datetime64("2024-03-31T12:00:00")]
    hours = series.local_hour[series.local_day == day]
    assert hours.tolist() == [0.0, 1.0, *range(3, 24)]
    day = series.local_day[series.utc == np.datetime64("2024-10-27T12:00:00")]
    assert series.local_hour[series.local_day == day].tolist() == [0.0, 1.0, 2.0, 2.0, *range(3, 24)]
    new_year = series.utc == np.datetime64("2023-12-31T23:00:00")
    fields = (series.local_year, series.local_month, series.day_of_year, series.local_weekday, series.local_hour)
    assert [field[new_year].item() for field in fields] == [2024, 1, 1, 0, 0.0]  # 1 January 2024 was a Monday


def test_series_is_shared_and_therefore_read_only():
    series = load_series(SHIPPED)
    assert load_series(SHIPPED) is series
    with pytest.raises(ValueError, match="read-only"):
        series.values["price"][0] = 0.0


def test_a_changed_file_is_read_again(tmp_path):
    first = load(tmp_path, frame())
    second = load(tmp_path, frame(days=50))
    assert (len(first.utc), len(second.utc)) == (960, 1200)


@pytest.mark.parametrize("name", ["prices.csv", "prices.csv.gz", "prices.parquet"])
@pytest.mark.parametrize(("minutes", "dt_h"), [(15, 0.25), (30, 0.5), (60, 1.0)])
def test_formats_and_resolutions(tmp_path, name, minutes, dt_h):
    series = load(tmp_path, frame(minutes=minutes), name)
    assert series.dt_h == dt_h
    assert series.steps_per_day == 24 * 60 // minutes
    assert series.values["price"].tolist() == list(range(1, 40 * series.steps_per_day + 1))
    assert series.local_hour[:3].tolist() == [0.0, dt_h, 2 * dt_h]
    assert series.utc[0] == np.datetime64("2023-02-28T23:00:00")


@pytest.mark.parametrize("name", ["prices.csv", "prices.parquet"])
def test_stamps_with_an_offset_need_no_setting(tmp_path, name):
    table = frame("2023-03-01", zone="Europe/Amsterdam")
    series = load(tmp_path, table, name, naive_time="local")
    assert series.utc[0] == np.datetime64("2023-02-28T23:00:00")
    assert (np.diff(series.utc) == np.timedelta64(1, "h")).all()


def test_parquet_with_time_as_its_index(tmp_path):
    series = load(tmp_path, frame().set_index("utc"), "prices.parquet")
    assert series.utc[0] == np.datetime64("2023-02-28T23:00:00")


@pytest.mark.parametrize("start", ["2023-03-20", "2023-10-20"])
@pytest.mark.parametrize("minutes", [15, 60])
def test_local_stamps_with_skipped_and_doubled_hours(tmp_path, start, minutes):
    aware = frame(start, minutes=minutes, zone="Europe/Amsterdam")
    local = aware.assign(utc=aware["utc"].dt.tz_localize(None))
    series = load(tmp_path, local, naive_time="local")
    assert (series.utc == aware["utc"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[s]")).all()


def test_an_empty_row_for_the_skipped_local_hour_is_left_out(tmp_path):
    local = frame("2023-03-20", days=30).astype({"price_eur_per_mwh": object})  # naive: 2023-03-26 02:00 is among them
    skipped = local["utc"] == "2023-03-26 02:00"
    with pytest.raises(UserError, match=r"row 148 \(2023-03-26 02:00:00\): this hour does not exist in Europe/Amst"):
        load(tmp_path, local, naive_time="local")
    local.loc[skipped, "price_eur_per_mwh"] = None
    series = load(tmp_path, local, naive_time="local")
    assert (np.diff(series.utc) == np.timedelta64(1, "h")).all()
    assert len(series.utc) == 30 * 24 - 1


def test_blank_lines_do_not_count_but_rows_keep_their_number(tmp_path):
    lines = frame().to_csv(index=False).splitlines()
    path = tmp_path / "prices.csv"
    path.write_text("\n".join([*lines[:3], "", *lines[3:], "", ""]))
    assert len(load_series(replace(SHIPPED, path=str(path))).utc) == 960
    path.write_text("\n".join([*lines[:3], "", lines[3].replace("3.0", "?"), *lines[4:]]))
    with pytest.raises(UserError, match=r"row 5 \(2023-03-01 01:00:00\): '\?' in column"):
        load_series(replace(SHIPPED, path=str(path)))


def test_pv_column_is_read_beside_the_price(tmp_path):
    table = frame().assign(sun=0.5)
    table.loc[7, "sun"] = 2.0
    columns = replace(SHIPPED.columns, pv="sun")
    series = load(tmp_path, table, columns=columns)
    assert series.values["pv"][6:9].tolist() == [0.5, 2.0, 0.5]
    table.loc[7, "sun"] = -0.1
    with pytest.raises(UserError, match=r"'sun' falls to -0.1 MW; PV output must be at least 0"):
        load(tmp_path, table, columns=columns)


def test_interpolation_bridges_short_runs_only(tmp_path):
    table = frame().astype({"price_eur_per_mwh": object})
    table.loc[[10, 11, 12], "price_eur_per_mwh"] = ["n/a", None, "inf"]
    table.loc[0, "price_eur_per_mwh"] = None
    series = load(tmp_path, table, missing="interpolate")
    assert series.values["price"][8:13].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert series.values["price"][0] == 2.0 and "the first 1 rows lack values: cut off" in series.done
    assert series.bridged_values == 3
    with pytest.raises(
        UserError, match=r"row 12 \(.*\): 3 values in a row are missing .* env.data.missing_max_steps=2"
    ):
        load(tmp_path, table, missing="interpolate", missing_max_steps=2)


def test_interpolation_does_not_reach_over_a_gap(tmp_path):
    table = frame().astype({"price_eur_per_mwh": object})
    table.loc[99, "price_eur_per_mwh"] = None
    table.loc[110, "price_eur_per_mwh"] = None
    series = load(
        tmp_path, table.drop(index=range(100, 110)), missing="interpolate", missing_max_steps=1, gaps="segments"
    )
    assert series.values["price"][[98, 99, 100, 101]].tolist() == [99.0, 99.0, 112.0, 112.0]


def test_gaps_split_the_series_and_the_splits(tmp_path):
    table = frame("2023-02-28 23:00", days=40).drop(index=[*range(100, 110), *range(132, 137)])
    series = load(tmp_path, table, gaps="segments")
    assert np.bincount(series.segment).tolist() == [100, 22, 823]
    assert series.splits["train"][0] == (0, 100)
    assert series.splits["train"][1][0] == 122  # the 22 hours between the gaps are no day
    assert series.dropped_blocks == 1
    for blocks in series.splits.values():
        for start, stop in blocks:
            assert (np.diff(series.utc[start:stop]) == np.timedelta64(1, "h")).all()


def test_another_file_is_split_in_time_order_at_local_midnights(tmp_path):
    series = load(tmp_path, frame(days=100))
    (train,), (validation,), (test,) = (series.splits[name] for name in ("train", "validation", "test"))
    assert (train[0], train[1], validation[1], test[1]) == (0, validation[0], test[0], 2400)
    assert series.local_hour[[validation[0], test[0]]].tolist() == [0.0, 0.0]
    assert train[1] / 2400 == pytest.approx(0.70, abs=0.01)
    assert validation[1] / 2400 == pytest.approx(0.85, abs=0.01)


def test_explicit_splits_are_local_days_inclusive():
    dates = {"train": ("2015-01-01", "2015-01-31"), "validation": ("2015-02-01", "2015-02-01")}
    series = load_series(replace(SHIPPED, **dates, test=("2015-03-29", "2015-03-29")))
    # 1 January 00:00 local lies before the first step (00:00 UTC is 01:00 local)
    assert span(series, "train") == ("2015-01-01T00:00:00", "2015-01-31T22:00:00", 31 * 24 - 1)
    assert span(series, "validation") == ("2015-01-31T23:00:00", "2015-02-01T22:00:00", 24)
    assert span(series, "test")[2] == 23


def test_splits_must_hold_two_episodes():
    weeks = {"train": ("2015-03-02", "2015-03-15"), "validation": ("2015-03-16", "2015-03-29")}
    series = load_series(replace(SHIPPED, **weeks, test=("2015-04-06", "2015-04-18")))
    check_split_lengths(series, 6)
    with pytest.raises(UserError, match=r"split 'test' has 13.0 days .* two episodes of env.episode.days=7"):
        check_split_lengths(series, 7)  # train has 14 days, validation 14 days less the hour that summer time skips
