"""How a battery's policies are judged: what they are compared with, what is written down, which figures count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.data.days import DayGroups, local_dates, season_groups, spread_groups, spread_of_days, typical_days
from vmax.envs.bess import foresight, kpis, plots
from vmax.envs.bess.baselines import CheapDear, DoNothing, Idle, Threshold, TwoCycle
from vmax.envs.bess.planners import (
    MPC,
    PerfectForesight,
    YesterdaysPlan,
    best_single,
    bound_eur,
    fit_calibration,
    lane_sites,
)
from vmax.envs.bess.reserve_planners import ReserveForesight, ReserveMPC
from vmax.envs.bess.tuning import tuned_settings
from vmax.envs.rollout import Column, Record

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess


COLUMNS = (
    Column("profit {currency}", "profit_eur", 0),
    Column("{currency}/MW/a", "profit_eur_per_mw_year", 0),
    Column("uplift {currency}", "uplift_eur", 0),
    Column("{share}", "capture", 3),
    Column("95 % CI", "ci95.capture", 3),
    Column("cycles/day", "cycles_per_day", 2),
    Column("wear {currency}", "wear_cost_eur", 0),
    Column("violations", "violations", 0),
)


@dataclass(frozen=True)
class BessAssessment:
    """Evaluation of `bess` over whole splits (the protocol is `vmax.evaluation.evaluate.Assessment`).

    A split is one trajectory, with a lane for each gap-free block and each draw of forecast errors.
    """

    env: Bess

    def starts(self, params: Any, split: str, error_draws: int, days: int | None = None) -> Any:
        """The lanes that cover a split, or its first `days`; leaves `[L]`, among them `time` and `end`."""
        return self.env.evaluation_starts(params, split, error_draws, days)

    def day_starts(self, params: Any, starts: Any) -> np.ndarray:
        """Which steps `[T, L]` of rollouts from `starts` are the first of a local day."""
        day, time = self.env.series.local_day, np.asarray(starts.time)
        first = np.append(True, np.diff(day) != 0)
        steps = np.arange(np.max(np.asarray(starts.end) - time))[:, None]
        return first[np.minimum(time + steps, len(day) - 1)]

    def baselines(self) -> dict[str, Any]:
        """All policies to compare with, by name; the tuned ones tuned."""
        return _baselines(self.env)

    def settings(self) -> dict[str, Any]:
        """What was tuned or fitted, and on what, for the record."""
        calibration = fit_calibration(self.env)
        return {
            "chosen_on": "train and validation (rules, by profit); train (calibration, by least squares)",
            **{name: {_SETTING[name]: value} for name, value in tuned_settings(self.env).items()},
            "mpc_calibrated": {"persistence": calibration.persistence, "weight": calibration.weight},
        }

    def timeseries(self, name: str, record: Record) -> pd.DataFrame:
        """The steps of a rollout as rows."""
        return kpis.timeseries(name, record.info, record.steps, self.env.series)

    def key_figures(self, table: pd.DataFrame, params: Any, starts: Any) -> dict[str, Any]:
        """Figures of one policy from its rows."""
        sites = lane_sites(self.env, params, starts)
        return kpis.key_figures(table, sites, self.env.dt_h, _draws(starts), self.env.series)

    def daily_value_eur(self, table: pd.DataFrame, starts: Any) -> Mapping[str, np.ndarray]:
        """Profit, and profit with the value of the energy left, by local day, `[days]` each."""
        draws, series = _draws(starts), self.env.series
        profit = kpis.daily_eur(table, draws, series, "profit_eur")
        return {"profit_eur": profit, "value_eur": profit + kpis.daily_eur(table, draws, series, "terminal_value_eur")}

    def daily_cycles(self, table: pd.DataFrame, params: Any, starts: Any) -> np.ndarray:
        """AC energy discharged by local day, in units of the usable capacity, `[days]`."""
        sites, draws = lane_sites(self.env, params, starts), _draws(starts)
        usable_mwh = float(np.mean([(site.soc_max - site.soc_min) * site.capacity_mwh for site in sites]))
        _, day = kpis.days_of(table, self.env.series)
        discharged_mwh = np.bincount(day, table["discharge_mw"].to_numpy(np.float64)) * self.env.dt_h
        return discharged_mwh / draws / usable_mwh

    def day_groups(self, table: pd.DataFrame) -> dict[str, DayGroups]:
        """The local days by season and by quartile of the spread of their prices."""
        steps, day = kpis.days_of(table, self.env.series)
        spread = spread_of_days(table["price_eur_per_mwh"].to_numpy(np.float64), day)
        dates = local_dates(self.env.series, steps)
        return {"season": season_groups(dates), "price_spread": spread_groups(spread)}

    def season_days(self, params: Any, split: str) -> tuple[Any, tuple[str, ...]]:
        """Starts and seasons of the typical days of a split, from local midnight at SOC 0.5, first draw of errors."""
        time, seasons = typical_days(self.env.series, split)
        first = jax.tree.map(lambda leaf: leaf[0], self.env.evaluation_starts(params, split))
        starts = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(time),)), first)
        first, last = (jnp.asarray(steps, jnp.int32) for steps in (time, time + self.env.steps_per_day))
        return starts.replace(time=first, end=last), seasons

    def season_figure(self, table: pd.DataFrame) -> Figure:
        """Price, power and charge of such days, a column for each."""
        return plots.season_days(table, self.env.series.timezone, self.env.series.currency)

    @property
    def only_plan(self) -> bool:
        """Whether a policy may earn more than `perfect_foresight`, and nothing is known that bounds it."""
        return foresight.kind(self.env) == "plan"

    def bound_eur(self, params: Any, starts: Any) -> np.ndarray | None:
        """Where `perfect_foresight` is not the optimum: value that no policy exceeds in sum, by local day, `[days]`."""
        lanes = bound_eur(self.env, params, starts)
        if lanes is None:
            return None
        first, last = np.asarray(starts.time), np.asarray(starts.end)
        steps = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
        _, index = np.unique(self.env.series.local_day[steps], return_inverse=True)
        return np.bincount(index, np.concatenate(lanes)) / _draws(starts)

    columns: ClassVar[tuple[Column, ...]] = COLUMNS
    lanes: ClassVar[str] = "draws of forecast errors"
    in_money: ClassVar[bool] = True
    fronted: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[Mapping[str, str]] = {}

    def complete(self, figures: dict[str, dict[str, Any]]) -> None:
        """Nothing is missing."""

    @property
    def currency(self) -> str:
        return self.env.series.currency

    def figures(self, timeseries: pd.DataFrame, policies: list[str]) -> dict[str, Figure]:
        """Pictures by name: a week and the charge by hour of the first policy and the optimum."""
        series, shown = self.env.series, list(dict.fromkeys([policies[0], "perfect_foresight"]))
        return {
            "week": plots.week(timeseries, shown, series.timezone, series.currency),
            "charge_by_hour": plots.charge_by_hour(timeseries, shown, series.timezone),
        }

    def summary(self, record: Record, params: Any, starts: Any) -> dict[str, float]:
        """The few figures of a periodic evaluation, without writing anything down. `value_eur` is what counts."""
        valid = np.arange(len(record.info["profit_eur"]))[:, None] < np.asarray(record.steps)
        sums = {
            key: float(np.asarray(record.info[key], np.float64)[valid].sum()) / _draws(starts)
            for key in ("profit_eur", "terminal_value_eur", "discharge_mw")
        }
        site = lane_sites(self.env, params, starts)[0]
        usable_mwh = float((site.soc_max - site.soc_min) * site.capacity_mwh)
        days = float(np.asarray(record.steps).sum()) * self.env.dt_h / 24.0 / _draws(starts)
        return {
            "value_eur": sums["profit_eur"] + sums["terminal_value_eur"],
            "profit_eur": sums["profit_eur"],
            "cycles_per_day": sums["discharge_mw"] * self.env.dt_h / usable_mwh / days,
        }


_SETTING = {"gated_two_cycle": "gate_eur_per_mwh", "n_cheap_n_dear": "hours", "threshold": "width"}


@lru_cache(maxsize=8)
def _baselines(env: Bess) -> dict[str, Any]:
    tuned, calibration = tuned_settings(env), fit_calibration(env)
    sold = env.config.reserve.sold
    planner = ReserveMPC if sold else MPC
    return {
        "do_nothing": DoNothing(),
        "two_cycle": TwoCycle(-np.inf),
        "gated_two_cycle": TwoCycle(tuned["gated_two_cycle"]),
        "n_cheap_n_dear": CheapDear(tuned["n_cheap_n_dear"]),
        "threshold": Threshold(tuned["threshold"]),
        "lp_yesterday": YesterdaysPlan(),
        **({"idle": Idle()} if sold else {}),
        "mpc": planner(),
        "mpc_calibrated": planner(calibration),
        **({"mpc_estimate": planner("estimate")} if env.config.uncertain else {}),
        **({"mpc_single": planner(best_single(env))} if env.config.data.forecasts > 1 else {}),
        "perfect_foresight": ReserveForesight() if sold else PerfectForesight(),
    }


def _draws(starts: Any) -> int:
    """How many lanes repeat the same period."""
    time = np.asarray(starts.time)
    return int((time == time[0]).sum())
