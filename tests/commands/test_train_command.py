import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from invoking import invoker
from omegaconf import OmegaConf

from vmax.commands import train as command
from vmax.errors import UserError
from vmax.files import DiskFull, write_json
from vmax.run_folder import RunFolder

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
FAILURES = {
    11: UserError("prices.csv: row 3: bad"),
    12: DiskFull("checkpoints/5: no space left"),
    13: RuntimeError("boom"),
    14: KeyboardInterrupt(),
}

STOPPED = {
    15: "SIGINT at step 5; go on with resume=",
    16: "SIGTERM at step 5; go on with resume=",
    17: "SIGUSR2 at step 5; go on with resume=",
    18: "time_budget_s=9 at step 5; go on with resume=",
}
"""By seed, what ends a run before its time."""


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The training loop replaced by one that notes its call, and fails for some seeds; runs start in tmp_path."""
    made = []

    def train(config, folder, composed):
        made.append((config, Path(folder), composed))
        if config.seed in FAILURES:
            raise FAILURES[config.seed]
        run = RunFolder(folder)
        run.start(config.seed, {})
        reason = STOPPED.get(config.seed)
        result = {"run": {"status": "interrupted" if reason else "completed", "reason": reason}}
        result["run"]["best_validation_score"] = 0.5
        write_json(run.result, result)
        run.finish(result["run"]["status"], reason)
        return result

    stub = ModuleType("vmax.training.loop")
    stub.train = train  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "vmax.training.loop", stub)
    monkeypatch.setattr(command, "before_training", lambda config, mapping: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "off")
    return made


@pytest.fixture
def invoke(monkeypatch, calls, capsys):
    """Runs the command with these arguments; returns exit status, stdout and stderr."""

    return invoker(monkeypatch, capsys, command.main)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["algorithm=sacc"], "error: algorithm=sacc: unknown; available: a2c, dqn, ppo, sac, td3\n"),
        (["algorithm.lrr=1"], "error: algorithm.lrr: unknown; did you mean algorithm.learning_rate? (see --cfg job)\n"),
        (
            ["+algorithm.lrr=1"],
            "error: algorithm.lrr: unknown; did you mean algorithm.learning_rate? (see --cfg job)\n",
        ),
        (["--seed=1"], "error: --seed=1: unknown flag; settings have no dashes: seed=1 (see --help)\n"),
        (
            ["--experiment=x"],
            "error: --experiment=x: unknown flag; settings have no dashes: experiment=x (see --help)\n",
        ),
        (["--mode", "quick"], "error: --mode: unknown flag; settings have no dashes: mode=VALUE (see --help)\n"),
        (["seed=1.5"], "error: seed=1.5: must be a whole number\n"),
        (["seed=11"], "error: prices.csv: row 3: bad\n"),
        (["resume=nowhere"], "error: nowhere: is no run folder (.hydra/config.yaml is missing)\n"),
        (["resume=7.5"], "error: 7.5: is no run folder (.hydra/config.yaml is missing)\n"),
        (["--multirun", "algorithm=sac,sacc"], "error: algorithm=sacc: unknown; available: a2c, dqn, ppo, sac, td3\n"),
        (["-m", "algorithm.lrr=1,2"], "error: algorithm.lrr: unknown; did you mean algorithm.learning_rate?"),
    ],
)
def test_a_mistake_is_one_line_status_two_and_no_folder(invoke, tmp_path, arguments, message):
    status, out, err = invoke(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(message) and err.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "multirun.yaml"] == []
    assert list(tmp_path.glob("outputs/2*")) == []


def test_a_mistake_leaves_no_outputs_folder_behind(invoke, tmp_path):
    invoke("seed=1.5")
    assert list(tmp_path.iterdir()) == []


def test_a_run_gets_a_fresh_folder_with_its_resolved_configuration(invoke, calls):
    assert invoke("seed=3", "threads=null", "mode=quick")[0] == 0
    config, folder, composed = calls[0]
    saved = RunFolder.open(folder)
    assert folder.parts[-3] == "outputs" and (config.seed, config.resume) == (3, None)
    assert saved.composed() == OmegaConf.to_container(composed)
    assert saved.composed()["threads"] == config.threads > 0
    assert saved.composed()["total_steps"] == config.total_steps == 384_000
    assert saved.given_overrides() == ["seed=3", "threads=null", "mode=quick"]


def test_a_run_knows_the_full_path_of_its_data_and_what_was_typed(invoke, calls, tmp_path, monkeypatch):
    typed = "env.data.path=data/prices.csv"
    assert invoke("hydra.run.dir=a", typed)[0] == 0
    saved = RunFolder.open("a")
    assert saved.composed()["env"]["data"]["path"] == str(tmp_path / "data" / "prices.csv")
    assert calls[0][0].env.data.path == "data/prices.csv" and saved.given_overrides() == [typed]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert invoke("resume=../a", typed)[0] == invoke("resume=../a", "env.data.path=../data/prices.csv")[0] == 0
    assert calls[1][0].env.data.path == str(tmp_path / "data" / "prices.csv")
    status, _, err = invoke("resume=../a", "env.data.path=prices.csv")
    assert status == 2 and err.startswith(f"error: resume: env.data.path={tmp_path}/elsewhere/prices.csv differs from")


def test_a_crash_before_the_start_shows_its_traceback_and_leaves_nothing(invoke, calls):
    status, _, err = invoke("seed=13")
    assert status == 1 and "RuntimeError: boom" in err and not Path(calls[0][1]).exists()


def test_a_full_disk_is_one_line(invoke):
    assert invoke("seed=12")[::2] == (2, "error: checkpoints/5: no space left\n")


@pytest.mark.parametrize("form", [["--cfg", "job"], ["--cfg=job"], ["-c", "job", "--resolve"]])
def test_the_settings_are_shown_as_they_apply(invoke, tmp_path, form):
    status, out, _ = invoke("mode=quick", "training.eval_every=76800", *form, "hydra.run.dir=here")
    shown = yaml.safe_load(out)
    assert status == 0 and (shown["total_steps"], shown["checkpoint"]["every"]) == (384_000, 76_800)
    assert shown["training"]["eval_every"] == 76_800 and "hydra" not in shown and list(tmp_path.iterdir()) == []
    assert invoke(*form, "seeed=1")[2] == "error: seeed: unknown; did you mean seed? (see --cfg job)\n"


def test_hydra_shows_what_is_its_own(invoke):
    assert "run:\n  dir: outputs/" in invoke("--cfg", "hydra", "--package", "hydra")[1]
    assert invoke("--cfg", "job", "--package", "budget")[1].startswith("# @package budget\nshare: 1.0\n")


def test_ctrl_c_is_one_line(invoke):
    assert invoke("seed=14")[::2] == (130, "interrupted\n")


def test_ctrl_c_ends_a_loop_of_trainings_in_python(calls):
    with pytest.raises(KeyboardInterrupt):
        [command.run_from_python([f"seed={seed}"], None) for seed in (15, 16)]
    assert [config.seed for config, _, _ in calls] == [15]


def test_a_folder_that_cannot_be_made_is_one_line(invoke, calls, tmp_path):
    (tmp_path / "file").touch()
    said = "cannot be written (Not a directory); name another folder"
    assert invoke("hydra.run.dir=file/x") == (2, "", f"error: hydra.run.dir=file/x: {said}\n")
    with pytest.raises(UserError, match=re.escape(f"hydra.run.dir=file/y: {said}")):
        command.run_from_python([], "file/y")
    assert calls == []


def test_the_other_jobs_of_a_multirun_go_on(invoke, calls, tmp_path):
    status, _, err = invoke("--multirun", "seed=1,11,2", "hydra.sweep.dir=outputs/multirun/x")
    assert status == 2 and [config.seed for config, _, _ in calls] == [1, 11, 2]
    assert err.splitlines()[0] == "error: job 1 (seed=11): prices.csv: row 3: bad"
    runs = [path.name for path in (tmp_path / "outputs/multirun/x").iterdir() if path.is_dir()]
    assert sorted(runs) == ["0", "2"]


def test_a_multirun_with_a_failed_job_ranks_the_others_and_names_it(invoke, tmp_path):
    status, out, _ = invoke("--multirun", "seed=1,11,2", "hydra.sweep.dir=x")
    assert status == 2 and "1 (seed=11): failed: prices.csv: row 3: bad\n" in out
    rows = (tmp_path / "x/sweep.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["0", "0.5"], ["2", "0.5"], ["1", ""]]
    assert (tmp_path / "x/sweep.png").exists() and json.loads((tmp_path / "x/sweep.json").read_text())["best"] == "0"


def test_a_job_that_fails_no_longer_is_not_named(invoke, monkeypatch, tmp_path):
    invoke("--multirun", "seed=1,11", "hydra.sweep.dir=x")
    monkeypatch.delitem(FAILURES, 11)
    status, out, _ = invoke("--multirun", "seed=1,11", "hydra.sweep.dir=x", "resume=auto")
    assert status == 0 and "failed" not in out and not list(tmp_path.glob("x/*.failed.json"))


def test_slurm_jobs_without_slurm_are_one_line(invoke, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra `slurm` is not installed")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # its handlers would close the streams of this process
    status, out, err = invoke("--multirun", "hydra/launcher=slurm", "seed=1")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith('error: hydra/launcher=slurm: Could not detect "srun"')


def test_a_signal_that_stops_a_job_ends_a_multirun_with_a_ranking(invoke, calls, tmp_path):
    status, out, err = invoke("--multirun", "seed=1,15,2", "hydra.sweep.dir=x")
    assert (status, err) == (130, "interrupted: no further job of this multirun is started\n")
    assert [config.seed for config, _, _ in calls] == [1, 15]
    assert f"1 (seed=15): interrupted: {STOPPED[15]}x/1\n" in out and (tmp_path / "x/sweep.csv").exists()


def test_ctrl_c_between_two_phases_of_a_multirun_leaves_a_ranking(invoke, tmp_path):
    assert invoke("--multirun", "seed=1,14,2", "hydra.sweep.dir=x")[0] == 130
    assert (tmp_path / "x/sweep.csv").read_text().count("\n") == 2


@pytest.mark.parametrize(("seed", "status"), [(15, 130), (16, 143), (17, 140), (18, 0)])
def test_a_run_that_a_signal_stopped_is_no_success_and_one_out_of_time_is(invoke, seed, status):
    assert invoke(f"seed={seed}")[0] == status


def test_who_started_a_job_handles_its_signal_once_the_run_is_saved(invoke, calls):
    def queue_again(number, frame):
        raise SystemExit(len(calls))

    former = signal.signal(signal.SIGUSR2, queue_again)
    try:
        assert invoke("seed=17")[0] == 1
    finally:
        signal.signal(signal.SIGUSR2, former)


def test_a_second_run_does_not_go_into_the_same_folder(invoke, calls):
    assert invoke("hydra.run.dir=outputs/a", "seed=1")[0] == 0
    status, _, err = invoke("hydra.run.dir=outputs/a", "seed=2")
    assert status == 2 and "outputs/a: holds a run; go on with resume=" in err
    assert RunFolder.open("outputs/a").composed()["seed"] == 1 and len(calls) == 1


def test_resume_takes_the_runs_configuration_and_leaves_no_folder_of_its_own(invoke, calls, tmp_path):
    invoke("hydra.run.dir=outputs/a", "seed=4", "algorithm=td3", "mode=sanity")
    assert invoke("resume=outputs/a", "algorithm=td3", "mode=sanity", "seed=4")[0] == 0
    config, folder, composed = calls[1]
    assert (config.seed, config.algorithm.name, config.resume, folder) == (4, "td3", "outputs/a", Path("outputs/a"))
    assert {**composed, "resume": None} == calls[0][2]
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["a"]


def test_resume_takes_what_is_as_the_run_has_it_however_it_is_typed(invoke, calls):
    invoke("hydra.run.dir=outputs/a", "mode=sanity", "name=null")
    same = ("name=null", "mode=sanity", "env.battery.power_mw=1.50", "algorithm=sac")
    assert invoke("resume=outputs/a", *same)[0] == 0 and calls[1][0].name is None


def test_resume_may_change_total_steps(invoke, calls):
    invoke("hydra.run.dir=outputs/a")
    assert invoke("resume=outputs/a", "total_steps=2e6")[0] == 0
    assert [config.total_steps for config, _, _ in calls] == [1_536_000, 2_000_000]


def test_resume_may_change_the_epochs_of_a_run_by_epochs(invoke, calls):
    invoke("hydra.run.dir=outputs/a", "env.episode.days=1", "training.schedule=epochs", "training.epochs=2")
    assert invoke("resume=outputs/a", "training.epochs=5")[0] == 0
    assert [config.training.epochs for config, _, _ in calls] == [2, 5]
    assert [config.total_steps for config, _, _ in calls] == [None, None]
    status, _, err = invoke("resume=outputs/a", "total_steps=1e6")
    assert status == 2 and err.endswith(
        "null; only training.epochs, time_budget_s, watchdog_s and stopping may change\n"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.battery.power_mw=2", "env.battery.power_mw=2 differs from the run's 1.5"),
        ("network.hidden=[32,32]", "network.hidden=[32,32] differs from the run's [128,128,128]"),
        ("training.replay_capacity=1000", "training.replay_capacity=1000 differs from the run's 768000"),
        ("seed=9", "seed=9 differs from the run's 4"),
        ("algorithm=td3", "algorithm=td3 differs from the run's sac"),
        ("mode=quick", "mode=quick differs from the run's sanity"),
        ("experiment=forecast", "experiment=forecast differs from the run's null"),
        ("name=other", "name=other differs from the run's null"),
        ("training.epochs=3", "training.epochs=3 differs from the run's null"),
        ("evaluation.days=null", "evaluation.days=null differs from the run's 28"),
        ("+algorithm.lr=1", "+algorithm.lr=1: the run has no algorithm.lr"),
    ],
)
def test_resume_refuses_other_changes_and_names_both_values(invoke, calls, override, message):
    invoke("hydra.run.dir=outputs/a", "seed=4", "mode=sanity")
    status, _, err = invoke("resume=outputs/a", override)
    assert (status, err) == (
        2,
        f"error: resume: {message}; only total_steps, time_budget_s, watchdog_s and stopping may change\n",
    ) and len(calls) == 1


def test_resume_auto_begins_a_run_and_goes_on_with_it(invoke, calls):
    same = ("hydra.run.dir=outputs/a", "seed=16", "threads=null", "mode=quick", "resume=auto")
    assert invoke(*same)[0] == invoke(*same)[0] == 143
    assert [config.resume for config, _, _ in calls] == [None, str(Path("outputs/a").resolve())]
    assert RunFolder.open("outputs/a").given_overrides() == ["seed=16", "threads=null", "mode=quick"]


@pytest.mark.parametrize(
    ("first", "then", "difference"),
    [
        ((), ("seed=4",), "seed=16, here 4"),
        (("seed=3",), (), "seed=3, here 16"),
        ((), ("algorithm=td3",), "algorithm.name=sac, here td3"),
    ],
)
def test_resume_auto_refuses_a_run_of_other_settings_typed_or_not(invoke, calls, first, then, difference):
    invoke("hydra.run.dir=outputs/a", "seed=16", *first)
    status, _, err = invoke("hydra.run.dir=outputs/a", "seed=16", "resume=auto", *then)
    assert (status, len(calls)) == (2, 1)
    assert err.startswith("error: resume=auto: ") and err.count("\n") == 1
    assert f"/outputs/a holds a run with {difference}; name another folder" in err


def test_resume_auto_leaves_a_finished_run_alone_and_lengthens_it(invoke, calls):
    same = ("hydra.run.dir=outputs/a", "resume=auto")
    assert invoke(*same)[0] == 0
    status, out, _ = invoke(*same)
    assert status == 0 and out.endswith("outputs/a is completed; nothing is left to do\n") and len(calls) == 1
    assert invoke(*same, "total_steps=2e6")[0] == 0 and calls[1][0].total_steps == 2_000_000


@pytest.mark.parametrize(
    ("variable", "value", "goes_on"),
    [("SLURM_RESTART_COUNT", "1", True), ("SLURM_RESTART_COUNT", "0", False), ("SUBMITIT_EXECUTOR", "slurm", True)],
)
def test_a_job_that_a_scheduler_starts_again_goes_on(invoke, calls, monkeypatch, variable, value, goes_on):
    invoke("hydra.run.dir=outputs/a", "seed=16")
    monkeypatch.setenv(variable, value)
    status, _, err = invoke("hydra.run.dir=outputs/a", "seed=16")
    assert (status, len(calls)) == ((143, 2) if goes_on else (2, 1)) and ("holds a run" in err) is not goes_on


def test_a_multirun_is_gone_on_with(invoke, calls, monkeypatch):
    invoke("--multirun", "seed=1,15,2", "hydra.sweep.dir=x")
    assert invoke("resume=x")[2].endswith("with hydra.sweep.dir=x resume=auto goes on with it\n")
    monkeypatch.delitem(STOPPED, 15)
    assert invoke("--multirun", "seed=1,15,2", "hydra.sweep.dir=x", "resume=auto")[0] == 0
    assert [(config.seed, config.resume is None) for config, _, _ in calls[2:]] == [(15, False), (2, True)]


def test_the_same_from_python(calls, tmp_path):
    assert command.run_from_python(["seed=5"], str(tmp_path / "mine"))["run"]["status"] == "completed"
    assert calls[0][0].seed == 5 and RunFolder.open(tmp_path / "mine").given_overrides() == ["seed=5"]
    with pytest.raises(UserError, match="seed=x: must be a whole number"):
        command.run_from_python(["seed=x"], str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"hydra\.run\.dir=x: holds on the command line alone; .* folder="):
        command.run_from_python(["hydra.run.dir=x"], str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["--help"], 0, "algorithm: a2c, dqn, ppo, sac, td3"),
        (["--cfg", "job", "seed=8"], 0, "seed: 8"),
        (["seed=1", "device=xpu"], 2, "error: device=xpu: must be one of auto, cpu, gpu\n"),
    ],
)
def test_the_script_as_a_user_starts_it(tmp_path, arguments, status, expected):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == status and expected in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
