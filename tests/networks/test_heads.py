"""Heads against numerical integration and hand-written passes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from vmax.errors import UserError
from vmax.networks import config_class
from vmax.networks.heads import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    CriticEnsemble,
    DeterministicActor,
    GaussianActor,
    action_size,
    squash,
)
from vmax.networks.mlp import NetworkConfig


def config(**changes) -> NetworkConfig:
    return NetworkConfig(
        **{"name": "mlp", "hidden": (8, 8), "activation": "relu", "layer_norm": "none", "dtype": "float32", **changes}
    )


def begin(module: Any, inputs: jax.Array) -> Any:
    return jax.jit(module.init)(jax.random.key(1), inputs)


def outputs(module: Any, params: Any, inputs: jax.Array) -> Any:
    return jax.jit(module.apply)(params, inputs)


def jnp_column(values) -> jax.Array:
    return jnp.asarray(values, jnp.float32)[:, None]


@settings(deadline=None, max_examples=25)
@given(mean=st.floats(-1.5, 1.5), log_std=st.floats(-2.0, 0.5), cut=st.floats(-0.9, 0.9))
def test_log_prob_is_the_log_density_of_the_action(mean, log_std, cut):
    # the density, integrated over the actions up to `cut`, is the normal probability of u <= atanh(cut)
    limit = np.arctanh(cut)
    u = np.linspace(min(mean - 8 * np.exp(log_std), limit - 1.0), limit, 4001)
    noise = (u - mean) / np.exp(log_std)
    action, log_prob = squash(jnp_column(np.full(4001, mean)), jnp_column(np.full(4001, log_std)), jnp_column(noise))
    mass = np.trapezoid(np.exp(np.float64(log_prob)) * (1 - np.tanh(u) ** 2), u)  # da = (1 - tanh²) du
    assert np.allclose(action[:, 0], np.tanh(u), atol=1e-5)
    assert abs(mass - norm.cdf(limit, mean, np.exp(log_std))) < 1e-3


def test_log_prob_is_exact_where_tanh_saturates():
    # u = ±20: log(1 - tanh²) = log 4 - 2·20 to float precision; a naive form would give log 0
    _, log_prob = squash(jnp.zeros((2, 1)), jnp.zeros((2, 1)), jnp.array([[20.0], [-20.0]]))
    expected = -0.5 * 400 - 0.5 * np.log(2 * np.pi) - (np.log(4.0) - 40.0)
    assert np.allclose(log_prob, expected, rtol=1e-6)


def test_log_prob_sums_over_action_dimensions():
    mean, log_std, noise = jax.random.normal(jax.random.key(0), (3, 5, 4))
    _, together = squash(mean, log_std, noise)
    apart = sum(squash(mean[:, i : i + 1], log_std[:, i : i + 1], noise[:, i : i + 1])[1] for i in range(4))
    assert together.shape == (5,)
    assert np.allclose(together, apart, rtol=1e-5)


def test_log_std_stays_within_its_bounds_and_keeps_a_gradient():
    actor = GaussianActor(config(), 2)
    params = begin(actor, jnp.zeros((1, 3)))
    params["params"]["spread"]["bias"] = jnp.array([-3.0, 3.0])
    log_std = outputs(actor, params, jnp.zeros((1, 3)))[1]
    assert LOG_STD_MIN < log_std[0, 0] < log_std[0, 1] < LOG_STD_MAX
    gradient = jax.jit(jax.grad(lambda p: outputs(actor, p, jnp.zeros((1, 3)))[1].sum()))(params)
    assert (np.abs(gradient["params"]["spread"]["bias"]) > 1e-3).all()


@pytest.mark.parametrize("kind", [GaussianActor, DeterministicActor])
def test_actors_start_near_the_middle_and_tell_their_size(kind):
    actor = kind(config(), 3)
    params = begin(actor, jnp.zeros((1, 4)))
    output = outputs(actor, params, jax.random.normal(jax.random.key(2), (100, 4)))
    mean = output[0] if kind is GaussianActor else output
    assert action_size(params) == 3
    assert mean.shape == (100, 3)
    assert np.abs(mean).max() < 0.6


def test_critics_of_an_ensemble_are_independent():
    ensemble = CriticEnsemble(config(), 3)
    inputs = jax.random.normal(jax.random.key(0), (5, 4))
    params = begin(ensemble, inputs)
    values = outputs(ensemble, params, inputs)
    assert values.shape == (3, 5)
    for leaf in jax.tree.leaves(params):
        if leaf.ndim == 3:  # kernels
            assert not np.allclose(leaf[0], leaf[1]) and not np.allclose(leaf[1], leaf[2])
    gradient = jax.jit(jax.grad(lambda p: outputs(ensemble, p, inputs)[0].sum()))(params)
    for leaf in jax.tree.leaves(gradient):
        assert (leaf[1:] == 0).all()


def test_a_critic_is_the_hand_written_pass():
    ensemble = CriticEnsemble(config(), 2)
    inputs = jax.random.normal(jax.random.key(0), (5, 4))
    params = begin(ensemble, inputs)
    member = jax.tree.map(lambda leaf: np.asarray(leaf[1]), params["params"]["members"])
    hidden = np.asarray(inputs)
    for layer in ("Dense_0", "Dense_1"):
        hidden = np.maximum(hidden @ member["Torso_0"][layer]["kernel"] + member["Torso_0"][layer]["bias"], 0)
    value = hidden @ member["Dense_0"]["kernel"] + member["Dense_0"]["bias"]
    assert np.allclose(outputs(ensemble, params, inputs)[1], value[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("where", "actor", "critic"), [("none", 0, 0), ("critic", 0, 2), ("all", 2, 2)])
def test_layer_norm_stands_where_the_config_says(where, actor, critic):
    settings_ = config(layer_norm=where)
    inputs = jnp.zeros((1, 3))
    for module, count in ((DeterministicActor(settings_, 1), actor), (CriticEnsemble(settings_, 2), critic)):
        names = jax.tree_util.tree_leaves_with_path(jax.eval_shape(module.init, jax.random.key(0), inputs))
        assert sum("LayerNorm" in str(path) and "scale" in str(path) for path, _ in names) == count


def test_bfloat16_computes_close_to_float32_with_float32_parameters():
    inputs = jax.random.normal(jax.random.key(0), (16, 4))
    params = begin(CriticEnsemble(config(), 2), inputs)
    exact = outputs(CriticEnsemble(config(), 2), params, inputs)
    rough_module = CriticEnsemble(config(dtype="bfloat16"), 2)
    rough = outputs(rough_module, params, inputs)
    assert all(
        leaf.dtype == jnp.float32
        for leaf in jax.tree.leaves(jax.eval_shape(rough_module.init, jax.random.key(1), inputs))
    )
    assert rough.dtype == jnp.float32
    assert not np.array_equal(rough, exact)
    assert np.allclose(rough, exact, atol=0.05)


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"network.hidden=\[\]"):
        config(hidden=())
    with pytest.raises(UserError, match="network.name=gpt: unknown; available: gru, lstm, mlp"):
        config_class("gpt")
    assert config_class("mlp") is NetworkConfig
