"""The end of a multirun: ranking, picture, the command of the best; launchers and the sweeper that can run here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vmax.commands.sweep import _place, read_trials, report, varied
from vmax.files import write_json
from vmax.run_folder import RunFolder

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
TINY = (
    *("env=pendulum", "device=cpu", "network.hidden=[8]", "evaluation.plots=false", "total_steps=300"),
    *("training.num_envs=4", "training.updates_per_iteration=2", "training.batch_size=16", "training.log_every=100"),
    *("training.replay_capacity=400", "training.warmup_steps=200", "training.eval_every=100", "checkpoint.every=100"),
    *("env.max_steps=20", "threads=1", "checks=off", "export=false"),
)


def run(folder: Path, *overrides: str, score: float | None, status: str = "completed") -> None:
    made = RunFolder(folder)
    made.save_config({}, overrides)
    made.start(0, {})
    write_json(made.result, {"run": {"best_validation_score": score, "wall_time_s": 2.0}})
    made.finish(status)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def sweep(tmp_path):
    run(tmp_path / "0", "env=bess", "seed=1", "algorithm.discount=0.9", score=0.5)
    run(tmp_path / "1", "env=bess", "seed=1", "algorithm.discount=0.99", score=0.8)
    run(tmp_path / "2", "env=bess", "seed=1", "algorithm.discount=1.5", score=None, status="failed")
    return tmp_path


def test_runs_are_ranked_and_the_best_can_be_run_again(sweep, capsys):
    assert [trial.name for trial in report(sweep)] == ["1", "0", "2"]
    rows = (sweep / "sweep.csv").read_text().splitlines()
    assert rows[0] == "run,validation_score,test_score,status,wall_time_s,algorithm.discount"
    assert rows[1:] == ["1,0.8,,completed,2.0,0.99", "0,0.5,,completed,2.0,0.9", "2,,,failed,2.0,1.5"]
    found = json.loads((sweep / "sweep.json").read_text())
    assert found["command"] == "python scripts/train.py env=bess seed=1 algorithm.discount=0.99"
    assert f"best: {found['command']}" in capsys.readouterr().out
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_only_what_varies_is_a_column(sweep):
    assert varied(read_trials(sweep)) == ["algorithm.discount"]


def test_a_sweep_of_which_nothing_started_leaves_nothing(tmp_path):
    assert report(tmp_path) == [] and list(tmp_path.iterdir()) == []


def test_axes_of_the_picture_go_by_size_or_logarithm_or_name():
    assert _place(["1", "2", "3"])[0].tolist() == [0.0, 0.5, 1.0]
    assert _place(["0.001", "0.01", "0.1"])[0].tolist() == pytest.approx([0.0, 0.5, 1.0])
    heights, marks = _place(["relu", None, "relu"])
    assert heights.tolist() == [0.75, 0.25, 0.75] and marks == [(0.25, "None"), (0.75, "relu")]


def sweep_of(*arguments: str) -> str:
    """What a multirun in a process of its own prints: launchers and sweepers change this one's streams."""
    command = [sys.executable, str(SCRIPT), "--multirun", *arguments, *TINY]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_study_by_optuna_in_other_processes_is_kept_and_gone_on_with(monkeypatch, tmp_path):
    optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra `sweep` is not installed")
    monkeypatch.chdir(tmp_path)
    for expected in (1, 2):
        out = sweep_of(
            "hydra/sweeper=tpe", "hydra/launcher=cores", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_trials=1"
        )
        assert "1 run(s) by their score" in out and "best: python scripts/train.py" in out
        study = optuna.load_study(study_name="sac_pendulum", storage="sqlite:///outputs/studies.db")
        assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * expected
    folder = max(Path("outputs/multirun").glob("*/*"))
    best = json.loads((folder / "sweep.json").read_text())["trials"][0]
    assert best["score"] == pytest.approx(study.trials[-1].values[0])


def test_slurm_jobs_can_be_tried_as_local_processes(monkeypatch, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra `slurm` is not installed")
    monkeypatch.chdir(tmp_path)
    assert "1 run(s) by their score" in sweep_of("hydra/launcher=slurm_local", "seed=0")
