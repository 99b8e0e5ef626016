"""The replay against a plain model: a deque of rows that is walked step by step."""

from collections import deque
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmax.errors import UserError
from vmax.replay import transitions

DISCOUNT = 0.9
LARGEST = np.finfo(np.float32).max
EXTREMES = np.array([LARGEST, -LARGEST, np.finfo(np.float32).tiny, 0.0, -0.0, 1.0], np.float32)
LAYOUTS = ((6, 1, 1), (6, 3, 1), (7, 3, 2))  # rows, environments, least steps between truncations

add = jax.jit(transitions.add)
sample = jax.jit(transitions.sample, static_argnames=("count", "n_step"))


class World:
    """N environments whose episodes end at random; every observation carries a number of its own."""

    def __init__(self, seed: int, envs: int, least_steps: int, end_share: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.envs, self.least_steps, self.end_share = envs, least_steps, end_share
        self.numbers = 0
        self.since_truncation = np.full(envs, least_steps)  # the first episode after a fresh start may be short
        self.observation = self.draw()

    def draw(self) -> np.ndarray:
        self.numbers += self.envs
        return np.stack([np.arange(self.numbers - self.envs, self.numbers), self.rng.choice(EXTREMES, self.envs)], 1)

    def step(self) -> tuple[np.ndarray, ...]:
        observation, action = self.observation.astype(np.float32), self.rng.normal(size=(self.envs, 1))
        reward = self.rng.choice([1e30, -1e30, 1e-30, 1.0, -2.0, 0.5], self.envs)
        ends, kind = self.rng.random(self.envs) < self.end_share, self.rng.integers(0, 3, self.envs)
        terminated = ends & (kind != 0)
        truncated = ends & (kind != 1) & (self.since_truncation >= self.least_steps)  # kind 2: both at once
        self.since_truncation = np.where(truncated, 1, self.since_truncation + 1)
        following, fresh = self.draw(), self.draw()
        self.observation = np.where((terminated | truncated)[:, None], fresh, following)
        block = (observation, action, reward, terminated, truncated, following)
        return tuple(x.astype(bool if x.dtype == bool else np.float32) for x in block)


def expected(rows: Sequence, row: int, env: int, n_step: int) -> tuple:
    """Return, its scale, discount and next observation of one transition, the slow and obvious way."""
    total, scale, discount = 0.0, 0.0, 1.0
    for step in range(row, row + n_step):
        _, _, reward, terminated, truncated, final = (leaf[env] for leaf in rows[step])
        total, scale, discount = total + discount * reward, scale + abs(reward), discount * DISCOUNT
        if terminated:
            return total, scale, 0.0, None
        if truncated:
            return total, scale, discount, final
    return total, scale, discount, rows[row + n_step][0][env]


def check(replay: transitions.Replay, rows: Sequence, n_step: int, key: int) -> None:
    """Every transition that may be drawn is drawn, no other one is, and each is what the model says."""
    envs = replay.num_envs
    batch = jax.tree.map(np.asarray, sample(replay, jax.random.key(key), count=1000, n_step=n_step, discount=DISCOUNT))
    places = {rows[row][0][env][0]: (row, env) for row in range(len(rows) - n_step) for env in range(envs)}
    assert set(batch.observation[:, 0]) == set(places)
    for i in np.unique(batch.observation[:, 0], return_index=True)[1]:
        row, env = places[batch.observation[i, 0]]
        total, scale, discount, following = expected(rows, row, env, n_step)
        assert batch.observation[i].tobytes() == rows[row][0][env].tobytes()
        assert batch.action[i] == rows[row][1][env]
        assert abs(batch.reward[i] - total) <= 1e-6 * scale
        assert np.isclose(batch.discount[i], discount, rtol=1e-6)
        assert following is None or batch.next_observation[i].tobytes() == following.tobytes()


@settings(deadline=None, max_examples=50)
@given(
    layout=st.sampled_from(LAYOUTS),
    declared=st.sampled_from([None, 100]),
    blocks=st.lists(st.sampled_from([1, 2, 5]), min_size=1, max_size=14),
    n_step=st.integers(1, 5),
    end_share=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_every_sample_is_what_the_plain_model_says(layout, declared, blocks, n_step, end_share, seed):
    size, envs, least_steps = layout
    declared = declared or least_steps
    world, rows = World(seed, envs, least_steps, end_share), deque(maxlen=size)
    replay = transitions.init(size * envs, envs, jnp.zeros(2), jnp.zeros(1), declared)
    for length in blocks:
        steps = [world.step() for _ in range(length)]
        rows.extend(steps)
        replay = add(replay, *(np.stack(leaf) for leaf in zip(*steps, strict=True)))
        if declared <= least_steps:
            assert replay.filled == len(rows)
        else:
            assert min(len(rows), 3) <= replay.filled <= len(rows)
    live = list(rows)[-int(replay.filled) :]
    if len(live) > n_step:
        check(replay, live, n_step, seed)


@pytest.mark.parametrize("least_rows", [1, 9])
def test_episodes_shorter_than_declared_leave_the_newest_rows_alone(least_rows):
    # a hundred steps are declared, every step truncates
    world, rows = World(3, 2, 1, 0.0), deque(maxlen=50)
    replay = transitions.init(100, 2, jnp.zeros(2), jnp.zeros(1), 100, least_rows=least_rows)
    for _ in range(120):
        block = world.step()
        rows.append((*block[:3], np.zeros(2, bool), np.ones(2, bool), block[5]))
        replay = add(replay, *(leaf[None] for leaf in rows[-1]))
    assert least_rows < replay.filled < 15
    check(replay, list(rows)[-int(replay.filled) :], min(least_rows, 3), 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_live_final_is_overwritten_in_the_longest_run(layout):
    # truncations as dense as the layout allows, checked at each of many steps; random ends make the laps uneven
    size, envs, least_steps = layout
    world, rows = World(7, envs, least_steps, 0.9), deque(maxlen=size)
    replay = transitions.init(size * envs, envs, jnp.zeros(2), jnp.zeros(1), least_steps)
    for count in range(40):
        step = world.step()
        rows.append(step)
        replay = add(replay, *(leaf[None] for leaf in step))
        for row, (_, _, _, terminated, truncated, final) in enumerate(rows):
            start = (count + 1 - len(rows) + row) % size * envs
            for env in np.flatnonzero(truncated & ~terminated):
                kept = np.asarray(replay.observation)[int(replay.final[start + env])]
                assert kept.tobytes() == final[env].tobytes()


def test_the_newest_rows_wait_for_their_successors():
    replay = transitions.init(10, 1, jnp.zeros(1), jnp.zeros(1), 100)
    numbers = jnp.arange(4.0).reshape(4, 1, 1)
    no = jnp.zeros((4, 1), bool)
    replay = add(replay, numbers, numbers, numbers[..., 0], no, no, numbers + 1)
    for n_step, drawn in ((1, {0.0, 1.0, 2.0}), (3, {0.0})):
        batch = sample(replay, jax.random.key(0), count=200, n_step=n_step, discount=1.0)
        assert set(np.asarray(batch.observation[:, 0])) == drawn
        assert np.array_equal(batch.next_observation, batch.observation + n_step)


def test_leaves_keep_the_dtype_of_their_examples_and_each_observation_is_there_once():
    replay = transitions.init(60, 3, jnp.zeros(5, jnp.bfloat16), jnp.zeros((), jnp.int32), 10)
    assert replay.observation.dtype == jnp.bfloat16 and replay.action.dtype == jnp.int32
    # finals: 3 environments · (ceil(20 rows / 10 steps) + 3); 19 bytes a transition beside the observation's 10
    finals = transitions.finals_needed(60, 3, 10, 1)
    assert finals == 15
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(replay))
    assert taken == (60 + finals) * 10 + 60 * (4 + 4 + 1 + 1 + 4) + finals * 4 + 16


def test_the_discount_may_be_traced():
    replay = transitions.init(8, 1, jnp.zeros(1), jnp.zeros(1), 8)
    block = jnp.ones((8, 1, 1)), jnp.ones((8, 1, 1)), jnp.ones((8, 1)), jnp.zeros((8, 1), bool), jnp.zeros((8, 1), bool)
    replay = add(replay, *block, jnp.ones((8, 1, 1)))
    batches = jax.vmap(lambda d: transitions.sample(replay, jax.random.key(0), 4, 2, d))(jnp.array([0.5, 1.0]))
    assert np.allclose(batches.reward, [[1.5] * 4, [2.0] * 4])
    assert np.allclose(batches.discount, [[0.25] * 4, [1.0] * 4])


def test_mistakes_are_named():
    with pytest.raises(UserError, match="training.replay_capacity=10 .* training.num_envs=4"):
        transitions.init(10, 4, jnp.zeros(1), jnp.zeros(1), 1)
    replay = transitions.init(8, 4, jnp.zeros(1), jnp.zeros(1), 1)
    with pytest.raises(UserError, match=r"algorithm.n_step=2: must be within \[1, 1\]"):
        transitions.sample(replay, jax.random.key(0), 4, 2, 0.9)
