"""What critics say beside what followed: returns worked by hand, days of the market, values along trajectories."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from small_bess import bess_on, small_bess, wavy_prices

import vmax
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Spec, Valuing
from vmax.config import compose, load
from vmax.envs.rollout import greedy_episodes, trace_episodes
from vmax.evaluation.calibration import Calibration, calibration, calibration_figure
from vmax.evaluation.episodes import split_key
from vmax.evaluation.policies import Learned
from vmax.evaluation.validation import Validation


def learner(env, *overrides) -> tuple[Any, Spec, Any]:
    """A learner for an environment, its spec, and its first state."""
    run = load(compose([f"env={env.name}", "network.hidden=[8]", "network.layer_norm=none", *overrides]))
    algorithm = make_algorithm(run.algorithm, run.network)
    context = env.post_decision_context(env.params("train")) if env.post_decision is not None else None
    spec = Spec(env.observation_space, env.action_space, 100, post_decision=env.post_decision, context=context)
    state = jax.jit(lambda key: algorithm.init(key, spec))(jax.random.key(0))
    assert isinstance(algorithm, Valuing)
    return algorithm, spec, state


def test_returns_are_worked_by_hand_and_too_much_of_the_unknown_is_left_out():
    # γ = 0.5. Lane 0 goes on after three steps: 1 + 0.5 (2 + 0.5 · 8) = 4, of which 8 counts a quarter. From its second
    # step on that share is a half. The world of lane 1 ends after two steps: 1 + 0.5 · 4 = 3, and 4.
    value = np.array([[5.0, 6.0], [7.0, 4.5], [8.0, 99.0]])
    reward = np.array([[1.0, 1.0], [2.0, 4.0], [3.0, 99.0]])
    found = calibration(value, reward, np.array([3, 2]), np.array([False, True]), np.ones((3, 2), bool), 0.5)
    assert found.value.tolist() == [5.0, 6.0, 4.5] and found.returned.tolist() == [4.0, 3.0, 4.0]
    first = np.zeros((3, 2), bool)
    first[0] = True
    found = calibration(value, reward, np.array([3, 2]), np.array([False, True]), first, 0.5)
    assert found.figures() == {"q_mean": 5.5, "q_return_mean": 3.5, "q_correlation": pytest.approx(-1.0)}


def test_figures_need_pairs_and_a_correlation_a_spread():
    assert Calibration(np.array([1.0]), np.array([2.0])).figures() == {}
    assert Calibration(np.array([1.0, 1.0]), np.array([2.0, 3.0])).figures() == {"q_mean": 1.0, "q_return_mean": 2.5}


def test_the_table_is_shown_as_points(tmp_path):
    Calibration(np.array([1.0, 2.0]), np.array([1.5, 2.5])).write(tmp_path / "calibration.csv")
    axes = calibration_figure(tmp_path / "calibration.csv").axes[0]
    assert np.array_equal(axes.collections[0].get_offsets(), [[1.0, 1.5], [2.0, 2.5]])
    assert np.array_equal(axes.lines[0].get_xydata(), [[1.0, 1.0], [2.5, 2.5]])


def test_days_begin_at_midnight_of_the_market():
    env = bess_on(wavy_prices(30), "env.data.timezone=Europe/Amsterdam")
    params = env.params("test")
    starts = env.assessment.starts(params, "test", 2)
    asked, series = env.assessment.day_starts(params, starts), env.series
    time = np.asarray(starts.time) + np.arange(len(asked))[:, None]
    local = pd.DatetimeIndex(series.utc[time.ravel()]).tz_localize("UTC").tz_convert(series.timezone)
    assert (asked.ravel() == ((local.hour == 0) & (local.minute == 0))).all() and asked.any()


@pytest.mark.parametrize("network", ["mlp", "lstm"])
def test_values_along_a_trajectory_are_those_of_its_steps(network):
    env = vmax.make_env("pendulum")
    units = ["network.units=5"] if network == "lstm" else []
    algorithm, spec, state = learner(env, "algorithm=td3", f"network={network}", *units)
    rng = np.random.default_rng(0)
    seen, done = (jnp.asarray(rng.normal(size=(3, 2, size)), jnp.float32) for size in (3, 1))
    critics = algorithm.critics(state)
    values = jax.jit(lambda seen, done: algorithm.value(critics, seen, done, spec))(seen, done)
    assert critics.discount == np.float32(0.99) and values.shape == (3, 2)
    critic = algorithm.critic(spec)
    for t in range(3):
        memory = critic.remember(critics.params, seen[: t + 1])  # nothing of what comes later
        memory = None if memory is None else memory[:, -1]
        assert np.allclose(values[t], critic.values(critics.params, seen[t], done[t], None, memory).min(0), atol=1e-6)
    if network == "lstm":
        assert not np.allclose(values[2], algorithm.value(critics, seen[2:], done[2:], spec)[0], atol=1e-4)


def test_each_day_of_the_split_is_a_pair_and_the_score_stays_what_it_was():
    env = small_bess()
    algorithm, spec, state = learner(env, "algorithm=sac", "algorithm.discount=0.9")
    policy = algorithm.policy(state, averaged=True)
    plain = Validation(env, algorithm, "test", error_draws=1, references=(), max_episode_steps=1)
    asking = Validation(env, algorithm, "test", error_draws=1, references=(), spec=spec, max_episode_steps=1)
    before, found = plain(policy), asking(policy, algorithm.critics(state))
    assert plain.calibration is None and asking.calibration is not None
    names = {"q_mean", "q_return_mean", "q_correlation"}
    assert {name: found[name] for name in before} == before and found.keys() - before.keys() == names
    days = int(env.assessment.day_starts(asking.params, asking.starts).sum())
    assert len(asking.calibration.value) == days  # 0.9^23 of the last day lies beyond: less than a quarter


def test_episodes_are_those_that_are_scored():
    env = vmax.make_env("pendulum", ["env.max_steps=20"])
    algorithm, spec, state = learner(env, "algorithm=td3", "algorithm.discount=0.9")
    policy, key, params = algorithm.policy(state, averaged=True), split_key("validation"), env.params("validation")
    episodes = greedy_episodes(env, Learned(policy, algorithm), params, key, 5, 1000)
    record = trace_episodes(env, Learned(policy, algorithm), params, key, 5, 32)
    assert (np.asarray(record.steps) == episodes.lengths).all() and not record.trace["terminated"].any()
    assert np.allclose(np.asarray(record.trace["reward"])[:20].sum(0), episodes.returns, rtol=1e-4)
    validation = Validation(env, algorithm, "validation", 1, spec=spec, max_episode_steps=1000)
    critics = algorithm.critics(state)
    found = validation(policy, critics)
    assert validation.calibration is not None and len(validation.calibration.value) == 100
    record = trace_episodes(env, Learned(policy, algorithm), params, key, 100, 20)
    reward, last = np.asarray(record.trace["reward"], float), np.asarray(record.trace["observation"])[19]
    beyond = algorithm.value(critics, last[None], record.trace["action"][19][None], spec)[0]
    by_hand = (0.9 ** np.arange(19)) @ reward[:19] + 0.9**19 * np.asarray(beyond)
    assert np.allclose(validation.calibration.returned, by_hand, rtol=1e-3)
    assert found["q_return_mean"] == pytest.approx(by_hand.mean(), rel=1e-3)
