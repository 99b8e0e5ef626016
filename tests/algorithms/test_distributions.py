"""What policies draw from: densities and entropies against integrals, actions within their bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vmax.algorithms.distributions import Categorical, Gaussian

MEAN, LOG_STD = jnp.float32([[0.3, -1.5]]), jnp.float32([[-0.5, 0.4]])
GRID = np.linspace(-14.0, 14.0, 400_001)


def densities(i):
    """The density of number i's raw action on the grid, float64."""
    std = np.exp(float(LOG_STD[0, i]))
    return np.exp(-0.5 * ((GRID - MEAN[0, i]) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def slopes():
    """log(1 - tanh(u)²) = -2 log cosh u on the grid."""
    return -2.0 * (np.logaddexp(GRID, -GRID) - np.log(2.0))


@pytest.mark.parametrize("squashed", [False, True])
def test_densities_and_entropies_of_gaussians_are_those_of_integrals(squashed):
    kind, parameters = Gaussian(squashed), (MEAN, LOG_STD)
    raw = jnp.float32([[0.9, -4.0]])
    log_slope = -2.0 * np.log(np.cosh(np.asarray(raw, float))) * squashed
    by_hand = sum(np.log(np.interp(raw[0, i], GRID, densities(i))) - log_slope[0, i] for i in range(2))
    assert np.allclose(kind.log_prob(parameters, raw), by_hand, rtol=1e-4)
    entropy = 0.0
    for i in range(2):
        p = densities(i)
        entropy += np.trapezoid(p * (slopes() * squashed - np.log(np.maximum(p, 1e-300))), GRID)
    assert np.allclose(kind.entropy(parameters), entropy, atol=2e-3)


def test_a_density_far_out_is_finite_where_tanh_is_one():
    raw = jnp.float32([[30.0, -30.0]])
    assert jnp.tanh(raw).tolist() == [[1.0, -1.0]]
    assert np.isfinite(Gaussian(True).log_prob((MEAN, LOG_STD), raw)).all()


def test_raw_actions_are_those_of_the_distribution_and_actions_lie_within_their_bounds():
    parameters = jnp.tile(MEAN, (20_000, 1)), jnp.tile(LOG_STD, (20_000, 1))
    raw = Gaussian(False).sample(parameters, jax.random.key(0))
    assert np.allclose(raw.mean(0), MEAN, atol=0.05) and np.allclose(raw.std(0), np.exp(LOG_STD), rtol=0.02)
    assert (np.abs(raw) > 1.0).any()
    assert np.array_equal(Gaussian(False).action(raw), np.clip(raw, -1.0, 1.0))
    assert np.array_equal(Gaussian(True).action(raw), jnp.tanh(raw))


def test_choices_come_as_often_as_their_probability_says():
    logits = jnp.log(jnp.float32([0.2, 0.7, 0.1])) + 3.0
    many = jnp.tile(logits, (20_000, 1))
    drawn = Categorical().sample(many, jax.random.key(0))
    assert drawn.dtype == jnp.int32
    assert np.allclose(np.bincount(drawn, minlength=3) / len(drawn), [0.2, 0.7, 0.1], atol=0.015)
    assert Categorical().mode(logits) == 1
    told = Categorical().log_prob(jnp.tile(logits, (3, 1)), jnp.arange(3))
    assert np.allclose(told, np.log([0.2, 0.7, 0.1]), atol=1e-5)
    assert np.isclose(Categorical().entropy(logits), -np.sum(np.log([0.2, 0.7, 0.1]) * [0.2, 0.7, 0.1]), rtol=1e-5)
