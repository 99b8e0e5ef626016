"""Rainflow cycle counting as the charge moves: a stack of fixed size and no loops, so it runs under vmap and scan.

The three-point rule of ASTM E1049-85 (2011), section 5.4.4: with X the latest range between turning points and Y the
one before, Y is a cycle as soon as X >= Y, a half cycle if it contains the first point of all. What is still open
counts as half cycles, the present charge being its last point. So at every step the sum over all cycles and half cycles
is that of the batch algorithm on the series so far.

On the stack the ranges shrink from point to point. So the points that a new charge closes are those on its side that it
has reached, and they are the last ones: one comparison of the whole stack does what the rule does pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array
Stress = Callable[[Array, Array], Array]
"""(depth, mean charge) of full cycles -> their stress; 0 at depth 0, rising with depth."""


@struct.dataclass
class Stack:
    """The open turning points, oldest first: `points[:count]` of `[K]`, shares of capacity. The rest means nothing."""

    points: Array
    count: Array


def begin(soc: Array, size: int) -> Stack:
    """A stack of `size` turning points whose history begins at `soc`."""
    return Stack(jnp.full(size, soc, jnp.result_type(float)), jnp.int32(1))


def advance(stack: Stack, soc: Array, soc_end: Array, stress: Stress) -> tuple[Stack, Array, Array]:
    """Move the charge from `soc`, where the series stood, to `soc_end`.

    Where a turning point finds no room, the oldest range is settled as the half cycle that it is so far.

    Returns: the stack, the stress added (half cycles count half; never negative), and whether a turning point found no
    room (0 or 1).
    """
    before = _at(stack.points, stack.count - 1)
    turned = ((soc_end > soc) & (soc < before)) | ((soc_end < soc) & (soc > before))
    stack, overflow = _push(stack, soc, turned)
    stack, settled = _close(stack, soc_end, stress)
    top = _at(stack.points, stack.count - 1)
    running = 0.5 * _of_range(top, soc_end, stress)
    was_running = jnp.where(turned, 0.0, 0.5 * _of_range(before, soc, stress))
    return stack, jnp.maximum(settled + running - was_running, 0.0), overflow


def _push(stack: Stack, point: Array, turned: Array) -> tuple[Stack, Array]:
    """The stack with one more turning point where `turned`, and whether the oldest had to go for it."""
    size = stack.points.shape[0]
    overflow = turned & (stack.count == size)
    points = jnp.where(overflow, jnp.roll(stack.points, -1), stack.points)
    count = stack.count - overflow
    points = jnp.where(turned & (jnp.arange(size) == count), point, points)
    return Stack(points, count + turned), overflow.astype(jnp.result_type(float))


def _close(stack: Stack, soc_end: Array, stress: Stress) -> tuple[Stack, Array]:
    """The stack without what `soc_end` closes, and the stress that closing adds.

    So far every open range counted half. A full cycle now counts whole, the half cycle at the start stays as it is, and
    the ranges that led to what has closed are no more: the running range takes their place.
    """
    points, index = stack.points, jnp.arange(stack.points.shape[0])
    ahead = (stack.count - 1 - index) % 2 == 1  # on the side that the charge moves to
    rising = soc_end > _at(points, stack.count - 1)
    reached = jnp.where(rising, soc_end >= points, soc_end <= points) & ahead & (index < stack.count)
    first = jnp.where(reached, index, stack.count).min()
    leads = ~reached & (index >= first - 1) & (index < stack.count - 1)
    change = 0.5 * jnp.where(reached & (index > 0), 1.0, jnp.where(leads, -1.0, 0.0))
    settled = jnp.sum(change[:-1] * _of_range(points[:-1], points[1:], stress))
    from_start = reached[0]
    points = jnp.where(from_start, jnp.roll(points, -1), points)
    return Stack(points, jnp.where(from_start, 1, first)), settled


def _at(points: Array, place: Array) -> Array:
    """`points[place]`, 0 beyond: a masked sum, as a batched gather is slow on a CPU."""
    return jnp.sum(jnp.where(jnp.arange(points.shape[0]) == place, points, 0.0))


def _of_range(a: Array, b: Array, stress: Stress) -> Array:
    return stress(jnp.abs(b - a), 0.5 * (a + b))


OBSERVED = 5
"""Numbers of `observed`."""
SAME = 1e-5
"""Charges this near to each other are one: an observation is rounded."""


def observed(stack: Stack, soc: Array) -> Array:
    """The four innermost open turning points and the direction, `[5]` within [-1, 1].

    Outwards from the present charge, as [-1, 1] over the capacity: the last turning point, the one before, and so on.
    One that is not there repeats the one on its side that is (the charge itself on the other side). Then 1: the charge
    rises from the last turning point, −1: it falls. Cycles that reach further back are lost.
    """
    back = stack.count - 1 - jnp.arange(4)
    point = [_at(stack.points, place) for place in back]
    second = jnp.where(back[1] >= 0, point[1], soc)
    third, fourth = jnp.where(back[2] >= 0, point[2], point[0]), jnp.where(back[3] >= 0, point[3], second)
    outwards = jnp.stack([point[0], second, third, fourth])
    direction = jnp.where(point[0] <= soc, 1.0, -1.0)
    return jnp.append(jnp.clip(2.0 * outwards - 1.0, -1.0, 1.0), direction)


def recover(seen: Array, soc: Array) -> Stack:
    """The stack that `observed` tells of, `[5]`, with room for one more point. Any numbers in [-1, 1] give a stack."""
    rises, points = seen[4] >= 0.0, 0.5 * (seen[:4] + 1.0)
    further = lambda point, inner, down: jnp.where(down, jnp.minimum(point, inner), jnp.maximum(point, inner))  # noqa: E731
    first, second = further(points[0], soc, rises), further(points[1], soc, ~rises)
    third, fourth = further(points[2], first, rises), further(points[3], second, ~rises)
    there = jnp.abs(jnp.stack([second - soc, third - first, fourth - second])) > SAME
    count = 1 + jnp.cumprod(there).sum()
    inwards = jnp.stack([fourth, third, second, first, first])
    return Stack(jnp.roll(inwards, count - 4), count)
