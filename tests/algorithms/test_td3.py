"""TD3: target, smoothing noise and delay against hand-written passes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import NETWORK, batch, make, passed, q_by_hand, same, spec

from vmax.algorithms.noise import shared
from vmax.errors import UserError

SPEC = spec()
TD3 = make("td3")
START = jax.jit(lambda key: TD3.init(key, SPEC))(jax.random.key(0))
update = jax.jit(lambda state, inputs, key: TD3.update(state, inputs, key, SPEC))


def action_by_hand(actor, observation):
    return np.tanh(passed(actor["params"], observation, head="mean"))


@pytest.mark.parametrize(("noise_scale", "noise_clip"), [(0.2, 0.5), (2.0, 0.5), (5.0, 3.0), (0.0, 0.5)])
def test_critic_loss_is_the_squared_error_to_the_smoothed_target(noise_scale, noise_clip):
    inputs, key = batch(1, 32), jax.random.key(5)
    hyper = replace(START.hyper, target_noise=jnp.float32(noise_scale), target_noise_clip=jnp.float32(noise_clip))
    shifted = jax.tree.map(lambda leaf: 1.1 * leaf + 0.01, (START.target_actor, START.target_critic))
    state = replace(START, target_actor=shifted[0], target_critic=shifted[1], hyper=hyper)
    _, metrics = update(state, inputs, key)
    drawn = np.asarray(shared(jax.random.normal, jax.random.split(key)[0], (1, 32, 2), None, batch_dim=1)[0])
    noise = np.clip(noise_scale * drawn, -noise_clip, noise_clip)
    action = np.clip(action_by_hand(state.target_actor, inputs.next_observation[0]) + noise, -1, 1)
    value = q_by_hand(state.target_critic, inputs.next_observation[0], action).min(0)
    target = np.asarray(inputs.reward[0]) + np.asarray(inputs.discount[0]) * value
    errors = q_by_hand(state.critic.params, inputs.observation[0], inputs.action[0]) - target
    assert np.isclose(metrics["critic_loss"], 0.5 * (errors**2).mean(1).sum(), rtol=1e-4)


def test_actor_loss_is_the_first_new_critic():
    inputs = batch(1, 32)
    state, metrics = update(START, inputs, jax.random.key(5))
    action = action_by_hand(START.actor.params, inputs.observation[0])
    q = q_by_hand(state.critic.params, inputs.observation[0], action)
    assert np.isclose(metrics["actor_loss"], -q[0].mean(), rtol=1e-4, atol=1e-6)
    assert not np.isclose(metrics["actor_loss"], -q[1].mean(), rtol=1e-2)


def test_actor_and_targets_move_once_per_delay():
    slow = make("td3", policy_delay=2)
    run = jax.jit(lambda state, inputs: slow.update(state, inputs, jax.random.key(5), SPEC)[0])
    inputs = batch(2, 32)
    state = run(START, inputs)
    assert state.updates == 2 and state.critic.moments.count == 2 and state.actor.moments.count == 1
    moved = jax.tree.map(lambda old, new: 0.95 * old + 0.05 * new, START.target_critic, state.critic.params)
    assert same(state.target_critic, moved, atol=1e-6)  # one Polyak step towards the critics after two updates
    moved = jax.tree.map(lambda old, new: 0.95 * old + 0.05 * new, START.target_actor, state.actor.params)
    assert same(state.target_actor, moved, atol=1e-6)
    assert run(state, inputs).actor.moments.count == 2


def test_updates_that_the_delay_does_not_divide_are_refused():
    with pytest.raises(UserError, match="training.updates_per_iteration=3: .* algorithm.policy_delay=2"):
        make("td3", policy_delay=2).update(START, batch(3, 4), jax.random.key(0), SPEC)


def test_targets_and_averages_start_as_copies_of_their_own():
    assert same(START.target_critic, START.critic.params)
    assert same(START.target_actor, START.actor.params) and same(START.averaged_actor, START.actor.params)
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(START)]
    assert len(set(pointers)) == len(pointers)  # so that the state can be donated


def test_exploration_adds_clipped_noise_of_the_size_that_the_state_says():
    observation = jnp.ones((4000, 3))
    policy = TD3.policy(START)
    still, _, _ = TD3.act(policy, observation, TD3.initial_carry(4000), jax.random.key(0), explore=False)
    lively, _, _ = TD3.act(policy, observation, (), jax.random.key(0), explore=True)
    assert np.allclose(np.std(lively - still, axis=0), 0.2, rtol=0.05)
    loud, _, _ = TD3.act(replace(policy, exploration_noise=5.0), observation, (), jax.random.key(0), explore=True)
    assert np.abs(loud).max() == 1.0
    assert np.allclose(still[0], action_by_hand(START.actor.params, observation[0]), atol=1e-5)


def test_options_run_together_in_bfloat16_and_stay_finite():
    network = replace(NETWORK, dtype="bfloat16", layer_norm="critic", activation="tanh")
    algorithm = make(
        "td3", network, num_critics=1, policy_delay=2, max_grad_norm=0.5, normalise_observations=True, average_actor=0.0
    )

    def run(key):
        state = algorithm.observe(algorithm.init(key, SPEC), 100.0 + batch(1, 64).observation[0], SPEC)
        return algorithm.update(state, batch(2, 16), key, SPEC)

    state, metrics = jax.jit(run)(jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
    assert same(state.averaged_actor, state.actor.params)
