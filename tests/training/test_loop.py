"""The training loop as a whole: kill, stop and resume; damage; figures that are not finite; donation and traces."""

import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jax
import pytest
import tiny

import vmax
from vmax import config, devices, envs
from vmax.algorithms import make_algorithm
from vmax.envs.classic.pendulum import Pendulum
from vmax.errors import UserError
from vmax.evaluation.validation import Validation
from vmax.run_folder import RunFolder, read_metrics
from vmax.training.run import build_program


@pytest.fixture(scope="module")
def prices(tmp_path_factory) -> Path:
    return tiny.write_prices(tmp_path_factory.mktemp("prices") / "prices.csv")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, prices) -> dict[str, Path]:
    """Folders of runs that nobody disturbed, each made by a process of its own."""
    folder = tmp_path_factory.mktemp("untouched")
    for name, overrides in {"pendulum": tiny.PENDULUM, "bess": tiny.bess(prices)}.items():
        tiny.run(*overrides, f"hydra.run.dir={folder / name}")
    return {name: folder / name for name in ("pendulum", "bess")}


@pytest.fixture
def finished(untouched, tmp_path) -> Path:
    """A completed run of pendulum to do with as one likes."""
    return Path(shutil.copytree(untouched["pendulum"], tmp_path / "finished"))


def at_checkpoint(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Waits until a checkpoint of at least this step is there."""
    while process.poll() is None:
        if any(int(path.name) >= step for path in folder.glob("checkpoints/*") if path.name.isdigit()):
            return
        time.sleep(0.005)
    pytest.fail(f"the run ended by itself: {process.communicate()[0]}")


@pytest.mark.parametrize("env", ["pendulum", "bess"])
def test_a_run_killed_at_a_random_moment_and_resumed_equals_one_that_was_not(untouched, prices, tmp_path, env):
    overrides = {"pendulum": tiny.PENDULUM, "bess": tiny.bess(prices)}[env]
    step, wait_s = random.randrange(300, 1000, 100), random.uniform(0.0, 0.2)
    print(f"killed {wait_s} s after checkpoint {step}")
    folder = tmp_path / "killed"
    process = tiny.start(*overrides, f"hydra.run.dir={folder}")
    at_checkpoint(process, folder, step)
    time.sleep(wait_s)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and RunFolder(folder).record()["status"] == "running"
    tiny.run(f"resume={folder}")
    assert RunFolder(folder).record()["status"] == "completed" and len(RunFolder(folder).record()["resumed"]) == 1
    tiny.assert_same_run(untouched[env], folder)


def test_sigterm_ends_a_run_after_its_chunk_and_resume_completes_it(untouched, tmp_path):
    folder = tmp_path / "stopped"
    process = tiny.start(*tiny.PENDULUM, f"hydra.run.dir={folder}")
    at_checkpoint(process, folder, 300)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    step = max(int(path.name) for path in folder.glob("checkpoints/[0-9]*"))
    assert process.returncode == 0 and f"SIGTERM: saved at step {step}; go on with resume={folder}" in output
    record = RunFolder(folder).record()
    assert (record["status"], record["reason"]) == ("interrupted", f"stopped at step {step}; go on with resume=")
    assert tiny.read_json(folder / "result.json")["run"]["status"] == "interrupted"
    assert int(read_metrics(folder / "metrics.csv")[1][-1][0]) == step < 1000
    tiny.run(f"resume={folder}")
    tiny.assert_same_run(untouched["pendulum"], folder)


def test_a_run_killed_during_its_final_evaluation_is_completed_by_resume(untouched, finished):
    shutil.rmtree(finished / "evaluation")
    (finished / "result.json").unlink()
    RunFolder(finished).start(3, {})
    vmax.train([f"resume={finished}"])
    tiny.assert_same_run(untouched["pendulum"], finished)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(untouched, finished, capsys):
    largest = max((finished / "checkpoints" / "1000" / "state").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    (finished / "result.json").unlink()
    vmax.train([f"resume={finished}"])
    said = capsys.readouterr().out
    assert f"warning: checkpoint {finished / 'checkpoints' / '1000'}: " in said
    assert "is damaged (sha256 differs); it is passed over" in said
    assert "resumed from step 900" in (finished / "train.log").read_text()
    tiny.assert_same_run(untouched["pendulum"], finished)


def test_resume_of_a_completed_run_is_refused_and_leaves_it_as_it_was(finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    done = rf"resume={finished}: the run is done at step 1000 of 1000; raise total_steps to go on"
    with pytest.raises(UserError, match=done):
        vmax.train([f"resume={finished}"])
    with pytest.raises(UserError, match=done.replace("of 1000", "of 900")):
        vmax.train([f"resume={finished}", "total_steps=900"])
    with pytest.raises(UserError, match=r"resume: seed=9 differs from the run's 3; only total_steps may change"):
        vmax.train([f"resume={finished}", "seed=9"])
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_more_total_steps_go_on_with_a_completed_run_and_still_learn(finished):
    result = vmax.train([f"resume={finished}", "total_steps=1400"])
    assert (result["run"]["env_steps"], result["run"]["gradient_updates"]) == (1400, 600)
    columns, rows = read_metrics(finished / "metrics.csv")
    assert [int(row[0]) for row in rows] == list(range(300, 1401, 100))
    rate = [float(row[columns.index("train/learning_rate")]) for row in rows]
    assert rate[7] < 1e-4 < 2e-4 < rate[8] and rate[11] < rate[8]  # the schedule now ends at 1400
    assert result == tiny.read_json(finished / "result.json")
    assert RunFolder(finished).composed()["total_steps"] == 1400  # for good: a further resume goes there too


def test_a_figure_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    step = Pendulum.step

    def broken(self, key, state, action, params):
        """From the 140th step of an episode on, which is step 560 of the run, the reward is not a number."""
        state, seen = step(self, key, state, action, params)
        return state, replace(seen, reward=jax.numpy.where(state.time > 140, jax.numpy.nan, seen.reward))

    monkeypatch.setattr(Pendulum, "step", broken)
    folder = tmp_path / "broken"
    message = r"step 600: train/\w+ is not finite; the last good checkpoint is 500; try a smaller algorithm\.learning"
    with pytest.raises(UserError, match=message):
        vmax.train([*tiny.PENDULUM, "env.max_steps=190"], str(folder))
    record = RunFolder(folder).record()
    assert record["status"] == "failed" and record["reason"].startswith("step 600: train/")
    assert [path.name for path in sorted(folder.glob("checkpoints/[0-9]*"))] == ["400", "500"]
    assert not (folder / "result.json").exists()


def test_a_chunk_takes_its_input_over_and_neither_it_nor_the_evaluation_is_traced_twice(monkeypatch):
    traces, step = Counter(), Pendulum.step

    def counted(self, *arguments):
        traces["step"] += 1
        return step(self, *arguments)

    monkeypatch.setattr(Pendulum, "step", counted)
    settings = config.load(config.compose([*tiny.PENDULUM, "env.max_steps=30"]))
    env, algorithm = envs.make(settings.env), make_algorithm(settings.algorithm, settings.network)
    program = build_program(settings, env, algorithm)
    params = devices.replicate(env.params("train"), 1)
    initialise, warm_up, chunk = program.compiled(5, 20)
    warmed = warm_up(initialise(devices.replicate(jax.random.key(0), 1), params), params)
    first, _ = chunk(warmed, params)
    validation = Validation(env, algorithm, "validation", 1)
    validation(devices.fetch(algorithm.policy(first.learner, averaged=True)))
    seen = traces["step"]
    second, _ = chunk(first, params)
    validation(devices.fetch(algorithm.policy(second.learner, averaged=True)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((warmed, first)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((second, params)))
    assert 0 < traces["step"] == seen


def test_train_from_python_takes_a_folder_of_its_own_and_returns_the_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = vmax.train([*tiny.PENDULUM, "total_steps=400", "name=mine"])["run"]
    assert run["folder"].startswith("outputs/") and RunFolder(run["folder"]).record()["status"] == "completed"
    assert (run["name"], run["status"], run["env_steps"]) == ("mine", "completed", 400)
    assert run == tiny.read_json(Path(run["folder"]) / "result.json")["run"]


def test_evaluate_from_python_finds_what_the_run_itself_found(untouched):
    folder = untouched["bess"]
    own = (folder / "result.json").read_bytes()
    policies = tiny.read_json(folder / "result.json")["evaluation"]["policies"]
    assert {"best", "last", "do_nothing", "gated_two_cycle", "mpc", "perfect_foresight"} <= policies.keys()
    assert policies["perfect_foresight"]["capture"] == 1.0 > policies["last"]["capture"]
    later = vmax.evaluate(str(folder), checkpoint="last")
    assert later == tiny.read_json(folder / "evaluation" / "test" / "result.json")
    assert later["evaluation"]["policies"]["last"] == policies["last"] and policies["last"]["violations"] == 0
    assert (folder / "result.json").read_bytes() == own
