"""The end of a multirun: its runs ranked by the score on the validation split, a picture, the command of the best."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from hydra.experimental.callback import Callback
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from vmax.evaluation.comparison import SCORES
from vmax.files import write_csv, write_json
from vmax.plotting import canvas, save
from vmax.run_folder import RunFolder

SHOWN = 10
"""Rows of the table on the terminal; the file has them all."""
RECORD = "sweep.json"
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Trial:
    """A run of a sweep. `score`: the best on the validation split, None where there is none; `test`: that policy's on
    the test split."""

    name: str
    overrides: tuple[str, ...]
    status: str
    score: float | None
    test: float | None
    seconds: float | None

    def value(self, key: str) -> str | None:
        """What a setting was given, the last time that it was; None: it was not."""
        found = [override.partition("=")[2] for override in self.overrides if override.partition("=")[0] == key]
        return found[-1] if found else None


class SweepReport(Callback):
    """Hydra's hook: before the first and after the last job of a multirun."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Makes the folder of a study that is kept in a file."""
        storage = str(config.hydra.sweeper.get("storage") or "")
        if storage.startswith(SQLITE):
            Path(storage.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Prints and writes the ranking of what was started; nothing where no run came to start."""
        report(Path(str(config.hydra.sweep.dir)))


def report(folder: Path) -> list[Trial]:
    """Prints and writes the ranking of the runs in a sweep's folder; returns them, the best first. Raises DiskFull."""
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
    print(f"all runs: {folder / 'sweep.csv'}" + (f"\nbest: {command}" if command else ""), flush=True)
    return trials


def read_trials(folder: Path) -> list[Trial]:
    """The runs that were started in the folders below, in the order of their names."""
    trials = []
    for path in sorted(path.parent for path in folder.glob("*/run.json")):
        run = RunFolder(path)
        result = json.loads(run.result.read_text(encoding="utf-8")) if run.result.exists() else {}
        best = result.get("evaluation", {}).get("policies", {}).get("best", {})
        about = result.get("run", {})
        test = next((best[key] for key in SCORES if best.get(key) is not None), None)
        status = str(run.record().get("status"))
        trials.append(
            Trial(
                path.name,
                tuple(run.given_overrides()),
                status,
                about.get("best_validation_score"),
                test,
                about.get("wall_time_s"),
            )
        )
    return trials


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
