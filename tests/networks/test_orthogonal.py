"""Orthogonal weights: orthonormal, distributed as Flax's, and never a call that waits for the pool it runs on."""

import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Spec
from vmax.config import compose, load
from vmax.networks.orthogonal import orthogonal
from vmax.spaces import Box, Discrete, Feature

ROOT = Path(__file__).parents[2]
MANY = """
import jax
from vmax import devices
devices.configure("cpu", 2)
from vmax.networks.orthogonal import orthogonal

@jax.jit
def several(key):
    pair = lambda key: jax.vmap(lambda key: orthogonal()(key, (128, 128)))(jax.random.split(key))
    return [pair(key) for key in jax.random.split(key, 8)]

for seed in range(200):
    jax.block_until_ready(several(jax.random.key(seed)))
"""
LEARNERS = [
    ["algorithm=sac", "network=lstm"],
    ["algorithm=td3", "network=gru"],
    ["algorithm=dqn", "network=gru"],
    ["algorithm=ppo"],
    ["algorithm=ppo", "network=lstm"],
    ["algorithm=a2c"],
]


@settings(max_examples=8)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 100))
def test_rows_or_columns_are_orthonormal_and_those_of_flax(rows, columns, seed):
    key, shape = jax.random.key(seed), (rows, columns)
    weights = np.asarray(orthogonal(2.0)(key, shape))
    product = weights @ weights.T if rows < columns else weights.T @ weights
    np.testing.assert_allclose(product, 4.0 * np.eye(min(shape)), atol=1e-5)
    np.testing.assert_allclose(weights, nn.initializers.orthogonal(2.0)(key, shape), atol=2e-4)


def test_wide_layers_are_orthonormal_to_rounding():
    weights = np.asarray(jax.jit(orthogonal(), static_argnums=1)(jax.random.key(0), (256, 256)), np.float64)
    np.testing.assert_allclose(weights.T @ weights, np.eye(256), atol=3e-6)


def test_many_initializations_at_once_on_two_threads_do_not_hang():
    """With LAPACK's QR factorization this hung within 100 of the 200 calls, in every one of six tries."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": "", "NPROC": "2"}
    subprocess.run([sys.executable, "-c", MANY], env=environment, cwd=ROOT, check=True, timeout=100)


@pytest.mark.parametrize("overrides", LEARNERS, ids=" ".join)
def test_no_learner_calls_lapack_to_initialize(overrides):
    config = load(compose(["env=pendulum", *overrides]))
    algorithm = make_algorithm(config.algorithm, config.network)
    space = Discrete(3) if config.algorithm.name == "dqn" else Box((Feature("a"),))
    spec = Spec(Box((Feature("o", size=4),)), space, total_updates=1)
    text = jax.jit(lambda key: algorithm.init(key, spec)).lower(jax.random.key(0)).as_text()
    assert "lapack" not in text
    assert "custom_call" not in text
    assert "lapack" in jax.jit(jnp.linalg.qr).lower(jnp.eye(3)).as_text(), "the search finds what it looks for"
