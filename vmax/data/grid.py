"""Rows with a time each as steps of one length: gaps, rows that were left out, and rows of several lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vmax.data.calendar import local_time
from vmax.data.reader import Table
from vmax.data.stamps import times_on_clock
from vmax.errors import UserError

STEP_MINUTES = (15, 30, 60)
LENGTHS = (5, 10, 15, 20, 30, 60)
"""What a row may last in a file."""
DAY_MINUTES = 1440
_OTHER_RESOLUTION_RUN = 24  # so many steps in a row of one other length are no gaps but another resolution


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in time order, those that a file left out and `hold` fills among them.

    `utc` (datetime64[s]) `[T]` are their begins, `minutes` `[T]` what they last. `segment` `[T]`: the number of the
    gap-free stretch. `step_minutes`: the steps that they are to become. `held`: how many rows were filled in.
    """

    table: Table
    utc: np.ndarray
    minutes: np.ndarray
    segment: np.ndarray
    absent: np.ndarray
    step_minutes: int
    gaps: tuple[int, int]

    @property
    def held(self) -> int:
        return int(self.absent.sum())


def read_rows(
    table: Table,
    utc: np.ndarray,
    timezone: str,
    naive_time: str | None,
    stamps: Literal["begin", "end"] | None,
    step_minutes: int | None,
    hold: int,
    allow_gaps: bool,
    may_split: bool = True,
) -> Rows:
    """The rows with what they last.

    Args:
      utc: times as they are written, ascending, datetime64[s] `[T]`.
      stamps: whether these are the begins or the ends of the steps; None: begins.
      step_minutes: the steps that the rows are to become; None: as they are.
      hold: so many rows in a row may be left out in the file, and are filled in.
      may_split: whether gaps can be allowed by a setting.

    Raises UserError for lengths that cannot become such steps, for rows that do not start with the local hour, and for
    gaps unless they are allowed.
    """
    apart = np.diff(utc).astype("timedelta64[s]").astype(np.int64) / 60.0
    length = _lengths(table, apart)
    step = _target(table, length, step_minutes)
    if stamps == "end":
        minutes = np.concatenate([length[:1], length])
        utc = utc - minutes.astype("timedelta64[m]")
    else:
        minutes = np.concatenate([length, length[-1:]])
    _check_grid(table, utc, minutes, timezone, step)
    left_out = apart - length
    gap = left_out > 0
    filled = gap & (left_out <= hold * length)
    if (gap & ~filled).any() and not allow_gaps:
        raise _gap_error(table, utc, length, left_out, gap & ~filled, timezone, naive_time, hold, may_split)
    segment = np.concatenate([[0], np.cumsum(gap & ~filled)]).astype(np.int32)
    gaps = (int((gap & ~filled).sum()), int((left_out / length)[gap & ~filled].sum()))
    times = np.concatenate([np.where(filled, left_out / length, 0).astype(int), [0]]) + 1  # each row, and what it holds
    index = np.repeat(np.arange(len(utc)), times)
    after = np.arange(len(index)) - np.repeat(np.cumsum(times) - times, times)
    minutes = minutes[index]
    return Rows(
        table=table.take(index) if filled.any() else table,
        utc=utc[index] + (after * minutes).astype("timedelta64[m]"),
        minutes=minutes,
        segment=segment[index],
        absent=after > 0,
        step_minutes=step,
        gaps=gaps,
    )


def check_not_ends(table: Table, utc: np.ndarray, timezone: str) -> None:
    """Raises UserError where stamps begin one step after midnight and end at midnight: those of ends of steps do."""
    step = float(np.median(np.diff(utc).astype("timedelta64[s]").astype(np.int64))) / 60.0
    local = local_time(utc, timezone).hour * 60.0
    written = (utc - utc.astype("datetime64[D]")).astype("timedelta64[m]").astype(np.float64)
    ends = [(clock[0], clock[-1]) for clock in (written, local)]
    if (0.0, DAY_MINUTES - step) in ends or (step, 0.0) not in ends:
        return
    clock = "UTC" if ends[0] == (step, 0.0) else timezone
    raise UserError(
        f"{table.place(0)}: the first stamp is {step:g} minutes after midnight and the last one at midnight ({clock}), "
        "as those of ends of steps are; set env.data.stamps=end if they are, else env.data.stamps=begin"
    )


def _lengths(table: Table, apart: np.ndarray) -> np.ndarray:
    """What each row but the last lasts, minutes `[T-1]`: its distance to the next where that occurs for long, else
    that of the rows before it. Raises UserError for distances that fit no length."""
    edges = np.flatnonzero(np.concatenate([[True], np.diff(apart) != 0, [True]]))
    run = np.repeat(np.diff(edges), np.diff(edges))  # how many rows in a row are as far apart
    regular = (run >= _OTHER_RESOLUTION_RUN) & np.isin(apart, LENGTHS)
    if not regular.any():
        values, counts = np.unique(apart, return_counts=True)
        usual = values[np.argmax(counts)]
        if usual not in LENGTHS:
            raise UserError(_wrong_length(table, usual))
        regular = apart == usual
    known = np.flatnonzero(regular)
    before = np.maximum(np.searchsorted(known, np.arange(len(apart)), side="right") - 1, 0)
    length = apart[known[before]]
    odd = (apart < length) | (apart % length != 0)
    if odd.any():
        index = int(np.argmax(odd))
        raise UserError(
            f"{table.place(index)}: the next row is {apart[index]:g} minutes later, but the file's step is "
            f"{length[index]:g} here; delete or mend the row"
        )
    return length


def _wrong_length(table: Table, minutes: float) -> str:
    hint = ""
    if minutes == DAY_MINUTES:
        hint = "; if a row is a day set 'env.data.read.day_a_row=\"*\"' (the names of the columns of its steps)"
    allowed = ", ".join(map(str, LENGTHS))
    found = f"{table.file}: column '{table.names['time']}' goes in steps of {minutes:g} minutes"
    return f"{found}; {allowed} are allowed{hint}"


def _target(table: Table, length: np.ndarray, step_minutes: int | None) -> int:
    found = np.unique(length).astype(int)
    if step_minutes is not None:
        wrong = [minutes for minutes in found if minutes % step_minutes and step_minutes % minutes]
        if wrong:
            raise UserError(
                f"env.data.step_minutes={step_minutes}: {table.file} has steps of {wrong[0]} minutes; allowed: "
                f"{', '.join(map(str, _fitting(found)))}"
            )
        return step_minutes
    if len(found) > 1:
        change = int(np.argmax(np.diff(length) != 0)) + 1
        fitting = ", ".join(map(str, _fitting(found)))
        raise UserError(
            f"{table.place(change)}: the steps are {length[change - 1]:g} minutes before and {length[change]:g} from "
            f"here on; set env.data.step_minutes= to one of {fitting}: longer ones are cut into such of the same "
            "values, shorter ones averaged"
        )
    if found[0] not in STEP_MINUTES:
        raise UserError(
            f"{table.file}: column '{table.names['time']}' goes in steps of {found[0]} minutes; set "
            f"env.data.step_minutes= to one of {', '.join(map(str, _fitting(found)))} to average them"
        )
    return int(found[0])


def _fitting(found: np.ndarray) -> list[int]:
    return [step for step in STEP_MINUTES if all(minutes % step == 0 or step % minutes == 0 for minutes in found)]


def _check_grid(table: Table, utc: np.ndarray, minutes: np.ndarray, timezone: str, step: int) -> None:
    seconds = (local_time(utc, timezone).hour * 3600.0).round()
    grid = np.minimum(minutes, step)
    off = seconds % (60 * grid) != 0
    if not off.any():
        return
    index = int(np.argmax(off))
    rest = (seconds[off] / 60.0) % step
    mending = next((one for one in (30, 15) if step % one == 0 and one < step and (rest % one == 0).all()), None)
    mend = "mend it or set env.data.timezone="
    if mending is not None:
        mend = f"set env.data.step_minutes={mending}, env.data.timezone= to the zone of the file, or mend it"
    raise UserError(f"{table.place(index)}: not on the grid of {step} minutes in {timezone}; {mend}")


def _gap_error(
    table: Table,
    utc: np.ndarray,
    length: np.ndarray,
    left_out: np.ndarray,
    gap: np.ndarray,
    timezone: str,
    naive_time: str | None,
    hold: int,
    may_split: bool,
) -> UserError:
    index, missing = int(np.argmax(gap)), int((left_out / length)[gap].sum())
    longest = int((left_out / length)[gap].max())
    ways = "set env.data.missing=hold if a value that is left out is that of the row before"
    if hold:
        ways = f"raise env.data.missing_max_steps={hold} to {longest}"
    if may_split:
        ways += ", or env.data.gaps=segments to split the series there"
    after = utc[index] + np.timedelta64(int(length[index]), "m")
    if naive_time == "utc" and times_on_clock(after, timezone) == 0:
        ways = f"set env.data.naive_time=local if the file is in {timezone} time"
    return UserError(
        f"{table.place(index)}: after it a gap, the first of {gap.sum()}; {missing} steps of {length[index]:g} minutes "
        f"are missing in all, at most {longest} in a row; {ways}"
    )


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps of `minutes`; `utc` their begins `[T]`, `segment` the number of the gap-free stretch `[T]`."""

    minutes: int
    utc: np.ndarray
    segment: np.ndarray
    values: Mapping[str, np.ndarray]


def at_steps(rows: Rows, values: Mapping[str, np.ndarray], timezone: str, done: list[str]) -> Steps:
    """The values at steps of one length: longer rows are cut into steps of the same value, shorter ones averaged.

    Steps that lack a part are left out. What was changed is added to `done`.
    """
    step, utc, segment = rows.step_minutes, rows.utc, rows.segment
    for minutes in np.unique(rows.minutes).astype(int):
        count = int((rows.minutes == minutes).sum())
        if minutes > step:
            done.append(f"{count} rows of {minutes} minutes cut into steps of {step}, each with the value of its row")
        if minutes < step:
            done.append(f"{count} rows of {minutes} minutes averaged over steps of {step}")
    if (rows.minutes == step).all():
        return Steps(step, utc, segment, values)
    parts = np.maximum(rows.minutes // step, 1).astype(int)
    index = np.repeat(np.arange(len(utc)), parts)
    after = np.arange(len(index)) - np.repeat(np.cumsum(parts) - parts, parts)
    utc = utc[index] + (after * step).astype("timedelta64[m]")
    minutes = np.minimum(rows.minutes[index], step)
    into = (local_time(utc, timezone).hour * 60.0) % step
    begin = utc - into.round().astype("timedelta64[m]")
    first = np.flatnonzero(
        np.concatenate([[True], (np.diff(begin) != np.timedelta64(0)) | (np.diff(segment[index]) != 0)])
    )
    whole = np.isclose(np.add.reduceat(minutes, first), step)
    if not whole.all():
        done.append(f"{(~whole).sum()} steps that lack a part left out")
    means = {role: (np.add.reduceat(column[index] * minutes, first) / step)[whole] for role, column in values.items()}
    utc = begin[first][whole]
    gap = np.diff(utc) > np.timedelta64(step, "m")
    return Steps(step, utc, np.concatenate([[0], np.cumsum(gap)]).astype(np.int32), means)
