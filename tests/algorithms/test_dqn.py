"""DQN: its losses by hand, masks, the share of random choices, several choices at once, memory, and the probes."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import NETWORK, passed, same

from vmax import devices
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import TD_ERROR, Batch, Spec
from vmax.algorithms.dqn import DQNConfig, huber
from vmax.envs.classic.probes import BEST_ACTION, PROBES
from vmax.envs.environment import AutoReset
from vmax.errors import UserError
from vmax.networks.recurrent import RecurrentConfig
from vmax.replay import sequences, transitions
from vmax.replay.settings import PriorityConfig, SequenceConfig
from vmax.spaces import Box, Discrete, Feature

CONFIG = DQNConfig(
    name="dqn", learning_rate=3e-3, learning_rate_schedule="constant", schedule_constant_share=0.0, adam_eps=1e-8,
    max_grad_norm=None, discount=0.9, n_step=1, double=True, dueling=False, huber_delta=None, polyak=0.05,
    target_every=None, epsilon_start=1.0, epsilon_end=0.1, epsilon_steps=100, normalise_observations=False,
    normalize_rewards=False,
)  # fmt: skip
LEVELS = np.array([-0.5, 0.0, 0.5])
"""What the three choices are to a probe."""


def make(network=NETWORK, **changes):
    return make_algorithm(replace(CONFIG, **changes), network)


def spec(observations=3, choices=4, count=1, **changes):
    return Spec(Box((Feature("seen", size=observations),)), Discrete(choices, (), count), 100, **changes)


def batch(updates, samples, observations=3, choices=4, count=1, seed=0):
    rng = np.random.default_rng(seed)
    shape = (updates, samples)
    choice = rng.integers(0, choices, shape if count == 1 else (*shape, count))
    seen, following = (jnp.asarray(rng.normal(size=(*shape, observations)), jnp.float32) for _ in range(2))
    discount = jnp.asarray(0.9 * (rng.random(shape) > 1 / 3), jnp.float32)
    reward = jnp.asarray(rng.normal(size=shape), jnp.float32)
    return Batch(seen, jnp.asarray(choice, jnp.int32), reward, discount, following)


def values(params, seen, dueling=False):
    advantage = passed(params["params"], np.asarray(seen), head="advantage")
    if not dueling:
        return advantage
    return passed(params["params"], np.asarray(seen), head="value") + advantage - advantage.mean(axis=-1, keepdims=True)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dueling", [True, False])
def test_one_update_has_the_loss_that_is_worked_by_hand(double, dueling):
    algorithm, given = make(double=double, dueling=dueling), batch(1, 8)
    state = algorithm.init(jax.random.key(0), spec())
    other = algorithm.init(jax.random.key(1), spec()).network.params
    state = replace(state, target=other)
    _, metrics = algorithm.update(state, given, jax.random.key(2), spec())
    online, target = (values(p, given.next_observation[0], dueling) for p in (state.network.params, other))
    best = (online if double else target).argmax(axis=-1)
    y = np.asarray(given.reward[0]) + np.asarray(given.discount[0]) * target[np.arange(8), best]
    q = values(state.network.params, given.observation[0], dueling)[np.arange(8), np.asarray(given.action[0])]
    assert float(metrics["critic_loss"]) == pytest.approx(0.5 * np.mean((y - q) ** 2), rel=1e-4)
    assert float(metrics["q_mean"]) == pytest.approx(q.mean(), rel=1e-4, abs=1e-6)
    assert float(metrics["td_error_mean"]) == pytest.approx(np.abs(y - q).mean(), rel=1e-4)


def test_huber_is_a_square_near_zero_and_a_line_beyond():
    error = jnp.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    assert huber(error, jnp.float32(1.0)).tolist() == [2.5, 0.125, 0.0, 0.125, 2.5]
    assert huber(error, jnp.float32(jnp.inf)).tolist() == [4.5, 0.125, 0.0, 0.125, 4.5]


def test_targets_move_by_polyak_or_become_copies_now_and_then():
    ways = ((make(polyak=0.5), {1: False, 2: False}), (make(target_every=2), {1: False, 2: True}))
    for algorithm, same_after in ways:
        state = algorithm.init(jax.random.key(0), spec())
        first = state.target
        for update, copied in same_after.items():
            state, _ = algorithm.update(state, batch(1, 8, seed=update), jax.random.key(0), spec())
            assert same(state.target, state.network.params) == copied
            if update == 1 and algorithm.config.target_every is None:
                halfway = jax.tree.map(lambda a, b: (a + b) / 2, first, state.network.params)
                assert same(state.target, halfway, atol=1e-6)


def test_a_choice_that_is_not_allowed_is_neither_made_nor_valued():
    """Two entries of the observation say which of two choices is allowed; the better one is not."""
    told = spec(observations=2, choices=2, allowed=(0, 1))
    algorithm = make(epsilon_start=1.0, epsilon_end=1.0)
    state = algorithm.init(jax.random.key(0), told)
    seen = jnp.array([[1.0, 0.0], [0.0, 1.0]] * 50)
    for explore in (True, False):
        chosen, _, _ = algorithm.act(algorithm.policy(state), seen, (), jax.random.key(1), explore)
        assert chosen.tolist() == [0, 1] * 50
    given = replace(batch(1, 100, 2, 2), next_observation=seen[None])
    _, metrics = algorithm.update(state, given, jax.random.key(2), told)
    only = values(state.target, seen)[np.arange(100), [0, 1] * 50]
    y = np.asarray(given.reward[0]) + np.asarray(given.discount[0]) * only
    q = values(state.network.params, given.observation[0])[np.arange(100), np.asarray(given.action[0])]
    assert float(metrics["td_error_mean"]) == pytest.approx(np.abs(y - q).mean(), rel=1e-4)


def test_random_choices_become_fewer_with_the_environment_steps():
    algorithm = make()
    state = algorithm.init(jax.random.key(0), spec())
    shares = []
    for _ in range(4):
        shares.append(float(algorithm.policy(state).epsilon))
        state = algorithm.observe(state, jnp.zeros((50, 3)), spec())
    np.testing.assert_allclose(shares, [1.0, 0.55, 0.1, 0.1], rtol=1e-5)
    seen = jnp.zeros((4000, 3))
    best = algorithm.act(algorithm.policy(state), seen, (), jax.random.key(1), False)[0]
    drawn = algorithm.act(algorithm.policy(state), seen, (), jax.random.key(1), True)[0]
    assert float((drawn != best).mean()) == pytest.approx(0.1 * 3 / 4, abs=0.02)


def test_choices_that_share_a_network_read_their_blocks_and_their_values_add_up():
    """Three blocks of two numbers: each choice reads its own."""
    told, given = spec(observations=6, choices=2, count=3, blocks=True), batch(1, 8, 6, 2, 3)
    algorithm = make()
    state = algorithm.init(jax.random.key(0), told)
    chosen, _, _ = algorithm.act(algorithm.policy(state), given.observation[0], (), jax.random.key(1), False)
    by_block = values(state.network.params, given.observation[0].reshape(8, 3, 2))
    assert np.array_equal(chosen, by_block.argmax(axis=-1))
    _, metrics = algorithm.update(state, given, jax.random.key(2), told)
    q = np.take_along_axis(by_block, np.asarray(given.action[0])[..., None], axis=-1)[..., 0].sum(axis=-1)
    assert float(metrics["q_mean"]) == pytest.approx(q.mean(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("space", "size", "message"),
    [(Box((Feature("power"),)), 3, "needs choices"), (Discrete(2, (), 2), 3, "an observation of 3 numbers is not 2")],
)
def test_what_an_environment_lacks_is_named(space, size, message):
    with pytest.raises(UserError, match=f"algorithm=dqn: {message}"):
        make().init(jax.random.key(0), Spec(Box((Feature("seen", size=size),)), space, 1, blocks=True))


def test_settings_out_of_range_are_named():
    for key, value in {"epsilon_end": 1.5, "target_every": 0, "huber_delta": 0.0, "epsilon_steps": -1}.items():
        with pytest.raises(UserError, match=rf"algorithm\.{key}={value}"):
            replace(CONFIG, **{key: value})


def test_two_devices_with_half_the_batch_each_do_what_one_does():
    algorithm, given = make(), batch(3, 8)
    state = algorithm.init(jax.random.key(0), spec())
    one, _ = algorithm.update(state, given, jax.random.key(1), spec())
    told = spec(axis=devices.AXIS)
    halves = jax.tree.map(lambda leaf: jnp.stack([leaf[:, :4], leaf[:, 4:]]), given)
    both = jax.vmap(lambda part: algorithm.update(state, part, jax.random.key(1), told)[0], axis_name=devices.AXIS)
    assert same(jax.tree.map(lambda leaf: leaf[0], both(halves).network.params), one.network.params, atol=1e-6)


def test_priorities_are_told_what_surprised():
    algorithm, given = make(), batch(2, 8)
    given = replace(given, weight=jnp.ones((2, 8)), place=jnp.zeros((2, 8), jnp.int32))
    state = algorithm.init(jax.random.key(0), spec())
    _, metrics = algorithm.update(state, given, jax.random.key(1), spec())
    assert metrics[TD_ERROR].shape == (2, 8)
    assert float(metrics[TD_ERROR].mean()) == pytest.approx(float(metrics["td_error_mean"]), rel=1e-5)


def played(probe, count=60, lanes=8):
    """Random choices among `LEVELS`: a block of transitions `[T, N, …]`."""
    world, levels = AutoReset(PROBES[probe]), jnp.asarray(LEVELS)

    def step(carry, key):
        state, observation = carry
        choice = jax.random.randint(key, (lanes,), 0, 3)
        state, following, told = world.step(key, state, levels[choice][:, None], ())
        return (state, following), (observation, choice, told.reward, told.terminated, told.truncated, told.observation)

    start = world.reset(jax.random.split(jax.random.key(0), lanes), ())
    return jax.jit(lambda: jax.lax.scan(step, start, jax.random.split(jax.random.key(1), count))[1])()


PROBED = spec(observations=1, choices=3)


@cache
def learn():
    """One compiled function: from a block of transitions and a seed to the values of all choices at -1, 0 and 1."""
    algorithm, updates, samples = make(learning_rate=2e-2), 1500, 32

    @jax.jit
    def run(block, seed):
        empty = transitions.init(480, 8, jnp.zeros(1), jnp.zeros((), jnp.int32), 1)
        flat = transitions.sample(transitions.add(empty, *block), jax.random.key(2), updates * samples, 1, 0.9)
        inputs = jax.tree.map(lambda leaf: leaf.reshape(updates, samples, *leaf.shape[1:]), flat)
        state = algorithm.init(jax.random.key(seed), PROBED)
        state, _ = algorithm.update(state, inputs, jax.random.key(4), PROBED)
        return algorithm._values(state.network.params, jnp.array([[-1.0], [0.0], [1.0]]), None)[:, 0]

    return run


SEEDS = range(5)


def solved(passes):
    """On four of five seeds."""
    return sum(map(bool, passes)) >= 4


def test_probes_are_solved_on_four_of_five_seeds():
    found = {name: [np.asarray(learn()(played(name), seed)) for seed in SEEDS] for name in
             ("constant", "observation", "discount", "action", "both", "endless")}  # fmt: skip
    near = lambda value, known, tolerance=0.05: np.allclose(value, known, atol=tolerance)  # noqa: E731
    assert solved(near(q[1], 1.0) for q in found["constant"])
    assert solved(near(q[[0, 2]], [[-1.0], [1.0]]) for q in found["observation"])
    assert solved(near(q[[1, 2]], [[0.9], [1.0]]) for q in found["discount"])
    best = int(np.argmin(np.abs(LEVELS - BEST_ACTION)))
    assert solved(q[1].argmax() == best for q in found["action"])
    assert solved(q[[0, 2]].argmax(axis=-1).tolist() == [2 - best, best] for q in found["both"])
    assert solved(near(q[1], 10.0, 0.5) for q in found["endless"])


def test_a_time_limit_taken_for_an_end_would_be_seen():
    observation, action, reward, terminated, truncated, final = played("endless")
    wrong = np.asarray(learn()((observation, action, reward, truncated, terminated, final), 0))
    assert wrong[1].max() < 9.0


def test_what_was_shown_at_first_is_remembered():
    """The cue of the first step decides the best choice of the last, three steps later; without memory it cannot."""
    network = RecurrentConfig("lstm", (16,), "relu", "none", "float32", 8)
    algorithm, config = make(network), SequenceConfig(kind="episode", length=4, stride=4, burn_in=0)
    observation, action, reward, terminated, truncated, final = played("memory", 200)
    carry = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (len(reward), *leaf.shape)), algorithm.initial_carry(reward.shape[1])
    )

    @jax.jit
    def run():
        off = PriorityConfig(0.0, 0.4, 1e-3, 0.9)
        choice, blank = jnp.zeros((), jnp.int32), algorithm.initial_carry(8)
        empty = sequences.init(config, 1600, 8, jnp.zeros(1), choice, blank, 4, off)
        replay = sequences.add(empty, observation, action, reward, terminated, truncated, final, carry)
        state = algorithm.init(jax.random.key(0), PROBED)
        for round_ in range(4):
            given = sequences.sample(replay, jax.random.key(round_), 250, 32, 1, 0.9, 0.0)
            state, _ = algorithm.update(state, given, jax.random.key(0), PROBED)
        return algorithm.policy(state)

    policy, memory = run(), algorithm.initial_carry(2)
    for cue in ([[-1.0], [1.0]], [[0.0], [0.0]], [[0.0], [0.0]]):
        _, memory, _ = algorithm.act(policy, jnp.array(cue), memory, jax.random.key(0), False)
    chosen, _, _ = algorithm.act(policy, jnp.zeros((2, 1)), memory, jax.random.key(0), False)
    assert chosen.tolist() == [0, 2]
