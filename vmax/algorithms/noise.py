"""Random draws of an update that do not depend on how the batch is spread over devices."""

from __future__ import annotations

from collections.abc import Callable

import jax

Array = jax.Array
Key = jax.Array


def shared(
    draw: Callable[[Key, tuple[int, ...]], Array],
    key: Key,
    local_shape: tuple[int, ...],
    axis: str | None,
    batch_dim: int,
) -> Array:
    """Noise for this device's share of a global batch, `local_shape`; `draw(key, shape)` as in `jax.random.normal`.

    Every device draws for the global batch with the same key and takes its slice of dimension `batch_dim`, so that n
    devices with B/n samples each see what one device with B samples sees.
    """
    if axis is None:
        return draw(key, local_shape)
    share = local_shape[batch_dim]
    shape = list(local_shape)
    shape[batch_dim] = share * jax.lax.axis_size(axis)
    noise = draw(key, tuple(shape))
    return jax.lax.dynamic_slice_in_dim(noise, jax.lax.axis_index(axis) * share, share, batch_dim)
