"""The days of the seasons in a run's folder and its event file, also after a resume."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import small_bess
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vmax
from vmax.config import compose, load
from vmax.run_folder import RunFolder
from vmax.training.logger import Logger
from vmax.training.seasons import SeasonLog, season_log


class Days:
    """A day that the policy dispatches with the power of its weights."""

    def __call__(self, weights: float) -> pd.DataFrame:
        hours, idle = np.datetime64("2023-02-16T00", "s") + 3600 * np.arange(24), np.zeros(24)
        table = {"season": "winter", "utc": hours, "price_eur_per_mwh": 50.0 + np.arange(24.0), "charge_mw": weights}
        return pd.DataFrame({**table, "discharge_mw": idle, "soc": idle + 0.5, "soc_end": idle + 0.5})

    def figure(self, table: pd.DataFrame) -> Any:
        return small_bess.small_bess().assessment.season_figure(table)


def shown(folder: RunFolder) -> list[int]:
    """The steps at which the event file has a picture of the days."""
    events = EventAccumulator(str(folder.tensorboard), size_guidance={"images": 0}).Reload()
    return [event.step for event in events.Images("eval/seasons")] if "eval/seasons" in events.Tags()["images"] else []


def test_each_evaluation_leaves_a_table_and_a_picture_and_a_resume_shows_those_that_are_left(tmp_path):
    folder = RunFolder(tmp_path)
    logger = Logger(folder)
    log = SeasonLog(Days(), folder, logger, plots=True)  # pyright: ignore[reportArgumentType]
    for step in (100, 200, 300):
        log.record(step, float(step))
    assert folder.season_steps() == shown(folder) == [100, 200, 300]
    assert pd.read_csv(folder.season_days(200))["charge_mw"].tolist() == [200.0] * 24
    folder.cut_back(200, 0)
    logger = Logger(folder)
    SeasonLog(Days(), folder, logger, plots=True).show_earlier()  # pyright: ignore[reportArgumentType]
    assert folder.season_steps() == shown(folder) == [100, 200]


def test_without_plots_there_are_tables_alone(tmp_path):
    folder = RunFolder(tmp_path)
    logger = Logger(folder)
    log = SeasonLog(Days(), folder, logger, plots=False)  # pyright: ignore[reportArgumentType]
    log.record(100, 1.0)
    log.show_earlier()
    assert folder.season_steps() == [100] and shown(folder) == []


def test_there_are_none_where_they_are_switched_off_or_the_environment_knows_no_seasons(tmp_path):
    folder: Any = RunFolder(tmp_path)
    off = load(compose(["evaluation.seasons=false"]))
    assert season_log(off, small_bess.small_bess(), None, folder, SimpleNamespace()) is None  # pyright: ignore[reportArgumentType]
    on = load(compose([]))
    assert season_log(on, vmax.make_env("pendulum"), None, folder, SimpleNamespace()) is None  # pyright: ignore[reportArgumentType]
    assert list(tmp_path.iterdir()) == []
