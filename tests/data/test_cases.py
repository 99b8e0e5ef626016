"""Files that were read wrongly without a word, or refused without a way out: a line names what mends each.

Every case is the same twelve days of hourly prices with one fault of files as people have them. `line` is what is said,
`mend` the overrides that it names, and what is read then is compared with the prices themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_config import configured

from vmax.data.series import load_series
from vmax.errors import UserError

BEGIN, HOURS = "2024-03-01", 288
PRICE = np.round(80.0 - 40.0 * np.cos(np.arange(HOURS) / 24 * 2 * np.pi) + np.arange(HOURS) * 7 % 11, 2)
UTC = pd.date_range(BEGIN, periods=HOURS, freq="h")
NAMES = ("env.data.columns.time=time", "env.data.columns.price=price")


@dataclass(frozen=True)
class Case:
    """How the prices stand in the file, what is said of it (None: it is read), and what mends it."""

    text: Callable[[], str]
    line: str | None
    mend: tuple[str, ...] = ()
    given: tuple[str, ...] = NAMES
    expected: Callable[[], tuple[pd.DatetimeIndex, np.ndarray]] = lambda: (UTC, PRICE)


def table(header, *columns, separator=","):
    return "\n".join([header, *(separator.join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n"


def stamps(times: Any = UTC, form: str = "%Y-%m-%dT%H:%MZ") -> Any:
    return times.strftime(form)


def quarters(values):
    return pd.date_range(BEGIN, periods=4 * HOURS, freq="15min"), values


def cut():
    return quarters(PRICE.repeat(4))


def hourly_in_quarters():
    times, _ = cut()
    return table("time,price", stamps(times), [p if k % 4 == 0 else "" for k, p in enumerate(PRICE.repeat(4))])


def switch(at=144):
    fine = pd.date_range(UTC[at], periods=4 * (HOURS - at), freq="15min")
    return table("time,price", stamps(UTC[:at].append(fine)), [*PRICE[:at], *PRICE[at:].repeat(4)])


def left_out():
    kept = np.ones(HOURS, bool)
    kept[[30, 31, 100, 200]] = False
    price = PRICE.copy()
    for index in np.flatnonzero(~kept):
        price[index] = price[index - 1]
    return kept, price


def without_repeats():
    kept, price = left_out()
    return table("time,price", stamps(UTC[kept]), price[kept])


def zero_tail():
    return np.where(np.arange(HOURS) < HOURS - 72, PRICE, 0.0)


def several():
    rows = zip(stamps(), PRICE, strict=True)
    return "".join(f"{t},{zone},{p + more}\n" for t, p in rows for zone, more in (("A", 0), ("B", 3)))


def intervals():
    ends = stamps(UTC + pd.Timedelta(hours=1), "%Y-%m-%d %H:%M")
    return [f"{begin} - {end}" for begin, end in zip(stamps(form="%Y-%m-%d %H:%M"), ends, strict=True)]


def seconds():
    return [int(t.timestamp()) for t in UTC]


def by_clock():
    """Quarter hours of the Dutch clock around its change in autumn, sorted by what it shows."""
    utc = pd.date_range("2024-10-25 22:00", periods=4 * 24 * 12 + 4, freq="15min")
    clock = utc.tz_localize("UTC").tz_convert("Europe/Amsterdam").tz_localize(None)
    order = np.argsort(clock.to_numpy(), kind="stable")
    return utc, clock[order], np.arange(len(utc), dtype=float)[order] % 97 + 20


def spring(days):
    clock = pd.date_range("2024-03-25", periods=24 * days, freq="h")
    return table("time,price", clock.strftime("%Y-%m-%d %H:%M"), np.arange(24.0 * days) % 29 + 30)


def in_zone(zone):
    return UTC.tz_localize("UTC").tz_convert(zone)


CASES = {
    "as it should be": Case(lambda: table("time,price", stamps(), PRICE), None),
    "cents per kWh": Case(
        lambda: table("time,price_ct_per_kwh", stamps(), np.round(PRICE / 10, 4)),
        "column 'price_ct_per_kwh' says ct_per_kwh, but prices are taken per MWh; set env.data.price_unit=ct_per_kwh",
        ("env.data.price_unit=ct_per_kwh",),
        ("env.data.columns.time=time", "env.data.columns.price=price_ct_per_kwh"),
    ),
    "zeros at the end": Case(
        lambda: table("time,price", stamps(), zero_tail()),
        "is 0 for 49 steps in a row from 2024-03-10T23:00 UTC on, in the test split (not published yet?)",
        ("env.data.repeats_ok=true",),
        expected=lambda: (UTC, zero_tail()),
    ),
    "thousands": Case(
        lambda: table("time,price", stamps(), ['"1,200.50"' if k == 40 else p for k, p in enumerate(PRICE)]),
        "row 42 (2024-03-02T16:00Z): '1,200.50' in column 'price' is no number; if it has a comma between thousands "
        "set env.data.read.thousands=comma",
        ("env.data.read.thousands=comma",),
        expected=lambda: (UTC, np.where(np.arange(HOURS) == 40, 1200.5, PRICE)),
    ),
    "text never leads to interpolation": Case(
        lambda: table("time,price", stamps(), ["n.v." if k == 40 else p for k, p in enumerate(PRICE)]),
        "'n.v.' in column 'price' is no number; if it stands for a missing value set "
        "'env.data.read.missing_text=[\"n.v.\"]'",
        ("env.data.read.missing_text=['n.v.']", "env.data.missing=hold"),
        expected=lambda: (UTC, np.where(np.arange(HOURS) == 40, PRICE[39], PRICE)),
    ),
    "a true minus": Case(
        lambda: table("time,price", stamps(), ["\u221240.5" if k == 40 else p for k, p in enumerate(PRICE)]),
        None,
        expected=lambda: (UTC, np.where(np.arange(HOURS) == 40, -40.5, PRICE)),
    ),
    "hourly values on quarter hours": Case(
        hourly_in_quarters,
        "no value in column 'price'; set env.data.missing=hold: one value stands for 4 rows throughout",
        ("env.data.missing=hold",),
        expected=cut,
    ),
    "the same, interpolated": Case(
        hourly_in_quarters,
        "interpolation would make ramps of them; set env.data.missing=hold",
        ("env.data.missing=hold",),
        (*NAMES, "env.data.missing=interpolate"),
        cut,
    ),
    "hours, then quarter hours": Case(
        switch,
        "row 146 (2024-03-07T00:00Z): the steps are 60 minutes before and 15 from here on; set env.data.step_minutes=",
        ("env.data.step_minutes=15",),
        expected=cut,
    ),
    "the same, averaged": Case(
        switch, "set env.data.step_minutes= to one of 15, 30, 60", ("env.data.step_minutes=60",)
    ),
    "five minutes": Case(
        lambda: table("time,price", stamps(pd.date_range(BEGIN, periods=12 * HOURS, freq="5min")), PRICE.repeat(12)),
        "goes in steps of 5 minutes; set env.data.step_minutes= to one of 15, 30, 60 to average them",
        ("env.data.step_minutes=60",),
    ),
    "prices that repeat are left out": Case(
        without_repeats,
        "after it a gap, the first of 3; 4 steps of 60 minutes are missing in all, at most 2 in a row; set "
        "env.data.missing=hold",
        ("env.data.missing=hold",),
        expected=lambda: (UTC, left_out()[1]),
    ),
    "stamps of ends": Case(
        lambda: table("time,price", stamps(UTC + pd.Timedelta(hours=1)), PRICE),
        "the first stamp is 60 minutes after midnight and the last one at midnight (UTC)",
        ("env.data.stamps=end",),
    ),
    "stamps of ends on a clock": Case(
        lambda: table("time,price", stamps(UTC + pd.Timedelta(hours=11), "%Y/%m/%d %H:%M:%S"), PRICE),
        "the first stamp is 60 minutes after midnight and the last one at midnight (UTC)",
        ("env.data.stamps=end",),
        (*NAMES, "env.data.timezone=Australia/Brisbane", "env.data.naive_time=local"),
    ),
    "no offset": Case(
        lambda: table("time,price", stamps(form="%Y-%m-%d %H:%M"), PRICE),
        "stamps without an offset from UTC; set env.data.naive_time=local if they are the clock of env.data.timezone="
        "Europe/Amsterdam, utc if they are UTC",
        ("env.data.naive_time=utc",),
    ),
    "days of 24 hours": Case(
        lambda: spring(12),
        "this hour does not exist in Europe/Amsterdam, summer time skips it; if every day of the file has 24 hours "
        "delete the row, or set env.data.timezone=UTC",
        ("env.data.timezone=UTC",),
        (*NAMES, "env.data.naive_time=local"),
        lambda: (pd.date_range("2024-03-25", periods=HOURS, freq="h"), np.arange(float(HOURS)) % 29 + 30),
    ),
    "sorted by the clock": Case(
        lambda: table("time,price", by_clock()[1].strftime("%Y-%m-%d %H:%M"), by_clock()[2]),
        "the hour that clocks repeat stands interleaved (02:00 02:00 02:15 …); set env.data.read.sort=true",
        ("env.data.read.sort=true",),
        (*NAMES, "env.data.naive_time=local"),
        lambda: (by_clock()[0], np.arange(len(by_clock()[0]), dtype=float) % 97 + 20),
    ),
    "the newest first": Case(
        lambda: table("time,price", stamps()[::-1], PRICE[::-1]),
        "earlier than the row before it; set env.data.read.sort=true",
        ("env.data.read.sort=true",),
    ),
    "half-hour zone": Case(
        lambda: table("time,price", stamps(), PRICE),
        "not on the grid of 60 minutes in Asia/Kolkata; set env.data.step_minutes=30",
        ("env.data.step_minutes=30",),
        (*NAMES, "env.data.timezone=Asia/Kolkata"),
        lambda: (pd.date_range(BEGIN, periods=2 * HOURS, freq="30min"), PRICE.repeat(2)),
    ),
    "offsets of hours alone": Case(
        lambda: table("time,price", [f"{t:%Y-%m-%dT%H}-06" for t in UTC - pd.Timedelta(hours=6)], PRICE), None
    ),
    "date and hour": Case(
        lambda: table("Date,Hour,Price", stamps(form="%Y-%m-%d"), UTC.hour + 1, PRICE),
        "the same time as in row 2; column 'Hour' has the step of the day; set 'env.data.read.period=Hour'",
        ("env.data.read.period=Hour",),
        ("env.data.columns.time=Date", "env.data.columns.price=Price", "env.data.timezone=UTC"),
    ),
    "several zones": Case(
        lambda: "time,zone,price\n" + several(),
        "column 'zone' tells them apart (A, B); set 'env.data.read.where={zone: A}', or another of them",
        ("env.data.read.where={zone: A}",),
    ),
    "several zones, in a column whose name a shell and Hydra would take apart": Case(
        lambda: 'time,"zone (a, b)",price\n' + several(),
        "column 'zone (a, b)' tells them apart (A, B); set 'env.data.read.where={zone\\ \\(a\\,\\ b\\): A}'",
        (r"env.data.read.where={zone\ \(a\,\ b\): A}",),
    ),
    "a day a row": Case(
        lambda: table("date," + ",".join(map(str, range(24))), stamps(UTC[::24], "%Y-%m-%d"), *PRICE.reshape(-1, 24).T),
        "goes in steps of 1440 minutes; 5, 10, 15, 20, 30, 60 are allowed; if a row is a day set "
        "'env.data.read.day_a_row=\"*\"'",
        ("env.data.read.day_a_row='*'",),
        ("env.data.columns.time=date", "env.data.columns.price='0'", "env.data.timezone=UTC"),
    ),
    "semicolons": Case(
        lambda: table("time;price", stamps(), PRICE, separator=";"),
        "its columns are set apart by a semicolon; set env.data.read.separator=semicolon",
        ("env.data.read.separator=semicolon",),
    ),
    "semicolons and commas": Case(
        lambda: table("time;price", stamps(), [str(p).replace(".", ",") for p in PRICE], separator=";"),
        "set env.data.read.separator=semicolon env.data.read.decimal=comma",
        ("env.data.read.separator=semicolon", "env.data.read.decimal=comma"),
    ),
    "lines before the names": Case(
        lambda: "Prices of zone X\nUpdated 01-04-2024\n" + table("time,price", stamps(), PRICE),
        "2 lines stand before the names of the columns; set env.data.read.header_rows=2",
        ("env.data.read.header_rows=2",),
    ),
    "an interval": Case(
        lambda: table("time,price", intervals(), PRICE),
        "it is a begin and an end; set 'env.data.read.interval=\" - \"'",
        ("env.data.read.interval=' - '",),
        (*NAMES, "env.data.timezone=UTC"),
    ),
    "the day first": Case(
        lambda: table("time,price", stamps(form="%d/%m/%Y %H:%M"), PRICE),
        "set env.data.read.dayfirst=true if the day stands before the month, else false",
        ("env.data.read.dayfirst=true",),
        (*NAMES, "env.data.timezone=UTC"),
    ),
    "points in dates": Case(
        lambda: table("time,price", stamps(form="%d.%m.%Y %H:%M"), PRICE),
        "set 'env.data.read.time_format=[\"%d.%m.%Y %H:%M\"]'",
        ("env.data.read.time_format=['%d.%m.%Y %H:%M']",),
        (*NAMES, "env.data.timezone=UTC"),
    ),
    "seconds since 1970": Case(
        lambda: table("time,price", seconds(), PRICE),
        "it looks like seconds since 1970; set env.data.read.time_format=[epoch_s]",
        ("env.data.read.time_format=[epoch_s]",),
    ),
    "no times": Case(
        lambda: table("electricity_pricing", PRICE),
        "if it has no times set env.data.read.begin= to the first and env.data.read.step= to the minutes of a step",
        ("env.data.read.begin='2024-03-01T00:00Z'", "env.data.read.step=60"),
        ("env.data.columns.price=electricity_pricing",),
    ),
    "empty rows at both ends": Case(
        lambda: table("time,price", stamps(), ["" if k < 5 or k > HOURS - 8 else p for k, p in enumerate(PRICE)]),
        None,
        expected=lambda: (UTC[5:-7], PRICE[5:-7]),
    ),
    "not UTF-8": Case(
        lambda: table("time,price,ört", stamps(), PRICE, ["ä"] * HOURS),
        "not written in utf-8-sig; set env.data.read.encoding=latin-1 or another",
        ("env.data.read.encoding=latin-1",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_line_names_mends_it(tmp_path, name):
    case, path = CASES[name], tmp_path / "prices.csv"
    path.write_text(case.text(), encoding="latin-1" if name == "not UTF-8" else "utf-8")
    given = (f"env.data.path={path}", *case.given)
    if case.line is not None:
        with pytest.raises(UserError) as error:
            load_series(configured(*given))
        said = str(error.value)
        assert case.line in said and said.startswith(str(path)) and len(said.splitlines()) == 1
        keys = {override.partition("=")[0] for override in case.mend}
        assert any(key in said for key in keys)
        given = (*(one for one in given if one.partition("=")[0] not in keys), *case.mend)
    series = load_series(configured(*given))
    times, price = case.expected()
    np.testing.assert_array_equal(series.utc, times.to_numpy().astype("M8[s]"))
    np.testing.assert_allclose(series.values["price"], price)


@pytest.mark.parametrize(
    ("text", "given", "line"),
    [
        (
            table("time,price,imbalance", stamps(), PRICE, np.round(PRICE / 1000, 5)),
            ("env.data.columns.imbalance=imbalance", "env.market.kind=imbalance"),
            r"column 'imbalance' has a mean \|value\| of 0.08.*, column 'price' of 8.*; is one of them per kWh\? set "
            "env.data.imbalance_unit=eur_per_kwh",
        ),
        (
            table("time,price,imbalance", stamps(), PRICE, PRICE),
            ("env.data.columns.imbalance=imbalance",),
            "nothing reads it with env.market.kind=spot; set env.market.kind=imbalance",
        ),
        (
            table("time,price", stamps(), [*PRICE[:50], PRICE[48], *PRICE[51:]]) + f"{stamps()[50]},{PRICE[50]}\n",
            (),
            "row 290 .*: the same time as in row 52; delete one of them",
        ),
    ],
)
def test_what_no_setting_may_mend_is_refused(tmp_path, text, given, line):
    (tmp_path / "prices.csv").write_text(text)
    with pytest.raises(UserError, match=line):
        load_series(configured(f"env.data.path={tmp_path / 'prices.csv'}", *NAMES, *given))
