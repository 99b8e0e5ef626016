"""Online rainflow counting equals the batch algorithm of the package `rainflow`, at every step of any series."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rainflow
from hypothesis import given, settings
from hypothesis import strategies as st

from vmax.envs.bess.rainflow import Stack, advance, begin, observed, recover

LONGEST = 40
GRID = 1024
"""Charges are multiples of 1/1024: sums and differences of them are exact in float32."""


def quadratic(depth, mean):
    return depth**2 * (1.0 + mean)


def sums(stress, size):
    """The running sum of stress and the overflows of a series `[LONGEST + 1]`, jitted."""

    def one(carry, soc):
        stack, before, total = carry
        stack, added, overflow = advance(stack, before, soc, stress)
        return (stack, soc, total + added), (total + added, overflow)

    @jax.jit
    def run(series):
        _, (totals, overflows) = jax.lax.scan(one, (begin(series[0], size), series[0], 0.0), series[1:])
        return totals, overflows.sum()

    return run


def batch(series, stress):
    """What the package counts; it takes no notice of a series of two points."""
    return sum(count * stress(depth, mean) for depth, mean, count, *_ in rainflow.extract_cycles(series))


ONLINE = {size: sums(quadratic, size) for size in (LONGEST + 1, 3)}
FINE, COARSE = st.integers(0, GRID), st.integers(0, 8).map(lambda charge: charge * GRID // 8)  # coarse: many ties
SERIES = st.one_of(*(st.lists(charge, min_size=3, max_size=LONGEST + 1) for charge in (FINE, COARSE))).map(
    lambda charges: np.asarray(charges, float) / GRID
)


@given(series=SERIES)
@settings(max_examples=200)
def test_the_sum_is_that_of_the_package_at_every_step(series):
    padded = np.concatenate([series, np.full(LONGEST + 1 - len(series), series[-1])])
    totals, overflows = ONLINE[LONGEST + 1](padded)
    assert overflows == 0
    expected = [batch(series[: n + 1], quadratic) for n in range(2, len(series))]
    np.testing.assert_allclose(totals[1 : len(series) - 1], expected, rtol=2e-6, atol=1e-7)


def test_the_example_of_the_standard():
    # ASTM E1049-85, figure 6: A −2, B 1, C −3, D 5, E −1, F 3, G −4, H 4, I −2 (here between 0 and 1: (x + 4) / 16)
    series = (np.array([-2.0, 1, -3, 5, -1, 3, -4, 4, -2]) + 4) / 16
    halves, full = [3, 4, 8, 9, 8, 6], [4]  # A-B, B-C, C-D, D-G, G-H, H-I as half cycles, E-F as a whole one
    expected = (0.5 * np.square(halves).sum() + np.square(full).sum()) / 16**2
    padded = np.concatenate([series, np.full(LONGEST + 1 - len(series), series[-1])])
    run = sums(lambda depth, mean: depth**2, 8)
    assert run(padded)[0][-1] == pytest.approx(expected, rel=1e-6)


def test_rest_and_repeated_charges_count_nothing():
    totals, _ = ONLINE[LONGEST + 1](np.full(LONGEST + 1, 0.25))
    assert totals[-1] == 0.0


def narrowing(points):
    """Ranges that shrink: nothing closes, every turning point stays open."""
    return 0.5 + 0.4 * (-1.0) ** np.arange(points) * (1 - np.arange(points) / points)


def test_a_full_stack_is_counted_and_settles_its_oldest_range():
    series = np.round(narrowing(LONGEST + 1) * GRID) / GRID
    totals, overflows = ONLINE[3](series)
    assert overflows == LONGEST - 3  # the last point is the present charge
    assert totals[-1] == pytest.approx(batch(series, quadratic), rel=1e-5)  # half cycles either way
    totals, overflows = ONLINE[LONGEST + 1](series)
    assert overflows == 0 and totals[-1] == pytest.approx(batch(series, quadratic), rel=1e-5)


def test_side_by_side_as_one_by_one():
    series = np.random.default_rng(0).integers(0, GRID, (8, LONGEST + 1)) / GRID
    alone = [ONLINE[LONGEST + 1](row)[0] for row in series]
    np.testing.assert_array_equal(jax.vmap(ONLINE[LONGEST + 1])(series)[0], np.stack(alone))


@given(series=SERIES, then=st.integers(0, GRID))
@settings(max_examples=100)
def test_what_is_observed_is_enough_for_what_few_points_close(series, then):
    """A step from the recovered stack adds what it adds on the whole one, unless it closes more than was seen."""
    stack, soc = begin(jnp.float32(series[0]), LONGEST), jnp.float32(series[0])
    for following in series[1:]:
        stack, _, _ = STEP(stack, soc, following)
        soc = jnp.float32(following)
    seen = SEEN(stack, soc)
    assert (np.abs(seen) <= 1.0).all()
    whole, added, _ = STEP(stack, soc, then / GRID)
    known, guessed, overflow = STEP(RECOVERED(seen, soc), soc, then / GRID)
    assert overflow == 0
    if stack.count <= 4 or whole.count > stack.count - 3:
        assert guessed == pytest.approx(float(added), rel=1e-3, abs=1e-6)
        np.testing.assert_allclose(SEEN(known, then / GRID)[:2], SEEN(whole, then / GRID)[:2], atol=1e-5)


SEEN = jax.jit(lambda stack, soc: observed(stack, jnp.float32(soc)))
RECOVERED = jax.jit(recover)
STEP = jax.jit(lambda stack, soc, following: advance(stack, soc, jnp.float32(following), quadratic))


@given(seen=st.lists(st.floats(-1, 1, width=32), min_size=5, max_size=5), soc=st.floats(0, 1, width=32))
@settings(max_examples=100)
def test_any_numbers_give_a_stack_whose_ranges_shrink(seen, soc):
    stack = RECOVERED(jnp.asarray(seen, jnp.float32), jnp.float32(soc))
    course = np.append(np.asarray(stack.points)[: int(stack.count)], np.float32(soc))
    assert 1 <= stack.count <= 4
    ranges = np.diff(course)
    assert (np.abs(ranges[1:]) <= np.abs(ranges[:-1]) + 1e-6).all()
    assert (np.sign(ranges[1:]) * np.sign(ranges[:-1]) <= 0).all()


def test_stack_is_a_pytree_of_fixed_shapes():
    stack, _, _ = STEP(begin(jnp.float32(0.5), 6), jnp.float32(0.5), 0.7)
    assert isinstance(stack, Stack) and stack.points.shape == (6,)
