"""The end of a multirun: ranking, picture, the command of the best; launchers and the sweeper that can run here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from invoking import invoker

from vmax.commands import sweep as command
from vmax.commands.sweep import _place, note_job, read_trials, report, varied
from vmax.errors import UserError
from vmax.files import held, write_json
from vmax.run_folder import RunFolder

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
TINY = (
    *("env=pendulum", "device=cpu", "network.hidden=[8]", "evaluation.plots=false"),
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


def test_jobs_without_a_run_of_their_own_are_ranked_last_and_named(sweep, capsys):
    overrides = ("env=bess", "seed=1", "algorithm.discount=2")
    note_job(sweep / "3", overrides, UserError("too large"))
    assert [(trial.name, trial.status) for trial in report(sweep)][2:] == [("2", "failed"), ("3", "failed")]
    assert "3 (algorithm.discount=2): failed: UserError: too large\n" in capsys.readouterr().out
    note_job(sweep / "3", overrides, None)
    assert [trial.name for trial in read_trials(sweep)] == ["0", "1", "2"]


def test_a_run_that_no_process_holds_was_killed(sweep):
    RunFolder(sweep / "0").start(0, {})
    assert read_trials(sweep)[0].status == "killed"
    with held(sweep / "0", "here"):
        assert read_trials(sweep)[0].status == "running"


def test_a_ranking_that_cannot_be_written_does_not_hide_how_a_multirun_ended(sweep, monkeypatch, capsys):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    def end(status):
        with command.ranked():
            command.SweepReport.folder = sweep
            sys.exit(status)

    monkeypatch.setattr(command, "report", refuse)
    with pytest.raises(SystemExit, match="7"):
        end(7)
    assert capsys.readouterr().out == f"warning: [Errno 13] Permission denied: '{sweep}'\n"


def test_any_folder_is_ranked_later(sweep, monkeypatch, capsys):
    assert invoker(monkeypatch, capsys, command.main)(f"folder={sweep}")[0] == 0
    (sweep / "sweep.csv").unlink()
    shutil.rmtree(sweep / "1")
    status, out, _ = invoker(monkeypatch, capsys, command.main)(f"folder={sweep}")
    assert status == 0 and "best: python scripts/train.py env=bess seed=1 algorithm.discount=0.9\n" in out
    assert (sweep / "sweep.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "folder=null: name the folder of a multirun, as in folder=outputs/multirun/DATE/TIME"),
        (["folder=nowhere"], "folder=nowhere: holds no runs (*/run.json); name the folder of a multirun"),
        (["nowhere"], "nowhere: is no setting; write folder=nowhere"),
        (["--folder=x"], "--folder=x: unknown flag; settings have no dashes: folder=x (see --help)"),
        (["folders=x"], "folders: unknown; did you mean folder? (see --cfg job)"),
    ],
)
def test_a_mistake_is_one_line(monkeypatch, capsys, arguments, message):
    assert invoker(monkeypatch, capsys, command.main)(*arguments) == (2, "", f"error: {message}\n")


def test_help_names_the_key(monkeypatch, capsys):
    status, out, _ = invoker(monkeypatch, capsys, command.main)("--help")
    assert status == 0 and "scripts/sweep.py folder=outputs/multirun" in out and "\n  folder: null" in out


def test_only_what_varies_is_a_column(sweep):
    assert varied(read_trials(sweep)) == ["algorithm.discount"]


def test_a_sweep_of_which_nothing_started_leaves_nothing(tmp_path):
    assert report(tmp_path) == [] and list(tmp_path.iterdir()) == []


def test_axes_of_the_picture_go_by_size_or_logarithm_or_name():
    assert _place(["1", "2", "3"])[0].tolist() == [0.0, 0.5, 1.0]
    assert _place(["0.001", "0.01", "0.1"])[0].tolist() == pytest.approx([0.0, 0.5, 1.0])
    heights, marks = _place(["relu", None, "relu"])
    assert heights.tolist() == [0.75, 0.25, 0.75] and marks == [(0.25, "None"), (0.75, "relu")]


def multirun(*arguments: str, length: str = "total_steps=300") -> subprocess.Popen[str]:
    """A multirun in a process of its own: launchers and sweepers change this one's streams."""
    command = [sys.executable, str(SCRIPT), "--multirun", *TINY, length, *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def sweep_of(*arguments: str) -> str:
    """What a multirun prints that ends well."""
    process = multirun(*arguments)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


@pytest.mark.slow
def test_a_study_by_optuna_in_other_processes(monkeypatch, tmp_path):
    optuna = pytest.importorskip("optuna", minversion="4", reason="the extra `sweep` is not installed")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra `sweep` is not installed")
    monkeypatch.chdir(tmp_path)
    cores = ("hydra/launcher=cores", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=2")
    out = sweep_of("hydra/sweeper=tpe", *cores, "hydra.sweeper.study_name=mine", "hydra.sweep.dir=x")
    assert "2 run(s) by their score" in out and "best: python scripts/train.py" in out
    study = optuna.load_study(study_name="mine", storage="sqlite:///outputs/studies.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    best = json.loads((tmp_path / "x/sweep.json").read_text())["trials"][0]
    assert best["score"] == pytest.approx(study.best_value)


@pytest.mark.slow
def test_a_job_that_submitit_queues_again_goes_on_and_a_failed_one_is_told(monkeypatch, tmp_path):
    """As at pre-emption: USR2, which submitit answers by starting the job once more with what it was started with."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra `slurm` is not installed")
    monkeypatch.chdir(tmp_path)
    jobs = ("hydra/launcher=slurm_local", "hydra.sweep.dir=x", "seed=0", "training.batch_size=16,1000")
    process, run = multirun(*jobs, length="total_steps=4000"), RunFolder(tmp_path / "x/0")
    try:
        until(lambda: any(path.name.isdigit() for path in run.checkpoints.glob("*")), process)
        os.kill(submitted(tmp_path / "x/.submitit", run), signal.SIGUSR2)
        out, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    record = run.record()
    assert (record["status"], len(record["resumed"])) == ("completed", 1), out
    assert process.returncode == 1 and "2 run(s) by their score" in out
    assert "1 (training.batch_size=1000): failed: training." in out
    logs = {path.parent.name: path.read_text() for path in (tmp_path / "x/.submitit").glob("*/*_log.out")}
    assert sorted("completed successfully" in log for log in logs.values()) == [False, True]


def until(done, process: subprocess.Popen[str], limit_s: float = 200.0) -> None:
    """Waits for what a multirun does."""
    began = time.monotonic()
    while not done():
        assert process.poll() is None and time.monotonic() - began < limit_s, process.communicate(timeout=5)
        time.sleep(0.02)


def submitted(folder: Path, run: RunFolder) -> int:
    """The process of submitit's job that holds the run: its log names the folder, its environment its number."""
    job = next(path.parent.name for path in folder.glob("*/*_log.out") if str(run.path) in path.read_text())
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        named = f"SUBMITIT_LOCAL_JOB_ID={job}".encode() in words
        if named and b"submitit.core._submit" in (place / "cmdline").read_bytes():
            return int(place.name)
    raise AssertionError(f"no process of job {job}")
