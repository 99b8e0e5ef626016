"""The command `compare`: runs that end well, fail, hang or are stopped; going on; the table. Trainings are played."""

import json
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from invoking import invoker
from sample_run import battery_run

from vmax.commands import compare, jobs
from vmax.commands.board import time_left_s
from vmax.commands.jobs import Job, Progress
from vmax.evaluation.comparison import Comparison, read_run
from vmax.files import write_json
from vmax.run_folder import RunFolder

STAND_IN = """
import sys, time, json
from pathlib import Path
from vmax.files import write_json, write_csv
from vmax.run_folder import RunFolder
given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
resumed = "resume" in given
folder = RunFolder(given.get("resume") or given["hydra.run.dir"])
if not resumed:
    folder.save_config({"network": {"name": "mlp"}, "algorithm": given["algorithm"], "seed": given["seed"]}, [])
chosen = folder.composed()
algorithm, seed = chosen["algorithm"], int(chosen["seed"])
folder.start(seed, {})
write_csv(folder.metrics, ["step", "time_s", "eval/score"], [["100", "0.0", ""], ["200", "2.0", "0.5"]])
behaviour = (Path(folder.path).parent / "behaviour.json")
what = json.loads(behaviour.read_text()).get(f"{algorithm} {seed}", "well") if behaviour.exists() else "well"
if what == "badly":
    folder.finish("failed", "step 200: train/q is not finite")
    sys.exit(2)
if what == "crash":
    print("Traceback"); print("MemoryError: no more"); sys.exit(1)
if what == "hang":
    time.sleep(600)
if what == "stop":
    folder.finish("interrupted", "SIGTERM at step 200; go on with resume=")
    sys.exit(0)
score = {"sac": 0.9, "td3": 0.7}[algorithm] + 0.01 * seed
policies = {"best": {"capture": score, "profit_eur": 1000 * score}, "last": {"capture": 0.1}, "mpc": {"capture": 0.8}}
write_json(folder.result, {"run": {"algorithm": algorithm, "env": "bess", "seed": seed, "resumed": resumed},
                           "evaluation": {"policies": policies}})
folder.finish("completed")
"""


@pytest.fixture
def invoke(monkeypatch, capsys, tmp_path):
    """Runs the command in an empty place; `behaving` says what becomes of which run."""
    monkeypatch.setattr(jobs, "PROGRAM", STAND_IN)
    monkeypatch.setattr(compare, "POLL_S", 0.02)
    monkeypatch.setattr(jobs, "GRACE_S", 2.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c").mkdir()
    return invoker(monkeypatch, capsys, compare.main)


def behaving(**runs):
    Path("c/behaviour.json").write_text(json.dumps({name.replace("_", " "): what for name, what in runs.items()}))


def record():
    return json.loads(Path("c/comparison.json").read_text())


ALL = ("algorithm=sac,td3", "seed=1,2", "env=bess", "compare.folder=c")


def test_every_combination_is_run_and_compared(invoke):
    status, out, _ = invoke(*ALL)
    assert status == 0
    found = record()
    assert [job["name"] for job in found["jobs"]] == [
        *("00_algorithm-sac_seed-1", "01_algorithm-sac_seed-2", "02_algorithm-td3_seed-1", "03_algorithm-td3_seed-2")
    ]
    assert {job["state"] for job in found["jobs"]} == {"done"} and found["jobs"][0]["steps"] == 1_536_000
    groups = found["comparison"]["groups"]
    assert groups["sac"]["iqm"] == pytest.approx(0.915) and groups["td3"]["iqm"] == pytest.approx(0.715)
    assert groups["sac"]["probability_of_improvement_over"] == {"td3": 1.0}
    assert "sac" in out and "0.915" in out and "mpc" in out
    rows = Path("c/comparison.csv").read_text().splitlines()
    assert rows[0].startswith("run,group,env,seed,score,capture,profit_eur") and len(rows) == 5
    for name in ("learning_curves", "scores", "performance_profiles"):
        assert Path(f"c/plots/{name}.png").read_bytes().startswith(b"\x89PNG")
    page = Path("c/report.html").read_text(encoding="utf-8")
    assert "report: c/report.html" in out and "sac has the highest capture of the groups: IQM 0.9150" in page
    assert "python scripts/compare.py algorithm=sac,td3 seed=1,2 env=bess" in page


@pytest.mark.slow
def test_a_run_that_fails_or_hangs_does_not_stop_the_others_and_is_tried_again_when_going_on(invoke):
    behaving(sac_1="badly", sac_2="crash", td3_1="hang")
    status, out, _ = invoke(*ALL, "compare.stall_timeout_s=8")
    assert status == 1
    assert [job["state"] for job in record()["jobs"]] == ["failed", "failed", "failed", "done"]
    reasons = [job["reason"] for job in record()["jobs"]]
    assert reasons == ["step 200: train/q is not finite", "MemoryError: no more", "no sign of life for 8 s", None]
    assert RunFolder("c/02_algorithm-td3_seed-1").record()["status"] == "failed"
    assert "00_algorithm-sac_seed-1: failed (step 200: train/q is not finite)" in out
    assert record()["comparison"]["groups"].keys() == {"td3"}  # nothing is said of what did not finish
    page = Path("c/report.html").read_text(encoding="utf-8")
    assert "3 left out" in page and "no sign of life for 8 s" in page
    done = Path("c/03_algorithm-td3_seed-2/result.json")
    before = done.stat().st_mtime_ns
    behaving()
    assert invoke("resume=c")[0] == 0
    assert {job["state"] for job in record()["jobs"]} == {"done"} and done.stat().st_mtime_ns == before
    assert json.loads(Path("c/00_algorithm-sac_seed-1/result.json").read_text())["run"]["resumed"]


def test_files_mean_the_same_from_any_folder(invoke, monkeypatch, tmp_path):
    behaving(sac_1="stop", td3_1="stop")
    network = ("env=traffic_signal", "env.network=town.yaml", "algorithm=sac,td3", "seed=1")
    assert invoke(*network, "compare.folder=c")[0] == 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(compare, "carry_out", lambda jobs, *given: planned.extend(jobs))
    planned = []
    invoke("resume=../c")
    assert [job.overrides for job in planned] == [
        ("env=traffic_signal", f"algorithm={name}", "seed=1", f'env.network="{tmp_path}/town.yaml"')
        for name in ("sac", "td3")
    ]


def test_runs_on_unlike_content_of_a_file_are_named(tmp_path):
    folders = []
    for number, held in enumerate(("a", "a", "b")):
        folder = RunFolder(battery_run(tmp_path / str(number)))
        one = {"path": "/data/prices.csv", "files": {"prices.csv": {"bytes": 1, "sha256": held * 64}}, "copied": True}
        write_json(folder.input_record, {"env.data.path": one})
        folders.append(folder.path)
    found = [read_run(folder, folder.name) for folder in folders]
    runs = [run for run in found if run is not None]
    (line,) = Comparison.of(runs).differing_files()
    assert line.endswith("content of env.data.path=/data/prices.csv: sha256 aaaaaaaa in 0, 1; sha256 bbbbbbbb in 2")
    assert Comparison.of(runs[:2]).differing_files() == []


def test_nothing_finished_is_said_and_nothing_is_made_up(invoke):
    behaving(sac_1="badly", sac_2="badly", td3_1="stop", td3_2="badly")
    status, out, _ = invoke(*ALL)
    assert status == 1 and "no run has finished: there is nothing to compare" in out
    assert "comparison" not in record() and not Path("c/comparison.csv").exists() and not Path("c/report.html").exists()
    assert record()["jobs"][2]["state"] == "interrupted"


def test_a_signal_ends_the_running_job_and_the_rest_waits(invoke):
    behaving(sac_1="hang")

    def interrupt():
        deadline = time.monotonic() + 30
        while not Path("c/00_algorithm-sac_seed-1/metrics.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    status, out, _ = invoke(*ALL)
    assert status == 130 and "SIGINT: go on with resume=c" in out
    assert [job["state"] for job in record()["jobs"]] == ["failed", "waiting", "waiting", "waiting"]


def test_runs_side_by_side_share_the_cores(invoke, monkeypatch):
    monkeypatch.setattr("vmax.commands.compare.os.cpu_count", lambda: 8)
    started, original = [], jobs.subprocess.Popen

    def popen(command, **options):
        started.append(command)
        return original(command, **options)

    monkeypatch.setattr(jobs.subprocess, "Popen", popen)
    assert invoke(*ALL, "compare.jobs=4")[0] == 0
    assert len(started) == 4 and all("threads=2" in command for command in started)


def test_time_to_go_is_that_of_the_running_and_as_much_as_before_for_the_waiting():
    done, running, waiting = (Job(s, s, (), 100, state=s, seconds=60.0) for s in ("done", "running", "waiting"))
    assert time_left_s([done, running, waiting], {"running": Progress(50, None, 5.0, 10.0)}) == 70.0
    assert time_left_s([running, waiting], {"running": Progress(50, None, 5.0, 10.0)}) is None
    assert time_left_s([done, running], {"running": None}) == 60.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["algorithm=sacc"], "algorithm=sacc: unknown"),
        (["algorithm=sac,td3", "training.batch_size=0"], "training.batch_size=0: must be at least 1"),
        (["compare.jobs=0"], "compare.jobs=0: must be at least 1"),
        (["compare.job=2"], "compare.job: unknown; did you mean compare.jobs?"),
        (["resume=nowhere"], "resume=nowhere: is no folder of a comparison"),
        (["hydra.run.dir=x"], "hydra.run.dir=x: each training has a folder of its own; set compare.folder="),
        (["--seed=1"], "--seed=1: unknown flag"),
        (["seed=[1"], "cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(invoke, arguments, message):
    status, _, err = invoke(*arguments)
    assert status == 2 and message in err and len(err.splitlines()) == 1
    assert not Path("outputs").exists()


def test_help_names_the_keys(invoke):
    status, out, _ = invoke("--help")
    assert status == 0 and "compare.stall_timeout_s: 900" in out and "scripts/compare.py" in out
    assert sys.argv[1:] == ["--help"]
