"""Generated reserve prices have the moments that their constants were fitted to."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import rankdata, spearmanr

from vmax.data.reserve_prices import DOWN, PROBABILITIES, UP, generate_reserve_prices


def scores(values):
    return ndtri((rankdata(values) - 0.5) / len(values))


@pytest.fixture(scope="module")
def made():
    """Eight years of day-ahead prices with a daily wave and slow swings, and the reserve prices made for them."""
    utc = np.arange(np.datetime64("2015-01-01T00:00:00"), np.datetime64("2023-01-01T00:00:00"), np.timedelta64(1, "h"))
    hour = np.arange(len(utc))
    noise = np.random.default_rng(0).standard_normal(len(utc))
    price = 60 + 20 * np.sin(2 * np.pi * (hour - 6) / 24) + 15 * np.sin(2 * np.pi * hour / 700) + 15 * noise
    return utc, price, generate_reserve_prices(utc, "UTC", price, 1.0, 1.0, 0)


def test_the_marginal_distribution_is_the_fitted_one_from_its_zeros_to_its_tail(made):
    for prices, direction in zip(made[2], (UP, DOWN), strict=True):
        assert prices.min() == 0.0 and prices.max() <= direction.quantiles[-1]
        assert np.mean(prices == 0.0) == pytest.approx(0.0066, abs=0.006)
        for probability in (0.1, 0.3, 0.5, 0.7, 0.9):
            fitted = np.interp(probability, PROBABILITIES, direction.quantiles)
            low, high = (np.quantile(prices, min(max(probability + d, 0), 1)) for d in (-0.06, 0.06))
            assert low <= fitted <= high
    assert 0.001 < np.mean(made[2][1] > 500.0) < 0.01  # 0.003 in the source: rare weeks, so few in any sample


def test_prices_stay_for_hours_and_days_and_follow_the_day_ahead_price(made):
    up, down = (scores(prices) for prices in made[2])
    rest = [np.corrcoef(z[:-lag], z[lag:])[0, 1] for z, lag in ((up, 1), (down, 1), (down, 24), (down, 168))]
    assert rest[1:] == pytest.approx([0.954, 0.775, 0.69], abs=0.08)
    assert rest[0] > 0.5
    assert spearmanr(made[1], up)[0] == pytest.approx(0.69, abs=0.06)
    assert spearmanr(made[1], down)[0] == pytest.approx(-0.06, abs=0.08)
    assert np.corrcoef(up - UP.price * scores(made[1]), down)[0, 1] == pytest.approx(0.43, abs=0.12)


def test_the_hour_shapes_what_the_price_leaves_open(made):
    flat = np.random.default_rng(1).standard_normal(len(made[0]))
    up, down = (scores(p) for p in generate_reserve_prices(made[0], "UTC", flat, 1.0, 1.0, 0))
    hour = np.arange(len(made[0])) % 24
    for z, direction in ((up, UP), (down, DOWN)):
        shape = np.array([z[hour == h].mean() for h in range(24)])
        assert np.corrcoef(shape, direction.hour)[0, 1] > 0.9


def test_the_seed_decides_and_the_level_scales(made):
    utc, price, (up, _) = made
    again, _ = generate_reserve_prices(utc, "UTC", price, 1.0, 2.0, 0)
    np.testing.assert_allclose(again, 2.0 * up)
    assert np.abs(generate_reserve_prices(utc, "UTC", price, 1.0, 1.0, 1)[0] - up).max() > 10.0


def test_a_gap_takes_nothing_from_what_follows(made):
    utc, price, (up, _) = made
    keep = np.ones(len(utc), bool)
    keep[5000:5025] = False
    gappy, _ = generate_reserve_prices(utc[keep], "UTC", price[keep], 1.0, 1.0, 0)
    assert np.corrcoef(gappy, up[keep])[0, 1] > 0.999
