"""Time stamps of a file as ascending UTC step starts, and the market's local calendar for them."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from vmax.data.reader import Table
from vmax.errors import UserError

STEP_MINUTES = (15, 30, 60)
_LOCAL_HINT = "set env.data.naive_time=local if the file is in {} time"
_OFFSET = r"\d:\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)$"  # a clock time that ends in an offset from UTC
_OTHER_RESOLUTION_RUN = 24  # so many steps in a row of one other length are no gaps but another resolution


@dataclass(frozen=True, eq=False)
class LocalTime:
    """Local clock and calendar of each step start, each `[T]`; `day` counts local calendar days from the first."""

    hour: np.ndarray
    day: np.ndarray
    date: np.ndarray  # datetime64[D]
    weekday: np.ndarray
    month: np.ndarray
    year: np.ndarray
    day_of_year: np.ndarray


def check_timezone(timezone: str) -> None:
    """Raises UserError for a name that the IANA data base does not have."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise UserError(
            f"env.data.timezone={timezone}: unknown; an IANA name such as Europe/Amsterdam is needed"
        ) from error


def local_time(utc: np.ndarray, timezone: str) -> LocalTime:
    """The local clock and calendar for UTC step starts (datetime64[s] `[T]`)."""
    local = pd.DatetimeIndex(utc, tz="UTC").tz_convert(timezone).tz_localize(None)
    date = local.to_numpy().astype("datetime64[D]")
    seconds = (local.to_numpy() - date).astype("timedelta64[s]").astype(np.int64)
    return LocalTime(
        hour=seconds / 3600.0,
        day=(date - date[0]).astype(np.int32),
        date=date,
        weekday=local.day_of_week.to_numpy().astype(np.int32),
        month=local.month.to_numpy().astype(np.int32),
        year=local.year.to_numpy().astype(np.int32),
        day_of_year=local.day_of_year.to_numpy().astype(np.int32),
    )


def read_times(table: Table, timezone: str, naive_time: str) -> tuple[Table, np.ndarray]:
    """The time column as UTC, datetime64[s] `[T]`, unique and ascending, and the rows that it belongs to.

    Stamps with an offset count as they are. Those without are UTC (`naive_time="utc"`) or local (`"local"`): an hour
    that occurs twice is told apart by its order in the file; a row in the hour that summer time skips is left out if
    it has no values.

    Raises UserError for a stamp that cannot be read, does not exist, comes twice or out of order.
    """
    stamps, has_offset = _parse(table)
    if has_offset or naive_time == "utc":
        utc = stamps
    else:
        occurrence = pd.Series(stamps).groupby(stamps).cumcount().to_numpy()
        local = stamps.tz_localize(timezone, ambiguous=occurrence == 0, nonexistent="NaT")
        utc = local.tz_convert("UTC").tz_localize(None)
    skipped = utc.isna()
    empty = np.logical_and.reduce([c.isna().to_numpy() for role, c in table.columns.items() if role != "time"])
    if (skipped & ~empty).any():
        place = table.place(int(np.argmax(skipped & ~empty)))
        raise UserError(
            f"{place}: this hour does not exist in {timezone}, summer time skips it; "
            "set env.data.naive_time=utc, or env.data.timezone= to the zone of the file"
        )
    table, utc = table.keep(~skipped), utc[~skipped]
    _check_order(table, utc, timezone, naive_time)
    return table, utc.to_numpy().astype("datetime64[s]")


def _parse(table: Table) -> tuple[pd.DatetimeIndex, bool]:
    """Time stamps without a zone: UTC if the file gives offsets (then the flag is true), else as they are written."""
    column, name = table.columns["time"], table.names["time"]
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(column).tz_convert("UTC").tz_localize(None), True
    if pd.api.types.is_datetime64_dtype(column.dtype):
        parsed, offset = pd.DatetimeIndex(column), np.zeros(len(column), bool)
    elif pd.api.types.is_numeric_dtype(column.dtype):
        raise UserError(f"{table.file}: column '{name}' holds numbers, no times; set env.data.columns.time= to another")
    else:
        text = column.astype("string").str.strip()
        parsed = pd.DatetimeIndex(pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")).tz_localize(None)
        offset = text.str.contains(_OFFSET, regex=True).fillna(False).to_numpy(bool)
    if parsed.isna().any():
        raise UserError(
            f"{table.place(int(np.argmax(parsed.isna())))}: column '{name}' is no ISO 8601 time such as "
            "2024-01-31 23:00; write it so, or set env.data.columns.time= to another column"
        )
    if offset.any() and not offset.all():
        odd = int(np.argmax(offset != offset[0]))
        raise UserError(f"{table.place(odd)}: column '{name}' mixes stamps with and without an offset from UTC")
    return parsed, bool(offset[0])


def _check_order(table: Table, utc: pd.DatetimeIndex, timezone: str, naive_time: str) -> None:
    again = utc.duplicated()
    if again.any():
        index = int(np.argmax(again))
        hint = "delete one of them"
        if naive_time == "utc" and _times_on_clock(utc.to_numpy()[index], timezone) == 2:
            hint = _LOCAL_HINT.format(timezone)
        first = table.row[int(np.argmax(utc == utc[index]))]
        raise UserError(f"{table.place(index)}: the same time as in row {first}; {hint}")
    back = np.diff(utc.to_numpy()) < np.timedelta64(0)
    if back.any():
        index = int(np.argmax(back)) + 1
        raise UserError(
            f"{table.place(index)}: earlier than the row before it; sort the file by '{table.names['time']}'"
        )


def _times_on_clock(clock: np.datetime64, timezone: str) -> int:
    """How often the local clock shows this time: not at all when summer time begins, twice when it ends."""
    local = pd.DatetimeIndex([clock, clock]).tz_localize(timezone, ambiguous=np.array([True, False]), nonexistent="NaT")
    return local.dropna().nunique()


def read_steps(
    table: Table, utc: np.ndarray, timezone: str, naive_time: str, allow_gaps: bool
) -> tuple[float, np.ndarray]:
    """The step length in hours and the number of the gap-free segment of each step, int32 `[T]`.

    Raises UserError for steps of other than 15, 30 or 60 minutes, of several lengths, that do not start with the local
    hour, and for gaps unless they are allowed.
    """
    minutes, step = _step_minutes(table, utc)
    seconds = local_time(utc, timezone).hour * 3600.0
    if (seconds % (60 * step) != 0).any():
        index = int(np.argmax(seconds % (60 * step) != 0))
        raise UserError(
            f"{table.place(index)}: not on the grid of {step} minutes in {timezone}; mend it or set env.data.timezone="
        )
    gap = minutes > step
    if gap.any() and not allow_gaps:
        index, missing = int(np.argmax(gap)), int((minutes[gap] / step - 1).sum())
        hint = "set env.data.gaps=segments to split the series there"
        if naive_time == "utc" and _times_on_clock(utc[index] + np.timedelta64(step, "m"), timezone) == 0:
            hint = _LOCAL_HINT.format(timezone)
        raise UserError(
            f"{table.place(index)}: after it a gap, the first of {gap.sum()}; {missing} steps of {step} minutes are "
            f"missing in all; {hint}"
        )
    return step / 60.0, np.concatenate([[0], np.cumsum(gap)]).astype(np.int32)


def _step_minutes(table: Table, utc: np.ndarray) -> tuple[np.ndarray, int]:
    """Minutes from each row to the next `[T-1]`, and the step among them."""
    minutes = np.diff(utc).astype("timedelta64[s]").astype(np.int64) / 60.0
    lengths, counts = np.unique(minutes, return_counts=True)
    step = lengths[np.argmax(counts)]
    if step not in STEP_MINUTES:
        raise UserError(
            f"{table.file}: column '{table.names['time']}' goes in steps of {step:g} minutes; "
            f"{', '.join(map(str, STEP_MINUTES))} are allowed"
        )
    other = (minutes < step) | (minutes % step != 0)
    run = np.diff(np.flatnonzero(np.concatenate([[True], np.diff(minutes) != 0, [True]])))  # lengths of equal stretches
    long_run = np.repeat(run >= _OTHER_RESOLUTION_RUN, run) & (minutes != step)
    if (other | long_run).any():
        index = int(np.argmax(other | long_run))
        raise UserError(
            f"{table.place(index)}: the next row is {minutes[index]:g} minutes later, but the file's step is {step:g}; "
            "resample the file to one resolution"
        )
    return minutes, int(step)
