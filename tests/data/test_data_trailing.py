"""The causal statistics against slow loops that read like their definition, and against a peek into the future."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmax.data.trailing import ar1_path, daily_spread, same_hour_mean, trailing_mean

DEFAULT = 7.0
PER_DAY = 6  # short days keep the loops short

laws = settings(deadline=None, max_examples=50)


@st.composite
def series(draw):
    """Values, local days and segments: days of PER_DAY steps, some one step longer or shorter, cut anywhere by gaps."""
    lengths = draw(st.lists(st.sampled_from([PER_DAY] * 5 + [PER_DAY - 1, PER_DAY + 1]), min_size=1, max_size=12))
    day = np.repeat(np.arange(len(lengths)), lengths)[draw(st.integers(0, PER_DAY - 2)) :]
    gap = np.array(draw(st.lists(st.sampled_from([0] * 15 + [1]), min_size=len(day), max_size=len(day))), np.int64)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(50.0, 30.0, len(day)), day, np.cumsum(gap)


def mean_or_default(values):
    return np.mean(values) if len(values) else DEFAULT


def test_trailing_mean_by_hand():
    values, segment = np.array([1.0, 3.0, 8.0, 2.0, 6.0]), np.array([0, 0, 0, 1, 1])
    assert trailing_mean(values, 2, segment, DEFAULT).tolist() == [7.0, 1.0, 2.0, 7.0, 2.0]


@laws
@given(case=series(), steps=st.integers(1, 20))
def test_trailing_mean_is_the_mean_of_the_steps_before(case, steps):
    values, _, segment = case
    slow = [
        mean_or_default([values[i] for i in range(max(t - steps, 0), t) if segment[i] == segment[t]])
        for t in range(len(values))
    ]
    np.testing.assert_allclose(trailing_mean(values, steps, segment, DEFAULT), slow, rtol=1e-9)


@laws
@given(case=series(), first_lag=st.integers(1, 3), days=st.integers(1, 5))
def test_same_hour_mean_is_the_mean_over_the_lags(case, first_lag, days):
    values, _, segment = case
    slow = []
    for t in range(len(values)):
        lagged = [t - PER_DAY * j for j in range(first_lag, first_lag + days)]
        slow.append(mean_or_default([values[i] for i in lagged if i >= 0 and segment[i] == segment[t]]))
    fast = same_hour_mean(values, PER_DAY, first_lag, days, segment=segment, default=DEFAULT)
    np.testing.assert_allclose(fast, slow, rtol=1e-9)


def test_daily_spread_by_hand():
    # Days of two hours: deviations 1, 2, 3 around their means; the floor is 1.5; the gap starts anew.
    values = np.array([4.0, 6.0, 1.0, 5.0, 9.0, 3.0, 0.0, 0.0, 8.0, 0.0, 2.0, 2.0])
    day, segment = np.repeat(np.arange(6), 2), np.repeat([0, 1], [8, 4])
    spread = daily_spread(values, day, segment, days=2, floor=1.5, default=DEFAULT)
    assert spread[::2].tolist() == [7.0, 1.5, 1.5, 2.5, 7.0, 4.0]
    assert spread[1::2].tolist() == spread[::2].tolist()


def test_daily_spread_leaves_out_the_cut_first_day_but_not_the_day_of_23_hours():
    day = np.repeat([0, 1, 2, 3], [10, 24, 23, 24])
    values = np.where(np.arange(81) % 2 == 0, 0.0, 2.0 * (day + 1))
    spread = daily_spread(values, day, np.zeros(81, int), floor=0.0, default=DEFAULT)
    deviation = [np.std(values[day == d]) for d in range(4)]
    assert spread[day == 1][0] == DEFAULT
    assert spread[day == 2][0] == pytest.approx(deviation[1])
    assert spread[day == 3][0] == pytest.approx((deviation[1] + deviation[2]) / 2)


@laws
@given(case=series(), days=st.integers(1, 4))
def test_daily_spread_is_the_mean_over_the_days_before(case, days):
    values, day, segment = case
    usual = np.bincount(np.unique(np.stack([segment, day]), axis=1, return_counts=True)[1]).argmax()
    slow = []
    for t in range(len(values)):
        before = sorted({d for d, s in zip(day, segment, strict=True) if s == segment[t] and d < day[t]})
        parts = [values[(day == d) & (segment == segment[t])] for d in before]
        if parts and len(parts[0]) < 0.95 * usual:
            parts = parts[1:]
        slow.append(max(2.0, mean_or_default([np.std(part) for part in parts[-days:]])))
    fast = daily_spread(values, day, segment, days, default=DEFAULT)
    np.testing.assert_allclose(fast, slow, rtol=1e-9)


@laws
@given(case=series(), data=st.data())
def test_what_comes_changes_nothing_that_was_said_before(case, data):
    values, day, segment = case
    t = data.draw(st.integers(0, len(values) - 1))
    changed = values.copy()
    changed[t:] = 1e6 - 3.0 * changed[t:]
    for statistic in (
        lambda v: trailing_mean(v, 5, segment, DEFAULT),
        lambda v: daily_spread(v, day, segment, days=3, default=DEFAULT),
        lambda v: same_hour_mean(v, PER_DAY, 1, 3, segment=segment, default=DEFAULT),
    ):
        assert (statistic(values)[: t + 1] == statistic(changed)[: t + 1]).all()


def test_ar1_path_is_stationary_with_unit_variance_and_seeded():
    path = ar1_path(200_000, 0.8, 3)
    assert path.dtype == np.float32
    assert path.var() == pytest.approx(1.0, abs=0.04)
    assert np.corrcoef(path[:-1], path[1:])[0, 1] == pytest.approx(0.8, abs=0.01)
    assert (path == ar1_path(200_000, 0.8, 3)).all()
    assert (path[:9] != ar1_path(9, 0.8, 4)).all()
    starts = np.array([ar1_path(2, 0.95, seed) for seed in range(2000)])
    assert starts.var(axis=0) == pytest.approx([1.0, 1.0], abs=0.1)  # from the first step on


def test_ar1_path_follows_its_recursion():
    noise = np.random.Generator(np.random.PCG64(5)).standard_normal(3)
    second = 0.6 * noise[0] + 0.8 * noise[1]  # √(1 - 0.6²) = 0.8
    expected = [noise[0], second, 0.6 * second + 0.8 * noise[2]]
    assert ar1_path(3, 0.6, 5).tolist() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="rho=1.0"):
        ar1_path(3, 1.0, 5)
