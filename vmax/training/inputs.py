"""The files that a run reads: their full paths, what they held when it was started, and what has changed since.

RUN/inputs/manifest.json has size and sha256 of each file by its setting, and RUN/inputs/SETTING a copy of those that
are small. What is done later with the run reads what it was started with: the file itself while it is the same, else
the copy, and one line says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from vmax import conversion
from vmax.config import REGISTRIES, RunConfig
from vmax.conversion import InputFile
from vmax.errors import UserError
from vmax.files import atomic, write_json
from vmax.run_folder import RunFolder

MOST_COPIED_BYTES = 16 * 2**20
"""Of one setting; of more there is no copy."""
Files = Literal["recorded", "current"]
Contents = dict[str, dict[str, Any]]
"""Size and sha256 of files by name, which begins with that of their folder where a setting names one."""


def with_files(mapping: Mapping[str, Any], change: Callable[[str, str, InputFile], str]) -> dict[str, Any]:
    """A run's configuration with the path of each file in it exchanged (`conversion.with_files`). Raises UserError for
    an unknown component."""
    groups = dict(mapping)
    for group, registry in REGISTRIES.items():
        section = mapping.get(group)
        if isinstance(section, Mapping) and "name" in section:
            component = import_module(registry).config_class(section["name"])
            groups[group] = conversion.with_files(component, section, change, group)
    return conversion.with_files(RunConfig, groups, change)


def placed(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the full path of each file: what is saved holds from any folder."""
    return with_files(mapping, lambda key, value, mark: os.path.abspath(value))


def placed_overrides(mapping: Mapping[str, Any]) -> list[str]:
    """The same as overrides, one for each setting that names a file."""
    found: dict[str, Any] = {}

    def note(key: str, value: str, mark: InputFile) -> str:
        parts = key.split(".")
        number = next((place for place, part in enumerate(parts) if part.isdigit()), len(parts))
        found[".".join(parts[:number])] = None  # of a list the whole
        return os.path.abspath(value)

    whole = with_files(mapping, note)
    for key in found:
        value: Any = whole
        for part in key.split("."):
            value = value[part]
        found[key] = conversion.as_override(value)
    return [f"{key}={value}" for key, value in found.items()]


def keep(folder: RunFolder, mapping: Mapping[str, Any]) -> None:
    """Writes what the files of a new run hold into its folder; a file that is not there is left to whoever reads it.

    Raises DiskFull, and OSError where a file cannot be read.
    """
    record: dict[str, Any] = {}

    def note(key: str, value: str, mark: InputFile) -> str:
        found = contents(Path(value), mark) if mark.recorded else {}
        if found:
            small = sum(file["bytes"] for file in found.values()) <= MOST_COPIED_BYTES
            record[key] = {"path": value, "files": found, "copied": small}
        return value

    with_files(mapping, note)
    if not record:
        return
    write_json(folder.input_record, record)  # first, so that what is copied can be taken back
    for key, one in record.items():
        for name in one["files"] if one["copied"] else ():
            with atomic(folder.inputs / key / name) as temporary:
                shutil.copyfile(Path(one["path"]).parent / name, temporary)


def contents(path: Path, mark: InputFile) -> Contents:
    """What the file, or those of the folder, hold; empty where there is nothing."""
    files = sorted(path.glob(mark.within)) if path.is_dir() else [path]
    return {file.relative_to(path.parent).as_posix(): _content(file) for file in files if file.is_file()}


def _content(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


@dataclass(frozen=True)
class Reading:
    """A run's configuration as its files are to be read, and one line for each that is not what it was."""

    mapping: dict[str, Any]
    changes: Sequence[str]

    def say(self) -> None:
        """Prints the lines."""
        for line in self.changes:
            print(f"warning: {line}", flush=True)


def reading(
    folder: RunFolder, mapping: Mapping[str, Any] | None = None, files: Files = "recorded", remedy: str = ""
) -> Reading:
    """How the files of a run are read later: as they were when it was started, or with `files=current` as they are.

    `mapping`: the configuration, by default the run's own. A run without a record of its files reads them as they are.
    Raises UserError where a file is another one and there is no whole copy; `remedy`: what can be done besides putting
    it back.
    """
    record = folder.input_files()
    changes: list[str] = []

    def chosen(key: str, value: str, mark: InputFile) -> str:
        if key not in record:
            return value
        then, now = record[key]["files"], contents(Path(value), mark)
        if then == now:
            return value
        copy = folder.inputs / key / Path(record[key]["path"]).name
        told = f"{key}={value}: {_difference(then, now)}"
        if files == "current":
            changes.append(f"{told}; it is read as it is now (files=current)")
            return value
        if contents(copy, mark) != then:
            lost = "has no whole copy" if record[key]["copied"] else "was too large for a copy"
            raise UserError(f"{told}, and {lost} in {folder.path}; put it back{remedy}")
        changes.append(f"{told}; the run's copy {copy} is read")
        return str(copy.absolute())

    return Reading(with_files(folder.composed() if mapping is None else mapping, chosen), changes)


def _difference(then: Contents, now: Contents) -> str:
    """What is other now, in words: the first file that is."""
    if not now:
        return f"is gone since the run was started (sha256 {_short(next(iter(then.values())))} then)"
    names = [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]
    first, more = names[0], f" and {len(names) - 1} more" if len(names) > 1 else ""
    where = f"{first}{more} " if len(then) > 1 or len(now) > 1 else ""
    digests = f"sha256 {_short(then.get(first))} then, {_short(now.get(first))} now"
    return f"{where}changed since the run was started ({digests})"


def _short(content: Mapping[str, Any] | None) -> str:
    return content["sha256"][:8] if content else "none"
