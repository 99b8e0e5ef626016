"""Evaluation by trials: many independent episodes, the same for every policy, with intervals over them.

For environments whose worlds are drawn, such as the demand of a road network, and where no optimum is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import pandas as pd

from vmax.envs.rollout import Column, Record, rollout
from vmax.evaluation.statistics import interval
from vmax.plotting import Picture

SCORE = "score"
"""What a policy is judged by, higher is better."""
SHOWN = 2
"""Trials whose steps are written out."""


class Trials(Protocol):
    """How an environment is judged by trials."""

    @property
    def judged_by(self) -> str:
        """The figure of a trial that counts, lower is better: minus its mean is the score."""
        ...

    @property
    def lanes(self) -> str:
        """What trials differ in: `demand seeds`."""
        ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the table of all policies shows."""
        ...

    @property
    def rules(self) -> Mapping[str, str]:
        """What its figures mean."""
        ...

    @property
    def references(self) -> tuple[str, ...]:
        """The baselines that a learning curve shows."""
        ...

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The baselines that are judged in `other_worlds` beside the learned policies."""
        ...

    def other_worlds(self, split: str) -> Mapping[str, Any]:
        """Params by name of worlds that the policies are judged in besides, on the same trials."""
        ...

    def starts(self, split: str) -> Any:
        """Leaves `[L]`, one entry per trial, among them `time` and `end`."""
        ...

    def baselines(self) -> Mapping[str, Any]:
        """Policies by name."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """What was tuned, and on what."""
        ...

    def lane_figures(self, record: Record) -> dict[str, np.ndarray]:
        """Figures of each trial, `[L]`."""
        ...

    def timeseries(self, name: str, record: Record, lanes: int) -> pd.DataFrame:
        """The steps of the first trials as rows: policy, lane, step and what the world tells."""
        ...

    def figures(
        self, policies: Mapping[str, Any], records: Mapping[str, Record], worlds: Mapping[str, Any]
    ) -> dict[str, Picture]:
        """Pictures by name; `worlds`: the figures of policies by world."""
        ...


@dataclass(frozen=True)
class Trial:
    """What an evaluation by trials found: as `vmax.evaluation.evaluate.Evaluation`."""

    result: dict[str, Any]
    episodes: pd.DataFrame
    timeseries: pd.DataFrame
    trace: pd.DataFrame
    pictures: Callable[[], Mapping[str, Picture]]


def run_trials(env: Any, learned: Mapping[str, Any], split: str, bootstrap: int, seed: int) -> Trial:
    """Every policy on the same trials of a split."""
    judge: Trials = env.trials
    params, starts = env.params(split), judge.starts(split)
    policies = {**learned, **judge.baselines()}
    records = {name: rollout(env, policy, params, starts, trace=name in learned) for name, policy in policies.items()}
    by_lane = {name: judge.lane_figures(record) for name, record in records.items()}
    figures = described(by_lane, judge.judged_by, next(iter(learned), None), bootstrap, seed)
    lanes = len(next(iter(by_lane.values()))[judge.judged_by])
    for values in figures.values():
        values[judge.lanes.replace(" ", "_")] = lanes
    worlds = _worlds(env, {**learned, **{name: policies[name] for name in judge.elsewhere}}, split, bootstrap, seed)
    result = {
        "split": split,
        "trials": lanes,
        "lanes": judge.lanes,
        "judged_by": judge.judged_by,
        "start": None,
        "end": None,
        "currency": "",
        "rules": dict(judge.rules),
        "columns": [column.described() for column in judge.columns],
        "baseline_settings": dict(judge.settings()),
        "policies": figures,
        "other_worlds": worlds,
    }
    return Trial(
        result=result,
        episodes=pd.concat(
            [pd.DataFrame({"policy": name, "lane": range(lanes), **found}) for name, found in by_lane.items()],
            ignore_index=True,
        ),
        timeseries=pd.concat(
            [judge.timeseries(name, record, SHOWN) for name, record in records.items()], ignore_index=True
        ),
        trace=pd.concat([_trace(env, name, records[name]) for name in learned], ignore_index=True)
        if learned
        else pd.DataFrame(),
        pictures=cache(lambda: judge.figures(policies, records, worlds)),
    )


def _worlds(
    env: Any, policies: Mapping[str, Any], split: str, bootstrap: int, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of policies in each other world."""
    judge: Trials = env.trials
    starts, found = judge.starts(split), {}
    for world, params in judge.other_worlds(split).items():
        by_lane = {name: judge.lane_figures(rollout(env, policy, params, starts)) for name, policy in policies.items()}
        found[world] = described(by_lane, judge.judged_by, next(iter(policies)), bootstrap, seed)
    return found


def described(
    by_lane: Mapping[str, Mapping[str, np.ndarray]], judged_by: str, first: str | None, bootstrap: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Means over trials by policy, their 95 % intervals (bootstrap over trials), the score, and what each policy has
    more of what counts than `first` on the same trials, with its interval."""
    lanes = len(next(iter(by_lane.values()))[judged_by])
    drawn = np.random.default_rng(seed).integers(0, lanes, (bootstrap, lanes))
    found = {}
    for name, figures in by_lane.items():
        values: dict[str, Any] = {key: float(np.mean(value)) for key, value in figures.items()}
        values["ci95"] = {key: interval(np.asarray(value)[drawn].mean(axis=1)) for key, value in figures.items()}
        values[SCORE] = -values[judged_by]
        if first is not None and name != first:
            more = np.asarray(figures[judged_by]) - np.asarray(by_lane[first][judged_by])
            values["more_than_learned"] = {
                "of": first,
                "mean": float(more.mean()),
                "ci95": interval(more[drawn].mean(axis=1)),
            }
        found[name] = values
    return found


def _trace(env: Any, name: str, record: Record) -> pd.DataFrame:
    """Observation, action and reward of the steps of the first trials."""
    rows = []
    for lane in range(min(SHOWN, len(np.asarray(record.steps)))):
        count = int(record.steps[lane])
        observation = np.asarray(record.trace["observation"])[:count, lane]
        action = np.asarray(record.trace["action"])[:count, lane].reshape(count, -1)
        columns = {f"observation_{n}": observation[:, i] for i, n in enumerate(env.observation_space.names)}
        columns |= {f"action_{i}": action[:, i] for i in range(action.shape[1])}
        reward = np.asarray(record.trace["reward"])[:count, lane]
        rows.append(pd.DataFrame({"policy": name, "lane": lane, "step": range(count), **columns, "reward": reward}))
    return pd.concat(rows, ignore_index=True)
