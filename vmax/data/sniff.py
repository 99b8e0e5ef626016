"""What a file looks like where it cannot be read as it was said to be laid out: the setting that mends it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np

from vmax.data.layout import CHARACTERS, ReadConfig
from vmax.errors import UserError

FIRST_LINES = 200
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks of encodings other than UTF-8."""
_STAMP = r"\s+\d{1,2}:\d{2}(?P<seconds>:\d{2})?"
_DAY = re.compile(rf"(?P<a>\d{{1,2}})(?P<mark>[./-])(?P<b>\d{{1,2}})[./-]\d{{4}}(?:{_STAMP})?$")
_YEAR_FIRST = re.compile(rf"\d{{4}}(?P<mark>[./])\d{{1,2}}[./]\d{{1,2}}(?:{_STAMP})?$")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_MARKED = re.compile(r"\s*\(?(?P<mark>[A-Z]{3,4})\)?$")
BETWEEN = (" - ", " – ", "/")
"""What stands between the begin and the end of an interval."""


def first_lines(path: str, encoding: str, count: int = FIRST_LINES) -> list[str]:
    """The first lines of a text file, without their ends; none where it is no text of this encoding."""
    opened = gzip.open if path.lower().endswith(".gz") else open
    try:
        with opened(path, "rt", encoding=encoding, newline=None) as file:
            return [line.rstrip("\n") for line, _ in zip(file, range(count), strict=False)]
    except (OSError, EOFError, ValueError, LookupError):
        return []


def first_part(path: str) -> str:
    """The file itself, or the first of a folder of files."""
    if not Path(path).is_dir():
        return path
    parts = sorted(str(part) for part in Path(path).iterdir() if part.is_file() and not part.name.startswith("."))
    return parts[0] if parts else path


def like_iso(text: str) -> bool:
    """Whether it begins as an ISO 8601 time does."""
    return _ISO.match(text.strip()) is not None


def line_that_starts(path: str, read: ReadConfig) -> int:
    """How many lines stand before the one that begins with `read.header_starts`. Raises UserError where none does."""
    start = str(read.header_starts)
    for number, line in enumerate(first_lines(path, read.encoding)):
        if line.lstrip().startswith(start):
            return number
    raise UserError(f"{path}: no line begins with '{start}' (env.data.read.header_starts)")


def of_unreadable(path: str, read: ReadConfig, error: Exception) -> str | None:
    """What to set where the text could not be taken apart at all; None where nothing is known."""
    if not Path(path).is_file() or path.lower().endswith((".parquet", ".xlsx")):
        return None
    if isinstance(error, UnicodeDecodeError | UnicodeError):
        opened = gzip.open if path.lower().endswith(".gz") else open
        try:
            with opened(path, "rb") as file:
                head = bytes(file.read(2))
        except (OSError, EOFError):
            return None
        other = MARKS.get(head, "latin-1")
        return f"not written in {read.encoding}; set env.data.read.encoding={other} or another"
    lines = first_lines(path, read.encoding)
    separator = separator_of(lines)
    if separator is not None and separator != read.separator:
        return _set_separator(separator, lines)
    before = _header_line(lines, CHARACTERS[read.separator])
    if before:
        return f"{_lines(before)} before the names of the columns; set env.data.read.header_rows={before}"
    if "more entries than the header" in str(error):
        return "the rows have more entries than the header (a decimal comma? then the columns need another separator)"
    return None


def of_header(path: str, present: list[str], role: str, name: str, read: ReadConfig) -> str | None:
    """What to set where a column is not among the names that were found; None where nothing is known."""
    if path.lower().endswith((".parquet", ".xlsx")):
        return None
    lines = first_lines(path, read.encoding)
    if len(present) == 1:
        separator = separator_of(lines)
        if separator is not None and separator != read.separator:
            return _set_separator(separator, lines)
    parts = [[part.strip().strip('"') for part in line.split(CHARACTERS[read.separator])] for line in lines]
    entries = [entry for line in parts[1:3] for entry in line]
    if role == "time" and not any(of_time(entry) or _ISO.match(entry) for entry in entries):
        return (
            "if it has no times set env.data.read.begin= to the first and env.data.read.step= to the minutes of a step,"
            f" else env.data.columns.time= to one of: {', '.join(present)}"
        )
    before = next((number for number, line in enumerate(parts) if number and name in line), 0)
    if before:
        return f"{_lines(before)} before the names of the columns; set env.data.read.header_rows={before}"
    return None


def of_number(entry: str, read: ReadConfig) -> str:
    """What to set where text stands in a column of numbers."""
    text = entry.strip()
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", text) and read.decimal == "point":
        return "if it has a comma between thousands set env.data.read.thousands=comma"
    if re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?", text) and read.decimal == "comma":
        return "if it has a point between thousands set env.data.read.thousands=point"
    if re.fullmatch(r"[+-]?\d{1,3}([ \u00a0\u202f]\d{3})+([.,]\d*)?", text):
        return "if it has a space between thousands set env.data.read.thousands=space"
    if re.fullmatch(r"[+-]?\d*,\d+", text):
        return "if it has a decimal comma set env.data.read.decimal=comma"
    if re.fullmatch(r"[+-]?\d*\.\d+", text):
        return "if it has a decimal point set env.data.read.decimal=point"
    return f"if it stands for a missing value set 'env.data.read.missing_text=[\"{text}\"]', else mend it"


def of_time(entry: str) -> str | None:
    """What to set where an entry of the time column could not be read; None where nothing is known."""
    text = entry.strip()
    if re.fullmatch(r"\d{9,10}(\.\d+)?", text):
        return "it looks like seconds since 1970; set env.data.read.time_format=[epoch_s]"
    if re.fullmatch(r"\d{12,13}", text):
        return "it looks like milliseconds since 1970; set env.data.read.time_format=[epoch_ms]"
    for between in BETWEEN:
        if between in text and re.search(r"\d:\d\d", text.split(between)[0]):
            return f"it is a begin and an end; set 'env.data.read.interval=\"{between}\"'"
    if re.search(r"\d\D*$", text) is None or (_MARKED.search(text) and _MARKED.sub("", text) != text):
        return "a mark of the zone stands behind it; set env.data.read.zone_marks=[CEST,CET] or what they are"
    if (found := _YEAR_FIRST.match(text)) is not None:
        return f"set 'env.data.read.time_format=[\"{_format('%Y{0}%m{0}%d', found)}\"]'"
    if (found := _DAY.match(text)) is not None:
        if found["mark"] == ".":
            return f"set 'env.data.read.time_format=[\"{_format('%d{0}%m{0}%Y', found)}\"]'"
        return "set env.data.read.dayfirst=true if the day stands before the month, else false"
    return None


def _format(day: str, found: re.Match[str]) -> str:
    clock = "" if " " not in found[0] else (" %H:%M:%S" if found["seconds"] else " %H:%M")
    return day.format(found["mark"]) + clock


def one_for_several(bad: np.ndarray) -> int | None:
    """k where every k-th row alone has a value throughout, as hourly values on quarter hours have; else None."""
    known = np.flatnonzero(~bad)
    for several in (2, 3, 4, 6, 12):
        regular = len(known) > 1 and (known % several == known[0] % several).all()
        if regular and len(known) * several >= 0.9 * (len(bad) - known[0]):
            return several
    return None


def separator_of(lines: list[str]) -> str | None:
    """The character that stands equally often, and most, in the lines of data."""
    counts = {}
    for word in ("comma", "semicolon", "tab", "pipe"):
        found = [line.count(CHARACTERS[word]) for line in lines[:FIRST_LINES] if line.strip()][-50:]
        if found and min(found) == max(found) > 0:
            counts[word] = found[0]
    if "semicolon" in counts:  # a comma beside it is that of decimals
        return "semicolon"
    return max(counts, key=lambda word: counts[word], default=None)


def _set_separator(separator: str, lines: list[str]) -> str:
    cells = [cell.strip() for line in lines[1:50] for cell in line.split(CHARACTERS[separator])]
    comma = separator != "comma" and any(re.fullmatch(r"-?\d+,\d+", cell) for cell in cells)
    more = " env.data.read.decimal=comma" if comma else ""
    return f"its columns are set apart by a {separator}; set env.data.read.separator={separator}{more}"


def _header_line(lines: list[str], character: str) -> int:
    """How many lines stand before the names of the columns: those before the first with as many entries as the data,
    if it holds names; else 0."""
    counts = [line.count(character) for line in lines]
    if not counts or max(counts) == 0:
        return 0
    first = counts.index(max(set(counts), key=counts.count))
    cells = [cell.strip().strip('"') for cell in lines[first].split(character)]
    return 0 if any(re.match(r"[-+]?\d", cell) for cell in cells) else first


def _lines(count: int) -> str:
    return f"{count} line{'s stand' if count > 1 else ' stands'}"
