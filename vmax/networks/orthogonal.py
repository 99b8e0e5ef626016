"""Orthogonal initial weights without LAPACK.

On the CPU `jnp.linalg.qr` is a LAPACK call that hands out work to the thread pool of the compiled program and waits
there for it. As many of these calls at once as the pool has threads wait for each other for ever, and a program that
initializes several layers makes them at once. `flax.linen.initializers.orthogonal` calls it, so nothing here does.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

Array = jax.Array


def orthogonal(scale: float = 1.0) -> Initializer:
    """Initializer of kernels `[inputs, outputs]`: `scale` times a random matrix with orthonormal rows or columns.

    The same distribution as `flax.linen.initializers.orthogonal`, and for the same key the same matrix but for
    rounding.
    """

    def init(key: Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        del out_sharding  # part of the signature of initializers; nothing here is sharded
        rows, columns = shape
        normal = jax.random.normal(key, (max(shape), min(shape)))
        basis = orthonormal_columns(normal)
        return (scale * (basis if rows >= columns else basis.T)).astype(dtype)

    return init


def orthonormal_columns(matrix: Array) -> Array:
    """An orthonormal basis `[N, M]` of the columns of a matrix `[N, M]`, N >= M, float32: the Q of its QR
    factorization with a positive diagonal in R.

    Gram-Schmidt with every projection done twice, which leaves errors of the size of rounding. Of a matrix of normal
    numbers it is uniformly distributed among all such bases. Source: Giraud et al. (2005), The loss of orthogonality in
    the Gram-Schmidt orthogonalization process; Mezzadri (2007), How to generate random matrices from the classical
    compact groups.
    """
    count = matrix.shape[1]

    def column(index: Array, basis: Array) -> Array:
        finished = jnp.where(jnp.arange(count) < index, basis, 0.0)
        vector = basis[:, index]
        for _ in range(2):
            vector = vector - _product(finished, _product(finished.T, vector))
        return basis.at[:, index].set(vector / jnp.sqrt(jnp.square(vector).sum()))

    return jax.lax.fori_loop(0, count, column, matrix)


def _product(matrix: Array, vector: Array) -> Array:
    """In full float32, also where a device multiplies in less by default."""
    return jnp.matmul(matrix, vector, precision=jax.lax.Precision.HIGHEST)
