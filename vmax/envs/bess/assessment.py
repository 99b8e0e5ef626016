"""How a battery's policies are judged: what they are compared with, what is written down, which figures count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.envs.bess import kpis, plots
from vmax.envs.bess.baselines import CheapDear, DoNothing, Threshold, TwoCycle
from vmax.envs.bess.planners import MPC, PerfectForesight, YesterdaysPlan, fit_calibration, lane_sites
from vmax.envs.bess.tuning import tuned_settings
from vmax.envs.rollout import Record

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess


@dataclass(frozen=True)
class BessAssessment:
    """Evaluation of `bess` over whole splits (the protocol is `vmax.evaluation.evaluate.Assessment`).

    A split is one trajectory, with a lane for each gap-free block and each draw of forecast errors.
    """

    env: Bess

    def starts(self, params: Any, split: str, error_draws: int, days: int | None = None) -> Any:
        """The lanes that cover a split, or its first `days`; leaves `[L]`, among them `time` and `end`."""
        return self.env.evaluation_starts(params, split, error_draws, days)

    def day_starts(self, starts: Any) -> np.ndarray:
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
    tuned = tuned_settings(env)
    return {
        "do_nothing": DoNothing(),
        "two_cycle": TwoCycle(-np.inf),
        "gated_two_cycle": TwoCycle(tuned["gated_two_cycle"]),
        "n_cheap_n_dear": CheapDear(tuned["n_cheap_n_dear"]),
        "threshold": Threshold(tuned["threshold"]),
        "lp_yesterday": YesterdaysPlan(),
        "mpc": MPC(),
        "mpc_calibrated": MPC(fit_calibration(env)),
        "perfect_foresight": PerfectForesight(),
    }


def _draws(starts: Any) -> int:
    """How many lanes repeat the same period."""
    time = np.asarray(starts.time)
    return int((time == time[0]).sum())
