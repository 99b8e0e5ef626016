"""The fixed days of the seasons in the run's folder and in TensorBoard, as each evaluation found them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from vmax.config import RunConfig
from vmax.evaluation.seasons import SeasonDays
from vmax.evaluation.writing import write_table
from vmax.run_folder import RunFolder
from vmax.training.logger import Logger


@dataclass(frozen=True)
class SeasonLog:
    """Writes evaluation/seasons/STEP.csv for each evaluation and, if `plots`, shows the days in TensorBoard."""

    days: SeasonDays
    folder: RunFolder
    logger: Logger
    plots: bool

    def record(self, step: int, weights: Any) -> None:
        """Runs the days with these weights (what `Algorithm.policy` gives). Raises DiskFull."""
        table = self.days(weights)
        write_table(table, self.folder.season_days(step))
        self._show(step, table)

    def show_earlier(self) -> None:
        """Shows what a resumed run has in its folder: its event file is written anew."""
        for step in self.folder.season_steps() if self.plots else ():
            table = pd.read_csv(self.folder.season_days(step))
            self._show(step, table.assign(utc=pd.to_datetime(table["utc"]).dt.tz_localize(None)))

    def _show(self, step: int, table: pd.DataFrame) -> None:
        if self.plots:
            self.logger.figure("eval/seasons", self.days.figure(table), step)


def season_log(config: RunConfig, env: Any, algorithm: Any, folder: RunFolder, logger: Logger) -> SeasonLog | None:
    """None if switched off, or for an environment without seasons. Earlier days of a resumed run are shown again."""
    if not config.evaluation.seasons or env.assessment is None:
        return None
    days = SeasonDays.of(env, algorithm)
    if days is None:
        return None
    log = SeasonLog(days, folder, logger, config.evaluation.plots)
    log.show_earlier()
    return log
