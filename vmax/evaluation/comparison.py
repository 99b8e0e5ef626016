"""Several finished runs side by side: their scores on the test split by group, with statistics over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from rich.table import Table

from vmax.evaluation.statistics import interval, iqm, performance_profile, probability_of_improvement, stratified_iqm
from vmax.plotting import canvas
from vmax.run_folder import FINISHED, RunFolder, read_metrics, unlike_files

SCORES = ("capture", "return_mean", "score")
"""What a policy is judged by on the test split, the first that its environment has; higher is better."""
RESAMPLES = 2000
PALETTE = ("#1565c0", "#d81b60", "#2e8b57", "#e07b00", "#8e6bbf", "#00838f", "#8d6e63", "#546e7a")


@dataclass(frozen=True)
class Finished:
    """A run that was evaluated to the end: the group it belongs to (what it is but for its seed), its environment, what
    its score is called, the score of its best policy, and those of the baselines."""

    name: str
    group: str
    task: str
    seed: int
    folder: Path
    score_name: str
    score: float
    baselines: dict[str, float]
    result: dict[str, Any]


def read_run(folder: Path, name: str, group: str | None = None) -> Finished | None:
    """A finished run; None for one that is not. `group`: by default algorithm and network.

    Raises OSError or ValueError where its files cannot be read.
    """
    run = RunFolder(folder)
    if run.record().get("status") not in FINISHED or not run.result.exists():
        return None
    result = json.loads(run.result.read_text(encoding="utf-8"))
    about, policies = result["run"], result["evaluation"]["policies"]
    key = next(key for key in SCORES if policies["best"].get(key) is not None)
    scores = {policy: values.get(key) for policy, values in policies.items()}
    return Finished(
        name=name,
        group=group or kind_of(run.composed()),
        task=about["env"],
        seed=about["seed"],
        folder=folder,
        score_name=key,
        score=float(scores["best"]),
        baselines={policy: float(score) for policy, score in scores.items() if policy not in ("best", "last")},
        result=result,
    )


def kind_of(config: Mapping[str, Any]) -> str:
    """What a run is, by its configuration: the algorithm, and the network where that is no plain one."""
    network = config["network"]["name"]
    return config["algorithm"]["name"] + ("" if network == "mlp" else f" {network}")


@dataclass(frozen=True)
class Comparison:
    """Finished runs, and their scores by group, `[runs, tasks]`; tasks are environments that every group has.

    Where groups have unlike numbers of runs in a task, the least number counts, in order of seeds.
    """

    runs: tuple[Finished, ...]
    groups: dict[str, np.ndarray]
    tasks: tuple[str, ...]

    @classmethod
    def of(cls, runs: Sequence[Finished]) -> Comparison:
        """Runs by group and task."""
        names = list(dict.fromkeys(run.group for run in runs))
        by = {name: {} for name in names}
        for run in sorted(runs, key=lambda run: run.seed):
            by[run.group].setdefault(run.task, []).append(run.score)
        shared = [task for task in dict.fromkeys(run.task for run in runs) if all(task in by[name] for name in names)]
        groups = {}
        for name in names:
            count = min((len(by[name][task]) for task in shared), default=0)
            groups[name] = np.array([by[name][task][:count] for task in shared], np.float64).T.reshape(count, -1)
        return cls(tuple(runs), groups, tuple(shared))

    def differing_files(self) -> list[str]:
        """One line for each file that was not the same for all runs."""
        return unlike_files({run.name: run.folder for run in self.runs})

    def described(self, seed: int = 0) -> dict[str, Any]:
        """Statistics by group for the record: IQM with its interval, best and worst run, and the probabilities of
        improvement over each other group (row over column)."""
        found: dict[str, Any] = {}
        for name, values in self.groups.items():
            samples = stratified_iqm(values, RESAMPLES, seed) if values.size and len(values) > 1 else None
            found[name] = {
                "runs": len(values),
                "iqm": iqm(values) if values.size else None,
                "ci95": None if samples is None else interval(samples),
                "least": float(values.min()) if values.size else None,
                "greatest": float(values.max()) if values.size else None,
                "probability_of_improvement_over": {
                    other: probability_of_improvement(values, theirs)
                    for other, theirs in self.groups.items()
                    if other != name and values.size and theirs.size
                },
            }
        return {"score": self.runs[0].score_name if self.runs else None, "tasks": self.tasks, "groups": found}

    def table(self) -> Table:
        """One row a group, and one for each baseline of the first run."""
        described = self.described()
        table = Table(title=f"test split: {described['score']}, {', '.join(self.tasks)}", title_justify="left")
        for heading in ("", "runs", "IQM", "95 % over seeds", "least", "greatest"):
            table.add_column(heading, justify="left" if not heading else "right")
        for name, row in sorted(described["groups"].items(), key=lambda item: -(item[1]["iqm"] or -np.inf)):
            ci = "-" if row["ci95"] is None else f"{row['ci95'][0]:.4g} – {row['ci95'][1]:.4g}"
            cells = ["-" if row[key] is None else f"{row[key]:.4g}" for key in ("iqm", "least", "greatest")]
            table.add_row(name, str(row["runs"]), cells[0], ci, *cells[1:], style="bold cyan")
        if len(self.tasks) == 1 and self.runs:
            for name, score in sorted(self.runs[0].baselines.items(), key=lambda item: -item[1]):
                table.add_row(name, "", f"{score:.4g}", "", "", "")
        return table

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of comparison.csv: the figures of every run's best policy that are plain numbers."""
        plain = [
            {k: v for k, v in run.result["evaluation"]["policies"]["best"].items() if isinstance(v, int | float)}
            for run in self.runs
        ]
        keys = list(dict.fromkeys(key for figures in plain for key in figures))
        header = ["run", "group", "env", "seed", "score", *keys, "training_time_s", "wall_time_s", "env_steps"]
        rows = [
            [run.name, run.group, run.task, run.seed, run.score, *(figures.get(key) for key in keys),
             *(run.result["run"].get(key) for key in header[-3:])]
            for run, figures in zip(self.runs, plain, strict=True)
        ]  # fmt: skip
        return header, rows

    # --- figures ----------------------------------------------------------------------------------------------------

    def learning_curves(self) -> Figure:
        """Validation score over environment steps: each group's median run, and the range of its runs."""
        with canvas(9, 4.5) as (figure, axes):
            for number, group in enumerate(self.groups):
                curves = [curve(run.folder) for run in self.runs if run.group == group and run.task == self.tasks[0]]
                curves = [one for one in curves if len(one)]
                if not curves:
                    continue
                together = pd.concat([one.set_index("step")["score"] for one in curves], axis=1).interpolate().dropna()
                colour = PALETTE[number % len(PALETTE)]
                axes.plot(together.index, together.median(axis=1), color=colour, label=group, marker="o", markersize=3)
                axes.fill_between(
                    together.index, together.min(axis=1), together.max(axis=1), color=colour, alpha=0.15, linewidth=0
                )
            axes.set(title="Validation score: median and range of the runs", xlabel="environment steps", ylabel="score")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.legend()
        return figure

    def scores(self) -> Figure:
        """Every run's score, the groups' IQM with its interval, and the baselines as lines."""
        described = self.described()["groups"]
        with canvas(9, 0.7 + 0.6 * len(self.groups) + 1.2) as (figure, axes):
            for place, (group, values) in enumerate(self.groups.items()):
                colour, row = PALETTE[place % len(PALETTE)], described[group]
                axes.scatter(values.ravel(), np.full(values.size, place), s=18, color=colour, alpha=0.5)
                if row["ci95"] is not None:
                    axes.plot(row["ci95"], [place, place], color=colour, linewidth=5, alpha=0.35)
                if row["iqm"] is not None:
                    axes.plot([row["iqm"]] * 2, [place - 0.25, place + 0.25], color=colour, linewidth=2.5)
            low, high = axes.get_xlim()
            margin = max(high - low, 1e-6)
            if len(self.tasks) == 1 and self.runs:
                for name, score in self.runs[0].baselines.items():
                    if low - margin < score < high + margin:
                        axes.axvline(score, color="#8a929c", linestyle="--", linewidth=1.0)
                        axes.annotate(name, (score, 1.0), xycoords=("data", "axes fraction"), rotation=30, fontsize=8)
            axes.set_yticks(range(len(self.groups)), list(self.groups))
            axes.set_ylim(len(self.groups) - 0.5, -0.6)
            axes.set(xlabel=f"{self.runs[0].score_name if self.runs else 'score'} on the test split")
        return figure

    def profiles(self) -> Figure:
        """Share of the runs above each score."""
        everything = np.concatenate([values.ravel() for values in self.groups.values()] or [np.zeros(1)])
        margin = 0.05 * max(float(np.ptp(everything)), 1e-6)
        levels = np.linspace(everything.min() - margin, everything.max() + margin, 200)
        with canvas(9, 3.8) as (figure, axes):
            for number, (group, values) in enumerate(self.groups.items()):
                if values.size:
                    share = performance_profile(values, levels)
                    axes.plot(levels, share, color=PALETTE[number % len(PALETTE)], label=group, linewidth=1.8)
            axes.set(title="Performance profile", xlabel="score τ", ylabel="share of runs above τ", ylim=(0, 1.02))
            axes.legend()
        return figure


def curve(folder: Path) -> pd.DataFrame:
    """`step` and validation `score` of a run, as far as it went."""
    columns, rows = read_metrics(RunFolder(folder).metrics)
    if "eval/score" not in columns:
        return pd.DataFrame({"step": [], "score": []})
    at = columns.index("eval/score")
    known = [(float(row[0]), float(row[at])) for row in rows if row[at]]
    return pd.DataFrame(known, columns=["step", "score"])


def figures(comparison: Comparison) -> Mapping[str, Figure]:
    """The pictures of a comparison by name."""
    return {
        "learning_curves": comparison.learning_curves(),
        "scores": comparison.scores(),
        "performance_profiles": comparison.profiles(),
    }
