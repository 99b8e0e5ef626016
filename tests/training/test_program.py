"""The compiled part by itself: what the warm-up puts into the replay, and the priorities that learning notes there."""

import jax
import numpy as np
import pytest
import tiny

from vmax import config, devices, envs
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import TD_ERROR
from vmax.errors import UserError
from vmax.replay.priorities import NEW
from vmax.training.run import build_program


def warmed_up(prices, *overrides):
    """The replay after a warm-up of 50 steps of four batteries, `[capacity, ...]`."""
    settings = config.load(config.compose([*tiny.bess(prices), *overrides]))
    env = envs.make(settings.env)
    program = build_program(settings, env, make_algorithm(settings.algorithm, settings.network))
    initialise, warm_up, _ = program.compiled(1, 50)
    params = devices.replicate(env.params("train"), 1)
    return warm_up(initialise(devices.replicate(jax.random.key(0), 1), params), params).replay


@pytest.mark.slow
def test_a_rule_acts_during_the_warm_up_with_noise(tmp_path):
    prices = tiny.write_prices(tmp_path / "prices.csv")
    noisy = warmed_up(prices, "training.warmup_rule=do_nothing", "training.warmup_noise=0.1")
    done = np.asarray(noisy.steps.action[0, :200])
    assert noisy.steps.filled[0] == 50 and abs(done.mean()) < 0.03 and np.isclose(done.std(), 0.1, rtol=0.25)
    # what was remembered before each step is that of an actor that saw the same, blank where an episode began
    first = np.flatnonzero(np.asarray(noisy.age[0, :200]) == 0)
    assert len(first) == 4 * (1 + 50 // 25)


@pytest.mark.slow
def test_a_rule_that_trades_does_so_during_the_warm_up(tmp_path):
    rule = ("training.warmup_rule=threshold", "training.warmup_noise=0.0")
    done = warmed_up(tiny.write_prices(tmp_path / "prices.csv"), *rule).steps.action
    assert set(np.sign(np.asarray(done)[0, :200].ravel())) == {-1.0, 0.0, 1.0}


def test_an_unknown_guide_is_refused(tmp_path):
    prices = tiny.write_prices(tmp_path / "prices.csv")
    allowed = "must be null or one of do_nothing, two_cycle, gated_two_cycle, n_cheap_n_dear, threshold"
    with pytest.raises(UserError, match=f"training.warmup_rule=mpc: {allowed}$"):
        warmed_up(prices, "training.warmup_rule=mpc")
    settings = config.load(config.compose([*tiny.PENDULUM, "training.warmup_rule=mpc"]))
    with pytest.raises(UserError, match="training.warmup_rule=mpc: must be null or one of none here"):
        build_program(settings, envs.make(settings.env), make_algorithm(settings.algorithm, settings.network))


def test_priorities_are_those_of_what_was_learned_and_new_rows_have_none():
    settings = config.load(
        config.compose(
            [
                *tiny.PENDULUM,
                "training.replay_capacity=80",
                "training.warmup_steps=80",
                "training.priorities.exponent=0.6",
            ]
        )
    )
    env = envs.make(settings.env)
    program = build_program(settings, env, make_algorithm(settings.algorithm, settings.network))
    initialise, warm_up, chunk = program.compiled(1, 20)
    params = devices.replicate(env.params("train"), 1)
    state = warm_up(initialise(devices.replicate(jax.random.key(0), 1), params), params)
    assert (np.asarray(state.replay.priority.mass[0]) == NEW).all()
    state, record = chunk(state, params)
    kept = jax.tree.map(lambda leaf: np.asarray(leaf[0]), state.replay.priority)
    known = kept.mass[kept.mass != NEW]
    assert 20 < len(known) <= 32 and (known > 0).all()  # 2 updates on 16 samples, out of 80 places
    assert (kept.mass[:4] == NEW).all()  # the row that was written over, although it may have been drawn
    assert kept.largest >= known.max() > 1.0  # returns of a pendulum are far from those of a fresh critic
    assert TD_ERROR not in record
