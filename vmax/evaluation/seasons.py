"""One fixed day of each season at every evaluation during training: compiled once, a table of a few rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.envs.rollout import rollout
from vmax.evaluation.policies import Learned

SPLIT = "validation"


@dataclass(frozen=True)
class SeasonDays:
    """The days that `Assessment.season_days` names; each is a lane of its own from midnight to midnight."""

    env: Any
    algorithm: Any
    params: Any
    starts: Any
    seasons: tuple[str, ...]

    @classmethod
    def of(cls, env: Any, algorithm: Any) -> SeasonDays | None:
        """Those of the validation split; None if it has no whole day, or the environment knows no seasons."""
        params = env.params(SPLIT)
        starts, seasons = env.assessment.season_days(params, SPLIT)
        return cls(env, algorithm, params, starts, tuple(seasons)) if seasons else None

    def __call__(self, weights: Any) -> pd.DataFrame:
        """How the deterministic actor with these weights dispatches the days.

        One row a step: `season`, `utc`, `action_…`, and the columns of the environment's time series.
        """
        record = rollout(self.env, Learned(weights, self.algorithm), self.params, self.starts, trace=True)
        table = self.env.assessment.timeseries("", record)
        lane = table["lane"].to_numpy()
        step = np.arange(len(lane)) - np.searchsorted(lane, lane)
        actions = np.asarray(record.trace["action"])[step, lane]
        named = {f"action_{name}": actions[:, i] for i, name in enumerate(self.env.action_space.names)}
        head = pd.DataFrame({"season": np.asarray(self.seasons)[lane], "utc": table["utc"], **named})
        return pd.concat([head, table.drop(columns=["utc", "policy", "lane"])], axis=1)

    def figure(self, table: pd.DataFrame) -> Figure:
        """The days of such a table side by side."""
        return self.env.assessment.season_figure(table)
