"""`report`: one HTML page for a run, or for several side by side. Everything is inside it, nothing is requested.

    python scripts/report.py runs=outputs/2026-01-31/12-00-00-000000
    python scripts/report.py runs=outputs/A,outputs/B
    python scripts/report.py 'runs=outputs/2026-01-31/*' folder=report_of_the_day

A folder of a multirun or of a comparison stands for its runs. Runs that did not finish are named and left out of a
comparison. Runs that differ in seed and environment alone are one group.

Keys (with their values by default):
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from vmax.commands.cli import check_flags, own_keys, plain_main
from vmax.conversion import build
from vmax.errors import UserError
from vmax.evaluation.comparison import Comparison, kind_of, read_run
from vmax.evaluation.report import write_comparison_report, write_run_report
from vmax.evaluation.report.compared import Compared, Left
from vmax.evaluation.report.parts import command
from vmax.evaluation.report.source import Source
from vmax.run_folder import RunFolder

COMPARISON = "comparison.json"
UNTOLD = ("seed", "env", "name", "device", "threads", "checks", "exempt", "export", "report", "resume", "time_budget_s")
"""Overrides that make no other group."""
NETWORK = ("algorithm", "network")
"""Overrides that the name of a group holds already."""


@dataclass(frozen=True)
class ReportConfig:
    """The command's settings; the meaning of each stands in conf/report.yaml."""

    runs: str | None
    folder: str | None

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("runs=null: name the folder of a run, or of several, as in runs=outputs/A,outputs/B")


@dataclass(frozen=True)
class Found:
    """A run to be compared: its folder, its name, and its group as its comparison says (None: by what it is)."""

    folder: Path
    name: str
    group: str | None


def main() -> None:
    """Entry point of the command."""
    plain_main(run, f"{__doc__}", "report")


def run(arguments: Sequence[str]) -> int:
    """What the command does with these arguments; returns its exit status. Raises UserError."""
    check_flags(arguments)
    config = settings(arguments)
    assert config.runs is not None
    folders = named_folders(config.runs)
    runs = [found for folder in folders for found in runs_in(folder)]
    target = None if config.folder is None else Path(config.folder)
    if len(runs) == 1:
        print(f"report: {write_run_report(runs[0].folder, target)}")
        return 0
    own = folders[0] if len(folders) == 1 else None
    fresh = Path(datetime.now().strftime("outputs/report/%Y-%m-%d/%H-%M-%S-%f"))
    print(f"report: {write_comparison_report(compare(runs, target or own or fresh, own))}")
    return 0


def settings(arguments: Sequence[str]) -> ReportConfig:
    """The settings with what was typed. Raises UserError."""
    return build(ReportConfig, own_keys(arguments, "report", "runs"))


def named_folders(runs: str) -> list[Path]:
    """The folders that the setting names, in order, each once. Raises UserError for a name or pattern without any."""
    listed = [runs] if Path(runs).is_dir() else runs.strip("[]").split(",")
    found: list[Path] = []
    for name in (one.strip().strip("'\"") for one in listed):
        if not name:
            continue
        if Path(name).is_dir():
            found.append(Path(name))
        elif has_magic(name):
            matching = [Path(path) for path in sorted(glob(name, recursive=True)) if _holds_runs(Path(path))]
            if not matching:
                raise UserError(f"runs={name}: matches no folder of a run, a multirun or a comparison")
            found += matching
        else:
            raise UserError(f"runs={name}: no such folder")
    unique = {path.resolve(): path for path in found}
    if not unique:
        raise UserError(f"runs={runs}: names no folder")
    return list(unique.values())


def runs_in(folder: Path) -> list[Found]:
    """The run that a folder is, or those of a comparison or a multirun. Raises UserError where it is neither."""
    if _is_run(folder):
        return [Found(folder, folder.name, None)]
    if not (children := _runs_below(folder)):
        raise UserError(f"runs={folder}: is no folder of a run, a multirun or a comparison")
    groups = _groups_of(folder / COMPARISON)
    return [Found(child, child.name, groups.get(child.name)) for child in children]


def compare(runs: Sequence[Found], folder: Path, own: Path | None) -> Compared:
    """What the page of these runs is made of; `own`: the one folder that holds them all.

    Raises UserError where none has finished or one cannot be read.
    """
    runs = _distinct(runs)
    sources = {found.name: Source.open(found.folder) for found in runs}
    labels = groups_of({name: source.overrides for name, source in sources.items()})
    finished, left = [], []
    for found in runs:
        source = sources[found.name]
        try:
            group = found.group or kind_of(source.config) + labels[found.name]
            read = read_run(found.folder, found.name, group)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{found.folder}: its result cannot be read ({str(error).splitlines()[0]})") from error
        if read is None:
            left.append(Left(found.name, source.status, source.record.get("reason")))
        else:
            finished.append(read)
    if not finished:
        told = "; ".join(f"{one.name}: {one.state}" for one in left)
        raise UserError(f"runs: none has finished, so there is nothing to compare ({told})")
    scores = {read.score_name for read in finished}
    if len(scores) > 1:
        raise UserError(f"runs: are judged by different figures ({', '.join(sorted(scores))}); report them apart")
    said = _record(own / COMPARISON).get("overrides") if own is not None else None
    again = "" if said is None else command("scripts/compare.py", [str(override) for override in said])
    kept = {read.name: sources[read.name] for read in finished}
    return Compared(Comparison.of(finished), kept, left, folder, again)


def groups_of(overrides: dict[str, list[str]]) -> dict[str, str]:
    """What tells runs apart besides algorithm, network, seed and environment: overrides that not all of them have."""
    told = {name: [one for one in given if _key(one) not in UNTOLD] for name, given in overrides.items()}
    common = set.intersection(*(set(given) for given in told.values()))
    differing = {name: [one for one in given if one not in common] for name, given in told.items()}
    return {name: "".join(f" {one}" for one in given if _key(one) not in NETWORK) for name, given in differing.items()}


def _key(override: str) -> str:
    key = override.lstrip("+~").partition("=")[0]
    return "name" if key.startswith("hydra") else key


def _distinct(runs: Sequence[Found]) -> list[Found]:
    """Runs under names that are not the same: the folder's own, or as much of the path as is needed."""
    names = [found.name for found in runs]
    if len(set(names)) == len(names):
        return list(runs)
    above = os.path.commonpath([found.folder.resolve() for found in runs])
    return [Found(found.folder, os.path.relpath(found.folder.resolve(), above), found.group) for found in runs]


def _is_run(folder: Path) -> bool:
    return RunFolder(folder).config.exists()


def _runs_below(folder: Path) -> list[Path]:
    children = [child for child in folder.iterdir() if child.is_dir() and _is_run(child)]
    return sorted(children, key=lambda child: (len(child.name) if child.name.isdigit() else 0, child.name))


def _holds_runs(folder: Path) -> bool:
    return folder.is_dir() and (_is_run(folder) or bool(_runs_below(folder)))


def _record(path: Path) -> dict[str, Any]:
    """What comparison.json says; nothing where there is none. Raises UserError."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _groups_of(path: Path) -> dict[str, str | None]:
    return {job["name"]: job.get("group") for job in _record(path).get("jobs", [])}
