"""Priorities of the places of a ring: what surprised the critics is drawn more often, and weighs less in the losses.

Each place has a *mass*, (|δ| + offset)^exponent, and is drawn with the probability P = mass / (sum of all that may be
drawn). A place that was not learned from yet counts with the largest mass so far. To compare: N places drawn uniformly
have P = 1 / N; a sample drawn by priority is brought back to that by the weight (N P)^-β.

A draw goes through three levels of about C^(1/3) sums each, which are computed anew: first a slab, then a line of it,
then a place. A kept tree of sums would drift, and one float32 sum over a million places would swallow small masses.

Source: Schaul et al. (2016), Prioritized Experience Replay, sections 3.3 and 3.4. They divide the weights by the
largest; learners here scale them to the mean 1, so that weighted losses stay means. Adam cancels either factor.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from vmax.replay.settings import PriorityConfig

Array = jax.Array
Key = jax.Array

NEW = -1.0
"""The mass of a place that was not learned from yet."""
NOWHERE = 2**31 - 1
"""A place that no ring has; what is written there is dropped."""


@struct.dataclass
class Priorities:
    """The masses of a ring's places, `[C]`, and the largest that there was, a scalar (0 before the first)."""

    mass: Array
    largest: Array
    config: PriorityConfig = struct.field(pytree_node=False)


def init(config: PriorityConfig | None, capacity: int) -> Priorities | None:
    """Priorities of a ring with `capacity` places, all new; None where the config wants none."""
    if config is None or config.exponent == 0.0:
        return None
    return Priorities(jnp.full(capacity, NEW), jnp.zeros(()), config)


def renewed(priorities: Priorities | None, start: Array, count: int) -> Priorities | None:
    """The same after `count` places from `start` on were written anew."""
    if priorities is None:
        return None
    mass = jax.lax.dynamic_update_slice_in_dim(priorities.mass, jnp.full(count, NEW), start, axis=0)
    return replace(priorities, mass=mass)


def draw(priorities: Priorities, key: Key, count: int, eligible: Array, progress: Array | float) -> tuple[Array, Array]:
    """`count` places drawn with replacement from the `eligible` ones `[C]`, at least one, and their weights.

    Args: `progress` is the share of training that is done, 0-1: β rises evenly from `correction` to 1.
    Returns: places, int32, and (N P)^-β, both `[count]`.
    """
    config, capacity = priorities.config, len(priorities.mass)
    largest = jnp.where(priorities.largest > 0.0, priorities.largest, 1.0)
    mass = jnp.where(priorities.mass == NEW, largest, priorities.mass)
    mass = jnp.where(eligible, mass, 0.0)
    width = next(width for width in range(1, capacity + 1) if width**3 >= capacity)
    places = jnp.pad(mass, (0, width**3 - capacity)).reshape(width, width, width)
    lines = places.sum(-1)
    slabs = lines.sum(-1)
    chance = jax.random.uniform(key, (3, count))
    slab = _pick(slabs[None], chance[0])
    line = _pick(lines[slab], chance[1])
    place = (slab * width + line) * width + _pick(places[slab, line], chance[2])
    beta = config.correction + (1.0 - config.correction) * progress
    return place, (mass[place] / slabs.sum() * eligible.sum()) ** -beta


def _pick(mass: Array, chance: Array) -> Array:
    """Indices drawn in proportion to masses `[S or 1, K]` by uniform numbers `[S]` in [0, 1); never one of mass 0."""
    upto = jnp.where(mass > 0.0, jnp.cumsum(mass, axis=-1), 0.0)
    return jnp.argmax(upto > chance[:, None] * upto.max(-1, keepdims=True), axis=-1).astype(jnp.int32)


def learned(priorities: Priorities, place: Array, error: Array) -> Priorities:
    """The same after |δ| = `error` was seen at places of the same shape; of several at one place the largest counts."""
    mass = (error + priorities.config.offset) ** priorities.config.exponent
    there = place < len(priorities.mass)
    cleared = priorities.mass.at[place].set(0.0, mode="drop")  # the order of equal places does not matter
    return replace(
        priorities,
        mass=cleared.at[place].max(mass, mode="drop"),
        largest=jnp.maximum(priorities.largest, jnp.max(jnp.where(there, mass, 0.0))),
    )


def of_sequences(config: PriorityConfig, error: Array, weight: Array) -> Array:
    """One |δ| for each sequence: η max + (1 - η) mean over its steps of positive weight.

    Args: `error` and `weight`, `[U, L, B]`. Returns: `[U, B]`, 0 where there is no such step.
    Source: Kapturowski et al. (2019), Recurrent Experience Replay in Distributed Reinforcement Learning, section 2.3.
    """
    counted = weight > 0.0
    error = jnp.where(counted, error, 0.0)
    mean = error.sum(1) / jnp.maximum(counted.sum(1), 1)
    return config.max_share * error.max(1) + (1.0 - config.max_share) * mean
