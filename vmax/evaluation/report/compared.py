"""What the page of a comparison is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vmax.evaluation.comparison import PALETTE, Comparison, Finished
from vmax.evaluation.evaluate import IDLE, NOTHINGS, OPTIMUM
from vmax.evaluation.report.source import Source


@dataclass(frozen=True)
class Left:
    """A run that is not compared, and why."""

    name: str
    state: str
    reason: str | None


@dataclass(frozen=True)
class Compared:
    """What a page of a comparison is made of.

    Attributes:
      sources: of each run, by its name in `comparison`. left: runs that are not in it.
      folder: where the page will lie; links to the runs' own pages lead from there.
      command: what does all of it again; empty where each run has its own.
    """

    comparison: Comparison
    sources: Mapping[str, Source]
    left: Sequence[Left]
    folder: Path
    command: str

    @cached_property
    def described(self) -> dict[str, Any]:
        return self.comparison.described()

    @property
    def best_first(self) -> list[str]:
        """The groups by their interquartile mean."""
        groups = self.described["groups"]
        return sorted(groups, key=lambda name: -np.inf if groups[name]["iqm"] is None else -groups[name]["iqm"])

    def colour(self, group: str) -> str:
        return PALETTE[list(self.comparison.groups).index(group) % len(PALETTE)]

    def median_run(self, group: str) -> Finished:
        """The run of a group whose score is the median one, of two the lower."""
        runs = sorted((run for run in self.comparison.runs if run.group == group), key=lambda run: run.score)
        return runs[(len(runs) - 1) // 2]

    @cached_property
    def baselines(self) -> dict[str, float]:
        """The scores of baselines, where all runs were judged beside the same ones; else nothing."""
        first, *others = self.comparison.runs
        for run in others:
            same = first.baselines.keys() == run.baselines.keys() and np.allclose(
                list(first.baselines.values()), [run.baselines[name] for name in first.baselines], atol=1e-4
            )
            if not same:
                return {}
        return first.baselines

    @property
    def rivals(self) -> dict[str, float]:
        """Baselines that a policy could be beaten by, the best first: neither doing nothing nor the optimum."""
        rivals = {name: x for name, x in self.baselines.items() if name not in (*NOTHINGS, OPTIMUM, IDLE)}
        return dict(sorted(rivals.items(), key=lambda item: -item[1]))

    @property
    def cautions(self) -> list[str]:
        """What a reader should know before believing a figure."""
        told, runs = [], self.comparison.runs
        fewest = min((len(values) for values in self.comparison.groups.values()), default=0)
        if fewest < 3:
            many = "One run" if fewest == 1 else f"{fewest} runs"
            told.append(f"{many} in a group can say little of other seeds.")
        if not self.baselines and any(run.baselines for run in runs):
            told.append(
                "The runs were not judged beside the same baselines: their data or settings differ, so scores are not "
                "shares of the same money, and baselines are left out here."
            )
        if not self.comparison.tasks:
            told.append("No environment has runs of every group, so there is nothing to compare groups by.")
        if len({run.result["run"].get("env_steps") for run in runs}) > 1:
            told.append("The runs were not trained for the same number of steps.")
        if self.left:
            names = ", ".join(f"{one.name} ({one.state})" for one in self.left)
            told.append(f"Left out, for they did not finish: {names}.")
        return told
