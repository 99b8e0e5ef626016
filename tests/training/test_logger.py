import json
import math
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vmax.files import DiskFull
from vmax.run_folder import RunFolder
from vmax.training.logger import Logger


def events(folder):
    accumulator = EventAccumulator(str(folder.tensorboard), size_guidance={"scalars": 0})
    return accumulator.Reload()


def scalars(folder, tag):
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def test_a_record_is_one_row_and_one_point_each_and_later_names_add_columns(tmp_path):
    folder = RunFolder(tmp_path)
    logger = Logger(folder)
    logger.record(100, {"train/loss": 0.1, "speed/steps_per_s": 5.0})
    logger.record(200, {"train/loss": 0.2, "eval/capture": 0.9})
    logger.record(300, {"train/loss": 1 / 3})
    table = pd.read_csv(folder.metrics)
    assert list(table.columns) == ["step", "time_s", "train/loss", "speed/steps_per_s", "eval/capture"]
    assert table["train/loss"].tolist() == [0.1, 0.2, 1 / 3]
    assert table["eval/capture"].isna().tolist() == [True, False, True]
    assert [step for step, _ in scalars(folder, "train/loss")] == [100, 200, 300]
    assert len(scalars(folder, "eval/capture")) == 1


def test_what_is_not_finite_is_an_empty_cell_and_no_point(tmp_path, capsys):
    folder = RunFolder(tmp_path)
    logger = Logger(folder)
    logger.record(1, {"train/loss": math.nan, "train/q": math.inf, "train/ok": 1.0})
    assert folder.metrics.read_text().splitlines()[1].split(",")[2:] == ["", "", "1.0"]
    assert events(folder).Tags()["scalars"] == ["train/ok"]
    assert "NaN" not in capsys.readouterr().err


def test_lines_of_json_are_strict_and_name_what_is_not_finite_as_null(tmp_path):
    folder = RunFolder(tmp_path)
    logger = Logger(folder, jsonl=True)
    logger.record(1, {"train/loss": math.nan, "train/q": math.inf, "train/ok": 1 / 3})
    logger.record(2, {"train/ok": 1.0, "eval/score": 0.5})
    logger.days([{"step": 2, "date": "2024-01-01", "profit_eur": math.nan}])
    first, second = (
        json.loads(line, parse_constant=lambda name: pytest.fail(name))
        for line in folder.metrics_jsonl.read_text().splitlines()
    )
    assert first.pop("time_s") > 1e9 and second.pop("time_s") > 1e9
    assert first == {"step": 1, "train/loss": None, "train/q": None, "train/ok": 1 / 3}
    assert second == {"step": 2, "train/ok": 1.0, "eval/score": 0.5}
    assert folder.days.read_text() == '{"step": 2, "date": "2024-01-01", "profit_eur": null}\n'


def test_without_the_option_there_are_no_lines_of_json(tmp_path):
    Logger(RunFolder(tmp_path)).record(1, {"train/ok": 1.0})
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "tensorboard"}


def test_a_resumed_run_has_nothing_beyond_its_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    logger = Logger(folder)
    for step in (100, 200, 300):
        logger.record(step, {"train/loss": float(step)})
    folder.cut_back(200, 0)
    resumed = Logger(folder)
    resumed.record(300, {"train/loss": -1.0, "eval/capture": 0.5})
    assert scalars(folder, "train/loss") == [(100, 100.0), (200, 200.0), (300, -1.0)]
    assert pd.read_csv(folder.metrics)["train/loss"].tolist() == [100.0, 200.0, -1.0]
    walls = [event.wall_time for event in events(folder).Scalars("train/loss")]
    assert walls == sorted(walls) and abs(walls[0] - pd.read_csv(folder.metrics)["time_s"][0]) < 0.01


def test_figures_and_hparams_are_written(tmp_path):
    folder = RunFolder(tmp_path)
    logger = Logger(folder)
    figure = Figure()
    figure.subplots().plot([1, 2])
    logger.figure("dispatch", figure, 5)
    logger.hparams({"algorithm": "sac", "hidden": (8, 8), "limit": None}, {"capture": 0.9, "bad": math.nan})
    assert events(folder).Tags()["images"] == ["dispatch"]
    assert (folder.tensorboard / "hparams").is_dir()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_at_once_however_much_is_written(tmp_path):
    folder = RunFolder(tmp_path)
    logger = Logger(folder)
    logger.record(100, {"train/loss": 0.1})
    logger.events.path.unlink()
    logger.events.path.symlink_to("/dev/full")
    for step in range(200, 3200, 100):  # more than a queue would take
        with pytest.raises(DiskFull, match=r"events\.out\.tfevents.*: no space left on the disk"):
            logger.record(step, {"train/loss": 0.2})
    with pytest.raises(DiskFull):
        logger.figure("dispatch", Figure())
