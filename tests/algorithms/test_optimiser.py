"""Adam, clipping, schedules and averages against hand-worked numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vmax.algorithms.noise import shared
from vmax.algorithms.optimiser import average, descend, polyak, rate_share, trainable

RATE, EPS = jnp.float32(0.1), jnp.float32(1e-8)


def test_adam_by_hand():
    # two gradients 1 and 3: m = 0.1, 0.39; v = 0.001, 0.009999; bias corrections 1 - 0.9^t and 1 - 0.999^t
    trained = trainable(jnp.float32(5.0))
    trained, _ = descend(trained, jnp.float32(1.0), RATE, EPS, jnp.inf, None)
    assert np.isclose(trained.params, 4.9)
    trained, _ = descend(trained, jnp.float32(3.0), RATE, EPS, jnp.inf, None)
    assert np.isclose(trained.params, 4.9 - 0.1 * (0.39 / 0.19) / np.sqrt(0.009999 / 0.001999), rtol=1e-5)


def test_the_gradient_is_clipped_as_a_whole():
    # norm of (3, 4) is 5; clipped to 1 the first moments are 0.1 · (0.6, 0.8)
    trained, norm = descend(trainable(jnp.zeros(2)), jnp.array([3.0, 4.0]), RATE, EPS, 1.0, None)
    assert norm == 5.0
    assert np.allclose(trained.moments.mu, [0.06, 0.08])
    unclipped, _ = descend(trainable(jnp.zeros(2)), jnp.array([3.0, 4.0]), RATE, EPS, jnp.inf, None)
    assert np.allclose(unclipped.moments.mu, [0.3, 0.4])


@pytest.mark.parametrize("max_norm", [1.0, np.inf])
def test_a_zero_gradient_moves_nothing(max_norm):
    trained, norm = descend(trainable(jnp.ones(2)), jnp.zeros(2), RATE, EPS, max_norm, None)
    assert norm == 0.0
    assert np.array_equal(trained.params, jnp.ones(2))


def test_gradients_are_averaged_over_devices_before_they_are_clipped():
    step = jax.vmap(
        lambda gradient: descend(trainable(jnp.zeros(2)), gradient, RATE, EPS, 1.0, "device"), axis_name="device"
    )
    trained, norm = step(jnp.array([[6.0, 0.0], [0.0, 8.0]]))
    assert np.allclose(norm, 5.0)  # of the mean (3, 4)
    assert np.allclose(trained.moments.mu, [[0.06, 0.08]] * 2)


@pytest.mark.parametrize(
    ("schedule", "updates", "share"),
    [
        ("linear", 0, 1.0),
        ("linear", 30, 1.0),
        ("linear", 65, 0.5),
        ("linear", 100, 0.0),
        ("linear", 130, 0.0),
        ("constant", 0, 1.0),
        ("constant", 130, 1.0),
    ],
)
def test_learning_rate_schedules(schedule, updates, share):
    # linear: constant for 30 of 100 updates, then evenly to 0
    assert np.isclose(rate_share(schedule, jnp.int32(updates), jnp.float32(100), jnp.float32(0.3)), share, atol=1e-6)


def test_a_linear_schedule_that_is_all_constant_is_constant():
    assert rate_share("linear", jnp.int32(99), jnp.float32(100), jnp.float32(1.0)) == 1.0


def test_polyak_moves_a_share_of_the_way():
    assert np.allclose(
        polyak({"a": jnp.array([1.0, 2.0])}, {"a": jnp.array([2.0, 4.0])}, jnp.float32(0.25))["a"], [1.25, 2.5]
    )


@pytest.mark.parametrize(("decay", "updates", "kept"), [(0.0, 50, 0.0), (0.999, 0, 0.1), (0.9, 10**6, 0.9)])
def test_the_average_keeps_a_growing_share_of_the_past(decay, updates, kept):
    assert np.isclose(average(jnp.float32(1.0), jnp.float32(0.0), jnp.float32(decay), jnp.int32(updates)), kept)


def test_devices_share_one_draw_of_noise():
    key, whole = jax.random.key(3), (4, 2, 6, 3)
    parts = jax.vmap(
        lambda _: shared(jax.random.normal, key, (4, 2, 3, 3), "device", batch_dim=2), axis_name="device", out_axes=0
    )(jnp.arange(2))
    together = np.concatenate(list(parts), axis=2)
    assert np.array_equal(together, shared(jax.random.normal, key, whole, None, batch_dim=2))
