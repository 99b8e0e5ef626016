"""Traffic on a network of links for one sub-step: cells, junctions, sources with queues outside, sinks.

Everything that passes an edge is counted on both sides, so vehicles (and y) are neither made nor lost. Layout: `[K]`
classes, `[L]` links, `[N]` cells of each, right-aligned: the last cell is at the stop line, padding at the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.traffic_signal.models import Model

Array = jax.Array


@struct.dataclass
class Roads:
    """A network as arrays; padding of cells and links is 0 but for `dx_m` and `holds_veh`, which are 1 there.

    Attributes:
      cells: 1 where there is a cell, `[L, N]`.
      entry: 1 at the first cell of each link, `[L, N]`; first: its place, `[L]` int32.
      dx_m: length of a cell, `[L]`.
      free_m_per_s: free speed of the curve of speed over density, `[K, L]`.
      limit: share of it that the link allows, `[K, L]`; None where every link allows all of it.
      holds_veh: vehicles of the class alone that fill a cell, `[K, L]`.
      saturation: the most that passes the stop line, share of jam occupancy of a cell a second, `[L]`.
      ahead, turns: the up to D links that follow each, `[L, D]` int32, and the share of its vehicles that goes to each,
        `[L, D]`, 0 where there is none.
      feeds: 1 where a turn, of those in `turns` laid out flat, leads to a link, `[L D, L]`.
      source, sink: 1 where vehicles enter and leave the network, `[L]`.
    """

    cells: Array
    entry: Array
    first: Array
    dx_m: Array
    free_m_per_s: Array
    limit: Array | None
    holds_veh: Array
    saturation: Array
    ahead: Array
    turns: Array
    feeds: Array
    source: Array
    sink: Array

    def of_first(self, values: Array) -> Array:
        """Values of cells `[K, L, N]` in the first of each link, `[K, L]`."""
        return jnp.take_along_axis(values, self.first[None, :, None], axis=2)[..., 0]

    def mean_ahead(self, values: Array) -> Array:
        """Values of links `[L]`, the mean over those that follow each, by turns, `[L]`."""
        return (self.turns * values[self.ahead]).sum(axis=1)

    def arriving(self, by_turn: Array) -> Array:
        """What turns `[K, L, D]` bring to each link, `[K, L]`."""
        return jnp.matmul(by_turn.reshape(len(by_turn), -1), self.feeds, precision="highest")


@struct.dataclass
class Traffic:
    """Occupancies and `y = r w`, `[K, L, N]`; vehicles that wait outside for a place on a source link, `[K, L]`."""

    r: Array
    y: Array
    outside_veh: Array


@struct.dataclass
class Passed:
    """What a sub-step moved.

    Attributes:
      entered_veh, left_veh: into and out of the network, `[K, L]`.
      free_veh_s: what their way through cells takes at free speed, vehicles times seconds, `[L]`.
      stopped_veh: vehicles that went from a flowing into a jammed cell, `[L]`.
      through_veh: vehicles that passed the stop line, `[L]`.
    """

    entered_veh: Array
    left_veh: Array
    free_veh_s: Array
    stopped_veh: Array
    through_veh: Array


@struct.dataclass
class Ends:
    """The last and the first cells of links, `[K, L]`; `most`: what they carry under limits of speed, if there are."""

    r_last: Array
    w_last: Array
    r_first: Array
    w_first: Array
    most: Array | None


JAMMED = 0.6
"""Occupancy from which vehicles of a cell count as halted."""


@dataclass(frozen=True)
class Flow:
    """A model on roads. `fifo`: who cannot turn holds up those behind; else each turn has its own room."""

    model: Model
    fifo: bool = True

    def empty(self, roads: Roads) -> Traffic:
        """No vehicle anywhere."""
        classes, links = roads.free_m_per_s.shape
        nothing = jnp.zeros((classes, links, roads.cells.shape[-1]), roads.dx_m.dtype)
        return Traffic(nothing, nothing, jnp.zeros((classes, links), roads.dx_m.dtype))

    def step(
        self, roads: Roads, traffic: Traffic, gate: Array, arriving_veh: Array, fading: Array, dt_s: float
    ) -> tuple[Traffic, Passed]:
        """One sub-step.

        Args:
          gate: share of the stop line that is open, `[L]`: 0 at red; 1 where there is no signal.
          arriving_veh: vehicles that come to each source in this sub-step, `[K, L]`.
          fading: exp(-dt / τ) of each class, `[K]`.
        """
        model, w = self.model, self.model.wanted(traffic.r, traffic.y)
        crossed = roads.free_m_per_s * dt_s / roads.dx_m  # share of a cell that the curve's free vehicles cross, [K, L]
        free = crossed if roads.limit is None else crossed * roads.limit
        between = model.passing(traffic.r[..., :-1], w[..., :-1], traffic.r[..., 1:], w[..., 1:])
        most = None if roads.limit is None else model.carried(roads.limit)
        between = _limited(roads, most, between, traffic.r[..., :-1]) * crossed[..., None] * roads.cells[:, :-1]
        r_last, r_first = traffic.r[..., -1], roads.of_first(traffic.r)
        w_last, w_first = model.wanted(r_last, traffic.y[..., -1]), model.wanted(r_first, roads.of_first(traffic.y))
        here = Ends(r_last, w_last, r_first, w_first, most)
        onward, leaving = self._leaving(roads, here, gate * crossed, crossed, dt_s)
        waiting = traffic.outside_veh + arriving_veh
        entering = self._entering(roads, here, waiting, crossed)

        arriving = onward * roads.holds_veh[..., None] / roads.holds_veh[:, roads.ahead]
        first = roads.arriving(arriving) + entering
        first_y = roads.arriving(arriving * here.w_last[..., None]) + entering  # who enters wants to go at free speed
        out = onward.sum(axis=2) + leaving
        r = jnp.maximum(traffic.r + _change(between, first, out, roads.entry), 0.0)
        y = traffic.y + _change(between * w[..., :-1], first_y, out * here.w_last, roads.entry)
        entered_veh = entering * roads.holds_veh
        moved = Traffic(r, model.adapt(r, y, fading[:, None, None]), jnp.maximum(waiting - entered_veh, 0.0))
        jammed = traffic.r.sum(axis=0) >= JAMMED
        into_jam = (between * roads.holds_veh[..., None]).sum(axis=0) * (jammed[:, 1:] & ~jammed[:, :-1])
        return moved, Passed(
            entered_veh=entered_veh,
            left_veh=leaving * roads.holds_veh,
            free_veh_s=((between.sum(axis=2) + out) * roads.holds_veh * dt_s / jnp.maximum(free, TINY)).sum(axis=0),
            stopped_veh=into_jam.sum(axis=1) + jnp.maximum(arriving_veh - entered_veh, 0.0).sum(axis=0),
            through_veh=(out * roads.holds_veh).sum(axis=0),
        )

    def speed(self, roads: Roads, traffic: Traffic) -> Array:
        """Share of the speed that vehicles have on an empty link, `[K, L, N]`."""
        curve = self.model.speed(traffic.r, self.model.wanted(traffic.r, traffic.y))
        return curve if roads.limit is None else jnp.minimum(curve / roads.limit[..., None], 1.0)

    def _leaving(self, roads: Roads, here: Ends, opened: Array, crossed: Array, dt_s: float) -> tuple[Array, Array]:
        """What goes on from last cells, by turn `[K, L, D]`, and what leaves the network `[K, L]`; shares of a cell.

        The demand of each link, split by turns, no more than its stop line lets pass and than the links ahead take.
        Source: Daganzo (1995); Lebacque (1996); that w mixes in proportion: Herty and Rascle (2006).
        """
        goes = (roads.turns > 0.0)[None]
        sent = self.model.sent(here.r_last, here.w_last)
        slowed = self.model.slowed(here.w_last[:, :, None], here.r_first[:, roads.ahead])
        if roads.limit is not None:
            by_turn = _limited(roads, here.most, sent[..., None] * slowed, here.r_last[..., None])
            slowed = by_turn / jnp.maximum(sent[..., None], TINY)
        onward = (opened * sent)[..., None] * roads.turns * self._as_turns_let(slowed, goes)
        leaving = opened * _limited(roads, here.most, sent, here.r_last) * roads.sink
        scale = _at_most(roads.saturation * dt_s, onward.sum(axis=(0, 2)) + leaving.sum(axis=0))
        onward, leaving = onward * scale[:, None], leaving * scale

        arriving = onward * roads.holds_veh[..., None] / roads.holds_veh[:, roads.ahead]
        total = roads.arriving(arriving)
        mixed = roads.arriving(arriving * here.w_last[..., None]) / jnp.maximum(total, TINY)
        supply = self.model.taken(jnp.where(total > TINY, mixed, 1.0), here.r_first, here.w_first)
        room = _room(crossed, _capped(supply, here.most), here)
        fits = _at_most(room, total.sum(axis=0))
        return onward * self._as_turns_let(fits[roads.ahead], goes), leaving

    def _as_turns_let(self, share: Array, goes: Array) -> Array:
        """The share of each link's vehicles that goes, by turn: with FIFO no more than the turn with the least."""
        share = jnp.where(goes, share, 1.0)
        return share.min(axis=2, keepdims=True) if self.fifo else share

    def _entering(self, roads: Roads, here: Ends, waiting: Array, crossed: Array) -> Array:
        """Vehicles of each class that find a place on their source link, share of a cell, `[K, L]`."""
        wanted = waiting / roads.holds_veh * roads.source
        admitted = self.model.admitted(here.r_first, here.w_first, roads.limit)
        room = _room(crossed, _capped(admitted, here.most), here)
        return wanted * _at_most(room, wanted.sum(axis=0))


TINY = 1e-12


def _at_most(limit: Array, wanted: Array) -> Array:
    """The share of what is wanted that the limit lets pass."""
    return jnp.minimum(1.0, limit / jnp.maximum(wanted, TINY))


def _limited(roads: Roads, most: Array | None, flow: Array, r: Array) -> Array:
    """Flows `[K, L, ...]` of vehicles of occupancy r: no more than moves at the limit of speed, and than is carried."""
    if roads.limit is None or most is None:
        return flow
    of_link = (..., *(None,) * (r.ndim - 2))
    return jnp.minimum(flow, jnp.minimum(roads.limit[of_link] * r, most[of_link]))


def _capped(flow: Array, most: Array | None) -> Array:
    return flow if most is None else jnp.minimum(flow, most)


def _room(crossed: Array, supply: Array, here: Ends) -> Array:
    """What first cells take of all classes in a sub-step, share of a cell, `[L]`; no more than is free."""
    return jnp.clip(jnp.min(crossed * supply, axis=0), 0.0, 1.0 - here.r_first.sum(axis=0))


def _change(between: Array, first: Array, out: Array, entry: Array) -> Array:
    """What cells gain less what they lose, `[K, L, N]`."""
    gained = jnp.pad(between, ((0, 0), (0, 0), (1, 0))) + first[..., None] * entry
    return gained - jnp.concatenate([between, out[..., None]], axis=-1)
