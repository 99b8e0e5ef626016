"""PPO and A2C: losses against a NumPy loop, memories run anew, minibatches, what stops an iteration, devices."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import NETWORK, ON_POLICY, make, same, spec

from vmax.algorithms.algorithm import Rollout
from vmax.algorithms.ppo import clipped_error, clipped_gain
from vmax.errors import UserError
from vmax.networks.recurrent import RecurrentConfig, forget, initial_carry
from vmax.spaces import Discrete

NAMES = sorted(ON_POLICY)
STEPS, ENVS = 6, 4
NUMBERS = spec()
CHOICES = replace(spec(), action_space=Discrete(3))
LSTM = RecurrentConfig("lstm", (16, 16), "relu", "none", "float32", 5)


def acted(algorithm: Any, state: Any, seed: int = 0) -> Rollout:
    """A rollout as the loop collects it: the policy's own actions in a world of noise, where episodes end by chance."""
    rng = np.random.default_rng(seed)
    seen = jnp.asarray(rng.normal(size=(STEPS + 1, ENVS, 3)), jnp.float32)
    terminated, truncated = (jnp.asarray(rng.random((STEPS, ENVS)) < 0.25) for _ in range(2))
    start = carry = jax.tree.map(lambda leaf: leaf + 0.3, algorithm.initial_carry(ENVS))
    act = jax.jit(lambda seen, carry, key: algorithm.act(algorithm.policy(state), seen, carry, key, True))
    actions, extras = [], []
    for t in range(STEPS):
        action, carry, told = act(seen[t], carry, jax.random.key(seed + t))
        carry = forget(carry, terminated[t] | truncated[t])
        actions.append(action)
        extras.append(told)
    extras = jax.tree.map(lambda *leaves: jnp.stack(leaves), *extras)
    reward, final = rng.normal(size=(STEPS, ENVS)), rng.normal(size=(STEPS, ENVS, 3))
    following = jnp.where((terminated | truncated)[..., None], final, seen[1:]).astype(jnp.float32)
    rewards = jnp.asarray(reward, jnp.float32)
    return Rollout(
        seen[:-1], jnp.stack(actions), extras, rewards, terminated, truncated, following, 3.0 * rewards, start
    )  # fmt: skip


@cache
def begun(name, network=NETWORK, world=NUMBERS, **changes):
    """A learner, its first state with networks that are no longer near zero, and a rollout of it."""
    algorithm = make(name, network, **changes)
    state = jax.jit(lambda key: algorithm.init(key, world))(jax.random.key(0))
    params = jax.tree.map(lambda leaf: 1.5 * leaf + 0.05, state.networks.params)
    state = replace(state, networks=replace(state.networks, params=params))
    return algorithm, state, acted(algorithm, state)


@cache
def updating(algorithm, world=NUMBERS):
    """Its update on a rollout, compiled."""
    return jax.jit(lambda state, rollout, key: algorithm.update(state, rollout, key, world))


def layers(tree: Any, inputs: Any) -> np.ndarray:
    """What a ReLU torso gives, float64."""
    hidden = np.asarray(inputs, float)
    for name in ("Dense_0", "Dense_1"):
        layer = tree["Torso_0"][name]
        hidden = np.maximum(hidden @ np.asarray(layer["kernel"], float) + np.asarray(layer["bias"], float), 0.0)
    return hidden


def last(layer: Any, hidden: np.ndarray) -> np.ndarray:
    return hidden @ np.asarray(layer["kernel"], float) + np.asarray(layer["bias"], float)


def by_hand(name: str, state: Any, rollout: Rollout, config: Any) -> dict[str, Any]:
    """The losses of one pass over the whole rollout before any step, in a loop over environments and time."""
    actor, critic = (state.networks.params[part]["params"] for part in ("actor", "critic"))
    value = lambda seen: last(critic["Dense_0"], layers(critic, seen))[..., 0]  # noqa: E731
    before, after = value(rollout.observation), value(rollout.next_observation)
    advantage = np.zeros((STEPS, ENVS))
    for n in range(ENVS):
        following = 0.0
        for t in reversed(range(STEPS)):
            ended, truncated = bool(rollout.terminated[t, n]), bool(rollout.truncated[t, n])
            delta = float(rollout.reward[t, n]) + 0.9 * (not ended) * after[t, n] - before[t, n]
            following = delta + (0.0 if ended or truncated else 0.9 * 0.95 * following)
            advantage[t, n] = following
    mean, log_std = last(actor["mean"], layers(actor, rollout.observation)), np.asarray(actor["log_std"], float)
    raw = np.asarray(rollout.extras["raw"], float)
    log_prob = np.sum(-0.5 * ((raw - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi), axis=-1)
    assert np.allclose(log_prob, rollout.extras["log_prob"], atol=1e-4)
    normalised = (advantage - advantage.mean()) / advantage.std() if config.normalise_advantages else advantage
    return {
        "actor_loss": -np.mean(normalised) if name == "ppo" else -np.mean(normalised * log_prob),
        "critic_loss": 0.5 * np.mean(advantage**2),
        "entropy": float(np.sum(log_std + 0.5 * np.log(2 * np.pi * np.e))),
    }


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_a_loop_over_environments_and_steps(name):
    changes = {"epochs": 1, "minibatches": 1} if name == "ppo" else {}
    algorithm, state, rollout = begun(name, normalise_advantages=name == "ppo", **changes)
    assert (np.asarray(rollout.terminated) & np.asarray(rollout.truncated)).any()
    _, metrics = updating(algorithm)(state, rollout, jax.random.key(0))
    expected = by_hand(name, state, rollout, algorithm.config)
    for key, number in expected.items():
        assert np.isclose(metrics[key], number, rtol=1e-4, atol=1e-5), key


@pytest.mark.parametrize("world", [spec(), CHOICES], ids=["numbers", "choices"])
@pytest.mark.parametrize("network", [NETWORK, LSTM], ids=["mlp", "lstm"])
def test_networks_run_anew_over_a_rollout_say_what_they_said_when_they_acted(network, world):
    """So the ratio of the first update is 1: the carry and its resets are those of acting."""
    algorithm, state, rollout = begun("ppo", network, world, normalise_observations=True)

    @jax.jit
    def apart(rollout):
        _, lesson = algorithm.lesson(state, rollout, world)
        return jnp.abs(algorithm.opinion(state.networks.params, lesson).log_prob - lesson.log_prob).max()

    assert apart(rollout) < 1e-5
    if network is LSTM:  # it would not with the carry lost, or with resets one step late
        late = jnp.concatenate([rollout.terminated[:1] & False, rollout.terminated[:-1]])
        for wrong in (replace(rollout, carry=initial_carry(LSTM, ENVS)), replace(rollout, terminated=late)):
            assert apart(wrong) > 1e-4


def test_the_value_of_a_final_observation_follows_what_was_remembered_before_the_end():
    algorithm, state, rollout = begun("ppo", LSTM)
    _, lesson = jax.jit(partial(algorithm.lesson, spec=spec()))(state, rollout)
    policy, carry, ends = algorithm.policy(state), rollout.carry, 0
    look = jax.jit(lambda seen, carry: algorithm.act(policy, seen, carry, jax.random.key(0), False)[1])
    for t in range(STEPS):
        carry = look(rollout.observation[t], carry)
        _, hidden = look(rollout.next_observation[t], carry)
        value = algorithm._value(state.networks.params, rollout.next_observation[t], hidden)
        expected = rollout.reward[t] + 0.9 * (1 - rollout.terminated[t]) * value - lesson.value[t]
        ended = np.asarray(rollout.ended[t])  # there the advantage is that of one step
        assert np.allclose(lesson.advantage[t][ended], expected[ended], atol=1e-5)
        carry, ends = forget(carry, rollout.ended[t]), ends + ended.sum()
    assert ends > 4


@pytest.mark.parametrize("network", [NETWORK, LSTM], ids=["mlp", "lstm"])
def test_minibatches_hold_each_sample_once_and_sequences_stay_whole(network):
    algorithm, state, rollout = begun("ppo", network, minibatches=2)
    _, lesson = algorithm.lesson(state, rollout, spec())
    parts = algorithm._minibatches(lesson, jax.random.key(1))
    together = lambda x: np.sort(np.asarray(x).ravel())  # noqa: E731
    assert np.array_equal(together(parts.advantage), together(lesson.advantage))
    assert not np.array_equal(np.ravel(parts.advantage), np.ravel(lesson.advantage))
    if network is LSTM:
        assert parts.advantage.shape == (2, STEPS, 2) and jax.tree.leaves(parts.carry)[0].shape == (2, 2, 5)
        whole = {tuple(np.asarray(lesson.advantage)[:, n]) for n in range(ENVS)}
        assert {tuple(np.asarray(part)[:, n]) for part in parts.advantage for n in range(2)} == whole
    else:
        assert parts.advantage.shape == (2, STEPS * ENVS // 2)


def test_once_the_policy_has_gone_too_far_nothing_changes_any_more():
    (algorithm, state, rollout), rate = begun("ppo", epochs=4, minibatches=2), jnp.float32(0.03)
    bounded = lambda kl: replace(state, hyper=replace(state.hyper, target_kl=jnp.float32(kl), learning_rate=rate))  # noqa: E731
    free, told = updating(algorithm)(bounded(jnp.inf), rollout, jax.random.key(0))
    assert told["skipped_updates"] == 0.0 and told["kl"] > 0.01
    held, told = updating(algorithm)(bounded(1e-9), rollout, jax.random.key(0))
    assert told["skipped_updates"] == 7.0  # the first update starts where the rollout was made
    assert held.updates == free.updates == 8  # of the schedule
    assert (held.networks.moments.count, free.networks.moments.count) == (1, 8)
    moved = jax.tree.map(lambda new, old: float(jnp.abs(new - old).max()), held.networks.params, state.networks.params)
    assert np.isclose(max(jax.tree.leaves(moved)), 0.03, rtol=0.01)  # one step of Adam


def test_a_value_that_moves_too_far_gains_nothing():
    """By hand: old value 0, target 1, new values 0.1, 0.5 and -0.5, a bound of 0.2; the greater error counts."""
    found = clipped_error(jnp.float32([0.1, 0.5, -0.5]), jnp.zeros(3), jnp.ones(3), jnp.float32(0.2))
    assert np.allclose(found, [0.9**2, 0.8**2, 1.5**2])
    algorithm, state, rollout = begun("ppo", value_clip=1e-6, epochs=1, minibatches=1)
    _, metrics = updating(algorithm)(state, rollout, jax.random.key(0))
    assert np.isclose(
        metrics["critic_loss"], by_hand("ppo", state, rollout, algorithm.config)["critic_loss"], rtol=1e-4
    )


@pytest.mark.parametrize(("advantage", "slopes"), [(1.0, (1.0, 1.0, 0.0)), (-1.0, (0.0, -1.0, -1.0))])
def test_the_objective_gains_nothing_from_a_ratio_beyond_the_bound(advantage, slopes):
    """Ratios 0.7, 1 and 1.3 with a bound of 0.2."""
    slope = jax.vmap(jax.grad(clipped_gain), in_axes=(0, None, None))
    assert np.allclose(slope(jnp.float32([0.7, 1.0, 1.3]), advantage, 0.2), slopes)


def test_rewards_are_scaled_by_the_spread_of_their_discounted_sums():
    algorithm, state, rollout = begun("ppo", normalize_rewards=True)
    after, lesson = algorithm.lesson(state, rollout, spec())
    plain, _, _ = begun("ppo")
    scale = float(np.std(rollout.discounted))
    scaled = replace(rollout, reward=rollout.reward / scale)
    assert same(
        lesson.advantage, plain.lesson(replace(state, reward_scale=None), scaled, spec())[1].advantage, rtol=1e-4
    )
    assert np.isclose(after.reward_scale.variance[0], scale**2, rtol=1e-4) and after.reward_scale.count == STEPS * ENVS


@pytest.mark.parametrize(
    ("name", "network"),
    [pytest.param("ppo", LSTM, marks=pytest.mark.slow), ("a2c", NETWORK)],
    ids=["ppo-lstm", "a2c-mlp"],
)
def test_two_devices_with_half_the_environments_each_do_what_one_does(name, network):
    changes = {"epochs": 2, "minibatches": 1, "target_kl": 0.5} if name == "ppo" else {}
    more = {"normalize_rewards": True, "normalise_advantages": True, "normalise_observations": True}
    algorithm, state, rollout = begun(name, network, max_grad_norm=0.3, **more, **changes)
    one = updating(algorithm)(state, rollout, jax.random.key(4))
    split = lambda axis, leaf: jnp.stack(jnp.split(leaf, 2, axis))  # noqa: E731
    halves = jax.tree.map(partial(split, 1), replace(rollout, carry=()))
    halves = replace(halves, carry=jax.tree.map(partial(split, 0), rollout.carry))
    each = lambda half: algorithm.update(state, half, jax.random.key(4), spec(axis="device"))  # noqa: E731
    two = jax.jit(jax.vmap(each, axis_name="device"))(halves)
    assert same(jax.tree.map(lambda leaf: leaf[0], two), jax.tree.map(lambda leaf: leaf[1], two), rtol=0, atol=0)
    assert same(one, jax.tree.map(lambda leaf: leaf[0], two), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_learning_rates_can_be_vmapped(name):
    algorithm, state, rollout = begun(name, max_grad_norm=None)

    def run(rate):
        given = replace(state, hyper=replace(state.hyper, learning_rate=rate))
        return algorithm.update(given, rollout, jax.random.key(0), spec())[0].networks.params

    still, moved = (jax.tree.map(lambda x, i=i: x[i], jax.jit(jax.vmap(run))(jnp.array([0.0, 1e-2]))) for i in (0, 1))
    assert same(still, state.networks.params, atol=0.0) and not same(moved, still, atol=1e-3)


def test_deviations_begin_where_they_are_told_to():
    for free in (True, False):
        algorithm = make("ppo", free_std=free, initial_std=0.4)
        state = algorithm.init(jax.random.key(0), spec())
        raws = algorithm.act(
            algorithm.policy(state), jnp.zeros((4000, 3)), (), jax.random.key(1), explore=True
        )[2]["raw"]  # fmt: skip
        assert np.allclose(np.std(raws, axis=0), 0.4, rtol=0.05) and np.allclose(np.mean(raws, axis=0), 0.0, atol=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_ratio": 0.0}, "algorithm.clip_ratio=0.0: must be above 0"),
        ({"gae_lambda": 1.2}, r"algorithm.gae_lambda=1.2: must be within \[0, 1\]"),
        ({"epochs": 0}, "algorithm.epochs=0: must be at least 1"),
        ({"target_kl": -1.0}, "algorithm.target_kl=-1.0: must be above 0"),
    ],
)
def test_numbers_out_of_their_range_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        make("ppo", **changes)
