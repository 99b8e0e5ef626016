"""What is seen of links: vehicles, halted ones, speeds, the road before the stop line."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.traffic_signal.flow import JAMMED, Roads, Traffic

Array = jax.Array
NEAR_CELLS = 3
"""Cells before the stop line that a detector sees."""


@struct.dataclass
class Measures:
    """Of links, `[L]`, all classes together.

    Attributes:
      count_veh, halted_veh: vehicles on the link, and those of them in jammed cells.
      outside_veh: vehicles that wait outside for a place on it.
      holds_veh: passenger cars that fill it.
      filled: share of jam density of the whole link.
      near: share of jam density of the last cells.
      first: the same of the first cell.
      speed: mean share of free speed of its vehicles, 1 where there is none.
    """

    count_veh: Array
    halted_veh: Array
    outside_veh: Array
    holds_veh: Array
    filled: Array
    near: Array
    first: Array
    speed: Array


def vehicles(roads: Roads, traffic: Traffic) -> Array:
    """Vehicles by class and cell, `[K, L, N]`."""
    return traffic.r * roads.holds_veh[..., None] * roads.cells


def measure(roads: Roads, traffic: Traffic, speed: Array) -> Measures:
    """The measures of links; `speed` are the model's, share of free speed `[K, L, N]`."""
    by_cell = vehicles(roads, traffic)
    occupied = traffic.r.sum(axis=0)
    count = by_cell.sum(axis=(0, 2))
    cells = roads.cells.sum(axis=1)
    near = roads.cells[:, -NEAR_CELLS:]
    return Measures(
        count_veh=count,
        halted_veh=(by_cell.sum(axis=0) * (occupied >= JAMMED)).sum(axis=1),
        outside_veh=traffic.outside_veh.sum(axis=0),
        holds_veh=cells * roads.holds_veh.min(axis=0),
        filled=(occupied * roads.cells).sum(axis=1) / jnp.maximum(cells, 1.0),
        near=(occupied[:, -NEAR_CELLS:] * near).sum(axis=1) / jnp.maximum(near.sum(axis=1), 1.0),
        first=(occupied * roads.entry).sum(axis=1),
        speed=jnp.where(count > 1e-6, (by_cell * speed).sum(axis=(0, 2)) / jnp.maximum(count, 1e-6), 1.0),
    )


def pressure(roads: Roads, measures: Measures) -> Array:
    """Vehicles of each link less those of the links ahead, by turns: what max-pressure control serves, `[L]`.

    Source: Varaiya (2013), Max pressure control of a network of signalized intersections.
    """
    there = measures.count_veh + measures.outside_veh
    return there - roads.mean_ahead(measures.count_veh)
