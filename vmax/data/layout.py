"""How a file is laid out: what is set of it, filled up by the preset of its source (conf/file_format/NAME.yaml)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from vmax.conversion import InputFile, build, show
from vmax.errors import UserError
from vmax.files import config_dir

PLAIN = "plain"
"""The format whose values hold wherever another one says nothing."""
CHARACTERS = {
    "comma": ",",
    "semicolon": ";",
    "tab": "\t",
    "pipe": "|",
    "space": " ",
    "point": ".",
    "apostrophe": "'",
}
"""Characters by the words that settings use, since a shell takes some of them for its own."""


def folder() -> Path:
    """Where the presets stand."""
    return config_dir() / "file_format"


def shipped() -> Collection[str]:
    """Names of the presets that come with vmax."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


FormatFile = Annotated[str, "a format's name or file", InputFile(shipped)]


@dataclass(frozen=True)
class ReadConfig:
    """How the text of a file becomes rows with a time each; conf/file_format/plain.yaml explains each value.

    `where`: pairs of a column and the entry that the rows which are kept have in it.
    """

    separator: Literal["comma", "semicolon", "tab", "pipe"]
    decimal: Literal["point", "comma"]
    thousands: Literal["comma", "point", "space", "apostrophe"] | None
    encoding: str
    sheet: str | None
    header_rows: int
    header_starts: str | None
    names: tuple[str, ...] | None
    unit_rows: int
    footer: int | Literal["blank_line"]
    missing_text: tuple[str, ...]
    where: tuple[tuple[str, str], ...]
    sort: bool
    time_format: tuple[str, ...]
    dayfirst: bool | None
    timezone: str | None
    date_columns: tuple[str, ...] | None
    interval: str | None
    zone_marks: tuple[str, str] | None
    round_down: int | None
    period: str | None
    first_period: Literal[0, 1]
    period_counts: Literal["steps", "clock"]
    day_a_row: str | None
    begin: str | None
    step: int | None

    def __post_init__(self) -> None:
        for name in ("header_rows", "unit_rows", "footer"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 0:
                raise UserError(f"env.data.read.{name}={value}: must be at least 0")
        for name in ("step", "round_down"):
            value = getattr(self, name)
            if value is not None and (value < 1 or 1440 % value):
                raise UserError(f"env.data.read.{name}={value}: must be minutes that divide a day")
        if (self.begin is None) != (self.step is None):
            raise UserError(
                f"env.data.read.begin={show(self.begin)}: must be given with env.data.read.step, the minutes of a "
                "step, or neither (they are for files without a column of times)"
            )
        if CHARACTERS[self.separator] == CHARACTERS[self.decimal]:
            raise UserError(f"env.data.read.decimal={self.decimal}: must be another than env.data.read.separator")
        if self.thousands is not None and self.thousands == self.decimal:
            raise UserError(f"env.data.read.thousands={self.thousands}: must be another than env.data.read.decimal")
        if self.period is not None and self.day_a_row is not None:
            raise UserError(f"env.data.read.period={self.period}: must be null with env.data.read.day_a_row")


def filled(
    section: Mapping[str, Any], key: str, without: Collection[str] = (), plain_without: Collection[str] = ()
) -> dict[str, Any]:
    """What is set of a file, each null taken from its format, and what that leaves out from `plain`.

    Args:
      section: the mapping at `key`, with `format`; the groups of keys in it are filled key by key.
      without: keys of presets (`columns.price`) that do not count here; `plain_without`: further ones of `plain`.

    Raises UserError for a format that does not exist or sets what `section` has not.
    """
    name = section.get("format")
    if not isinstance(name, str):
        return dict(section)
    found = dict(section)
    if name != PLAIN:
        _fill(found, _left_out(_preset(name, key), without), name, key)
    _fill(found, _left_out(_preset(PLAIN, key), (*without, *plain_without)), PLAIN, key)
    read = found.get("read")
    if isinstance(read, Mapping) and isinstance(read.get("where"), Mapping):
        found["read"] = {**read, "where": _pairs(read["where"])}
    columns = found.get("columns")
    if isinstance(columns, Mapping) and isinstance(columns.get("exogenous"), Mapping):
        found["columns"] = {**columns, "exogenous": _pairs(columns["exogenous"])}
    return found


def _pairs(where: Mapping[Any, Any]) -> list[list[Any]]:
    """A group of keys as pairs of texts."""
    return [[str(a), b if isinstance(b, list | Mapping) else show(b)] for a, b in where.items()]


def read_of(name: str, key: str = "env.data") -> ReadConfig:
    """How the files of a format are laid out. Raises UserError."""
    read = {**_preset(PLAIN, key)["read"], **(_preset(name, key).get("read") or {})}
    return build(ReadConfig, {**read, "where": _pairs(read["where"])}, f"{key}.read")


def check_feature_name(name: str, key: str) -> None:
    """Raises UserError for a name, in the setting `key`, that no feature may have."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"{key}: '{name}' names a feature: must be small letters, digits and _")


def pattern(name: str) -> re.Pattern[str]:
    """What a column's name may be where * stands for any text."""
    return re.compile(".*".join(re.escape(part) for part in name.split("*")))


def preset_value(name: str, part: str, key: str) -> Any:
    """What a format says of one setting; None where it says nothing. Raises UserError for an unknown format."""
    return _preset(name, key).get(part)


_KEY = re.compile(
    r"env\.data\.((?:path|format|columns|read|\w+_unit|missing\w*|timezone|naive_time|stamps)(?:\.\w+)*)\b"
)
"""Settings of one file in the messages of `vmax.data`, which are written for a file at env.data."""


@contextmanager
def settings_of(base: str, path_key: str | None = None) -> Iterator[None]:
    """UserErrors raised inside name the settings of the file at `base`, such as env.data.more[0].

    `path_key`: the setting that is its path, where that is another one than `path` at `base`.
    """
    try:
        yield
    except UserError as error:
        text = str(error)
        if path_key is not None:
            text = text.replace("env.data.path", path_key)
        changed = _KEY.sub(r"\1", text)
        raise UserError(text if changed == text else f"{changed} (in {base})") from error


def _left_out(preset: Mapping[str, Any], without: Collection[str], above: str = "") -> dict[str, Any]:
    """A preset without these keys."""
    return {
        part: _left_out(value, without, f"{above}{part}.") if isinstance(value, Mapping) and part != "where" else value
        for part, value in preset.items()
        if f"{above}{part}" not in without
    }


def _fill(found: dict[str, Any], preset: Mapping[str, Any], name: str, key: str) -> None:
    """Sets in `found` what is null there as `preset` says. Raises UserError for keys that `found` has not."""
    for part, value in preset.items():
        if part not in found and (key.endswith(".columns") or part.endswith("_unit")):
            continue  # of another environment
        if part not in found:
            allowed = ", ".join(found)
            raise UserError(f"{key}.format={name}: sets '{part}', which {key} has not; allowed: {allowed}")
        if isinstance(value, Mapping) and isinstance(found[part], Mapping):
            inner = dict(found[part])
            _fill(inner, value, name, f"{key}.{part}")
            found[part] = inner
        elif found[part] is None:
            found[part] = value


def _preset(name: str, key: str) -> dict[str, Any]:
    path = folder() / f"{name}.yaml" if name in shipped() else Path(name)
    if not path.is_file():
        raise UserError(f"{key}.format={name}: no such file, and none of {', '.join(shipped())}")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: must be a group of keys, as conf/file_format/plain.yaml")
    return {str(part): value for part, value in found.items()}
