"""The entries of a time column as UTC: formats, offsets, the market's clock, and the hours that it skips or repeats."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from vmax.conversion import escaped_key
from vmax.data import sniff
from vmax.data.layout import ReadConfig
from vmax.data.reader import Table, numeric
from vmax.errors import UserError

_OFFSET = re.compile(r"T\d\d(?::?\d\d.*)?(?:Z|[+-]\d\d(?::?\d\d)?)$|\d:\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)$")
"""A clock time that ends in an offset from UTC."""
NAMED = ("iso", "epoch_s", "epoch_ms", "http")
DAY_FIRST = ("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y")
MONTH_FIRST = ("%m/%d/%Y", "%m.%d.%Y", "%m-%d-%Y")
CLOCKS = (" %H:%M", " %H:%M:%S", "")


@dataclass(frozen=True, eq=False)
class Stamps:
    """Times as they are written `[T]`: UTC where `has_offset`, else those of a clock. `summer` is what a mark behind
    each says (1: summer time, 0: winter time, -1: no mark)."""

    clock: pd.DatetimeIndex
    has_offset: bool
    summer: np.ndarray


def parse(table: Table) -> Stamps:
    """The time column. Raises UserError for an entry that cannot be read, and where only some have an offset."""
    column, name, read = table.columns["time"], table.names["time"], table.read
    none = np.full(len(column), -1)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return Stamps(pd.DatetimeIndex(column).tz_convert("UTC").tz_localize(None), True, none)
    if pd.api.types.is_datetime64_dtype(column.dtype):
        parsed, offset, summer = pd.DatetimeIndex(column), np.zeros(len(column), bool), none
    else:
        if pd.api.types.is_numeric_dtype(column.dtype) and not set(read.time_format) & {"epoch_s", "epoch_ms"}:
            raise UserError(
                f"{table.file}: column '{name}' holds numbers, no times; set env.data.columns.time= to another, or "
                "env.data.read.time_format=[epoch_s] if they are seconds since 1970"
            )
        text = column.astype("string").str.strip()
        if read.interval is not None:
            text = text.str.split(read.interval, regex=False).str[0].str.strip()
        text, summer = _without_marks(text, read)
        parsed, offset = _parsed(text, read)
        column = text
    if parsed.isna().any():
        index = int(np.argmax(parsed.isna()))
        hint = None if pd.isna(column.iloc[index]) else sniff.of_time(str(column.iloc[index]))
        wanted = "no ISO 8601 time such as 2024-01-31 23:00" if "iso" in read.time_format else "not of its format"
        mend = hint or "write it so, or set env.data.columns.time= to another column"
        raise UserError(f"{table.place(index)}: column '{name}' is {wanted}; {mend}")
    if offset.any() and not offset.all():
        odd = int(np.argmax(offset != offset[0]))
        raise UserError(f"{table.place(odd)}: column '{name}' mixes stamps with and without an offset from UTC")
    if read.round_down is not None:
        parsed = parsed.floor(f"{read.round_down}min")
    return Stamps(parsed, bool(offset[0]), summer)


def _without_marks(text: pd.Series, read: ReadConfig) -> tuple[pd.Series, np.ndarray]:
    summer = np.full(len(text), -1)
    if read.zone_marks is None:
        return text, summer
    for value, mark in ((1, read.zone_marks[0]), (0, read.zone_marks[1])):
        pattern = rf"\s*\(?{re.escape(mark)}\)?$"
        here = text.str.contains(rf"(?<![A-Za-z])\(?{re.escape(mark)}\)?$").fillna(False).to_numpy(bool)
        summer[here] = value
        text = text.where(~here, text.str.replace(pattern, "", regex=True))
    return text, summer


def _parsed(text: pd.Series, read: ReadConfig) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Times `[T]`, NaT where no format fits, and whether each has an offset from UTC."""
    formats = read.time_format
    if read.dayfirst is not None:
        days = DAY_FIRST if read.dayfirst else MONTH_FIRST
        formats = tuple(day + clock for day in days for clock in CLOCKS)
    parsed = pd.Series(pd.NaT, index=text.index, dtype="datetime64[ns]")
    offset = np.zeros(len(text), bool)
    for one in formats:
        left = parsed.isna() & text.notna()
        if not left.any():
            break
        found, absolute = _by_format(text[left], one)
        fits = found.notna().to_numpy(bool)
        at = np.flatnonzero(left.to_numpy(bool))[fits]
        parsed.iloc[at] = found.to_numpy()[fits]
        offset[at] = absolute[fits]
    return pd.DatetimeIndex(parsed), offset


def _by_format(text: pd.Series, one: str) -> tuple[pd.Series, np.ndarray]:
    """Times of one format, NaT where it does not fit, and which of them are UTC."""
    every = np.ones(len(text), bool)
    if one in ("epoch_s", "epoch_ms"):
        number = pd.Series(numeric(text), index=text.index)
        unit: Literal["s", "ms"] = "s" if one == "epoch_s" else "ms"
        return pd.to_datetime(number, unit=unit, errors="coerce"), every
    if one == "http":
        return pd.to_datetime(text, format="%a, %d %b %Y %H:%M:%S GMT", errors="coerce"), every
    if one == "iso":
        found = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)
        return found, text.str.contains(_OFFSET).fillna(False).to_numpy(bool)
    zoned = "%z" in one
    found = pd.to_datetime(text, format=one, errors="coerce", utc=zoned)
    return (found.dt.tz_localize(None), every) if zoned else (found, ~every)


def to_utc(table: Table, timezone: str, naive_time: str | None) -> tuple[Table, np.ndarray]:
    """The time of each row as UTC, datetime64[s] `[T]`, unique and ascending, and the rows that they belong to.

    Stamps with an offset count as they are. Those without are UTC (`naive_time="utc"`) or of the local clock
    (`"local"`): an hour that occurs twice is told apart by marks behind the stamps, or by its order in the file; a row
    in the hour that summer time skips is left out if it has no values. With `read.period` the time column has the day
    and that one the number of the step in it; with `read.begin` rows follow each other.

    Raises UserError for a stamp that cannot be read, does not exist, comes twice or out of order, and for stamps
    without an offset where `naive_time` is None and the zone is not UTC.
    """
    if table.read.begin is not None:
        return table, _counted(table, timezone, naive_time)
    stamps = parse(table)
    if "period" in table.columns:
        stamps = _within_days(table, stamps, timezone, naive_time)
    if not stamps.has_offset and naive_time is None and timezone != "UTC":
        raise UserError(
            f"{table.place(0)}: stamps without an offset from UTC; set env.data.naive_time=local if they are the clock "
            f"of env.data.timezone={timezone}, utc if they are UTC"
        )
    if table.read.sort and bool(stamps.clock.to_numpy()[0] > stamps.clock.to_numpy()[-1]):
        back = np.arange(len(stamps.clock))[::-1]
        table, stamps = table.take(back), Stamps(stamps.clock[back], stamps.has_offset, stamps.summer[back])
    utc = stamps.clock if stamps.has_offset or naive_time != "local" else _localized(stamps, timezone)
    table, utc = _without_skipped(table, utc, timezone)
    if table.read.sort:
        order = np.argsort(utc.to_numpy(), kind="stable")
        if (np.diff(order) != 1).any():
            table, utc = table.take(order), utc[order]
    _check_order(table, utc, timezone, "utc" if stamps.has_offset else naive_time)
    return table, utc.to_numpy().astype("datetime64[s]")


def _localized(stamps: Stamps, timezone: str) -> pd.DatetimeIndex:
    occurrence = pd.Series(stamps.clock).groupby(stamps.clock).cumcount().to_numpy()
    first = np.where(stamps.summer >= 0, stamps.summer == 1, occurrence == 0)
    local = stamps.clock.tz_localize(timezone, ambiguous=first, nonexistent="NaT")
    return local.tz_convert("UTC").tz_localize(None)


def _without_skipped(table: Table, utc: pd.DatetimeIndex, timezone: str) -> tuple[Table, pd.DatetimeIndex]:
    skipped = utc.isna()
    values = [column for role, column in table.columns.items() if role not in ("time", "period")]
    empty = np.logical_and.reduce([column.isna().to_numpy() for column in values])
    if (skipped & ~empty).any():
        place = table.place(int(np.argmax(skipped & ~empty)))
        raise UserError(
            f"{place}: this hour does not exist in {timezone}, summer time skips it; if every day of the file has 24 "
            "hours delete the row, or set env.data.timezone=UTC to take them as they are; if it has the clock of "
            "another zone set env.data.timezone= to that"
        )
    return table.keep(~skipped), utc[~skipped]


def _counted(table: Table, timezone: str, naive_time: str | None) -> np.ndarray:
    """Times of rows that follow each other at `read.step` minutes from `read.begin` on."""
    read = table.read
    begin = pd.to_datetime(str(read.begin), format="ISO8601", errors="coerce")
    if pd.isna(begin):
        raise UserError(f"env.data.read.begin={read.begin}: must be an ISO 8601 time such as 2024-01-01T00:00")
    if begin.tzinfo is None:
        if naive_time is None and timezone != "UTC":
            raise UserError(
                f"env.data.read.begin={read.begin}: has no offset from UTC; set env.data.naive_time=local if it is the "
                f"clock of env.data.timezone={timezone}, utc if it is UTC"
            )
        begin = begin.tz_localize(timezone if naive_time == "local" else "UTC")
    first = begin.tz_convert("UTC").tz_localize(None).to_datetime64().astype("datetime64[s]")
    return first + np.arange(len(table.row)) * np.timedelta64(int(read.step or 60) * 60, "s")


def _within_days(table: Table, days: Stamps, timezone: str, naive_time: str | None) -> Stamps:
    """The time of each row from its day and the number of its step in it.

    A day whose highest number is above 50 has quarter hours, above 25 half hours, else hours.
    """
    read = table.read
    number = _numbers_of_periods(table) - read.first_period
    wrong = (number < 0) | (number != np.floor(number)) | (number >= 100)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise UserError(
            f"{table.place(index)}: '{table.columns['period'].iloc[index]}' in column '{table.names['period']}' is no "
            f"number of a step of the day from {read.first_period} on (env.data.read.first_period)"
        )
    if days.has_offset:
        raise UserError(f"{table.place(0)}: the column of days has an offset from UTC; set env.data.read.period=null")
    highest = pd.Series(number).groupby(days.clock).transform("max").to_numpy() + 1
    minutes = np.where(highest > 50, 15, np.where(highest > 25, 30, 60))
    into = pd.to_timedelta(number * minutes, unit="min")
    if naive_time != "local" or read.period_counts == "clock":
        return Stamps(days.clock + into, False, days.summer)
    midnight = days.clock.normalize().tz_localize(
        timezone, ambiguous=np.ones(len(number), bool), nonexistent="shift_forward"
    )
    utc = (midnight.tz_convert("UTC") + into).tz_localize(None)
    return Stamps(utc, True, days.summer)


def _numbers_of_periods(table: Table) -> np.ndarray:
    """The number of each row's step, `[T]`: as written, or the hour of a clock such as 07:00."""
    text = table.columns["period"].astype("string").str.strip()
    clock = text.str.extract(r"^(\d{1,2}):(\d{2})(?::\d{2})?$")
    number = numeric(text)
    return np.nan_to_num(np.where(np.isnan(number), numeric(pd.Series(clock[0])), number), nan=-1.0)


def _check_order(table: Table, utc: pd.DatetimeIndex, timezone: str, naive_time: str | None) -> None:
    again = utc.duplicated()
    if again.any():
        index = int(np.argmax(again))
        first = int(np.argmax(utc == utc[index]))
        hint = _apart(table, utc, index, timezone, naive_time)
        raise UserError(f"{table.place(index)}: the same time as in row {table.row[first]}; {hint}")
    back = np.diff(utc.to_numpy()) < np.timedelta64(0)
    if back.any():
        index = int(np.argmax(back)) + 1
        hint = "set env.data.read.sort=true"
        if naive_time == "local" and times_on_clock(_on_clock(utc, index, timezone), timezone) == 2:
            hint = (
                "the hour that clocks repeat stands interleaved (02:00 02:00 02:15 …); set env.data.read.sort=true: of "
                "two equal stamps the first is then summer time"
            )
        raise UserError(f"{table.place(index)}: earlier than the row before it; {hint}")


def _on_clock(utc: pd.DatetimeIndex, index: int, timezone: str) -> np.datetime64:
    return utc[index : index + 1].tz_localize("UTC").tz_convert(timezone).tz_localize(None).to_numpy()[0]


def _apart(table: Table, utc: pd.DatetimeIndex, index: int, timezone: str, naive_time: str | None) -> str:
    """What tells rows of the same time apart, and what to set."""
    if naive_time == "utc" and times_on_clock(utc.to_numpy()[index], timezone) == 2:
        return f"set env.data.naive_time=local if the file is in {timezone} time"
    same = np.flatnonzero(utc == utc[index])
    days = not table.columns["time"].astype(str).str.contains(":").any()
    for column in table.others.columns:
        entries = table.others[column].iloc[same].astype("string")
        if entries.notna().all() and entries.nunique() == len(same) > 1:
            if days and _like_periods(pd.Series(table.others[column])):
                return f"column '{column}' has the step of the day; set 'env.data.read.period={column}'"
            found = [str(entry) for entry in table.others[column].dropna().unique()[:4]]
            return (
                f"column '{column}' tells them apart ({', '.join(found)}); set "
                f"'env.data.read.where={{{escaped_key(column)}: {_quoted(found[0])}}}', or another of them"
            )
    return "delete one of them"


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"\w+", text) else f'"{text}"'


def _like_periods(column: pd.Series) -> bool:
    number = numeric(column.astype("string").str.replace(":00", "", regex=False))
    return bool(((number >= 0) & (number <= 100)).all())


def times_on_clock(clock: np.datetime64, timezone: str) -> int:
    """How often the local clock shows this time: not at all when summer time begins, twice when it ends."""
    local = pd.DatetimeIndex([clock, clock]).tz_localize(timezone, ambiguous=np.array([True, False]), nonexistent="NaT")
    return local.dropna().nunique()
