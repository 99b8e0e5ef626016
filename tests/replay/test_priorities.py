"""Prioritised draws: against hand-worked weights, the probabilities themselves, and plain models of both rings."""

from collections import deque
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sequences import CONFIGS, Told
from test_transitions import DISCOUNT, World

from vmax.errors import UserError
from vmax.replay import priorities, sequences, transitions
from vmax.replay.priorities import NEW, NOWHERE, Priorities
from vmax.replay.settings import PriorityConfig

CONFIG = PriorityConfig(exponent=0.5, correction=0.5, offset=0.01, max_share=0.75)

draw = jax.jit(priorities.draw, static_argnames="count")
learned = jax.jit(priorities.learned)
add = jax.jit(transitions.add)
sample = jax.jit(transitions.sample, static_argnames=("count", "n_step"))
reprioritise = jax.jit(transitions.reprioritise)
add_told = jax.jit(sequences.add)
sample_sequences = jax.jit(sequences.sample, static_argnames=("updates", "count", "n_step"))
reprioritise_sequences = jax.jit(sequences.reprioritise)


def of(*mass, largest=0.0):
    return Priorities(jnp.array(mass, jnp.float32), jnp.float32(largest), CONFIG)


def test_places_are_drawn_as_often_as_their_mass_says():
    count, mass = 60_000, np.array([1.0, 0.0, 3.0, 0.5, 7.0, NEW, 2.0, 4.0, 0.25])
    eligible = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1], bool)
    share = np.where(eligible, np.where(mass == NEW, 5.0, mass), 0.0) / 15.75  # a new place counts as the largest
    place, weight = draw(of(*mass, largest=5.0), jax.random.key(0), count, jnp.asarray(eligible), 1.0)
    found = np.bincount(place, minlength=9) / count
    assert np.abs(found - share).max() < 4 * np.sqrt(0.25 / count)  # four standard deviations of the worst case
    assert found[1] == found[4] == 0.0
    assert np.allclose(weight, 1.0 / (8 * share[np.asarray(place)]), rtol=1e-5)  # β = 1 at the end
    assert np.isclose(np.mean(weight), 7 / 8, atol=0.02)  # uniform over the eight, of which one is never drawn


def test_weights_worked_by_hand():
    # P = 1/4 and 3/4 of two places: N P = 1/2 and 3/2; β is 0.5 at first and 0.75 half-way
    for progress, expected in ((0.0, [2**0.5, (2 / 3) ** 0.5]), (0.5, [2**0.75, (2 / 3) ** 0.75]), (1.0, [2, 2 / 3])):
        place, weight = draw(of(1.0, 3.0, 9.0), jax.random.key(1), 50, jnp.array([True, True, False]), progress)
        assert set(np.asarray(place)) == {0, 1}
        assert np.allclose(weight, np.array(expected)[np.asarray(place)], rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    exponents=st.lists(st.floats(-18, 18), min_size=30, max_size=30),
    there=st.lists(st.sampled_from([0, 1, 2]), min_size=30, max_size=30).filter(lambda there: 2 in there),
    seed=st.integers(0, 2**16),
)
def test_no_place_is_drawn_that_may_not_be_or_has_no_mass(exponents, there, seed):
    mass = np.where(np.array(there) == 0, 0.0, 10.0 ** np.array(exponents)).astype(np.float32)
    allowed = np.array(there) == 2  # where it is 1, a mass that may not be drawn
    place, weight = draw(of(*mass), jax.random.key(seed), 300, jnp.asarray(allowed), 1.0)
    assert set(np.asarray(place)) <= set(np.flatnonzero(allowed)) and np.isfinite(weight).all()


def test_what_was_learned_is_noted_once_however_often_it_was_drawn():
    # (0.24 + 0.01)^0.5 = 0.5, (0.35 + 0.01)^0.5 = 0.6, (0.8 + 0.01)^0.5 = 0.9
    before = of(NEW, 2.0, 3.0, NEW)
    after = learned(before, jnp.array([[1, 3], [1, NOWHERE]]), jnp.array([[0.24, 0.8], [0.35, 99.0]]))
    assert np.allclose(after.mass, [NEW, 0.6, 3.0, 0.9]) and np.isclose(after.largest, 0.9)
    assert np.isclose(learned(after, jnp.array([0]), jnp.array([0.0])).largest, 0.9)  # so far
    again = priorities.renewed(after, jnp.int32(1), 2)
    assert again is not None and np.allclose(again.mass, [NEW, NEW, NEW, 0.9])


def test_the_priority_of_a_sequence_is_worked_by_hand():
    error = jnp.array([[[1.0, 9.0], [3.0, 9.0], [50.0, 9.0]]])  # of the first sequence the last step is padding
    weight = jnp.array([[[0.5, 0.0], [0.7, 0.0], [0.0, 0.0]]])
    assert np.allclose(priorities.of_sequences(CONFIG, error, weight), [[0.75 * 3.0 + 0.25 * 2.0, 0.0]])


def test_nothing_is_kept_without_an_exponent_and_wrong_settings_are_named():
    assert priorities.init(replace(CONFIG, exponent=0.0), 4) is None
    assert transitions.init(4, 2, jnp.zeros(1), jnp.zeros(1), 1, replace(CONFIG, exponent=0.0)).priority is None
    for name, value, allowed in (
        ("exponent", 1.5, r"within \[0, 1\]"),
        ("correction", -0.1, r"within \[0, 1\]"),
        ("max_share", 2.0, r"within \[0, 1\]"),
        ("offset", 0.0, "above 0"),
    ):
        with pytest.raises(UserError, match=rf"^training\.priorities\.{name}={value}: must be {allowed}$"):
            replace(CONFIG, **{name: value})


def error_of(observation):
    """An error for each sample that a plain model can work out too: from the number its observation carries."""
    return np.asarray(observation[..., 0]) % 7 * 0.5


def noted(error):
    return (error + CONFIG.offset) ** CONFIG.exponent


@settings(deadline=None, max_examples=25)
@given(
    layout=st.sampled_from([(6, 1), (7, 3)]),
    blocks=st.lists(st.integers(1, 4), min_size=2, max_size=10),
    n_step=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**16),
)
def test_masses_stay_with_their_transitions(layout, blocks, n_step, seed):
    size, envs = layout
    world, rows, masses = World(seed, envs, 1, 0.2), deque(maxlen=size), deque(maxlen=size)
    replay = transitions.init(size * envs, envs, jnp.zeros(2), jnp.zeros(1), 1, CONFIG)
    for number, length in enumerate(blocks):
        steps = [world.step() for _ in range(length)]
        rows.extend(steps)
        masses.extend(np.full(envs, NEW) for _ in steps)
        for step in steps:
            replay = add(replay, *(leaf[None] for leaf in step))
        if len(rows) <= n_step:
            continue
        batch = sample(replay, jax.random.key(seed + number), count=40, n_step=n_step, discount=DISCOUNT)
        places = {rows[row][0][env][0]: (row, env) for row in range(len(rows) - n_step) for env in range(envs)}
        known = np.stack(masses)[: len(rows) - n_step]
        assert replay.priority is not None
        known = np.where(known == NEW, float(replay.priority.largest) or 1.0, known)
        for seen, weight in zip(np.asarray(batch.observation), np.asarray(batch.weight), strict=True):
            row, env = places[seen[0]]
            assert np.isclose(weight, (known[row, env] * known.size / known.sum()) ** -0.5, rtol=1e-4)
            masses[row][env] = noted(error_of(seen))
        replay = reprioritise(replay, batch, error_of(batch.observation))
        kept = np.asarray(replay.priority.mass).reshape(size, envs)
        oldest = int(replay.head - replay.filled)
        for row, mass in enumerate(masses):
            assert np.allclose(kept[(oldest + row) % size], mass, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    config=st.sampled_from([CONFIGS[0], CONFIGS[3]]),
    blocks=st.lists(st.integers(1, 5), min_size=2, max_size=10),
    end_share=st.sampled_from([0.0, 0.2, 0.6]),
    seed=st.integers(0, 2**16),
)
def test_all_places_that_lead_to_a_sequence_have_its_priority(config, blocks, end_share, seed):
    size, envs, count = 11, 3, 30
    world, rows, masses = Told(seed, envs, end_share), deque(maxlen=size), {}
    replay = sequences.init(
        config, size * envs, envs, jnp.zeros(2), jnp.zeros(1), jnp.zeros((envs, 1)), 1, priority=CONFIG
    )
    for number, length in enumerate(blocks):
        steps = [world.step() for _ in range(length)]
        rows.extend(steps)
        for block, _, _ in steps:
            replay = add_told(replay, *(leaf[None] for leaf in block))
        if len(rows) < 2:
            continue
        batch = sample_sequences(
            replay, jax.random.key(seed + number), updates=2, count=count // 2, n_step=1, discount=DISCOUNT
        )
        error = error_of(batch.observation)
        replay = reprioritise_sequences(replay, batch, error)
        heads = {rows[row][0][0][env][0]: (rows[row][2], env) for row in range(len(rows)) for env in range(envs)}
        told = {}  # what each sequence that was drawn is worth, and the places that were drawn beside it
        for update in range(2):
            for i in range(count // 2):
                counted = np.asarray(batch.weight)[update, :, i] > 0
                if not counted.any():
                    continue
                size_of = error[update, counted, i]
                begin = heads[float(batch.history.observation[update, 0, i, 0])]
                worth = noted(CONFIG.max_share * size_of.max() + (1 - CONFIG.max_share) * size_of.mean())
                drawn = int(batch.place[update, -1, i])
                told.setdefault(begin, (worth, set()))[1].add((drawn // envs, drawn % envs))
        for begin, (worth, drawn) in told.items():
            for at, env in led_by(rows, begin, config, size):
                masses[at, env] = worth
            for _, age, at in rows:
                if (at % size, begin[1]) in drawn:
                    assert origin(age[begin[1]], at, config, size) == begin[0]
                    masses[at, begin[1]] = worth
        kept = np.asarray(replay.steps.priority.mass).reshape(size, envs)
        for _, _, at in rows:
            for env in range(envs):
                assert np.isclose(kept[at % size, env], masses.get((at, env), NEW), rtol=1e-5)


def origin(age, at, config, size):
    """The number of the row where the sequence begins that a step leads to."""
    back = age if config.kind == "episode" else min(age, at % size % config.stride)
    return at - back


def led_by(rows, begin, config, size):
    """Row numbers and environment of the steps of a sequence that lead to it."""
    first, env = begin
    return [
        (at, env)
        for _, age, at in rows
        if first <= at < first + config.length and origin(age[env], at, config, size) == first
    ]
