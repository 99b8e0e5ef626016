import numpy as np
import pytest

from vmax.evaluation.statistics import block_resamples, collapses, interval, iqm


def test_every_resample_has_as_many_days():
    counts = block_resamples(days=30, resamples=50, seed=0)
    assert counts.shape == (50, 30)
    assert (counts.sum(axis=1) == 30).all()
    assert not (counts == counts[0]).all()


def test_blocks_keep_neighbours_together():
    counts = block_resamples(days=28, resamples=200, seed=1)
    together = np.corrcoef(counts[:, 3], counts[:, 4])[0, 1]
    apart = np.corrcoef(counts[:, 3], counts[:, 17])[0, 1]
    assert together > 0.7
    assert apart < 0.1


def test_the_seed_decides():
    assert (block_resamples(20, 5, seed=2) == block_resamples(20, 5, seed=2)).all()


def test_interval_of_independent_days_is_that_of_the_normal_law():
    days = np.random.default_rng(0).standard_normal(700)
    low, high = interval(block_resamples(700, 4000, seed=3) @ days)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(700), rel=0.15)
    assert low < days.sum() < high


@pytest.mark.parametrize(("values", "middle"), [([1, 2, 3, 100], 2.5), ([5.0], 5.0), ([0, 1, 2, 3, 100], 2.0)])
def test_iqm_leaves_the_outer_quarters_out(values, middle):
    assert iqm(np.asarray(values)) == pytest.approx(middle)


def test_a_collapse_is_a_score_far_below_the_best_before_it():
    assert collapses([-60.0, -20.0, -25.0, -31.0, -19.0, -640.0]) == 2
    assert collapses([100.0, 40.0, 200.0, 101.0, 99.0]) == 2
    assert collapses([]) == 0 and collapses([5.0]) == 0
