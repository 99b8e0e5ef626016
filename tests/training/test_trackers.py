"""Weights & Biases and MLflow beside the run's own files, offline; what goes wrong there does not touch the run."""

import json

import pytest
import tiny

import vmax
from vmax.errors import UserError
from vmax.run_folder import RunFolder
from vmax.training import trackers
from vmax.training.trackers import Safe, flat

SHORT = ("total_steps=400",)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


made = []


class Played:
    """Notes what it is told; breaks at a step if told to."""

    identity = "abc"

    def __init__(self, folder, project, settings, known):
        self.project, self.settings, self.known, self.told = project, settings, known, []
        made.append(self)

    def record(self, step, scalars):
        if step == self.settings.get("total_steps"):
            raise ConnectionError("gone\nmore")
        self.told.append((step, dict(scalars)))

    def end(self, status, figures):
        self.told.append((status, dict(figures)))


@pytest.fixture
def played(monkeypatch):
    monkeypatch.setitem(trackers.MODULES, "wandb", "json")
    monkeypatch.setattr(trackers, "WandB", Played)
    made.clear()
    return made


def test_a_run_tells_its_tracker_all_and_goes_on_with_the_same_record(played, tmp_path, capsys):
    vmax.train([*tiny.PENDULUM, *SHORT, "logging.tracker=wandb", "logging.project=mine"], str(tmp_path / "run"))
    (one,) = played
    assert (one.project, one.known) == ("mine", None) and one.settings["algorithm.name"] == "sac"
    assert [step for step, _ in one.told] == [300] and "train/critic_loss" in one.told[0][1]  # it broke at 400
    assert "warning: tracker: gone; it is given up for this run" in capsys.readouterr().out
    assert RunFolder(tmp_path / "run").record()["status"] == "completed"
    vmax.train([f"resume={tmp_path / 'run'}", "total_steps=600"])
    assert played[1].known == "abc"
    assert json.loads((tmp_path / "run" / "tracker.json").read_text())["run"] == "abc"


def test_how_a_run_ended_is_told_with_the_figures_of_the_test_split(played, tmp_path):
    vmax.train([*tiny.PENDULUM, "total_steps=401", "logging.tracker=wandb"], str(tmp_path / "run"))
    result = tiny.read_json(tmp_path / "run" / "result.json")
    status, figures = played[0].told[-1]
    assert status == "completed"
    assert figures == {"test/return_mean": result["evaluation"]["policies"]["best"]["return_mean"]}


def test_a_tracker_that_cannot_begin_is_left_out(monkeypatch, tmp_path, capsys):
    def refuse(*arguments):
        raise PermissionError("no key")

    monkeypatch.setitem(trackers.MODULES, "wandb", "json")
    monkeypatch.setattr(trackers, "WandB", refuse)
    vmax.train([*tiny.PENDULUM, "total_steps=300", "logging.tracker=wandb"], str(tmp_path / "run"))
    assert "warning: tracker: no key; the run goes on without" in capsys.readouterr().out


def test_a_package_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(trackers.MODULES, "mlflow", "no_such_package")
    with pytest.raises(UserError, match=r"logging.tracker=mlflow: is not installed; pip install -e \"\.\[mlflow\]\""):
        vmax.train([*tiny.PENDULUM, "logging.tracker=mlflow"], str(tmp_path / "run"))


def test_an_error_is_told_once():
    class Broken:
        def record(self, step, scalars):
            raise ValueError

        def end(self, status, figures):
            raise ValueError

    said = []
    safe = Safe(Broken(), said.append)
    safe.record(1, {})
    safe.end("completed", {})
    assert said == ["tracker: ValueError; it is given up for this run"]


def test_settings_are_flattened():
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}


def test_mlflow_keeps_the_run_in_a_database_of_its_own(tmp_path):
    tracking = pytest.importorskip("mlflow.tracking", reason="the extra `mlflow` is not installed")
    overrides = [*tiny.PENDULUM, *SHORT, "logging.tracker=mlflow", "name=mine"]
    result = vmax.train(overrides, str(tmp_path / "run"))
    client = tracking.MlflowClient("sqlite:///outputs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("vmax").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "mine" and run.data.params["seed"] == "3"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/critic_loss")]
    assert steps == [300, 400]
    best = result["evaluation"]["policies"]["best"]["return_mean"]
    assert run.data.metrics["test/return_mean"] == pytest.approx(best)


def test_wandb_keeps_the_run_offline_in_its_folder(tmp_path):
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    vmax.train([*tiny.PENDULUM, *SHORT, "logging.tracker=wandb"], str(tmp_path / "run"))
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 1 and files[0].stat().st_size > 0
    assert tiny.read_json(tmp_path / "run" / "tracker.json")["kind"] == "wandb"
