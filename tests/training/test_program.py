"""The compiled part by itself: what the warm-up puts into the replay."""

import jax
import numpy as np
import pytest
import tiny

from vmax import config, devices, envs
from vmax.algorithms import make_algorithm
from vmax.errors import UserError
from vmax.training.run import build_program


def warmed_up(prices, *overrides):
    """The replay after a warm-up of 50 steps of four batteries, `[capacity, ...]`."""
    settings = config.load(config.compose([*tiny.bess(prices), *overrides]))
    env = envs.make(settings.env)
    program = build_program(settings, env, make_algorithm(settings.algorithm, settings.network))
    initialise, warm_up, _ = program.compiled(1, 50)
    params = devices.replicate(env.params("train"), 1)
    return warm_up(initialise(devices.replicate(jax.random.key(0), 1), params), params).replay


def test_a_rule_acts_during_the_warm_up_with_noise(tmp_path):
    prices = tiny.write_prices(tmp_path / "prices.csv")
    still = warmed_up(prices, "training.warmup_rule=do_nothing", "training.warmup_noise=0.0")
    done = np.asarray(still.steps.action[0, :200])
    assert still.steps.filled[0] == 50 and not done.any()
    noisy = warmed_up(prices, "training.warmup_rule=do_nothing", "training.warmup_noise=0.1")
    assert np.isclose(np.asarray(noisy.steps.action[0, :200]).std(), 0.1, rtol=0.25)
    threshold = np.asarray(
        warmed_up(prices, "training.warmup_rule=threshold", "training.warmup_noise=0.0").steps.action
    )
    assert set(np.sign(threshold[0, :200].ravel())) == {-1.0, 0.0, 1.0}
    # what was remembered before each step is that of an actor that saw the same, blank where an episode began
    first = np.flatnonzero(np.asarray(still.age[0, :200]) == 0)
    assert len(first) == 4 * (1 + 50 // 25)


def test_an_unknown_guide_is_refused(tmp_path):
    prices = tiny.write_prices(tmp_path / "prices.csv")
    allowed = "must be null or one of do_nothing, two_cycle, gated_two_cycle, n_cheap_n_dear, threshold"
    with pytest.raises(UserError, match=f"training.warmup_rule=mpc: {allowed}$"):
        warmed_up(prices, "training.warmup_rule=mpc")
    settings = config.load(config.compose([*tiny.PENDULUM, "training.warmup_rule=mpc"]))
    with pytest.raises(UserError, match="training.warmup_rule=mpc: must be null or one of none here"):
        build_program(settings, envs.make(settings.env), make_algorithm(settings.algorithm, settings.network))
