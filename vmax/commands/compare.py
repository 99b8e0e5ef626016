"""`compare`: several trainings one after the other, watched, and one table of what they are worth.

    python scripts/compare.py algorithm=sac,td3 env=bess seed=0,1,2
    python scripts/compare.py algorithm=sac,td3 env=pendulum mode=quick compare.jobs=2
    python scripts/compare.py resume=outputs/compare/2026-01-31/12-00-00-000000

Everything that is typed goes to the trainings, as to scripts/train.py; lists (a,b) make one training for each
combination. A training that fails, or gives no sign of life, does not stop the others. Called again with resume=FOLDER
the comparison goes on where it stopped: what is done stays, what was cut short goes on, what failed is tried again.

Keys of its own (with their values by default):
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from vmax.commands.board import Board
from vmax.commands.cli import check_flags, plain_main
from vmax.commands.jobs import Job, Process, folder_name, is_finished
from vmax.config import compose, is_hydras, load, to_mapping
from vmax.conversion import build
from vmax.errors import UserError
from vmax.evaluation import side_by_side
from vmax.evaluation.comparison import Comparison, Finished, figures, read_run
from vmax.evaluation.report import attempted, write_comparison_report
from vmax.evaluation.report.compared import Compared, Left
from vmax.evaluation.report.parts import command
from vmax.evaluation.report.source import Source
from vmax.files import config_dir, held, write_csv, write_json
from vmax.plotting import save
from vmax.training.inputs import placed_overrides
from vmax.training.signals import Signals

RECORD, TABLE = "comparison.json", "comparison.csv"
PREFIX = "compare."
POLL_S = 1.0


@dataclass(frozen=True)
class CompareConfig:
    """The comparison's own settings; the meaning of each stands in conf/compare.yaml."""

    jobs: int
    stall_timeout_s: float
    folder: str | None
    resume: str | None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UserError(f"compare.jobs={self.jobs}: must be at least 1")
        if self.stall_timeout_s <= 0:
            raise UserError(f"compare.stall_timeout_s={self.stall_timeout_s}: must be above 0")


def main() -> None:
    """Entry point of the command."""
    plain_main(run, f"{__doc__}", "compare", PREFIX)


def run(arguments: Sequence[str]) -> int:
    """What the command does with these arguments; returns its exit status: 1 where a run failed, 130 where it was
    stopped. Raises UserError."""
    check_flags(arguments)
    config, overrides = own_settings(arguments)
    folder, overrides = place(config, overrides)
    jobs = plan(overrides)
    known = {job["name"]: job for job in _saved(folder).get("jobs", [])}
    for job in jobs:
        before = known.get(job.name, {})
        job.seconds = before.get("seconds", 0.0)
        job.overrides = tuple(before.get("overrides", job.overrides))  # paths hold from where it was started
        job.state = "done" if is_finished(folder / job.name) else "waiting"
    with held(folder, f"{'compare.folder' if config.resume is None else 'resume'}={folder}"):
        print(f"{len(jobs)} runs in {folder}")
        stopped = carry_out(jobs, folder, config, overrides)
        conclude(jobs, folder, overrides)
    if stopped is not None:
        print(f"{stopped}: go on with resume={folder}")
        return 130
    return 1 if any(job.state != "done" for job in jobs) else 0


def own_settings(arguments: Sequence[str]) -> tuple[CompareConfig, list[str]]:
    """The comparison's own settings, and what is left for the trainings. Raises UserError."""
    own = OmegaConf.to_container(OmegaConf.load(config_dir() / "compare.yaml"))
    assert isinstance(own, dict)
    values, rest = {str(key): value for key, value in own.items()}, []
    for argument in arguments:
        key, _, typed = argument.partition("=")
        if key == "resume" or key.startswith(PREFIX):
            values[key.removeprefix(PREFIX)] = OmegaConf.create(f"value: {typed or 'null'}").value
        elif is_hydras(argument):
            raise UserError(f"{argument}: each training has a folder of its own; set compare.folder=")
        else:
            rest.append(argument)
    return build(CompareConfig, values, PREFIX.rstrip(".")), rest


def place(config: CompareConfig, overrides: list[str]) -> tuple[Path, list[str]]:
    """The folder of the comparison, and its overrides: those of the one that is gone on with. Raises UserError."""
    if config.resume is None:
        fresh = datetime.now().strftime("outputs/compare/%Y-%m-%d/%H-%M-%S-%f")
        folder = Path(config.folder or fresh)
        if (folder / RECORD).exists():
            raise UserError(f"compare.folder={folder}: holds a comparison; go on with resume={folder}")
        return folder, overrides
    folder = Path(config.resume)
    if not (folder / RECORD).exists():
        raise UserError(f"resume={folder}: is no folder of a comparison ({RECORD} is missing)")
    if overrides:
        raise UserError(f"resume: {overrides[0]} cannot be changed; the comparison goes on with its own settings")
    return folder, list(_saved(folder)["overrides"])


def plan(overrides: Sequence[str]) -> list[Job]:
    """One job for each combination of the lists among the overrides. Raises UserError for whatever does not compose."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(f"{' '.join(overrides)}: cannot be read ({str(error).splitlines()[0]})") from error
    choices, varied = [], []
    for override in parsed:
        many = override.is_sweep_override()
        values = [f"{override.get_key_element()}={v}" for v in override.sweep_string_iterator()] if many else []
        choices.append(values or [str(override.input_line)])
        varied.append(many)
    jobs = []
    for number, chosen in enumerate(product(*choices)):
        composed = compose(chosen)
        config = load(composed)  # a mistake is told before the first training
        differing = [override for override, many in zip(chosen, varied, strict=True) if many]
        steps = None if config.total_steps is None else config.planned_steps
        jobs.append(
            Job(f"{number:02d}_{folder_name(differing)}", _group(differing), placed_in(chosen, composed), steps)
        )
    return jobs


def placed_in(overrides: Sequence[str], composed: DictConfig) -> tuple[str, ...]:
    """The overrides with full paths of the files that they lead to."""
    placed = placed_overrides(to_mapping(composed))
    keys = {override.partition("=")[0] for override in placed}
    return (*(given for given in overrides if given.lstrip("+").partition("=")[0] not in keys), *placed)


def carry_out(jobs: list[Job], folder: Path, config: CompareConfig, overrides: Sequence[str]) -> str | None:
    """Runs what is not done, `config.jobs` at a time; returns the signal that stopped it, if one did."""
    threads = None if config.jobs == 1 else max(1, (os.cpu_count() or 1) // config.jobs)
    running: list[Process] = []
    stop = Signals()
    with stop, stop.saved_first("the jobs under way save and end"), Board(jobs, folder) as board:
        while stop.received is None and (running or any(job.state == "waiting" for job in jobs)):
            waiting = [job for job in jobs if job.state == "waiting"]
            for job in waiting[: config.jobs - len(running)]:
                running.append(Process.start(job, folder / job.name, threads))
                _record(folder, jobs, overrides)
            time.sleep(POLL_S)
            for process in [one for one in running if one.ended(config.stall_timeout_s)]:
                running.remove(process)
                _record(folder, jobs, overrides)
            board.update()
        for process in running:
            process.stop()
            process.ended(config.stall_timeout_s)
        board.update()
    return stop.received


def conclude(jobs: Sequence[Job], folder: Path, overrides: Sequence[str]) -> Comparison | None:
    """Prints and writes what the finished runs are worth, and which have failed; None where none has finished."""
    runs = [run for job in jobs if job.state == "done" and (run := _finished(job, folder)) is not None]
    comparison = Comparison.of(runs) if runs else None
    _record(folder, jobs, overrides, comparison)
    for job in jobs:
        if job.state in ("failed", "interrupted"):
            print(f"{job.name}: {job.state} ({job.reason}); see {folder / job.name}.log")
    if comparison is None:
        print("no run has finished: there is nothing to compare")
        return None
    for line in comparison.differing_files():
        print(f"warning: {line}")
    write_csv(folder / TABLE, *comparison.rows())
    pictures = {**figures(comparison), "trade_off": side_by_side.trade_off(comparison)}
    for name, figure in pictures.items():
        if figure is not None:
            save(figure, folder / "plots" / f"{name}.png")
    console = Console(width=None if Console().is_terminal else 160)
    for table in (comparison.table(), side_by_side.table(comparison)):
        if table is not None:
            console.print(table)
    print(f"figures: {folder / RECORD}, {folder / TABLE}; plots: {folder / 'plots'}")
    print(attempted(lambda: write_comparison_report(compared(comparison, jobs, folder, overrides))))
    return comparison


def compared(comparison: Comparison, jobs: Sequence[Job], folder: Path, overrides: Sequence[str]) -> Compared:
    """What the page of the comparison is made of."""
    return Compared(
        comparison=comparison,
        sources={run.name: Source.open(run.folder) for run in comparison.runs},
        left=[Left(job.name, job.state, job.reason) for job in jobs if job.state != "done"],
        folder=folder,
        command=command("scripts/compare.py", overrides),
    )


def _finished(job: Job, folder: Path) -> Finished | None:
    """The finished run of a job."""
    try:
        return read_run(folder / job.name, job.name, job.group)
    except (OSError, ValueError) as error:
        job.state, job.reason = "failed", f"its result cannot be read: {str(error).splitlines()[0]}"
        return None


def _group(differing: Sequence[str]) -> str | None:
    """A name for the runs that differ in their seeds and environments alone; None: by algorithm and network."""
    parts = [override.partition("=") for override in differing]
    told = [(key, value) for key, _, value in parts if key not in ("seed", "env")]
    return " ".join(v if key in ("algorithm", "network") else f"{key}={v}" for key, v in told) or None


def _record(folder: Path, jobs: Sequence[Job], overrides: Sequence[str], found: Comparison | None = None) -> None:
    result: dict[str, Any] = {"overrides": list(overrides), "jobs": [asdict(job) for job in jobs]}
    if found is not None:
        result["comparison"] = found.described()
    write_json(folder / RECORD, result)


def _saved(folder: Path) -> dict[str, Any]:
    """What comparison.json says; nothing where there is none."""
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
