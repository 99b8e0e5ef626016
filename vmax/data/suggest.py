"""The overrides that read a file, found by reading it: a preset that fits, else what the error lines name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from vmax.data import layout, sniff
from vmax.data.reader import first_rows
from vmax.data.series import DataConfig, Series, load_series
from vmax.errors import UserError

ROUNDS = 12
"""So many settings are mended one after the other."""
_MEND = re.compile(
    r"'(env\.data\.[^']+)'|((?<!raise )env\.data\.[\w.]+=[^\s;,:)'\[]+|env\.data\.[\w.]+=\[[a-z_\d-]+\])"
)
_CHOICE = re.compile(r"(env\.data\.step_minutes=) to one of (\d+)")
ASSUMED = (
    "naive_time",
    "stamps",
    "step_minutes",
    "read.where",
    "read.dayfirst",
    "missing",
    "repeats_ok",
    "price_scale_ok",
    "gaps",
)
"""Settings that only who knows the file can confirm."""
_PRICE = re.compile(r"price|preis|prix|precio|prezzo|\brrp\b|\blmp\b|\bspp\b|tarif|eur|€|/mwh|cost", re.IGNORECASE)
Configure = Callable[[Sequence[str]], DataConfig]


@dataclass(frozen=True)
class Step:
    """One override and why it is there; `assumed`: whether that is a guess."""

    override: str
    reason: str
    assumed: bool


@dataclass(frozen=True)
class Suggestion:
    """The overrides that read a file, and what they gave; `error`: what is still wrong, then there is no series."""

    steps: tuple[Step, ...]
    series: Series | None
    error: str | None


def suggest(path: str, given: Sequence[str], configure: Configure) -> Suggestion:
    """Overrides that read the file, besides those that are given.

    Args:
      configure: the configuration of the data by overrides of the environment.
    """
    said = {override.partition("=")[0] for override in given}
    tried = [] if "env.data.format" in said else _presets(path)
    for name in tried:
        start = Step(f"env.data.format={name}", "its columns are those of this source", False)
        found = _mended(path, given, [start], configure)
        if found.series is not None:
            return found
    return _mended(path, given, _columns(path, given, configure), configure)


def _presets(path: str) -> list[str]:
    """Presets whose columns the file has, those first that name the most."""
    fitting = []
    for name in layout.shipped():
        columns = layout.preset_value(name, "columns", "env.data") or {}
        if name == layout.PLAIN or "price" not in columns:
            continue
        read = layout.read_of(name)
        try:
            head = first_rows(sniff.first_part(path), read, 10)
        except (UserError, OSError, EOFError, ValueError):
            continue
        wanted = [column for role, column in columns.items() if role in ("time", "price")]
        wanted += [column for column, _ in read.where]
        if read.names and head[list(read.names[:-1])].isna().to_numpy().any():
            continue  # other lines than those whose columns are named so
        present = [str(column) for column in head.columns] + (["date"] if read.date_columns else [])
        if all(any(layout.pattern(column).fullmatch(one) for one in present) for column in wanted):
            fitting.append((len("".join(map(str, wanted))), name))
    return [name for _, name in sorted(fitting, reverse=True)]


def _columns(path: str, given: Sequence[str], configure: Configure) -> list[Step]:
    """Names of the time and of the price column, from the header and the first rows."""
    said = {override.partition("=")[0] for override in given}
    steps: list[Step] = []
    try:
        read = configure(given).read
        lines = sniff.first_lines(sniff.first_part(path), read.encoding)
        separator = sniff.separator_of(lines)
        if separator not in (None, read.separator) and "env.data.read.separator" not in said:
            steps.append(Step(f"env.data.read.separator={separator}", "what stands between its columns", False))
            read = configure([*given, steps[0].override]).read
        frame = first_rows(sniff.first_part(path), read)
    except (UserError, OSError, EOFError, ValueError):
        return steps
    times = [name for name in frame.columns if _like_times(pd.Series(frame[name]))]
    if times and "env.data.columns.time" not in said:
        more = f" (also: {', '.join(times[1:])})" if len(times) > 1 else ""
        steps.append(Step(f"env.data.columns.time={_quoted(times[0])}", f"its entries are times{more}", len(times) > 1))
    prices = [name for name in frame.columns if name not in times and _PRICE.search(name)]
    prices = prices or [name for name in frame.columns if name not in times and _like_numbers(pd.Series(frame[name]))]
    if prices and "env.data.columns.price" not in said:
        more = f" (also: {', '.join(prices[1:4])})" if len(prices) > 1 else ""
        assumed = len(prices) > 1 or not _PRICE.search(prices[0])
        steps.append(Step(f"env.data.columns.price={_quoted(prices[0])}", f"its name or values{more}", assumed))
    return steps


def _mended(path: str, given: Sequence[str], steps: list[Step], configure: Configure) -> Suggestion:
    """Reads the file, and sets what the error line names, again and again."""
    steps, taken = list(steps), {override.partition("=")[0] for override in given}
    error = ""
    for _ in range(ROUNDS):
        overrides = [f"env.data.path={_quoted(path)}", *(step.override for step in steps), *given]
        try:
            return Suggestion(tuple(steps), load_series(configure(overrides)), None)
        except UserError as problem:
            error = str(problem)
        if re.search(r"env\.data\.columns\.(time|price)= to one of", error):
            more = _columns(path, [*given, *(step.override for step in steps)], configure)
            if not more:
                break
            steps += more
            continue
        found = [quoted or plain for quoted, plain in _MEND.findall(error.partition("; ")[2])]
        found += ["".join(choice) for choice in _CHOICE.findall(error)]
        mend = next((one for one in found if one.partition("=")[0] not in taken), None)
        if mend is None:
            break
        if mend == "env.data.read.dayfirst=true" and _month_first(
            path, [*given, *(s.override for s in steps)], configure
        ):
            mend = "env.data.read.dayfirst=false"
        key = mend.partition("=")[0]
        taken.add(key)
        guess = any(key.removeprefix("env.data.").startswith(one) for one in ASSUMED)
        steps = [step for step in steps if step.override.partition("=")[0] != key]
        steps.append(Step(mend, error.removeprefix(f"{path}: "), guess))
    return Suggestion(tuple(steps), None, error)


def _like_times(column: pd.Series) -> bool:
    texts = [text for entry in column.dropna().head(20) if (text := str(entry).strip())]
    return bool(texts) and all(
        re.search(r"\d\d", text) and (sniff.of_time(text) is not None or sniff.like_iso(text)) for text in texts
    )


def _month_first(path: str, overrides: Sequence[str], configure: Configure) -> bool:
    """Whether stamps such as 01/31/2024 23:00 follow each other more evenly if the month stands first."""
    config = configure(overrides)
    column = first_rows(sniff.first_part(path), config.read, 10_000)[config.columns.time].dropna().astype(str)
    jumps = []
    for dayfirst in (True, False):
        found = pd.to_datetime(column, dayfirst=dayfirst, format="mixed", errors="coerce").diff().dropna()
        jumps.append(int((found != found.mode().iloc[0]).sum()) if len(found) else len(column))
    return jumps[1] < jumps[0]


def _like_numbers(column: pd.Series) -> bool:
    texts = [str(entry).strip() for entry in column.dropna().head(20)]
    return bool(texts) and all(re.fullmatch(r"[-+\u2212]?\d[\d.,\s]*", text) for text in texts)


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[\w./-]+", text) else '"' + text.replace('"', '\\"') + '"'
