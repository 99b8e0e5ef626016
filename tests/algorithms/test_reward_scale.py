"""Rewards of any size: off-policy learners divide them by the running deviation of their discounted sums."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import make
from test_dqn import CONFIG

from vmax.algorithms import make_algorithm, normaliser
from vmax.algorithms.algorithm import Batch, Spec
from vmax.errors import UserError
from vmax.networks.mlp import NetworkConfig
from vmax.spaces import Box, Discrete, Feature

NETWORK = NetworkConfig("mlp", (32, 32), "relu", "none", "float32")
LEARNERS = ["sac", "td3", "dqn"]


def learner(name, normalized):
    """A learner, and what it is told of a world of two numbers that its action has to match."""
    if name == "dqn":
        space = Discrete(4)
        config = replace(CONFIG, normalize_rewards=normalized, learning_rate=1e-3, max_grad_norm=10.0)
        algorithm = make_algorithm(config, NETWORK)
    else:
        space = Box((Feature("a", size=2),))
        algorithm = make(name, NETWORK, normalize_rewards=normalized, learning_rate=1e-3, critic_learning_rate=1e-3)
    return algorithm, Spec(Box((Feature("x", size=2),)), space, 1000)


def reward(seen, done):
    """Of one step; at most 1."""
    if done.dtype == jnp.int32:
        right = 2 * (seen[..., 0] > 0) + (seen[..., 1] > 0)
        return (done == right).astype(jnp.float32)
    return 1.0 - jnp.square(done - seen).mean(axis=-1)


@cache
def learned(name, scale, normalized):
    """Mean reward of the greedy policy in units of `scale`, and the values that critics give to its actions."""
    algorithm, told = learner(name, normalized)

    @jax.jit
    def run():
        keys = jax.random.split(jax.random.key(0), 5)
        seen = jax.random.uniform(keys[0], (1200, 64, 2), minval=-1.0)
        if name == "dqn":
            done = jax.random.randint(keys[1], seen.shape[:2], 0, 4)
        else:
            done = jax.random.uniform(keys[1], seen.shape, minval=-1.0)
        paid = scale * reward(seen, done)
        state = algorithm.init(keys[2], told)
        state = algorithm.observe(state, seen.reshape(-1, 2), told, discounted=paid.reshape(-1))
        state, _ = algorithm.update(state, Batch(seen, done, paid, jnp.zeros(paid.shape), seen), keys[3], told)
        fresh = jax.random.uniform(keys[4], (1, 500, 2), minval=-1.0)
        chosen, _, _ = algorithm.act(algorithm.policy(state), fresh[0], (), keys[4], False)
        values = (
            jnp.zeros(()) if name == "dqn" else algorithm.value(algorithm.critics(state), fresh, chosen[None], told)
        )
        return reward(fresh[0], chosen).mean(), values.mean() / scale

    return tuple(float(x) for x in run())


@pytest.mark.parametrize("name", LEARNERS)
def test_rewards_a_million_times_as_large_are_learned_from_where_they_are_normalized(name):
    found, value = learned(name, 1e6, True)
    assert found > 0.9
    if name != "dqn":  # critics' values are told in the units of the world
        assert value == pytest.approx(found, abs=0.1)


def test_the_world_of_these_tests_is_not_learned_from_such_rewards_as_they_are():
    assert learned("td3", 1e6, False)[0] < 0.8


def test_the_size_of_rewards_does_not_matter_to_what_is_learned():
    assert learned("td3", 1e-6, True)[0] == pytest.approx(learned("td3", 1e6, True)[0], abs=0.02)


@pytest.mark.parametrize("name", LEARNERS)
def test_without_the_setting_no_statistics_are_kept(name):
    algorithm, told = learner(name, False)
    state = jax.eval_shape(lambda: algorithm.init(jax.random.key(0), told))
    assert state.reward_scale is None


@pytest.mark.parametrize(
    ("sums", "unit"),
    [([1.0, 3.0], 1.0), ([-2e6, 2e6], 2e6), ([0.0, 0.0], 1.0), ([500.0, 500.0], 0.5), ([1e-9, 3e-9], 1e-9)],
)
def test_rewards_are_divided_by_the_deviation_of_their_sums_and_never_by_nothing(sums, unit):
    scale = normaliser.observe(normaliser.init(1), jnp.array(sums)[:, None], None)
    assert float(normaliser.reward_unit(scale)) == pytest.approx(unit, rel=1e-4)


def test_the_unit_is_among_the_metrics():
    algorithm, told = learner("dqn", True)
    state = algorithm.init(jax.random.key(0), told)
    state = algorithm.observe(state, jnp.zeros((2, 2)), told, discounted=jnp.array([-300.0, 300.0]))
    seen = jnp.zeros((1, 4, 2))
    batch = Batch(seen, jnp.zeros((1, 4), jnp.int32), jnp.full((1, 4), 600.0), jnp.zeros((1, 4)), seen)
    _, metrics = algorithm.update(state, batch, jax.random.key(0), told)
    assert float(metrics["reward_unit"]) == pytest.approx(300.0)
    q = algorithm._values(state.network.params, seen[0], None)[0, 0, 0]
    assert float(metrics["td_error_mean"]) == pytest.approx(abs(2.0 - float(q)), rel=1e-4)


def test_two_devices_keep_the_scale_of_one():
    algorithm, told = learner("sac", True)
    state, sums = algorithm.init(jax.random.key(0), told), jnp.asarray(np.random.default_rng(0).normal(size=8))
    one = algorithm.observe(state, jnp.zeros((8, 2)), told, discounted=sums)
    halves = jax.vmap(
        lambda part: algorithm.observe(state, jnp.zeros((4, 2)), replace(told, axis="device"), discounted=part),
        axis_name="device",
    )(sums.reshape(2, 4))
    for both, alone in zip(jax.tree.leaves(halves.reward_scale), jax.tree.leaves(one.reward_scale), strict=True):
        np.testing.assert_allclose(both, np.broadcast_to(alone, both.shape), rtol=1e-5)


def test_known_rewards_are_in_units_of_the_world_and_so_are_refused_beside_normalized_ones():
    said = r"algorithm\.normalize_rewards=true: must be false with algorithm\.post_decision_critic=true"
    with pytest.raises(UserError, match=said):
        make("sac", post_decision_critic=True, normalize_rewards=True)
