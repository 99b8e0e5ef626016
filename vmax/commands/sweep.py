"""`sweep`: the runs of a multirun, ranked by their score on the validation split: table, file, picture, best command.

    python scripts/sweep.py folder=outputs/multirun/2026-01-31/12-00-00-000000

Every multirun ends with this, whatever ends it. Later it tells how a multirun stands of which jobs were still running,
or that was gone on with. Written into the folder: sweep.csv, sweep.json and, where settings differ, sweep.png.

Keys (with their values by default):
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from vmax.commands.cli import check_flags, own_keys, plain_main
from vmax.conversion import build
from vmax.errors import UserError
from vmax.evaluation.comparison import SCORES
from vmax.files import DiskFull, expect_writable, held, write_csv, write_json
from vmax.plotting import canvas, save
from vmax.run_folder import FINISHED, RunFolder
from vmax.training.signals import Signals

SHOWN = 10
"""Rows of the table on the terminal; the file has them all."""
RECORD = "sweep.json"
FAILED = ".failed.json"
"""How the file ends that stands for a job which failed before its run began: NAME.failed.json beside the runs."""


@dataclass(frozen=True)
class SweepConfig:
    """The command's settings; the meaning of each stands in conf/sweep.yaml."""

    folder: str | None

    def __post_init__(self) -> None:
        if not self.folder:
            raise UserError("folder=null: name the folder of a multirun, as in folder=outputs/multirun/DATE/TIME")


@dataclass(frozen=True)
class Trial:
    """A job of a sweep. `score`: the best on the validation split, None where there is none; `test`: that policy's on
    the test split; `reason`: why it did not finish."""

    name: str
    overrides: tuple[str, ...]
    status: str
    score: float | None = None
    test: float | None = None
    seconds: float | None = None
    reason: str | None = None

    def value(self, key: str) -> str | None:
        """What a setting was given, the last time that it was; None: it was not."""
        found = [override.partition("=")[2] for override in self.overrides if override.partition("=")[0] == key]
        return found[-1] if found else None


class SweepReport(Callback):
    """Hydra's hook: notes the multirun that begins, and the jobs that fail before they have a run."""

    folder: Path | None = None
    """Of the multirun that was begun in this process. Hydra tells of its end only where no job failed."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes the folder, for `ranked`."""
        SweepReport.folder = Path(str(config.hydra.sweep.dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Writes, or removes, the file that stands for a failed job; in the job's own process."""
        if config.hydra.mode == RunMode.MULTIRUN:
            error = job_return._return_value if job_return.status == JobStatus.FAILED else None
            note_job(Path(str(config.hydra.runtime.output_dir)), job_return.overrides or (), error)


def note_job(run: Path, overrides: Sequence[str], error: BaseException | None, anew: bool = True) -> None:
    """Puts on record that a job failed without a run of its own, which would say so itself; or that it did not.

    With `anew=False` what is on record stays.
    """
    path = run.with_name(run.name + FAILED)
    if error is None or RunFolder(run).run_json.exists():
        path.unlink(missing_ok=True)
    elif anew or not path.exists():
        reason = getattr(error, "reason", None) or f"{type(error).__name__}: {error}"
        write_json(path, {"overrides": list(overrides), "reason": str(reason).splitlines()[0]})


@contextmanager
def ranked() -> Iterator[None]:
    """Ranks the multirun that was begun inside, whatever ends it: success, a failed job, Ctrl-C or SIGTERM."""
    SweepReport.folder = None
    with Signals(numbers=(signal.SIGTERM,)):
        try:
            yield
        finally:
            if SweepReport.folder is not None:
                try:
                    report(SweepReport.folder)
                except (DiskFull, OSError) as error:
                    print(f"warning: {error}", flush=True)


def main() -> None:
    """Entry point of the command."""
    plain_main(run, f"{__doc__}", "sweep")


def run(arguments: Sequence[str]) -> int:
    """What the command does with these arguments; returns its exit status. Raises UserError."""
    check_flags(arguments)
    config = build(SweepConfig, own_keys(arguments, "sweep", "folder"))
    assert config.folder is not None
    folder = Path(config.folder)
    if not read_trials(folder):
        raise UserError(f"folder={folder}: holds no runs (*/run.json); name the folder of a multirun")
    expect_writable(folder, f"folder={folder}")
    report(folder)
    return 0


def report(folder: Path) -> list[Trial]:
    """Prints and writes the ranking of the jobs in a sweep's folder; returns them, the best first. Raises DiskFull."""
    trials = sorted(
        read_trials(folder), key=lambda trial: -np.inf if trial.score is None else trial.score, reverse=True
    )
    if not trials:
        return []
    keys = varied(trials)
    rows = [[t.name, t.score, t.test, t.status, t.seconds, *(t.value(key) for key in keys)] for t in trials]
    write_csv(folder / "sweep.csv", ["run", "validation_score", "test_score", "status", "wall_time_s", *keys], rows)
    best = trials[0] if trials[0].score is not None else None
    command = None if best is None else f"python scripts/train.py {shlex.join(best.overrides)}".rstrip()
    write_json(folder / RECORD, {"best": best and best.name, "command": command, "trials": [vars(t) for t in trials]})
    scored = [trial for trial in trials if trial.score is not None]
    if keys and len(scored) > 1:
        save(parallel_coordinates(scored, keys), folder / "sweep.png")
    Console(width=None if Console().is_terminal else 120).print(_table(trials, keys))
    for trial in trials:
        if trial.status not in FINISHED:
            values = ",".join(f"{key}={trial.value(key)}" for key in keys)
            print(f"{trial.name} ({values}): {trial.status}" + (f": {trial.reason}" if trial.reason else ""))
    print(f"all runs: {folder / 'sweep.csv'}" + (f"\nbest: {command}" if command else ""), flush=True)
    return trials


def read_trials(folder: Path) -> list[Trial]:
    """The jobs that were started in the folders below, in the order of their names."""
    trials = [_read_run(RunFolder(path.parent)) for path in folder.glob("*/run.json")]
    for path in folder.glob(f"*{FAILED}"):
        noted = json.loads(path.read_text(encoding="utf-8"))
        trials.append(
            Trial(path.name.removesuffix(FAILED), tuple(noted["overrides"]), "failed", reason=noted["reason"])
        )
    return sorted(trials, key=lambda trial: (len(trial.name), trial.name))


def _read_run(run: RunFolder) -> Trial:
    result = json.loads(run.result.read_text(encoding="utf-8")) if run.result.exists() else {}
    best = result.get("evaluation", {}).get("policies", {}).get("best", {})
    about = result.get("run", {})
    test = next((best[key] for key in SCORES if best.get(key) is not None), None)
    status, reason = _state(run)
    return Trial(
        run.path.name,
        tuple(run.given_overrides()),
        status,
        about.get("best_validation_score"),
        test,
        about.get("wall_time_s"),
        reason,
    )


def _state(run: RunFolder) -> tuple[str, str | None]:
    """How a run stands, and why. One that is on record as running, but which no process holds, was killed."""
    record: Mapping[str, Any] = run.record()
    if record.get("status") != "running":
        reason = record.get("reason")
        return str(record.get("status")), f"{reason}{run.path}" if str(reason).endswith("resume=") else reason
    try:
        with held(run.path, ""):
            return "killed", "its process ended without a word"
    except UserError:
        return "running", None


def varied(trials: Sequence[Trial]) -> list[str]:
    """The settings that not all trials were given alike."""
    keys = dict.fromkeys(override.partition("=")[0] for trial in trials for override in trial.overrides)
    return [key for key in keys if len({trial.value(key) for trial in trials}) > 1]


def _table(trials: Sequence[Trial], keys: Sequence[str]) -> Table:
    table = Table(title=f"{len(trials)} run(s) by their score on the validation split", title_justify="left")
    for heading in ("run", "validation", "test", "status", *(key.rpartition(".")[2] for key in keys)):
        table.add_column(heading, justify="right" if heading in ("validation", "test") else "left")
    for trial in trials[:SHOWN]:
        scores = ["-" if score is None else f"{score:.4g}" for score in (trial.score, trial.test)]
        values = [_short(trial.value(key) or "") for key in keys]
        table.add_row(trial.name, *scores, trial.status, *values)
    return table


def _short(value: str) -> str:
    """A number with four digits; anything else as it is."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def parallel_coordinates(trials: Sequence[Trial], keys: Sequence[str]) -> Figure:
    """A line for each trial through the settings that vary and its score, coloured by the score."""
    scores = np.array([trial.score for trial in trials], np.float64)
    axes_of = [_place([trial.value(key) for trial in trials]) for key in keys]
    axes_of.append(_place([str(float(score)) for score in scores]))
    spread = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-12)
    colours = mpl.colormaps["viridis"]
    with canvas(2.4 + 1.7 * len(axes_of), 4.6) as (figure, axes):
        for rank in np.argsort(scores):
            heights = [place[rank] for place, _ in axes_of]
            axes.plot(range(len(axes_of)), heights, color=colours(spread[rank]), linewidth=1.6, alpha=0.85)
        for x, (_, marks) in enumerate(axes_of):
            axes.axvline(x, color="#8a929c", linewidth=1.0)
            for height, label in marks:
                axes.annotate(label, (x, height), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center")
        axes.set_xticks(range(len(axes_of)), [*(key.rpartition(".")[2] for key in keys), "validation score"])
        axes.set_yticks([])
        axes.set(title="Settings and score of each run", xlim=(-0.1, len(axes_of) - 0.4), ylim=(-0.05, 1.05))
        axes.spines[:].set_visible(False)
        axes.grid(False)
    return figure


def _place(values: Sequence[str | None]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights within [0, 1] of values on an axis of their own, and its labels: numbers by size (by their logarithm over
    more than a decade), other values evenly."""
    try:
        numbers = np.array([float(value) for value in values if value is not None])
    except ValueError:
        numbers = np.zeros(0)
    if len(numbers) < len(values):
        names = sorted({str(value) for value in values})
        heights = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
        return np.array([heights[str(value)] for value in values]), [(heights[name], name) for name in names]
    scale = np.log if numbers.min() > 0 and numbers.max() > 10 * numbers.min() else np.asarray
    low, high = float(scale(numbers.min())), float(scale(numbers.max()))
    heights = (scale(numbers) - low) / max(high - low, 1e-12)
    ends = sorted({float(numbers.min()), float(numbers.max())})
    return heights, [(float((scale(end) - low) / max(high - low, 1e-12)), f"{end:.4g}") for end in ends]
