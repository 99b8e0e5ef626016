"""A file as columns of text, and those as numbers; every complaint names file, column and row."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from vmax.data import sniff
from vmax.data.layout import CHARACTERS, ReadConfig, pattern
from vmax.data.units import codes_in
from vmax.errors import UserError

TEXT = re.compile(r"\.(csv|txt|tsv|\d+)(\.gz)?$")
"""Ends of the names of text files; a number is the version of a file in some downloads."""
KINDS = ".csv, .txt, .tsv (each also with .gz), .parquet or .xlsx"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, eq=False)
class Table:
    """The mapped columns of a file, or of the files of a folder, as read.

    `row` [T] is what an editor shows: the line of a text file (that of the names counts), the count from 1 in Parquet.
    `part` [T]: index into `files`. `names` maps a role (`time`, `price`, …) to the column's name in the file, `columns`
    to its entries [T]. `others`: the columns that are not mapped. `read`: how the text is laid out.
    """

    file: str
    files: tuple[str, ...]
    part: np.ndarray
    row: np.ndarray
    names: Mapping[str, str]
    columns: Mapping[str, pd.Series]
    others: pd.DataFrame
    read: ReadConfig

    def place(self, index: int) -> str:
        """Where entry `index` stands: file, row and the time stamp as written there."""
        where = f"{self.files[self.part[index]]}: row {self.row[index]}"
        return f"{where} ({self.columns['time'].iloc[index]})" if "time" in self.columns else where

    def keep(self, mask: np.ndarray) -> Table:
        """The rows where `mask` [T] is true."""
        return self if mask.all() else self.take(np.flatnonzero(mask))

    def take(self, index: np.ndarray) -> Table:
        """The rows `index` [N], in that order."""
        columns = {role: column.iloc[index].reset_index(drop=True) for role, column in self.columns.items()}
        others = self.others.iloc[index].reset_index(drop=True)
        return replace(self, part=self.part[index], row=self.row[index], columns=columns, others=others)


def read_table(path: str, names: Mapping[str, str], read: ReadConfig) -> Table:
    """Read the columns `names` (role -> column, in which * stands for any text) of a file, or of each file of a folder.

    Rows that are entirely empty are left out, and those that `read.where` does not name. Raises UserError for a file
    that is missing, unreadable, empty or of another kind, and for a missing column.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: no such file (looked in {Path.cwd()}); set env.data.path=FILE")
    parts = [str(part) for part in sorted(Path(path).iterdir()) if part.is_file()] if Path(path).is_dir() else [path]
    tables = [_read_part(part, names, read) for part in parts if not Path(part).name.startswith(".")]
    if not tables:
        raise UserError(f"{path}: a folder without a file")
    table = tables[0] if len(tables) == 1 else _joined(path, tables)
    if len(table.row) < 2:
        raise UserError(f"{path}: holds {len(table.row)} rows of data; at least 2 are needed")
    return table


def column_names(path: str, read: ReadConfig) -> list[str]:
    """The names of a file's columns. Raises what reading it raises."""
    return [str(name) for name in _frame(path, read)[0].columns]


def first_rows(path: str, read: ReadConfig, count: int = 50) -> pd.DataFrame:
    """The first rows of a file, as they stand. Raises what reading it raises."""
    return _frame(path, read)[0].head(count)


def _joined(path: str, tables: list[Table]) -> Table:
    first = tables[0]
    return replace(
        first,
        file=path,
        files=tuple(table.file for table in tables),
        part=np.concatenate([np.full(len(table.row), number) for number, table in enumerate(tables)]),
        row=np.concatenate([table.row for table in tables]),
        columns={
            role: pd.concat([table.columns[role] for table in tables], ignore_index=True) for role in first.columns
        },
        others=pd.concat([table.others for table in tables], ignore_index=True),
    )


def _read_part(path: str, names: Mapping[str, str], read: ReadConfig) -> Table:
    kind = Path(path).name.lower()
    if not kind.endswith((".parquet", ".xlsx")) and not TEXT.search(kind):
        raise UserError(f"{path}: unknown kind of file; env.data.path must end in {KINDS}")
    try:
        frame, first_row = _frame(path, read)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pandas' and pyarrow's errors are ValueErrors
        hint = sniff.of_unreadable(path, read, error)
        raise UserError(f"{path}: {hint or 'unreadable: ' + ' '.join(str(error).split())}") from error
    frame.columns = [str(name) for name in frame.columns]
    rows = np.arange(len(frame)) + first_row
    kept = np.arange(len(frame)) >= read.unit_rows
    if isinstance(read.footer, int):
        kept &= np.arange(len(frame)) < len(frame) - read.footer
    else:
        blank = frame.isna().all(axis=1).to_numpy()
        kept &= np.arange(len(frame)) < (int(np.argmax(blank)) if blank.any() else len(frame))
    for column, entry in read.where:
        kept &= _has_entry(path, frame, column, entry, kept)
    frame, rows = frame.loc[kept].reset_index(drop=True), rows[kept]
    if read.date_columns is not None:
        parts = [_column(path, "time", name, frame, read) for name in read.date_columns]
        frame["date"] = frame[parts[0]].str.cat([frame[part] for part in parts[1:]], sep="-")
    if read.day_a_row is not None:
        frame, rows, names = _one_row_a_step(path, frame, rows, names, read)
    found = {role: _column(path, role, name, frame, read) for role, name in names.items()}
    columns = {role: pd.Series(frame[name]) for role, name in found.items()}
    others = frame.drop(columns=list(found.values()))
    table = Table(path, (path,), np.zeros(len(frame), int), rows, found, columns, others, read)
    return table.keep(~np.logical_and.reduce([column.isna().to_numpy() for column in columns.values()]))


def _frame(path: str, read: ReadConfig) -> tuple[pd.DataFrame, int]:
    """A file as it stands, and the number of its first row of data."""
    if path.lower().endswith(".parquet"):
        return _read_parquet(path), 1
    if path.lower().endswith(".xlsx"):
        return _read_excel(path, read), read.header_rows + 2
    return _read_text(path, read)


def _read_text(path: str, read: ReadConfig) -> tuple[pd.DataFrame, int]:
    """The frame, and the line of its first row of data."""
    skipped = read.header_rows
    if read.header_starts is not None:
        skipped += sniff.line_that_starts(path, read)
    # As text, blank lines included: so a bad entry can be quoted as it stands, with the line where it stands.
    # All columns: pandas overlooks a row with too many entries where only some columns are asked for.
    frame = pd.read_csv(
        path,
        sep=CHARACTERS[read.separator],
        header=None if read.names else 0,
        names=list(read.names) if read.names else None,
        skiprows=skipped,
        dtype=str,
        keep_default_na=False,
        na_values=list(read.missing_text),
        skip_blank_lines=False,
        skipinitialspace=True,
        encoding=read.encoding,
    )
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took surplus entries for row names
        if not _surplus_is_empty(frame, read):
            raise ValueError("the rows have more entries than the header")
        frame = frame.reset_index().set_axis([*frame.columns, None], axis=1).iloc[:, :-1]
    return frame, skipped + (1 if read.names else 2)


def _surplus_is_empty(frame: pd.DataFrame, read: ReadConfig) -> bool:
    """Whether rows merely end in one separator more than the header, so that all that is too much is empty."""
    return frame.index.nlevels == 1 and bool(frame.iloc[:, -1].isna().all())


def _read_parquet(path: str) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


def _read_excel(path: str, read: ReadConfig) -> pd.DataFrame:
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{path}: Excel files are read by openpyxl: pip install 'vmax[excel]', or save the sheet as CSV"
        ) from error
    return pd.read_excel(
        path,
        sheet_name=read.sheet if read.sheet is not None else 0,
        skiprows=read.header_rows,
        header=None if read.names else 0,
        names=list(read.names) if read.names else None,
        dtype=str,
        keep_default_na=False,
        na_values=list(read.missing_text),
    )


def _has_entry(path: str, frame: pd.DataFrame, column: str, entry: str, kept: np.ndarray) -> np.ndarray:
    """The rows whose entry in a column is this one, as text or as a number, bool `[T]`. Raises UserError for none."""
    if column not in frame.columns:
        listed = ", ".join(map(str, frame.columns))
        raise UserError(f"{path}: no column '{column}' for env.data.read.where; there are: {listed}")
    text = frame[column].astype("string").str.strip()
    same = (text == entry).fillna(False).to_numpy(bool)
    number = numeric(pd.Series([entry]))[0]
    if np.isfinite(number):
        same |= numeric(text) == number
    if not (same & kept).any():
        raise UserError(
            f"{path}: no row has '{entry}' in column '{column}' (env.data.read.where); found: {_examples(text[kept])}"
        )
    return same


def _examples(text: pd.Series, most: int = 8) -> str:
    found = sorted(str(entry) for entry in text.dropna().unique())
    return ", ".join(found[:most]) + (", …" if len(found) > most else "")


def _one_row_a_step(
    path: str, frame: pd.DataFrame, rows: np.ndarray, names: Mapping[str, str], read: ReadConfig
) -> tuple[pd.DataFrame, np.ndarray, dict[str, str]]:
    """A table of days as one of steps: their number in the column `period`, their value under the name of the role."""
    values = [role for role in names if role != "time"]
    if len(values) != 1:
        raise UserError(f"{path}: env.data.read.day_a_row is for one column of values; {', '.join(values)} are mapped")
    day = _column(path, "time", names["time"], frame, read)
    of_step = pattern(str(read.day_a_row))
    steps = [name for name in frame.columns if name != day and of_step.fullmatch(name)]
    if len(steps) < 2:
        raise UserError(
            f"{path}: env.data.read.day_a_row={read.day_a_row}: {len(steps)} columns have such names; there are: "
            f"{', '.join(frame.columns)}"
        )
    long = pd.DataFrame(
        {
            "time": frame[day].repeat(len(steps)).to_numpy(),
            "period": np.tile(np.arange(len(steps)) + read.first_period, len(frame)).astype(str),
            values[0]: frame[steps].to_numpy().ravel(),
        }
    )
    # an hour that clocks skip, or show twice, has a column that is empty on all other days
    given = ~long[values[0]].isna().to_numpy()
    long, at = long.loc[given].reset_index(drop=True), rows.repeat(len(steps))[given]
    return long, at, {"time": "time", "period": "period", values[0]: values[0]}


def _column(path: str, role: str, name: str, frame: pd.DataFrame, read: ReadConfig) -> str:
    """The name of the one column that is meant. Raises UserError where there is none, or several."""
    present = list(frame.columns)
    if name in present:
        return name
    found = [column for column in present if pattern(name).fullmatch(column)]
    key = setting_of(role)
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{path}: several columns are named '{name}'; set {key}= to one of: {', '.join(found)}")
    hint = sniff.of_header(path, present, role, name, read)
    raise UserError(f"{path}: no column '{name}'; {hint or f'set {key}= to one of: ' + ', '.join(present)}")


def setting_of(role: str) -> str:
    """The setting that names the column of a role."""
    return "env.data.read.period" if role == "period" else f"env.data.columns.{role.partition('[')[0]}"


def numeric(text: pd.Series) -> np.ndarray:
    """Text as numbers, float64 `[T]`: NaN where it is none."""
    return np.array(pd.to_numeric(text, errors="coerce"), np.float64)


def numbers_of(table: Table, role: str) -> np.ndarray:
    """A column as float64 `[T]`: NaN where there is no entry. Raises UserError for the first text that is no number."""
    text, name, read = table.columns[role], table.names[role], table.read
    if pd.api.types.is_numeric_dtype(text.dtype):
        return np.array(text, np.float64)
    plain = text.astype("string").str.strip().str.replace(MINUS, "-", regex=False)
    if read.thousands is not None:
        between = r"[ \u00a0\u202f]" if read.thousands == "space" else re.escape(CHARACTERS[read.thousands])
        end = re.escape(CHARACTERS[read.decimal])
        grouped = plain.str.fullmatch(rf"[+-]?\d{{1,3}}(?:{between}\d{{3}})+(?:{end}\d*)?").fillna(False)
        plain = plain.where(~grouped, plain.str.replace(between, "", regex=True))
    if read.decimal == "comma":
        pointed = plain.str.contains(".", regex=False).fillna(False)
        plain = plain.str.replace(",", ".", regex=False).where(~pointed, "?")
    values = numeric(plain)
    words = np.isnan(values) & ~plain.isna().to_numpy() & ~(plain.str.lower() == "nan").fillna(False).to_numpy(bool)
    if words.any():
        index = int(np.argmax(words))
        entry = str(text.iloc[index])
        hint = sniff.of_number(entry, read)
        raise UserError(f"{table.place(index)}: '{entry}' in column '{name}' is no number; {hint}")
    return values


def read_numbers(
    table: Table,
    role: str,
    segment: np.ndarray,
    missing: str,
    max_steps: int,
    missing_codes: tuple[float, ...] | None = (),
    may_be_constant: bool = False,
) -> tuple[np.ndarray, int]:
    """A column as float64 `[T]`, and how many of its values were bridged.

    Empty, NaN and infinite entries are bad. Runs of at most `max_steps` of them are bridged within their segment:
    linearly with `missing="interpolate"`, by the value before them with `"hold"`.

    Args:
      segment: number of the gap-free segment that a row belongs to, ascending, `[T]`.
      missing_codes: numbers that stand for a missing value; None: those of `units.CODES` are an error.

    Raises UserError for text that is no number, for the first bad value that may not be bridged, and for a constant
    column unless it may be one.
    """
    name, values = table.names[role], numbers_of(table, role)
    if missing_codes is None and codes_in(values).any():
        index = int(np.argmax(codes_in(values)))
        code = f"{values[index]:g}"
        raise UserError(
            f"{table.place(index)}: {code} in column '{name}' is a code for a missing value in many files, the first "
            f"of {codes_in(values).sum()}; set 'env.data.missing_codes=[{code}]', or [] if it is meant"
        )
    values[np.isin(values, missing_codes or ())] = np.nan
    bad = ~np.isfinite(values)
    _check_way(table, role, values, bad, missing, max_steps)
    _check_runs(table, role, bad, segment, max_steps)
    for number in np.unique(segment[bad]):
        inside = segment == number
        holes, known = np.flatnonzero(inside & bad), np.flatnonzero(inside & ~bad)
        if known.size == 0 or (missing == "hold" and holes[0] < known[0]):
            raise UserError(
                f"{table.place(int(holes[0]))}: column '{name}' has no value "
                f"{'between two gaps' if known.size == 0 else 'yet, so none can be held'}; delete the row"
            )
        if missing == "hold":
            values[holes] = values[known[np.searchsorted(known, holes) - 1]]
        else:
            values[holes] = np.interp(holes, known, values[known])
    if values.min() == values.max() and not may_be_constant:
        raise UserError(
            f"{table.file}: column '{name}' is {values[0]:g} throughout; set {setting_of(role)}= to another column"
        )
    return values, int(bad.sum())


def _check_way(table: Table, role: str, values: np.ndarray, bad: np.ndarray, missing: str, max_steps: int) -> None:
    """Raises UserError for missing values where none may be, and where one value stands for several rows."""
    if not bad.any() or missing == "hold":
        return
    sparse = sniff.one_for_several(bad)
    if missing == "error":
        found = _describe_bad(table, role, values, int(np.argmax(bad)))
        ways = f"env.data.missing=interpolate to bridge up to {max_steps} steps"
        if sparse:
            ways = f"env.data.missing=hold: one value stands for {sparse} rows throughout"
        raise UserError(f"{found}; set {ways}")
    if sparse:
        raise UserError(
            f"{table.place(int(np.argmax(bad)))}: column '{table.names[role]}' has one value for {sparse} rows "
            "throughout, and interpolation would make ramps of them; set env.data.missing=hold"
        )


def _describe_bad(table: Table, role: str, values: np.ndarray, index: int) -> str:
    entry, name = table.columns[role].iloc[index], table.names[role]
    if np.isinf(values[index]):
        return f"{table.place(index)}: '{entry}' in column '{name}' is infinite"
    return f"{table.place(index)}: no value in column '{name}'"


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
