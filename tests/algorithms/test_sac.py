"""SAC: every loss against a hand-written pass, and what an update changes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from learners import NETWORK, batch, make, passed, q_by_hand, same, spec

from vmax.algorithms.noise import shared
from vmax.networks.heads import LOG_STD_MAX, LOG_STD_MIN

SPEC = spec()
SAC = make("sac")
START = jax.jit(lambda key: SAC.init(key, SPEC))(jax.random.key(0))
update = jax.jit(lambda state, inputs, key: SAC.update(state, inputs, key, SPEC))


def sample_by_hand(actor, observation, noise):
    """Action and log-probability, by the plain formula in float64."""
    mean = passed(actor["params"], observation, head="mean")
    spread = passed(actor["params"], observation, head="spread")
    log_std = LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * (np.tanh(spread) + 1) / 2
    u = mean + np.exp(log_std) * np.asarray(noise, np.float64)
    density = -((u - mean) ** 2) / (2 * np.exp(2 * log_std)) - log_std - 0.5 * np.log(2 * np.pi)
    return np.tanh(u), np.sum(density - np.log(1 - np.tanh(u) ** 2), axis=-1)


def test_critic_loss_is_the_squared_error_to_the_soft_target():
    inputs, key = batch(1, 32), jax.random.key(5)
    # targets that differ from the online critics, so that a mix-up shows
    state = replace(START, target_critic=jax.tree.map(lambda leaf: 1.1 * leaf + 0.01, START.critic.params))
    _, metrics = update(state, inputs, key)
    noise = shared(jax.random.normal, jax.random.split(key)[0], (1, 2, 32, 2), None, batch_dim=2)[0]
    action, log_prob = sample_by_hand(state.actor.params, inputs.next_observation[0], noise[0])
    value = q_by_hand(state.target_critic, inputs.next_observation[0], action).min(0) - 0.1 * log_prob
    target = np.asarray(inputs.reward[0]) + np.asarray(inputs.discount[0]) * value
    errors = q_by_hand(state.critic.params, inputs.observation[0], inputs.action[0]) - target
    assert np.isclose(metrics["critic_loss"], 0.5 * (errors**2).mean(1).sum(), rtol=1e-4)


def test_actor_loss_uses_the_new_critics_and_the_temperature_follows_the_entropy():
    inputs, key = batch(1, 32), jax.random.key(5)
    state, metrics = update(START, inputs, key)
    noise = shared(jax.random.normal, jax.random.split(key)[0], (1, 2, 32, 2), None, batch_dim=2)[0]
    action, log_prob = sample_by_hand(START.actor.params, inputs.observation[0], noise[1])
    q = q_by_hand(state.critic.params, inputs.observation[0], action).min(0)
    assert np.isclose(metrics["actor_loss"], np.mean(0.1 * log_prob - q), rtol=1e-4, atol=1e-5)
    assert np.isclose(metrics["entropy"], -log_prob.mean(), rtol=1e-4)
    # Adam's first step is the learning rate, up where the entropy is below its target of -2 and down where above
    way = np.sign(-2.0 + log_prob.mean())
    assert np.isclose(state.log_temperature.params - np.log(0.1), 3e-3 * way, rtol=1e-3)


def test_targets_and_averages_start_as_copies_and_follow_slowly():
    assert same(START.target_critic, START.critic.params) and same(START.averaged_actor, START.actor.params)
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(START)]
    assert len(set(pointers)) == len(pointers)  # so that the state can be donated
    state, _ = update(START, batch(1, 32), jax.random.key(5))
    expected = jax.tree.map(lambda old, new: 0.95 * old + 0.05 * new, START.target_critic, state.critic.params)
    assert same(state.target_critic, expected, atol=1e-6)
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, START.averaged_actor, state.actor.params)
    assert same(state.averaged_actor, expected, atol=1e-6)


def test_policy_is_the_averaged_actor_when_asked():
    state, _ = update(START, batch(1, 32), jax.random.key(5))
    assert same(SAC.policy(state).actor, state.actor.params)
    assert same(SAC.policy(state, averaged=True).actor, state.averaged_actor)
    assert not same(state.averaged_actor, state.actor.params, atol=1e-7)


def test_acting_explores_around_the_deterministic_action():
    observation = jnp.ones((2000, 3))
    policy = SAC.policy(START)
    still, carry, extras = SAC.act(policy, observation, SAC.initial_carry(2000), jax.random.key(0), explore=False)
    lively, _, _ = SAC.act(policy, observation, (), jax.random.key(0), explore=True)
    assert carry == () and extras == ()
    assert still.shape == (2000, 2) and np.array_equal(still[0], still[1])
    assert np.std(lively, axis=0).min() > 0.05 and np.abs(lively).max() <= 1.0
    assert np.allclose(np.median(lively, axis=0), still[0], atol=0.05)


def test_default_target_entropy_is_minus_the_number_of_actions():
    assert START.hyper.target_entropy == -2.0
    other = make("sac", target_entropy=-0.5)
    assert jax.jit(lambda key: other.init(key, SPEC).hyper)(jax.random.key(0)).target_entropy == -0.5


def test_options_run_together_in_bfloat16_and_stay_finite():
    network = replace(NETWORK, dtype="bfloat16", layer_norm="all", activation="silu")
    options = {"num_critics": 3, "max_grad_norm": 0.5, "learning_rate_schedule": "linear", "average_actor": 0.0}
    options |= {"normalise_observations": True, "learn_temperature": False, "initial_temperature": 0.7}
    algorithm = make("sac", network, **options)

    def run(key):
        state = algorithm.init(key, SPEC)
        state = algorithm.observe(state, 100.0 + batch(1, 64).observation[0], SPEC)
        return algorithm.update(state, batch(2, 16), key, SPEC)

    state, metrics = jax.jit(run)(jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
    assert state.updates == 2 and state.critic.moments.count == 2 and state.actor.moments.count == 2
    assert all(value.shape == () for value in metrics.values())
    assert np.isclose(metrics["temperature"], 0.7) and np.isclose(jnp.exp(state.log_temperature.params), 0.7)
    assert np.allclose(state.normaliser.mean, 100.0, atol=1.0)
    assert same(state.averaged_actor, state.actor.params)
