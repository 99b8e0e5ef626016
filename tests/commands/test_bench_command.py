import json
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_bess
from invoking import invoker

from vmax import make_env
from vmax.commands import bench, bench_memory, bench_numpy, bench_peers, bench_speed
from vmax.commands.bench_peers import PeerConfig
from vmax.commands.bench_speed import SpeedConfig
from vmax.config import compose, load

SPEED = SpeedConfig(2, (3,), 6, 4.0, (3,), (4,), 2, 2, 2)
PEER = PeerConfig(1, 5, 1e-3, (), 0.9, 5, 1200)


@pytest.fixture
def invoke(monkeypatch, tmp_path, capsys):
    """Runs the command; what takes long is replaced by numbers. Returns exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "off")
    monkeypatch.setattr(bench_speed, "environment_steps_per_s", lambda env, n, config: 1000.0 * n)
    learner = {"gemm_gflop_per_s": 300.0, "updates_per_s_3": 400.0, "share_of_gemm_3": 0.7}
    monkeypatch.setattr(bench_speed, "learner", lambda config: learner)
    training = {"compile_cold_s": 9.0, "compile_cached_s": 1.0}
    training |= {"training_steps_per_s": 64.0, "training_updates_per_s": 1.0}
    monkeypatch.setattr(bench_speed, "training", lambda config, repeats: training)
    memory = {"lstm_updates_per_s": 40.0, "lstm_share_of_gemm": 0.6}
    monkeypatch.setattr(bench_memory, "memory_rates", lambda config, products, torch: memory)

    return invoker(monkeypatch, capsys, bench.main, "bench=small", "env=pendulum")


def test_the_table_and_the_file_have_the_same_figures(invoke, tmp_path):
    status, out, _ = invoke("hydra.run.dir=outputs/b")
    written = json.loads((tmp_path / "outputs/b/bench.json").read_text())
    (line,) = (tmp_path / "outputs/bench_history.jsonl").read_text().splitlines()
    assert json.loads(line)["updates_per_s_3"] == written["figures"]["updates_per_s_3"]
    assert json.loads(line)["hardware"] == written["hardware"] and json.loads(line)["git"] == written["git"]
    figures = written["figures"]
    assert status == 0 and "4,000 steps/s" in out and "0.7\n" in out
    assert (figures["environment_steps_per_s_4"], figures["compile_cold_s"], figures["share_of_gemm_3"]) == (
        4e3,
        9,
        0.7,
    )
    assert (figures["lstm_updates_per_s"], figures["lstm_share_of_gemm"]) == (40.0, 0.6)
    assert figures["peak_memory_mib"] > 10 and "jax" in written["versions"] and written["hardware"]["threads"] > 0
    assert written["bench"]["peer"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench.speed.repeats=0"], "bench.speed.repeats=0: must be at least 1"),
        (["bench.speed.repeat=1"], "bench.speed.repeat: unknown; did you mean bench.speed.repeats? (see --cfg job)"),
        (["bench.memory.hidden=[8,0]"], "bench.memory.hidden=(8, 0): must be at least 1"),
        (["bench.peer.limit_s=0"], "bench.peer.limit_s=0.0: must be above 0"),
        (["bench=big"], "bench=big: unknown; available: full, small"),
        (["peers=maybe"], "peers=maybe: must be true or false"),
        (["peers=true"], "peers=true: stable_baselines3 is not installed; pip install vmax[peers]"),
        (["--peers"], "peers=true: stable_baselines3 is not installed; pip install vmax[peers]"),
        (
            ["env=traffic_signal", "algorithm=dqn", "peers=true"],
            "peers=true: sumo is not installed; pip install vmax[sumo]",
        ),
        (["env=cartpole"], "algorithm=sac: needs continuous actions; this environment has Discrete(size=2)"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(invoke, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setitem(sys.modules, "torch", json)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    monkeypatch.setitem(sys.modules, "sumo", None)
    status, _, err = invoke(*arguments)
    assert (status, err) == (2, f"error: {message}\n") and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "peers=true: env=pendulum has no optimum to compare with; allowed: bess, bess_pv"),
        (["env=bess", 'bench.peer.envs=[["env=pendulm"]]'], "env=pendulm: unknown; available: bess, "),
    ],
)
def test_a_race_that_cannot_be_run_is_told_before_anything_is_measured(invoke, monkeypatch, arguments, message):
    monkeypatch.setattr(bench_peers, "peer_classes", lambda: {"sb3": None})
    monkeypatch.setattr(bench_speed, "environment_steps_per_s", lambda *_: pytest.fail("it was measured"))
    status, out, err = invoke("peers=true", *arguments)
    assert (status, out) == (2, "") and err.startswith(f"error: {message}")


@pytest.mark.slow
def test_training_by_days_is_measured_as_well():
    config = load(compose(["env=bess", "env.episode.days=1", "training.schedule=epochs", "training.epochs=2"]))
    fitted = bench_speed.fitting(config, small_bess.small_bess())
    assert fitted.total_steps is not None and fitted.training.epochs == 2


def test_the_peers_are_shown_as_ratios_and_a_late_one_as_later_than_the_limit(monkeypatch, capsys):
    rates, usual = {"vmax": 400.0, "sb3": 100.0}, jax.config.jax_compilation_cache_dir  # pyright: ignore

    def race(*_):
        assert jax.config.jax_compilation_cache_dir != usual  # pyright: ignore
        yield from [("vmax", 60.0), ("sb3", None)]

    monkeypatch.setattr(bench_peers, "update_rates", lambda *_: iter([(3, rates)]))
    monkeypatch.setattr(bench_peers, "race", race)
    table = bench.Table()
    bench.compare(load(compose(["env=pendulum"])), {"sb3": None}, SPEED, PEER, table)
    assert (table.figures["ratio_sb3_3"], table.figures["sb3_capture_s"]) == (4.0, None)
    assert table.figures["ratio_sb3_capture"] == 20.0  # 1200 s / 60 s: at least so many
    assert "> 20 min" in capsys.readouterr().out


def test_the_race_ends_at_the_capture_or_at_the_limit(monkeypatch):
    clock, scores = [0.0], iter([0.5, 0.95])
    monkeypatch.setattr(bench_peers.time, "perf_counter", lambda: clock[0])

    def train():
        clock[0] += 500.0

    assert bench_peers.time_to(train, lambda: next(scores), PEER) == 1000.0
    assert bench_peers.time_to(train, lambda: 0.5, PEER) is None
    assert bench_peers.time_to(train, lambda: 0.95, PEER, spent_s=1000.0) is None  # reached, but after the limit


def test_operations_of_an_update_are_those_of_the_hand_count():
    # actor 1-2-2: layers of 4 and 8; critic 2-2-1: layers of 8 and 4; target 36, critics 56, actor 80
    assert bench_speed.sac_update_flops(1, 1, (2,), 1) == 36 + 56 + 80
    assert bench_speed.sac_update_flops(60, 1, (256, 256), 256) == pytest.approx(643e6, rel=0.01)


def test_calls_take_turns_and_their_first_round_is_not_counted(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(bench_speed.time, "perf_counter", lambda: clock[0])

    def call(name, durations):
        left = iter(durations)

        def once():
            order.append(name)
            clock[0] += next(left)

        return once

    calls = {"a": call("a", [90, 1, 2, 9]), "b": call("b", [90, 4, 5, 6])}
    assert bench_speed.median_seconds(calls, 3) == {"a": 2.0, "b": 5.0}
    assert order == ["a", "b"] * 4


def test_products_are_finite_however_many():
    call = bench_speed.matrix_products(2000)
    assert jnp.abs(call()).max() == pytest.approx(4.0, abs=2.0)


@pytest.mark.slow
def test_share_of_the_matrix_rate_follows_from_the_rates():
    figures = bench_speed.learner(SPEED)
    flops = figures["updates_per_s_3"] * bench_speed.sac_update_flops(3, 1, (4,), 2)
    assert figures["share_of_gemm_3"] == pytest.approx(flops / (figures["gemm_gflop_per_s"] * 1e9))


@pytest.mark.parametrize("make", [lambda: make_env("pendulum"), small_bess.small_bess, lambda: make_env("cartpole")])
def test_environments_are_stepped_again_and_again(monkeypatch, make):
    def twice(calls, _):
        return {name: 2.0 for name in calls if calls[name]() and calls[name]()}

    monkeypatch.setattr(bench_speed, "median_seconds", twice)
    assert bench_speed.environment_steps_per_s(make(), 3, SPEED) == 3.0  # 2 steps of 3 in 2 s
    shorter = replace(SPEED, environment_s=2.0)
    assert bench_speed.environment_steps_per_s(make(), 3, shorter) == 1.5  # 1 step, as 2 would last longer


def test_a_program_comes_from_the_fresh_cache_and_the_usual_cache_returns():
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    with bench_speed.fresh_compile_cache():
        folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
        jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((3, 3))).compile()
        assert folder != before and any(Path(folder).iterdir())
    assert jax.config.jax_compilation_cache_dir == before  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_a_run_is_measured():
    small = {"num_envs": 4, "warmup_steps": 64, "log_every": 64, "eval_every": 64, "replay_capacity": 128}
    overrides = [f"training.{name}={value}" for name, value in small.items()]
    config = load(
        compose(["env=pendulum", *overrides, "training.batch_size=8", "checkpoint.every=64", "network.hidden=[4]"])
    )
    figures = bench_speed.training(config, 1)
    assert figures["compile_cold_s"] > figures["compile_cached_s"] > 0
    assert figures["training_updates_per_s"] == pytest.approx(figures["training_steps_per_s"] / 2)


def test_the_battery_in_numpy_does_what_the_compiled_one_does(tmp_path):
    env = small_bess.bess_on(small_bess.wavy_prices(), "env.action.full_band=0.2")
    assert bench_numpy.offered(env)
    assert not bench_numpy.offered(small_bess.bess_on(small_bess.wavy_prices(), "env.information=forecast"))
    params, battery = env.params("train"), bench_numpy.NumpyBattery(env, 8)
    actions = np.random.default_rng(2).uniform(-1, 1, (12, 8)).astype(np.float32)
    state, _ = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(jax.random.key(0), 8), params)
    state = replace(
        state, time=jnp.asarray(battery.time), soc=jnp.asarray(battery.soc), price_factor=jnp.asarray(battery.factor)
    )
    step = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0, None)))
    for action in actions:
        seen, reward = battery.step(action)
        state, expected = step(jax.random.key(1), state, jnp.asarray(action)[:, None], params)
        np.testing.assert_allclose(seen, expected.observation, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(reward, expected.reward, rtol=1e-3, atol=1e-4)
    assert (battery.episode_length == 12).all()
    battery.left[:4] = 1
    battery.step(actions[0])
    assert (battery.episode_length == [0] * 4 + [13] * 4).all() and (battery.left[:4] == env.episode_steps).all()
