"""Rows of raw observations from a CSV file, each value checked against what the policy's card allows."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vmax.errors import UserError
from vmax.export.card import bounds

EPISODE = "episode"
SLACK = 1e-6
"""What a value may lie outside of a bound, in shares of it: numbers are rounded to float32."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Raw observations `[N, D]`, where the rows stand in the file, and the labels of their episodes or None."""

    raw: np.ndarray
    numbers: list[int]
    episodes: list[str] | None


def read_rows(path: str | Path, columns: Sequence[Mapping[str, Any]]) -> Rows:
    """Reads a CSV file whose columns are those of a card, in any order, and perhaps `episode`.

    Raises: UserError that names the file, the row as an editor counts it (the header is row 1), the column, what was
    found and what is allowed.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            table = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "no CSV text in UTF-8"
        raise UserError(f"csv={path}: cannot be read ({reason})") from error
    if not table:
        raise UserError(f"{path}: is empty; its first row must name the columns")
    header = [name.strip() for name in table[0][1]]
    _check_header(path, header, [column["name"] for column in columns])
    if len(table) == 1:
        raise UserError(f"{path}: has no rows below the header")
    places = [(header.index(column["name"]), column) for column in columns]
    raw = np.empty((len(table) - 1, len(places)))
    for i, (number, row) in enumerate(table[1:]):
        if len(row) != len(header):
            raise UserError(f"{path}: row {number} has {len(row)} entries; the header has {len(header)}")
        raw[i] = [_value(f"{path}: row {number}, column '{c['name']}'", row[place], c) for place, c in places]
    labels = [row[header.index(EPISODE)] for _, row in table[1:]] if EPISODE in header else None
    return Rows(raw, [number for number, _ in table[1:]], labels)


def unusual(rows: Rows, columns: Sequence[Mapping[str, Any]]) -> str | None:
    """What lies far outside of what the policy met in training, in one line; None where nothing does.

    Far: by more than the width of the range seen. Such values are allowed, but a slip of the unit looks the same.
    """
    low, high = np.array([column["seen"] for column in columns]).T
    far = (rows.raw < 2 * low - high - SLACK) | (rows.raw > 2 * high - low + SLACK)
    if not far.any():
        return None
    i, j = np.argwhere(far)[0]
    place = f"row {rows.numbers[i]}, column '{columns[j]['name']}'"
    return (
        f"{int(far.any(axis=1).sum())} of {len(far)} rows lie far outside of what the policy met in training; "
        f"first {place}: {rows.raw[i, j]:g}, met: {low[j]:.6g} to {high[j]:.6g}"
    )


def _check_header(path: str | Path, header: list[str], names: list[str]) -> None:
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: column '{twice}' stands there twice")
    missing = [name for name in names if name not in header]
    unknown = [name for name in header if name not in (*names, EPISODE)]
    if missing:
        raise UserError(
            f"{path}: {_listed('column', missing)} missing" + (f"; unknown: {unknown[0]}" if unknown else "")
        )
    if unknown:
        raise UserError(f"{path}: {_listed('column', unknown)} unknown; allowed: {', '.join(names)}, {EPISODE}")


def _listed(noun: str, names: list[str], most: int = 8) -> str:
    """`column 'a' is`, `columns 'a', 'b' and 12 more are`."""
    shown = ", ".join(f"'{name}'" for name in names[:most])
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{noun}{'s' if len(names) > 1 else ''} {shown}{more} {'are' if len(names) > 1 else 'is'}"


def _value(place: str, entry: str, column: Mapping[str, Any]) -> float:
    try:
        value = float(entry)
    except ValueError:
        raise UserError(f"{place}: '{entry}' is no number") from None
    if not math.isfinite(value):
        raise UserError(f"{place}: {entry} is not finite")
    low, high = bounds(column)
    if not low - SLACK * max(1.0, abs(low)) <= value <= high + SLACK * max(1.0, abs(high)):
        unit = "" if column["unit"] == "1" else f" {column['unit']}"
        raise UserError(f"{place}: {value:g} is out of range; allowed: {low:.6g} to {high:.6g}{unit}")
    return value
