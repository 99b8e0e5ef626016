"""Sequences against a plain model: a list of steps, walked one by one."""

from collections import deque
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_transitions import DISCOUNT, World

from vmax.errors import UserError
from vmax.replay import sequences
from vmax.replay.settings import SequenceConfig

CONFIGS = (
    SequenceConfig(length=4, kind="window", stride=2, burn_in=1),
    SequenceConfig(length=3, kind="window", stride=3, burn_in=0),
    SequenceConfig(length=5, kind="window", stride=1, burn_in=3),
    SequenceConfig(length=4, kind="episode", stride=1, burn_in=0),
)
COUNT = 600

add = jax.jit(sequences.add)
sample = jax.jit(sequences.sample, static_argnames=("updates", "count", "n_step"))


def init(config, size, envs, least_steps=1):
    return sequences.init(config, size * envs, envs, jnp.zeros(2), jnp.zeros(1), jnp.zeros((envs, 1)), least_steps)


class Told:
    """A world that also numbers the steps of each episode; what is remembered before a step is told as a number."""

    def __init__(self, seed: int, envs: int, end_share: float) -> None:
        self.world = World(seed, envs, 1, end_share)
        self.age = np.zeros(envs, int)
        self.count = 0

    def step(self):
        block, age = self.world.step(), self.age
        self.age = np.where(block[3] | block[4], 0, age + 1)
        self.count += 1
        remembered = np.where(age == 0, 0.0, 100.0 * self.count + np.arange(len(age)))
        return (*block, remembered[:, None].astype(np.float32)), age, self.count - 1


def expected(rows, row, env, config, n_step):
    """Steps of the sequence that begins at a row: (observation, action, return, its scale, discount, successor)."""
    steps = []
    for at in range(row, min(row + config.length, len(rows))):
        _, _, _, terminated, truncated, _ = (leaf[env] for leaf in rows[at][0][:6])
        if not (terminated or truncated) and at + 1 >= len(rows):
            break
        steps.append(at)
        if terminated or truncated:
            break
    told = []
    for at in steps:
        total, scale, discount, successor = 0.0, 0.0, 1.0, None
        for ahead in range(at, min(at + n_step, steps[-1] + 1)):
            _, _, reward, terminated, truncated, final = (leaf[env] for leaf in rows[ahead][0][:6])
            total, scale, discount = total + discount * reward, scale + abs(reward), discount * DISCOUNT
            ends = terminated or truncated
            successor = final if ends else rows[ahead + 1][0][0][env]
            if terminated:
                discount = 0.0
        told.append((at, total, scale, discount, successor))
    return told


def check(replay, rows, n_step, key):
    """Each sequence is what the model says, begins where one may, and every step that can be learned is."""
    config, envs = replay.config, replay.steps.num_envs
    batch = sample(replay, jax.random.key(key), updates=2, count=COUNT // 2, n_step=n_step, discount=DISCOUNT)
    carry, history = np.asarray(batch.history.carry).reshape(COUNT), replace(batch.history, carry=())
    flat = jax.tree.map(
        lambda x: np.moveaxis(np.asarray(x), 0, 1).reshape(x.shape[1], COUNT, *x.shape[3:]),
        replace(batch, history=history),
    )
    seen, successor = flat.history.observation, flat.history.successor
    places = {rows[row][0][0][env][0]: (row, env) for row in range(len(rows)) for env in range(envs)}
    learned = set()
    for i in range(COUNT):
        if not flat.weight[:, i].any():
            continue
        row, env = places[seen[0, i, 0]]
        (block, age, number), told = rows[row], expected(rows, row, env, config, n_step)
        fresh = age[env] == 0
        if config.kind == "episode":
            assert fresh and carry[i] == 0.0
        else:
            assert fresh or (number % replay.steps.rows) % config.stride == 0
            assert carry[i] == block[6][env, 0]
        weights = [0.0 if j < config.burn_in and not fresh else 1.0 for j in range(len(told))]
        assert list(flat.weight[:, i]) == weights + [0.0] * (config.length - len(told))
        for j, (at, total, scale, discount, following) in enumerate(told):
            assert flat.observation[j, i].tobytes() == rows[at][0][0][env].tobytes() == seen[j, i].tobytes()
            assert flat.action[j, i] == rows[at][0][1][env]
            assert abs(flat.reward[j, i] - total) <= 1e-6 * scale
            assert np.isclose(flat.discount[j, i], discount, rtol=1e-6)
            if discount > 0.0:
                assert flat.next_observation[j, i].tobytes() == following.tobytes()
                assert seen[successor[j, i], i].tobytes() == following.tobytes()
            if weights[j]:
                learned.add((at, env))
    return learned


@settings(deadline=None, max_examples=40)
@given(
    config=st.sampled_from(CONFIGS),
    layout=st.sampled_from([(10, 1), (11, 3)]),
    blocks=st.lists(st.sampled_from([1, 2, 5]), min_size=1, max_size=12),
    n_step=st.integers(1, 3),
    end_share=st.sampled_from([0.0, 0.2, 0.6]),
    declared=st.sampled_from([1, 100]),
    seed=st.integers(0, 2**16),
)
def test_every_sequence_is_what_the_plain_model_says(config, layout, blocks, n_step, end_share, declared, seed):
    size, envs = layout
    world, rows = Told(seed, envs, end_share), deque(maxlen=size)
    replay = init(config, size, envs, declared)
    for length in blocks:
        steps = [world.step() for _ in range(length)]
        rows.extend(steps)
        replay = add(replay, *(np.stack(leaf) for leaf in zip(*(block for block, _, _ in steps), strict=True)))
    live = list(rows)[-int(replay.steps.filled) :]
    if len(live) > 1:
        check(replay, live, n_step, seed)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_step_is_learned_from(config):
    # episodes of three steps in two environments, one step apart; a ring that was written more than twice over
    rows, replay = deque(maxlen=12), init(config, 12, 2)
    world = Told(0, 2, 0.0)
    for count in range(30):
        block, age, number = world.step()
        ends = (np.arange(2) + count) % 3 == 0
        block = (*block[:4], ends, *block[5:])
        world.age = np.where(ends, 0, world.age)
        rows.append((block, age, number))
        replay = add(replay, *(np.asarray(leaf)[None] for leaf in block))
    oldest = config.length if config.kind == "episode" else config.stride + config.burn_in
    learned = check(replay, rows, 1, 5)
    assert learned >= {(row, env) for row in range(oldest, 11) for env in range(2)}


@pytest.mark.parametrize("config", CONFIGS)
def test_episodes_shorter_than_declared_are_learned_from_the_rows_that_stay(config):
    """A thousand steps are declared, episodes have one or two: fewer rows stay than the ring has, and all are right."""
    rows, replay, world = deque(maxlen=40), init(config, 40, 2, 1000), Told(1, 2, 0.0)
    for count in range(90):
        block, age, number = world.step()
        ends = (np.arange(2) + count) % 2 == 0
        block = (*block[:3], np.zeros(2, bool), ends, *block[5:])
        world.age = np.where(ends, 0, world.age)
        rows.append((block, age, number))
        replay = add(replay, *(np.asarray(leaf)[None] for leaf in block))
    stay = int(replay.steps.filled)
    reach = config.length if config.kind == "episode" else config.stride
    assert reach < stay < 40
    learned = check(replay, list(rows)[-stay:], 1, 5)
    assert learned >= {(row, env) for row in range(reach + config.burn_in, stay - 1) for env in range(2)}


def test_a_ring_too_small_and_contradicting_lengths_are_refused():
    with pytest.raises(UserError, match=r"training\.replay_capacity=14 \(a device\): holds 7 steps"):
        init(CONFIGS[0], 7, 2)
    for wrong, words in (
        ({"burn_in": 4}, r"training\.sequences\.burn_in=4: must be within \[0, 3\]"),
        ({"stride": 4}, r"training\.sequences\.stride=4: must be within \[1, 3, "),
        ({"length": 0}, r"training\.sequences\.length=0: must be at least 1"),
    ):
        with pytest.raises(UserError, match=words):
            SequenceConfig(**{"length": 4, "kind": "window", "stride": 2, "burn_in": 1, **wrong})


@pytest.mark.parametrize("config", CONFIGS)
def test_nothing_of_a_buffer_is_empty(config):
    """Checkpoints are written by Orbax, which refuses arrays without elements."""
    assert all(leaf.size for leaf in jax.tree.leaves(init(config, 16, 2)))
