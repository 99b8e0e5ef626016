"""Counters near their end: none begins again below zero, and lengths of runs that cannot be counted are refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vmax import config, envs
from vmax.algorithms import make_algorithm, normaliser
from vmax.algorithms.algorithm import Spec
from vmax.counters import MOST, counted
from vmax.envs.classic.probes import PROBES
from vmax.envs.environment import AutoReset, EpisodeStatistics
from vmax.errors import UserError
from vmax.replay import transitions
from vmax.spaces import Box, Discrete, Feature
from vmax.training.run import build_program

BIG = ["algorithm=dqn", "env=cartpole", "training.log_every=1024000", "training.num_envs=64", "training.unroll=1"]
BIG += ["training.updates_per_iteration=1", "training.eval_every=1024000", "checkpoint.every=1024000"]


@pytest.mark.parametrize(("before", "more", "after"), [(5, 7, 12), (MOST - 7, 7, MOST), (MOST - 6, 7, MOST)])
def test_a_counter_ends_at_the_greatest_number(before, more, after):
    found = counted(jnp.int32(before), more)
    assert int(found) == after and found.dtype == jnp.int32


@pytest.fixture(scope="module")
def dqn():
    settings = config.load(config.compose(["algorithm=dqn", "env=cartpole"])).algorithm
    return lambda **changes: make_algorithm(replace(settings, **changes), NETWORK)


NETWORK = config.load(config.compose(["algorithm=dqn", "env=cartpole", "network.hidden=[4]"])).network
TOLD = Spec(Box((Feature("x", size=2),)), Discrete(2), 100)


@pytest.mark.parametrize("steps", [MOST - 3, MOST])
def test_choices_stay_as_random_as_they_were_at_last_after_any_number_of_steps(dqn, steps):
    algorithm = dqn(epsilon_start=1.0, epsilon_end=0.05, epsilon_steps=10_000)
    state = replace(algorithm.init(jax.random.key(0), TOLD), steps=jnp.int32(steps))
    for _ in range(3):
        state = algorithm.observe(state, jnp.zeros((512, 2)), TOLD)
        assert float(algorithm.policy(state).epsilon) == pytest.approx(0.05)


def test_the_longest_fall_of_randomness_that_can_be_set_ends_where_the_counter_does(dqn):
    algorithm = dqn(epsilon_start=1.0, epsilon_end=0.0, epsilon_steps=MOST)
    state = algorithm.init(jax.random.key(0), TOLD)
    for steps, left in ((0, 1.0), (MOST // 2, 0.5), (MOST, 0.0)):
        epsilon = algorithm.policy(replace(state, steps=jnp.int32(steps))).epsilon
        assert float(epsilon) == pytest.approx(left, abs=1e-6)
    with pytest.raises(UserError, match=r"algorithm\.epsilon_steps=2147483648: must be within \[0, "):
        dqn(epsilon_steps=MOST + 1)


def test_statistics_stay_right_when_their_count_no_longer_rises():
    """At 2^24 one more frame is lost in a float32. A hundred thousand frames like those before move nothing."""
    frames = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (100_000, 1, 1)), jnp.float32)
    begun = normaliser.Normaliser(jnp.float32(2**24), jnp.array([3.0]), jnp.array([4.0]))
    run = jax.jit(lambda: jax.lax.scan(lambda s, x: (normaliser.observe(s, x, None), None), begun, frames)[0])
    ended = run()
    assert float(ended.count) == 2**24
    assert float(ended.mean[0]) == pytest.approx(3.0, abs=0.01)
    assert float(ended.variance[0]) == pytest.approx(4.0, abs=0.1)


def test_the_length_of_an_endless_episode_is_never_negative():
    world = EpisodeStatistics(AutoReset(replace(PROBES["endless"], steps=MOST)))
    state, _ = world.reset(jax.random.split(jax.random.key(0), 2), ())
    state = replace(state, episode_length=jnp.full(2, MOST, jnp.int32))
    _, _, step = world.step(jax.random.key(1), state, jnp.zeros((2, 1)), ())
    assert step.info["episode_length"].tolist() == [MOST, MOST]


def program(*overrides):
    settings = config.load(config.compose([*BIG, *overrides]))
    env = envs.make(settings.env)
    return build_program(settings, env, make_algorithm(settings.algorithm, settings.network))


def test_environment_steps_beyond_32_bits_are_planned():
    spec = program("total_steps=100000000000").spec
    assert spec.total_updates == pytest.approx(1e11 / 64, rel=1e-3)


def test_more_updates_than_can_be_counted_are_refused_with_the_longest_run():
    said = (
        r"total_steps: 100000\d+ environment steps make 15625\d+ updates; at most 2147483647 can be counted, those of "
    )
    with pytest.raises(UserError, match=said) as refused:
        program("total_steps=1000000000000")
    most = int(str(refused.value).partition("those of ")[2].split()[0])
    assert program(f"total_steps={most}").spec.total_updates <= MOST
    with pytest.raises(UserError, match="can be counted"):
        program(f"total_steps={most + 1}")


def test_a_replay_with_more_places_than_can_be_counted_is_refused():
    with pytest.raises(
        UserError, match=r"training\.replay_capacity=2147483648 \(a device\): needs \d+ places; at most"
    ):
        transitions.init(2**31, 1, jnp.zeros(3), jnp.zeros(1), 100)
