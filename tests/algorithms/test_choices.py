"""Choices: those that are not allowed are never made, and several at once each know of the whole observation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import NETWORK, make
from test_dqn import CONFIG
from worlds import Masked, spec_of, trained

from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Batch, Spec
from vmax.algorithms.distributions import FORBIDDEN, Categorical
from vmax.networks.mlp import NetworkConfig
from vmax.networks.recurrent import RecurrentConfig
from vmax.spaces import Box, Discrete, Feature, choosable, random_actions
from vmax.training.guide import Guide

LSTM = RecurrentConfig("lstm", (8,), "relu", "none", "float32", 4)
ALONE = jnp.concatenate([jnp.ones((4, 1)), jnp.eye(4)], axis=1)
"""Observations of `Masked` that allow one choice each, the first, the second, …"""


class Stubborn:
    """A rule that asks for the last choice, whatever is allowed."""

    def initial(self, env, params, starts):
        return ()

    def act(self, env, states, observation, params, carry, key):
        return jnp.full((len(observation), *env.action_space.shape), 3, jnp.int32), carry


def dqn(**changes):
    return make_algorithm(replace(CONFIG, epsilon_start=0.5, epsilon_end=0.5, **changes), NETWORK)


@pytest.mark.parametrize(
    ("algorithm", "count", "guide"),
    [
        (dqn(), 3, Guide(Stubborn(), 0.1)),
        pytest.param(make("ppo", LSTM, entropy_weight=0.1, epochs=1, minibatches=2), 1, None, marks=pytest.mark.slow),
        (make("a2c"), 1, None),
    ],
    ids=["dqn-three-guided", "ppo-lstm", "a2c"],
)
def test_a_choice_that_is_not_allowed_is_never_made_in_training_nor_in_its_warm_up(algorithm, count, guide):
    """A forbidden choice costs 1 and nothing else counts: rewards tell how many were made."""
    state, figures = trained(algorithm, Masked(count), 20, 0 if algorithm.on_policy else 20, guide)
    assert figures["reward"] == 0.0 and all(np.isfinite(list(figures.values())))
    if not algorithm.on_policy:
        assert int(state.replay.filled[0]) == 40 and not np.asarray(state.replay.reward).any()


def test_the_rule_of_the_warm_up_above_asks_for_what_is_forbidden():
    """So the test above can fail."""
    state, _ = jax.vmap(lambda key: Masked().reset(key, ()))(jax.random.split(jax.random.key(0), 100))
    step = lambda key, state: Masked().step(key, state, jnp.int32(3), ())[1].reward  # noqa: E731
    assert jax.vmap(step)(jax.random.split(jax.random.key(1), 100), state).mean() < -0.3


@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_a_choice_that_is_the_only_one_allowed_is_certain_and_teaches_nothing(name):
    algorithm, told = make(name), spec_of(Masked())
    state = algorithm.init(jax.random.key(0), told)
    for explore in (True, False):
        chosen, _, extras = algorithm.act(algorithm.policy(state), ALONE, (), jax.random.key(1), explore)
        assert chosen.tolist() == [0, 1, 2, 3]
        assert not explore or extras["log_prob"].tolist() == [0.0] * 4

    def said(actor):
        kind, parameters = algorithm._parameters(actor, ALONE, None, algorithm._may(state.allowed, ALONE))
        return (kind.log_prob(parameters, chosen) + 2.0 * kind.entropy(parameters)).sum()

    told, slopes = jax.value_and_grad(said)(state.networks.params["actor"])
    assert float(told) == 0.0
    assert all((np.asarray(leaf) == 0.0).all() for leaf in jax.tree.leaves(slopes))


def test_a_forbidden_choice_takes_no_share_of_probability_and_entropy():
    """Of logits 0, 1 and 2 with the last forbidden: as of the first two alone."""
    masked, two = jnp.array([0.0, 1.0, FORBIDDEN]), jnp.array([0.0, 1.0])
    for choice in (0, 1):
        raw = jnp.int32(choice)
        assert float(Categorical().log_prob(masked, raw)) == pytest.approx(float(Categorical().log_prob(two, raw)))
    assert float(Categorical().entropy(masked)) == pytest.approx(float(Categorical().entropy(two)))


def test_where_no_choice_is_allowed_all_are():
    seen = jnp.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    may = choosable((0, 1, 2, 3), seen, 2)
    assert may.tolist() == [[[True, True], [True, False]], [[True, True], [True, True]]]
    drawn = random_actions(Discrete(2, (), 2), jax.random.key(0), (500, 2), jnp.broadcast_to(may, (500, 2, 2, 2)))
    assert drawn.shape == (500, 2, 2) and drawn.dtype == jnp.int32
    np.testing.assert_allclose(drawn.mean(axis=0), [[0.5, 0.0], [0.5, 0.5]], atol=0.1)


def right_choices(blocks):
    """How often DQN is right where each of three choices has to follow the next one's third of the observation."""
    told = Spec(Box((Feature("x", size=3),)), Discrete(4, (), 3), 1000, blocks=blocks)
    network = NetworkConfig("mlp", (64, 64), "relu", "none", "float32")
    algorithm = make_algorithm(replace(CONFIG, learning_rate=3e-3), network)
    wanted = lambda seen: jnp.roll(jnp.floor((seen + 1.0) * 1.9999), 1, axis=-1).astype(jnp.int32)  # noqa: E731

    @jax.jit
    def run():
        keys = jax.random.split(jax.random.key(0), 4)
        seen = jax.random.uniform(keys[0], (1500, 64, 3), minval=-1.0)
        done = jax.random.randint(keys[1], seen.shape, 0, 4)
        reward = (done == wanted(seen)).mean(axis=-1)
        batch = Batch(seen, done, reward, jnp.zeros(reward.shape), seen)
        state, _ = algorithm.update(algorithm.init(keys[2], told), batch, keys[2], told)
        fresh = jax.random.uniform(keys[3], (1000, 3), minval=-1.0)
        chosen, _, _ = algorithm.act(algorithm.policy(state), fresh, (), keys[3], False)
        return (chosen == wanted(fresh)).mean()

    return float(run())


def test_each_of_several_choices_sees_the_whole_observation():
    """Chance is a quarter, and that is all there is for choices that see their own block alone."""
    assert right_choices(blocks=False) > 0.9
    assert right_choices(blocks=True) < 0.4


@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("network", [NETWORK, LSTM], ids=["mlp", "lstm"])
def test_values_of_several_choices_add_up_in_what_is_learned(network, dueling):
    """The observation need not be blocks: five numbers for two choices."""
    told = Spec(Box((Feature("x", size=5),)), Discrete(3, (), 2), 10)
    algorithm = make_algorithm(replace(CONFIG, dueling=dueling), network)
    state = algorithm.init(jax.random.key(0), told)
    seen = jax.random.normal(jax.random.key(1), (8, 5))
    carry = algorithm.initial_carry(8)
    chosen, _, _ = algorithm.act(algorithm.policy(state), seen, carry, jax.random.key(2), False)
    memory = None if network is NETWORK else jnp.zeros((8, network.units))
    values = algorithm._values(state.network.params, seen, memory)
    assert chosen.shape == (8, 2) and values.shape == (8, 2, 3)
    if network is NETWORK:
        assert np.array_equal(chosen, values.argmax(axis=-1))
        batch = Batch(seen[None], chosen[None], jnp.zeros((1, 8)), jnp.zeros((1, 8)), seen[None])
        _, metrics = algorithm.update(state, batch, jax.random.key(3), told)
        assert float(metrics["q_mean"]) == pytest.approx(float(values.max(axis=-1).sum(axis=-1).mean()), rel=1e-4)
