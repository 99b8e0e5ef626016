"""Running statistics against NumPy's over all frames."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vmax.algorithms import normaliser

observe = jax.jit(normaliser.observe, static_argnums=2)


@settings(deadline=None, max_examples=30)
@given(offset=st.floats(-1e3, 1e3), scale=st.floats(0.1, 1e3), blocks=st.integers(1, 20), seed=st.integers(0, 99))
def test_statistics_are_those_of_all_frames(offset, scale, blocks, seed):
    frames = (offset + scale * np.random.default_rng(seed).normal(size=(blocks, 7, 3))).astype(np.float32)
    statistics = normaliser.init(3)
    for block in frames:
        statistics = observe(statistics, jnp.asarray(block), None)
    flat = frames.reshape(-1, 3).astype(np.float64)
    assert statistics.count == 7 * blocks
    assert np.allclose(statistics.mean, flat.mean(0), rtol=1e-4, atol=1e-3 * scale)
    assert np.allclose(statistics.variance, flat.var(0), rtol=1e-2, atol=1e-5 * offset**2)


def test_devices_see_the_frames_of_all():
    frames = jax.random.normal(jax.random.key(0), (8, 3)) * 5 + 2
    start = observe(normaliser.init(3), jnp.ones((4, 3)) * jnp.arange(4.0)[:, None], None)
    alone = observe(start, frames, None)
    together = jax.vmap(lambda x: normaliser.observe(start, x, "device"), axis_name="device")(frames.reshape(2, 4, 3))
    for one, two in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        assert np.allclose(two, jnp.stack([one, one]), rtol=1e-5)


def test_normalised_observations_are_centred_scaled_and_clipped():
    statistics = normaliser.Normaliser(jnp.float32(9), jnp.array([1.0, 1.0]), jnp.array([4.0, 0.0]))
    raw = jnp.array([[3.0, 1.0], [-99.0, 1.0]])
    assert np.allclose(normaliser.normalise(statistics, raw), [[1.0, 0.0], [-10.0, 0.0]])
    assert np.array_equal(normaliser.normalise(None, raw), raw)


def test_before_the_first_frame_nothing_changes():
    raw = jnp.array([[3.0, -1.0]])
    assert np.allclose(normaliser.normalise(normaliser.init(2), raw), raw)
