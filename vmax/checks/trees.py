"""Small tools of the checks: trees as numbers and names, numbers changed, differences measured."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
NUMBER_SIZE = 16
"""A leaf of the params with at most so many entries is a number of the world, a larger one is data."""


def numbers(tree: Any) -> Array:
    """All numeric leaves of one environment's tree as one float vector; keys are left out."""
    leaves = [leaf for leaf in map(jnp.asarray, jax.tree.leaves(tree)) if not is_key(leaf)]
    return jnp.concatenate([jnp.zeros(0), *(jnp.ravel(leaf).astype(jnp.float32) for leaf in leaves)])


def clocks(state: Any) -> dict[str, Array]:
    """The single whole numbers of a state, by path: some count steps."""
    leaves = ((path_name(path), jnp.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(state))
    return {name: leaf for name, leaf in leaves if leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer)}


def changed(leaf: Any) -> tuple[Array, Array]:
    """A number of the world, changed a little, by 5 %, and to a tenth, as a limit may not bind before; 0 becomes 0.1
    and 1, no limit one of 1 and of 0.1."""
    leaf = jnp.asarray(leaf)
    ways = ((1.05, 0.1, 1.0), (0.1, 1.0, 0.1))
    one, other = (
        jnp.where(jnp.isinf(leaf), limit, jnp.where(leaf == 0.0, zero, factor * leaf)).astype(leaf.dtype)
        for factor, zero, limit in ways
    )
    return one, other


def path_name(path: Any) -> str:
    """`site.power_mw` for the path of a leaf."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_number(leaf: Any) -> bool:
    leaf = jnp.asarray(leaf)
    return not is_key(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating) and 0 < leaf.size <= NUMBER_SIZE


def differing(one: np.ndarray, other: np.ndarray, scale: np.ndarray | float = 0.0) -> np.ndarray:
    """|one - other| in units of 1 + the larger of `scale` and what is compared; equal infinities and NaN differ by 0,
    unequal ones by infinity."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    with np.errstate(invalid="ignore"):
        size = 1.0 + np.maximum(np.maximum(np.abs(one), np.abs(other)), scale)
        apart = np.abs(one - other) / size
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))
