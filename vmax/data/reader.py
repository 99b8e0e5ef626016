"""A CSV or Parquet file as columns of text, and those as numbers; every complaint names file, column and row."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from vmax.data.units import codes_in
from vmax.errors import UserError

SUFFIXES = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True, eq=False)
class Table:
    """The mapped columns of a file, as read.

    `row` [T] is what an editor shows: the line of a CSV file (its header is line 1), the count from 1 in Parquet.
    `names` maps a role (`time`, `price`, …) to the column's name in the file, `columns` to its entries [T].
    """

    file: str
    row: np.ndarray
    names: Mapping[str, str]
    columns: Mapping[str, pd.Series]

    def place(self, index: int) -> str:
        """Where entry `index` stands: file, row and the time stamp as written there."""
        return f"{self.file}: row {self.row[index]} ({self.columns['time'].iloc[index]})"

    def keep(self, mask: np.ndarray) -> Table:
        """The rows where `mask` [T] is true."""
        if mask.all():
            return self
        columns = {role: column.loc[mask].reset_index(drop=True) for role, column in self.columns.items()}
        return replace(self, row=self.row[mask], columns=columns)


def read_table(path: str, names: Mapping[str, str]) -> Table:
    """Read the columns `names` (role -> column in the file); rows that are entirely empty are left out.

    Raises UserError for a file that is missing, unreadable, empty or of another kind, and for a missing column.
    """
    kind = Path(path).name.lower()
    if not kind.endswith(SUFFIXES):
        raise UserError(f"{path}: unknown kind of file; env.data.path must end in {', '.join(SUFFIXES)}")
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file (looked in {Path.cwd()}); set env.data.path=FILE")
    read, first_row = (_read_parquet, 1) if kind.endswith(".parquet") else (_read_csv, 2)
    try:
        frame = read(path)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pandas' and pyarrow's errors are ValueErrors
        raise UserError(f"{path}: unreadable: {' '.join(str(error).split())}") from error
    _check_columns(path, names, list(frame.columns))
    columns = {role: pd.Series(frame[name]) for role, name in names.items()}
    table = Table(path, np.arange(len(frame)) + first_row, dict(names), columns)
    table = table.keep(~np.logical_and.reduce([column.isna().to_numpy() for column in columns.values()]))
    if len(table.row) < 2:
        raise UserError(f"{path}: holds {len(table.row)} rows of data; at least 2 are needed")
    return table


def _read_csv(path: str) -> pd.DataFrame:
    # As text, blank lines included: so a bad entry can be quoted as it stands, with the line where it stands.
    # All columns: pandas overlooks a row with too many entries where only some columns are asked for.
    frame = pd.read_csv(path, dtype=str, skip_blank_lines=False, encoding="utf-8-sig")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took surplus entries for row names
        raise ValueError("the rows have more entries than the header (a decimal comma?)")
    return frame


def _read_parquet(path: str) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


def _check_columns(path: str, names: Mapping[str, str], present: list[str]) -> None:
    for role, name in names.items():
        if name not in present:
            listed = ", ".join(map(str, present))
            raise UserError(f"{path}: no column '{name}'; set env.data.columns.{role}= to one of: {listed}")


def read_numbers(
    table: Table,
    role: str,
    segment: np.ndarray,
    interpolate: bool,
    max_steps: int,
    missing_codes: tuple[float, ...] | None = (),
) -> tuple[np.ndarray, int]:
    """A column as float64 `[T]`, and how many of its values were bridged.

    Empty, non-numeric, NaN and infinite entries are bad. If `interpolate`, runs of at most `max_steps` of them are
    bridged linearly within their segment (held at its ends).

    Args:
      segment: number of the gap-free segment that a row belongs to, ascending, `[T]`.
      missing_codes: numbers that stand for a missing value; None: those of `units.CODES` are an error.

    Raises UserError for the first bad value that may not be bridged, and for a constant column.
    """
    text, name = table.columns[role], table.names[role]
    values = np.array(pd.to_numeric(text, errors="coerce"), np.float64)
    if missing_codes is None and codes_in(values).any():
        index = int(np.argmax(codes_in(values)))
        code = f"{values[index]:g}"
        raise UserError(
            f"{table.place(index)}: {code} in column '{name}' is a code for a missing value in many files, the first "
            f"of {codes_in(values).sum()}; set 'env.data.missing_codes=[{code}]', or [] if it is meant"
        )
    values[np.isin(values, missing_codes or ())] = np.nan
    bad = ~np.isfinite(values)
    if bad.any() and not interpolate:
        found = _describe_bad(table, role, values, int(np.argmax(bad)))
        raise UserError(f"{found}; set env.data.missing=interpolate to bridge up to {max_steps} steps")
    _check_runs(table, role, bad, segment, max_steps)
    for number in np.unique(segment[bad]):
        inside = segment == number
        holes, known = np.flatnonzero(inside & bad), np.flatnonzero(inside & ~bad)
        if known.size == 0:
            raise UserError(
                f"{table.place(int(holes[0]))}: column '{name}' has no value between two gaps; delete the row"
            )
        values[holes] = np.interp(holes, known, values[known])
    if values.min() == values.max():
        raise UserError(
            f"{table.file}: column '{name}' is {values[0]:g} throughout; set env.data.columns.{role}= to another column"
        )
    return values, int(bad.sum())


def _describe_bad(table: Table, role: str, values: np.ndarray, index: int) -> str:
    entry, name = table.columns[role].iloc[index], table.names[role]
    if pd.isna(entry):
        return f"{table.place(index)}: no value in column '{name}'"
    wrong = "is infinite" if np.isinf(values[index]) else "is no number"
    return f"{table.place(index)}: '{entry}' in column '{name}' {wrong}"


def _check_runs(table: Table, role: str, bad: np.ndarray, segment: np.ndarray, max_steps: int) -> None:
    """Raises UserError for a run of bad values, within one segment, that is longer than `max_steps`."""
    follows = np.concatenate([[False], bad[:-1] & (np.diff(segment) == 0)])
    starts = np.flatnonzero(bad & ~follows)
    lengths = np.bincount(np.cumsum(bad & ~follows)[bad], minlength=1)[1:]
    for start, length in zip(starts, lengths, strict=True):
        if length > max_steps:
            raise UserError(
                f"{table.place(int(start))}: {length} values in a row are missing in column '{table.names[role]}'; "
                f"raise env.data.missing_max_steps={max_steps}, or delete these rows and set env.data.gaps=segments"
            )
