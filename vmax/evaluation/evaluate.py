"""Evaluation of policies on one split: every one through the same step, the figures from the written time series.

An environment with an `assessment` is judged over whole splits against its baselines, one with `trials` on many drawn
worlds, another one by greedy episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.data.days import DayGroups
from vmax.envs.rollout import Column, Record, rollout
from vmax.evaluation.episodes import by_episodes
from vmax.evaluation.groups import QUIET, grouped
from vmax.evaluation.statistics import block_resamples, interval
from vmax.evaluation.trials import run_trials
from vmax.plotting import Picture
from vmax.spaces import Discrete

NOTHINGS, OPTIMUM = ("do_nothing", "no_control"), "perfect_foresight"
"""What capture is measured between: an environment has one of the first among its baselines."""
LEAST_UPLIFT = 0.01
"""In the currency: where the optimum earns no more over the split there is nothing to take a share of."""
IDLE, RESERVE_RULE = "idle", "uplift_eur minus that of idle / the same of perfect_foresight; null where not above 0"
"""Sells reserve and does not trade; among the baselines only where reserve is sold."""
RULES = {
    "draws": "how often the period was passed, each time with other forecast errors; money and energy are those of a "
    "mean draw, violations are counted in all of them",
    "profit_eur": "sum of the column / draws: revenue with PV - fees - wear; the value of energy left at the end is "
    "apart",
    "uplift_eur": "profit_eur + terminal_value_eur, minus the same of do_nothing",
    "capture": "uplift_eur / uplift_eur of perfect_foresight; null where that is not above 0.01",
    "cycles_per_day": "AC energy discharged / usable capacity / days",
    "profit_eur_per_mw_year": "per MW of rated battery power and 8760 h",
    "ci95": "95 % interval of a circular block bootstrap over local days in blocks of 7",
    "by_season": "sums over the local days of a season; what energy earns on a later day counts there; capture is null "
    f"where perfect_foresight earns less than {QUIET:.0%} of its mean uplift per day",
    "by_price_spread": "the same by quartile of the local day's spread, its highest price minus its lowest; the edges "
    "between the quartiles stand under day_groups",
}

OF_BOUND = "uplift_eur / uplift_eur of the bound: nobody earns more than optimum.value_eur, perhaps nobody as much"
OF_PLAN = "uplift_eur / uplift_eur of perfect_foresight, a plan for a simpler battery here: others may earn more"
"""The rules of capture where no exact optimum is at hand."""


class Assessment(Protocol):
    """How an environment is judged over whole splits.

    Besides what is said of each, the generic code reads: of the environment `dt_h`; of a time series the columns `utc`,
    `lane`, `profit_eur` and `terminal_value_eur`; of key figures those that the comparison and the plots show (`RULES`,
    `violations`, `wear_cost_eur`, `profit_eur_by_month`); of a summary `value_eur`.
    """

    def starts(self, params: Any, split: str, error_draws: int, days: int | None = None) -> Any:
        """Leaves `[L]`, one entry per lane, among them `time` and `end`; with `days` the first days of the split."""
        ...

    def day_starts(self, params: Any, starts: Any) -> np.ndarray:
        """Which steps `[T, L]` of rollouts from `starts` are the first of a local day."""
        ...

    def baselines(self) -> Mapping[str, Any]:
        """Policies by name, one of `NOTHINGS` and `perfect_foresight` among them."""
        ...

    def settings(self) -> Mapping[str, Any]: ...

    def timeseries(self, name: str, record: Record) -> pd.DataFrame: ...

    def key_figures(self, table: pd.DataFrame, params: Any, starts: Any) -> dict[str, Any]: ...

    def daily_value_eur(self, table: pd.DataFrame, starts: Any) -> Mapping[str, np.ndarray]: ...

    def daily_cycles(self, table: pd.DataFrame, params: Any, starts: Any) -> np.ndarray:
        """Cycles of the storage by local day, `[days]`, the days as in `daily_value_eur`."""
        ...

    def day_groups(self, table: pd.DataFrame) -> Mapping[str, DayGroups]:
        """The same local days as in `daily_value_eur`, sorted in several ways: `season`, `price_spread`."""
        ...

    def season_days(self, params: Any, split: str) -> tuple[Any, tuple[str, ...]]:
        """Starts of one fixed day of each season of a split, and the seasons' names; none for a split without them."""
        ...

    def season_figure(self, table: pd.DataFrame) -> Figure:
        """A picture of such days, from a table of `vmax.evaluation.seasons.SeasonDays`."""
        ...

    def bound_eur(self, params: Any, starts: Any) -> np.ndarray | None:
        """Value that no policy exceeds in sum, by local day, `[days]`, where `perfect_foresight` is not the optimum."""
        ...

    @property
    def only_plan(self) -> bool:
        """Whether `perfect_foresight` is no bound, and none is at hand."""
        ...

    @property
    def currency(self) -> str: ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the table of all policies shows."""
        ...

    @property
    def lanes(self) -> str:
        """What several lanes over one period are: `draws of forecast errors`."""
        ...

    @property
    def in_money(self) -> bool:
        """Whether what uplift and capture are measured in is the profit; else it is an objective of several."""
        ...

    @property
    def fronted(self) -> tuple[str, ...]:
        """The two key figures that are objectives against each other, both to be small; none where there is one."""
        ...

    @property
    def rules(self) -> Mapping[str, str]:
        """What its key figures mean, beside or instead of `RULES`."""
        ...

    def complete(self, figures: dict[str, dict[str, Any]]) -> None:
        """Adds to the figures of each policy those that compare it with others."""
        ...

    def figures(self, timeseries: pd.DataFrame, policies: list[str]) -> dict[str, Figure]: ...

    def summary(self, record: Record, params: Any, starts: Any) -> dict[str, float]: ...


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      result: strict-JSON content of result.json's `evaluation`.
      timeseries: one row per policy, lane and step; empty for episodes.
      trace: observation, action and reward of the learned policies, one row per lane and step; empty for episodes.
      episodes: one row per policy and episode (or lane).
      pictures: draws those that only the evaluation can.
    """

    result: dict[str, Any]
    episodes: pd.DataFrame
    timeseries: pd.DataFrame = field(default_factory=pd.DataFrame)
    trace: pd.DataFrame = field(default_factory=pd.DataFrame)
    pictures: Callable[[], Mapping[str, Picture]] = dict


def evaluate(
    env: Any,
    learned: Mapping[str, Any],
    split: str,
    *,
    error_draws: int,
    bootstrap: int,
    days: int | None = None,
    seed: int = 0,
    planning: bool = True,
    max_episode_steps: int,
) -> Evaluation:
    """Evaluate learned policies by name, and all baselines of the environment, on `train`, `validation` or `test`.

    `days`: only the first so many days of the split. Without `planning` only those baselines between which capture is
    measured, which takes seconds. `max_episode_steps`: where an environment judged by episodes does not say how long
    they are at most, they are cut there. `seed` draws the resamples of the intervals, never what is simulated.
    """
    if env.assessment is None and env.trials is not None:
        return Evaluation(**vars(run_trials(env, learned, split, bootstrap, seed)))
    if env.assessment is None:
        return Evaluation(*by_episodes(env, learned, split, max_episode_steps))
    judge: Assessment = env.assessment
    params = env.params(split)
    starts = judge.starts(params, split, error_draws, days)
    baselines = judge.baselines()
    nothing = nothing_of(baselines)
    policies = {**learned, **(baselines if planning else {name: baselines[name] for name in (nothing, OPTIMUM)})}
    records = {name: rollout(env, policy, params, starts, trace=name in learned) for name, policy in policies.items()}
    tables = {name: judge.timeseries(name, record) for name, record in records.items()}
    figures = {name: judge.key_figures(table, params, starts) for name, table in tables.items()}
    daily = {name: judge.daily_value_eur(table, starts) for name, table in tables.items()}
    bound = judge.bound_eur(params, starts)
    optimum = compare(figures, daily, bootstrap, seed, bound)
    optimum["kind"] = "plan" if judge.only_plan else optimum["kind"]
    judge.complete(figures)
    groups = judge.day_groups(tables[nothing])
    for name, table in tables.items():
        add_groups(figures[name], groups, daily, name, judge.daily_cycles(table, params, starts))
    first = tables[nothing]["utc"]
    result = {
        "split": split,
        "currency": judge.currency,
        "draws": int(np.count_nonzero(first == first.min())),
        "start": _stamp(first.min()),
        "end": _stamp(first.max() + pd.Timedelta(hours=env.dt_h)),
        "rules": {**_rules(optimum["kind"], IDLE in figures), **judge.rules},
        "lanes": judge.lanes,
        "in_money": judge.in_money,
        "fronted": list(judge.fronted),
        "columns": [column.described() for column in judge.columns],
        "optimum": optimum,
        "baseline_settings": dict(judge.settings()),
        "day_groups": {name: found.described() for name, found in groups.items()},
        "policies": figures,
    }
    traces = [trace_table(env, name, records[name], tables[name]) for name in learned]
    return Evaluation(
        result=result,
        episodes=_lanes(tables),
        timeseries=pd.concat(tables.values(), ignore_index=True),
        trace=pd.concat(traces, ignore_index=True) if traces else pd.DataFrame(),
    )


def nothing_of(policies: Iterable[str]) -> str:
    """The one of `NOTHINGS` that is among these policies."""
    return next(name for name in policies if name in NOTHINGS)


def _rules(kind: str, with_reserve: bool) -> dict[str, str]:
    """What the figures mean, where only a bound of the optimum or a plan is at hand, and where reserve is sold."""
    return {
        **RULES,
        "capture": {"optimum": RULES["capture"], "bound": OF_BOUND, "plan": OF_PLAN}[kind],
        **({"reserve_share": RESERVE_RULE} if with_reserve else {}),
    }


def compare(
    figures: dict[str, dict[str, Any]],
    daily: Mapping[str, Mapping[str, np.ndarray]],
    bootstrap: int,
    seed: int,
    bound_eur: np.ndarray | None = None,
) -> dict[str, Any]:
    """Adds to the figures of each policy: uplift, capture and the intervals of profit and capture.

    Captures are shares of what perfect foresight earns or, where that is not the optimum, of the bound by local day.
    Returns: of what they are shares, for the record.
    """
    nothing = daily[nothing_of(daily)]["value_eur"]
    days = len(nothing)
    weights = block_resamples(days, bootstrap, seed)
    uplift = {name: d["value_eur"] - nothing for name, d in daily.items()}
    most = uplift[OPTIMUM] if bound_eur is None else bound_eur - nothing
    best, best_samples = float(most.sum()), weights @ most
    for name, values in figures.items():
        values["uplift_eur"] = float(uplift[name].sum())
        values["capture"] = values["uplift_eur"] / best if best > LEAST_UPLIFT else None
        earned = best_samples > 0
        shares = (weights @ uplift[name])[earned] / best_samples[earned]
        values["ci95"] = {
            "profit_eur": interval(weights @ daily[name]["profit_eur"]),
            "capture": interval(shares) if best > LEAST_UPLIFT and len(shares) else None,
        }
        if IDLE in daily:
            idle = float(uplift[IDLE].sum())
            values["reserve_share"] = (values["uplift_eur"] - idle) / (best - idle) if best > idle else None
    return {
        "kind": "optimum" if bound_eur is None else "bound",
        "value_eur": best + float(nothing.sum()),
        "uplift_eur": best,
    }


def add_groups(
    values: dict[str, Any],
    groups: Mapping[str, DayGroups],
    daily: Mapping[str, Mapping[str, np.ndarray]],
    name: str,
    cycles: np.ndarray,
) -> None:
    """Adds to the figures of the policy `name` those by group of days, `by_season` and the like."""
    nothing = daily[nothing_of(daily)]["value_eur"]
    uplift_eur = {policy: daily[policy]["value_eur"] - nothing for policy in (name, OPTIMUM)}
    for key, found in groups.items():
        profit_eur = daily[name]["profit_eur"]
        values[f"by_{key}"] = grouped(found, profit_eur, uplift_eur[name], uplift_eur[OPTIMUM], cycles)


def trace_table(env: Any, name: str, record: Record, table: pd.DataFrame) -> pd.DataFrame:
    """Observation, action and reward of a policy's steps, in the order of its time series."""
    lanes = [(lane, int(count)) for lane, count in enumerate(np.asarray(record.steps))]

    def rows(values: Any) -> np.ndarray:
        return np.concatenate([np.asarray(values)[:count, lane] for lane, count in lanes])

    observation, action = rows(record.trace["observation"]), rows(record.trace["action"])
    columns = {f"observation_{n}": observation[:, i] for i, n in enumerate(env.observation_space.names)}
    space = env.action_space
    choices = isinstance(space, Discrete)
    columns |= (
        {"action_choice": action} if choices else {f"action_{n}": action[:, i] for i, n in enumerate(space.names)}
    )
    columns["reward"] = rows(record.trace["reward"])
    return pd.concat([table[["utc", "policy", "lane"]].reset_index(drop=True), pd.DataFrame(columns)], axis=1)


def _lanes(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per policy and lane: first and last step, profit, value of the energy left."""
    grouped = pd.concat(tables.values()).groupby(["policy", "lane"], sort=False)
    return grouped.agg(
        start_utc=("utc", "min"),
        last_step_utc=("utc", "max"),
        steps=("utc", "size"),
        profit_eur=("profit_eur", "sum"),
        terminal_value_eur=("terminal_value_eur", "sum"),
    ).reset_index()


def _stamp(time: Any) -> str:
    return pd.Timestamp(time).strftime("%Y-%m-%dT%H:%M:%SZ")
