"""The training loop as a whole: kill, stop and resume; damage; figures that are not finite; donation and traces."""

import math
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import tiny
from jax.stages import Lowered

import vmax
from vmax import config, devices, envs
from vmax.activity import Activity
from vmax.algorithms import make_algorithm
from vmax.algorithms.sac import SAC
from vmax.devices import drop_programs
from vmax.envs import rollout
from vmax.envs.classic.pendulum import Pendulum
from vmax.errors import UserError
from vmax.evaluation.report import write_run_report
from vmax.evaluation.validation import Validation
from vmax.files import write_json
from vmax.run_folder import RunFolder, read_metrics
from vmax.training.progress import ProgressReport
from vmax.training.run import build_program, trace
from vmax.training.warm_start import networks_of


@pytest.fixture(scope="module")
def prices(tmp_path_factory) -> Path:
    return tiny.write_prices(tmp_path_factory.mktemp("prices") / "prices.csv")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, prices) -> Callable[[str], Path]:
    """The folder of a run that nobody disturbed, made by a process of its own when it is first asked for."""
    folder = tmp_path_factory.mktemp("untouched")

    @cache
    def made(name: str) -> Path:
        tiny.run(*runs(prices)[name], f"hydra.run.dir={folder / name}")
        return folder / name

    return made


def runs(prices: Path) -> dict[str, tuple[str, ...]]:
    """A run without memory, one with memory and priorities, and that by days on a battery."""
    return {"pendulum": tiny.PENDULUM, "memory": tiny.MEMORY, "days": tiny.days(prices)}


@pytest.fixture
def finished(untouched, tmp_path) -> Path:
    """A completed run of pendulum to do with as one likes."""
    return Path(shutil.copytree(untouched("pendulum"), tmp_path / "finished"))


def kill_when(due: Callable[[], bool], process: subprocess.Popen[str], wait_s: float = 0.0) -> None:
    """Kills a run so many seconds after something is there."""
    while not due():
        if process.poll() is not None:
            pytest.fail(f"the run ended by itself: {process.communicate()[0]}")
        time.sleep(0.005)
    time.sleep(wait_s)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("run", ["pendulum", pytest.param("days", marks=pytest.mark.slow)])
def test_a_run_killed_at_a_random_moment_and_resumed_equals_one_that_was_not(untouched, prices, tmp_path, run):
    overrides = runs(prices)[run]
    step, wait_s = random.choice([500, 800]), random.uniform(0.0, 0.2)
    print(f"killed {wait_s} s after checkpoint {step}")
    folder = tmp_path / "killed"

    def checkpoint_is_there() -> bool:
        return any(int(path.name) >= step for path in folder.glob("checkpoints/*") if path.name.isdigit())

    process = tiny.start(*overrides, f"hydra.run.dir={folder}")
    kill_when(checkpoint_is_there, process, wait_s)
    assert RunFolder(folder).record()["status"] == "running"
    tiny.run(f"resume={folder}")
    record = RunFolder(folder).record()
    assert record["status"] == "completed" and len(record["resumed"]) == 1
    tiny.assert_same_run(untouched(run), folder)


@pytest.mark.parametrize(
    "run", ["pendulum", *(pytest.param(name, marks=pytest.mark.slow) for name in ("memory", "days"))]
)
def test_an_unforeseen_error_loses_nothing(untouched, prices, tmp_path, monkeypatch, run):
    """Raised by the first evaluation after half of its work; the row and the evaluation come with the resume."""
    overrides = runs(prices)[run]
    original, folder = Validation.__call__, tmp_path / "broken"

    def fail_late(self, *arguments):
        original(self, *arguments)
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "__call__", fail_late)
        with pytest.raises(RuntimeError, match="out of luck"):
            vmax.train(overrides, str(folder))
    record, step = RunFolder(folder).record(), {"days": 688}.get(run, 600)
    assert (record["status"], record["reason"]) == ("failed", "out of luck")
    assert str(step) in tiny.checkpoint_names(folder)
    assert int(read_metrics(folder / "metrics.csv")[1][-1][0]) == step - 100
    vmax.train([f"resume={folder}"])
    tiny.assert_same_run(untouched(run), folder)


@pytest.mark.slow
def test_a_run_by_days_records_each_day_of_each_epoch_once(untouched):
    folder = untouched("days")
    rows = tiny.lines(folder / "days.jsonl")
    assert [(row["epoch"], row["day"]) for row in rows[:30]] == [(1 + i // 10, 1 + i % 10) for i in range(30)]
    for epoch in (1, 2, 3):
        assert len({row["date"] for row in rows if row["epoch"] == epoch}) == sum(row["epoch"] == epoch for row in rows)
    money = ("energy_revenue_eur", "fee_eur", "wear_cost_eur")
    for row in rows:
        revenue, fee, wear = (row[name] for name in money)
        assert row["profit_eur"] == pytest.approx(revenue - fee - wear, abs=1e-3) and 0.1 <= row["soc_end"] <= 0.9
    metrics, seasons = tiny.lines(folder / "metrics.jsonl"), RunFolder(folder).season_steps()
    assert [row["step"] for row in metrics] == list(range(388, 1089, 100)) and seasons == [688, 1088]
    assert [row["train/epochs"] for row in metrics] == [0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.0]
    assert tiny.read_json(folder / "result.json")["run"]["epochs"] == 3.0


@pytest.mark.slow
def test_the_days_on_record_are_those_in_the_replay(untouched):
    """The ring holds the last 100 steps of four environments, of 272; days end at every 24th."""
    replay = tiny.arrays(untouched("days") / "checkpoints" / "1088" / "replay")
    head = int(replay["['steps']['head']"][0])
    reward, truncated = (
        np.roll(replay[f"['steps']['{name}']"][0].reshape(100, 4), -head, axis=0) for name in ("reward", "truncated")
    )
    ends = 172 + np.flatnonzero(truncated.all(axis=1))
    assert ends.tolist() == [191, 215, 239, 263] and truncated.sum() == 4 * len(ends)
    days = reward[192 - 172 : 264 - 172].reshape(3, 24, 4).sum(axis=1).ravel()
    rows = tiny.lines(untouched("days") / "days.jsonl")
    np.testing.assert_allclose([row["reward"] for row in rows[-12:]], days, rtol=1e-4, atol=1e-4)


def test_sigterm_ends_a_run_after_its_chunk_and_resume_completes_it(untouched, tmp_path, monkeypatch, capsys):
    update = ProgressReport.update

    def ask_to_stop(self, step, *told):
        """At a step with nothing due after it but the stop itself: its checkpoint is off every grid."""
        update(self, step, *told)
        if step == 600:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr("vmax.training.chunks.ProgressReport.update", ask_to_stop)
        with pytest.raises(SystemExit):  # saved first; a loop of trainings ends with it
            vmax.train(tiny.PENDULUM, str(folder))
    assert f"SIGTERM at step 700; go on with resume={folder}" in capsys.readouterr().out
    record = RunFolder(folder).record()
    assert (record["status"], record["reason"]) == ("interrupted", "SIGTERM at step 700; go on with resume=")
    result = tiny.read_json(folder / "result.json")
    assert result["run"]["status"] == "interrupted"
    assert result["evaluation"]["policies"].keys() == {"best", "last"}  # what there is by then
    assert tiny.checkpoint_names(folder) == ["500", "700", "best-600"]
    assert [int(row[0]) for row in read_metrics(folder / "metrics.csv")[1]] == [300, 400, 500, 600, 700]
    vmax.train([f"resume={folder}"])
    tiny.assert_same_run(untouched("pendulum"), folder)


def test_a_run_that_ended_before_its_first_checkpoint_begins_anew(untouched, tmp_path, monkeypatch):
    update = ProgressReport.update

    def end_at_once(self, step, *told):
        update(self, step, *told)
        if step == 400:
            raise SystemExit(143)

    folder = tmp_path / "ended"
    with monkeypatch.context() as patch:
        patch.setattr("vmax.training.chunks.ProgressReport.update", end_at_once)
        with pytest.raises(SystemExit):
            vmax.train(tiny.PENDULUM, str(folder))
    assert RunFolder(folder).record()["reason"] == (
        "ended by a signal during: chunk (after step 300); nothing was saved before"
    )
    assert [int(row[0]) for row in read_metrics(folder / "metrics.csv")[1]] == [300]
    for left in ("500.tmp", "best-400"):  # as if it had been killed while it saved
        (folder / "checkpoints" / left).mkdir(parents=True)
    vmax.train([f"resume={folder}"])
    assert "begun anew: the run ended before its first checkpoint" in (folder / "train.log").read_text()
    tiny.assert_same_run(untouched("pendulum"), folder)


PHASES = {
    "baselines on the validation split": 0,
    "first state and warm-up": 0,
    "compiling the training program": 0,
    "chunk (after step 600)": 700,
    "evaluation on the validation split (step 600)": 600,
    "greedy episodes (step 50 of at most 50)": 600,
    "evaluation on the validation split (step 1000)": 1000,
    "final evaluation": 1000,
}
"""What a run is at when a signal comes, and the step of the checkpoint that it leaves; 0: none."""


SHORT = ("greedy episodes (step 50 of at most 50)", "final evaluation")
"""Tested each time: what no other test here stops at."""


@pytest.mark.parametrize(
    "phase", [phase if phase in SHORT else pytest.param(phase, marks=pytest.mark.slow) for phase in PHASES]
)
def test_a_signal_in_any_phase_ends_the_run_and_resume_completes_it(untouched, tmp_path, monkeypatch, phase):
    def signalled(what, detail, since):
        now = Activity(what, detail, since)
        if str(now) == phase:
            os.kill(os.getpid(), signal.SIGUSR1)
        return now

    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr("vmax.activity.Activity", signalled)
        with pytest.raises(SystemExit) as end:
            vmax.train(tiny.PENDULUM, str(folder))
    assert end.value.code == 128 + signal.SIGUSR1
    record = RunFolder(folder).record()
    assert record["status"] == "interrupted" and ("SIGUSR1" in record["reason"] or phase in record["reason"])
    saved = [int(name) for name in tiny.checkpoint_names(folder) if name.isdigit()] if PHASES[phase] else [0]
    assert max(saved) == PHASES[phase]
    vmax.train([f"resume={folder}"])
    tiny.assert_same_run(untouched("pendulum"), folder)


def test_an_evaluation_of_episodes_that_never_end_is_cut_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Pendulum, "max_episode_steps", None)
    overrides = (*tiny.PENDULUM, "total_steps=400", "env.max_steps=100000", "evaluation.max_episode_steps=60")
    result = vmax.train(overrides, str(tmp_path))
    said = "100 of 100 episodes of the evaluation did not end and were cut after 60 steps"
    assert said in (tmp_path / "train.log").read_text() and said in capsys.readouterr().out
    best = result["evaluation"]["policies"]["best"]
    assert (best["episodes_cut"], best["length_mean"]) == (100, 60.0)


def test_what_a_policy_was_chosen_on_is_not_what_it_is_tested_on(untouched):
    result = tiny.read_json(untouched("pendulum") / "result.json")
    assert result["run"]["best_validation_score"] != result["evaluation"]["policies"]["best"]["return_mean"]


def test_a_run_leaves_no_arrays_and_no_programs_to_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "drop_programs", drop_programs)
    vmax.train([*tiny.PENDULUM, "total_steps=300"], str(tmp_path / "first"))
    arrays = len(jax.live_arrays())
    vmax.train([*tiny.PENDULUM, "total_steps=300", "seed=4"], str(tmp_path / "second"))
    assert len(jax.live_arrays()) <= arrays
    compiled: Any = (rollout._go_on, rollout._begin_episodes)
    assert [function._cache_size() for function in compiled] == [0, 0]


def test_where_nothing_moves_the_watchdog_says_what_is_waited_for(tmp_path, monkeypatch, capsys):
    compiled = Lowered.compile

    def slowly(lowered, *arguments):
        time.sleep(1.0)
        return compiled(lowered, *arguments)

    monkeypatch.setattr(Lowered, "compile", slowly)
    vmax.train([*tiny.PENDULUM, "total_steps=300", "watchdog_s=0.3"], str(tmp_path))
    line = "nothing has moved for 0.3 s: compiling the training program; stacks: "
    assert f"warning: {line}{tmp_path / 'stacks.txt'}" in capsys.readouterr().out
    assert line in (tmp_path / "train.log").read_text()
    assert "in slowly" in (tmp_path / "stacks.txt").read_text()
    assert RunFolder(tmp_path).record()["status"] == "completed"


def test_rates_are_those_up_to_the_record_that_they_stand_beside(tmp_path, monkeypatch):
    """By a clock that moves when it is looked at: each record takes one second, however late it is read."""
    ticks = count()
    monkeypatch.setattr("vmax.training.chunks.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    vmax.train(tiny.PENDULUM, str(tmp_path / "timed"))
    columns, rows = read_metrics(tmp_path / "timed" / "metrics.csv")
    for name, rate in {"speed/env_steps_per_s": 100.0, "speed/updates_per_s": 50.0}.items():
        assert [float(row[columns.index(name)]) for row in rows] == pytest.approx([rate] * 8)


def test_a_run_killed_during_its_final_evaluation_is_completed_by_resume(untouched, finished):
    shutil.rmtree(finished / "evaluation")
    (finished / "result.json").unlink()
    RunFolder(finished).start(3, {})
    vmax.train([f"resume={finished}"])
    tiny.assert_same_run(untouched("pendulum"), finished)


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
    assert "resumed from step 800" in (finished / "train.log").read_text()
    tiny.assert_same_run(untouched("pendulum"), finished)


def test_a_run_whose_checkpoints_are_all_damaged_is_no_run_to_begin_anew(finished):
    RunFolder(finished).start(3, {})
    for step in (800, 1000):
        (finished / "checkpoints" / str(step) / "meta.json").write_text("{}")
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "train.log"}
    with pytest.raises(UserError, match=r"holds no last checkpoint that can be read \(damaged: 1000, 800\)"):
        vmax.train([f"resume={finished}"])
    assert {path: path.read_bytes() for path in before} == before


def test_resume_of_a_completed_run_is_refused_and_leaves_it_as_it_was(finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    done = rf"resume={finished}: the run is done at step 1000 of 1000; raise total_steps to go on"
    with pytest.raises(UserError, match=done):
        vmax.train([f"resume={finished}"])
    with pytest.raises(UserError, match=done.replace("of 1000", "of 900")):
        vmax.train([f"resume={finished}", "total_steps=900"])
    with pytest.raises(
        UserError,
        match=r"resume: seed=9 differs from the run's 3; only total_steps, time_budget_s, watchdog_s and stopping may",
    ):
        vmax.train([f"resume={finished}", "seed=9"])
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_more_total_steps_go_on_with_a_completed_run_and_still_learn(finished, capsys):
    result = vmax.train([f"resume={finished}", "total_steps=1400"])
    said = r"the learning rate is 0.000476 from step 1000 on, not 0: .*schedule=linear now ends at step 1400"
    assert re.search(said, capsys.readouterr().out)
    assert (result["run"]["env_steps"], result["run"]["gradient_updates"]) == (1400, 600)
    columns, rows = read_metrics(finished / "metrics.csv")
    assert [int(row[0]) for row in rows] == list(range(300, 1401, 100))
    rate = [float(row[columns.index("train/learning_rate")]) for row in rows]
    assert rate[7] < 1e-4 < 2e-4 < rate[8] and rate[11] < rate[8]  # the schedule now ends at 1400
    assert result == tiny.read_json(finished / "result.json")
    assert RunFolder(finished).composed()["total_steps"] == 1400  # for good: a further resume goes there too


def test_resume_on_another_number_of_devices_is_refused_and_leaves_the_run_as_it_was(finished):
    record = RunFolder(finished).record()
    write_json(finished / "run.json", {**record, "hardware": {**record["hardware"], "devices": 2}})
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=rf"resume={finished}: the run was started on 2 device\(s\), here are 1"):
        vmax.train([f"resume={finished}", "total_steps=1400"])
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_resume_with_other_versions_says_so_and_keeps_the_record_of_both(finished, capsys):
    record = RunFolder(finished).record()
    old = {**record["history"][0], "versions": {**record["versions"], "jax": "0.4.0"}}
    write_json(finished / "run.json", {**record, "versions": old["versions"], "history": [old]})
    vmax.train([f"resume={finished}", "total_steps=1100"])
    now = RunFolder(finished).record()
    told = f"here: jax {jax.__version__} (was 0.4.0); the run goes on, perhaps not bit for bit"
    line = f"warning: resume={finished}: {told}"
    assert line in capsys.readouterr().out and line in (finished / "train.log").read_text()
    assert now["versions"]["jax"] == "0.4.0"  # what it was started with
    assert [part["versions"]["jax"] for part in now["history"]] == ["0.4.0", jax.__version__]
    assert [part["step"] for part in now["history"]] == [0, 1000]
    vmax.train([f"resume={finished}", "total_steps=1200"])  # no version has changed since
    assert "(was " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["algorithm=td3", "env=pendulum", *tiny.SIZES, "training.updates_per_iteration=7"],
            "training.updates_per_iteration=7: must be a multiple of algorithm.policy_delay=2",
        ),
        (["algorithm=sac", "env=cartpole", *tiny.SIZES], "algorithm=sac: needs continuous actions"),
    ],
)
def test_a_mistake_that_only_tracing_finds_leaves_no_folder_behind(tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        vmax.train(overrides, str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


BROKEN = {
    "reward": (80, 324, "the environment's reward", "there is no checkpoint yet"),
    "observation": (140, 564, "the environment's observation `speed`", "the last good checkpoint is 500"),
}
"""What is not finite after so many steps of an episode, the run's step then, and what is said of it."""


@pytest.mark.parametrize("part", [pytest.param("reward", marks=pytest.mark.slow), "observation"])
def test_what_a_world_gives_and_is_not_finite_ends_the_run_and_is_named(tmp_path, monkeypatch, part):
    after, step, what, kept = BROKEN[part]
    original = Pendulum.step

    def broken(self, key, state, action, params):
        """From this step of an episode on, which is the run's step four times as high, something is not a number."""
        state, seen = original(self, key, state, action, params)
        value = getattr(seen, part)
        last = value if part == "reward" else value[..., -1]
        last = jax.numpy.where(state.time > after, jax.numpy.nan, last)
        return state, replace(seen, **{part: last if part == "reward" else value.at[..., -1].set(last)})

    monkeypatch.setattr(Pendulum, "step", broken)
    folder = tmp_path / "broken"
    said = rf"step {step}: {what} is not finite \(first in episode step {after + 1}\); {kept}"
    with pytest.raises(UserError, match=f"{said}$"):
        vmax.train([*tiny.PENDULUM, "env.max_steps=190"], str(folder))
    record = RunFolder(folder).record()
    assert record["status"] == "failed" and re.match(said, record["reason"])
    assert [path.name for path in folder.glob("checkpoints/*")] == (["500"] if step > 500 else [])
    result = tiny.read_json(folder / "result.json")
    assert result.keys() == {"run"} and result["run"]["reason"] == record["reason"]  # no figure of what it failed at


def test_learning_that_diverges_is_not_blamed_on_the_world_and_may_begin_again_elsewhere(tmp_path, monkeypatch):
    """From its 200th update on the target is not a number; so then are parameters, actions and what they lead to."""
    target = SAC._target

    def diverging(self, state, *inputs):
        return jax.numpy.where(state.updates >= 200, jax.numpy.nan, target(self, state, *inputs))

    folder, more = tmp_path / "diverged", ["env.max_steps=190", "total_steps=700"]
    with monkeypatch.context() as patch:
        patch.setattr(SAC, "_target", diverging)
        said = (
            r"step 700: train/\w+ is not finite; the last good checkpoint is 500; begin a new run with "
            rf"init_from={folder} and a smaller algorithm\.learning_rate"
        )
        with pytest.raises(UserError, match=said):
            vmax.train([*tiny.PENDULUM, *more], str(folder))
    again = [*tiny.PENDULUM, f"init_from={folder}", "algorithm.learning_rate=1e-4"]
    settings = config.load(config.compose(again))
    env, algorithm = envs.make(settings.env), make_algorithm(settings.algorithm, settings.network)
    learned = networks_of(settings, trace(settings, env, algorithm))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(learned.actor.params))


def test_a_score_that_is_not_finite_is_not_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(Validation, "__call__", lambda self, *_: {"score": math.nan})
    said = r"step 600: eval/score is not finite, .*on the validation split; the last good checkpoint is 500"
    with pytest.raises(UserError, match=said):
        vmax.train(tiny.PENDULUM, str(tmp_path / "broken"))
    assert tiny.checkpoint_names(tmp_path / "broken") == ["500"]


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
    validation = Validation(env, algorithm, "validation", 1, spec=program.spec, max_episode_steps=1000)

    def validate(learner):
        validation(*devices.fetch((algorithm.policy(learner, averaged=True), algorithm.critics(learner))))

    validate(first.learner)
    seen = traces["step"]
    second, _ = chunk(first, params)
    validate(second.learner)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((warmed, first)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((second, params)))
    assert 0 < traces["step"] == seen


def test_train_from_python_takes_a_folder_of_its_own_and_returns_the_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = vmax.train([*tiny.PENDULUM, "total_steps=400", "name=mine", "report=true"])["run"]
    assert run["folder"].startswith("outputs/") and RunFolder(run["folder"]).record()["status"] == "completed"
    assert (run["name"], run["status"], run["env_steps"]) == ("mine", "completed", 400)
    assert run == tiny.read_json(Path(run["folder"]) / "result.json")["run"]
    said = capsys.readouterr().out
    assert f"figures: {run['folder']}/result.json\n" in said and "plots" not in said  # it was told to draw none
    assert f"report: {run['folder']}/report.html\n" in said
    page = (Path(run["folder"]) / "report.html").read_text(encoding="utf-8")
    assert "<title>mine</title>" in page and "greedy episodes" in page


@pytest.mark.slow
def test_the_page_of_a_battery_says_what_its_result_says(untouched, tmp_path):
    folder = untouched("days")
    page = write_run_report(folder, tmp_path).read_text(encoding="utf-8")
    policies = tiny.read_json(folder / "result.json")["evaluation"]["policies"]
    assert f"{policies['best']['profit_eur']:,.0f}" in page and f"{policies['mpc']['profit_eur']:,.0f}" in page
    for part in ("learning", "dispatch", "policies", "groups", "configuration", "origin", "reproduce"):
        assert f'<section id="{part}"' in page, part
    assert not (folder / "report.html").exists()  # report=false


@pytest.mark.slow
def test_evaluate_from_python_finds_what_the_run_itself_found(untouched):
    folder = untouched("days")
    own = {path: path.read_bytes() for path in (folder / "result.json", *(folder / "evaluation" / "test").iterdir())}
    policies = tiny.read_json(folder / "result.json")["evaluation"]["policies"]
    assert {"best", "last", "do_nothing", "gated_two_cycle", "mpc", "perfect_foresight"} <= policies.keys()
    assert policies["perfect_foresight"]["capture"] == 1.0 > policies["last"]["capture"]
    later = vmax.evaluate(str(folder), checkpoint="last")
    assert later == tiny.read_json(folder / "evaluation" / "test-last" / "result.json")
    assert later["evaluation"]["policies"]["last"] == policies["last"] and policies["last"]["violations"] == 0
    assert {path: path.read_bytes() for path in own} == own
