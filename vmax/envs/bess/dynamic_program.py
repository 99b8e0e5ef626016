"""The optimal schedule of a battery by backward induction on a grid of charge: also where wear is not linear.

    V_t(s, b) = max_s' { r_t(s' − s) − w(b')·|E(s' − s)| + V_{t+1}(s', b') },   b' = b ∪ {s'}

with s the charge, b = [lowest, highest] charge since the local half-day began, r what the move earns at the meter, E
the AC energy that it takes and w the price of wear at the depth of the band. Where wear is linear there is one band. A
move is a shift of the value along the grid, so a step is a maximum over slices, for all charges and bands at once; full
power, which ends between two points, takes the value between them. What a move earns is asked of `battery.dispatch` and
`market.settle`, as in the environment.

Bands stand on a coarser grid and are rounded outwards: a depth is never taken for less than it is. `optimise` then
rolls the plan out with the exact charge and the exact depth, so its `objective_eur` is what the schedule earns, while
`value_eur` is what the grid promised. Source: Bellman (1957), Dynamic Programming; half-days and depths as in
`degradation.CardoMiota`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs import battery
from vmax.envs.battery import Site, Switches
from vmax.envs.bess import depth_stress, market
from vmax.envs.bess.optimum import Schedule

Array = jax.Array

POINTS = 281
"""Charges of the grid where there is one band."""
BAND_WIDTH = 0.05
"""Share of capacity between two ends of bands; the limits of depth are multiples of it in the default model."""
POINTS_PER_BAND = 5
"""Steps of the charge from one end of a band to the next."""
CHUNK_STEPS = 744
"""Steps whose values are kept at a time; the rest is computed anew on the way forward."""
BLOCK = 16
"""Moves that are compared in one go."""
NEVER = -1e9
"""Value of what cannot be, EUR."""


@dataclass(frozen=True)
class Wear:
    """Price of a MWh at the AC terminals by the depth reached: `price_eur_per_mwh[i]` up to `depth_limits[i]`, then the
    last one; `starts_half` `[T]`: the steps with which depths begin anew. No limits: one price."""

    price_eur_per_mwh: np.ndarray
    depth_limits: np.ndarray
    starts_half: np.ndarray


@dataclass(frozen=True)
class Plan:
    """A schedule with what it earns, and what the value function promised for it, EUR."""

    schedule: Schedule
    value_eur: float


@struct.dataclass
class Steps:
    """What the program reads of each step, `[T]`. `resets`: a half-day begins with the next step."""

    price_eur_per_mwh: Array
    pv_mw: Array
    starts_half: Array
    resets: Array
    active: Array


@struct.dataclass
class Grid:
    """Charges `[S]`, bands B between N ends, and the moves M: all whole numbers of grid steps, then full power each
    way.

    Attributes:
      joined: the band that follows when a charge is reached, `[B, S]`; `single`: the band of a charge alone, `[S]`.
      number: of the band from end i to end j, `[N, N]`.
      rate: price of wear in the band that follows, EUR/MWh, `[B, S]`.
      change: of the charge by each move, `[M]`; `power_mw`: what it takes, discharge positive, `[M]`.
      beyond: how far full charge and full discharge reach beyond the last whole step, share of a step, `[2]`.
      most: whole steps that full charge and full discharge reach.
    """

    site: Site
    soc: Array
    ends: Array
    joined: Array
    single: Array
    number: Array
    rate: Array
    price_eur_per_mwh: Array
    depth_limits: Array
    change: Array
    power_mw: Array
    beyond: Array
    most: tuple[int, int] = struct.field(pytree_node=False)
    dt_h: float = struct.field(pytree_node=False)


def optimise(
    site: Site,
    price_eur_per_mwh: np.ndarray,
    dt_h: float,
    soc: float,
    wear: Wear,
    end_value_eur_per_mwh: float = 0.0,
    pv_mw: np.ndarray | None = None,
    band_width: float = BAND_WIDTH,
    points: int = POINTS,
) -> Plan:
    """The best schedule of a site (scalars) for prices and available PV `[T]` from charge `soc`.

    `end_value_eur_per_mwh` is what a stored MWh is worth after the last step. `points` is the size of the grid where
    wear has one price, `band_width` sets it elsewhere. Raises ValueError for a battery that discharges itself: its
    charge leaves the grid.
    """
    if float(site.self_discharge_per_h) > 0.0:
        raise ValueError("the dynamic program knows no self-discharge")
    count = len(price_eur_per_mwh)
    grid = make_grid(site, dt_h, wear, band_width, points)
    chunks = _chunks(price_eur_per_mwh, np.zeros(count) if pv_mw is None else pv_mw, wear.starts_half)
    end = end_value_eur_per_mwh * float(site.capacity_mwh) * np.asarray(grid.soc)
    ends, promised = [jnp.asarray(np.broadcast_to(end, grid.joined.shape), jnp.float32)], 0.0
    for chunk in reversed(chunks[1:]):
        value, level, _ = _backward(grid, chunk, ends[-1], False)
        ends.append(value)
        promised += float(np.asarray(level, np.float64).sum())
    state, told = (jnp.float32(soc),) * 3, []
    for chunk, value in zip(chunks, reversed(ends), strict=True):
        value, level, after = _backward(grid, chunk, value, True)
        if not told:
            promised += float(np.asarray(level, np.float64).sum()) + _value_at(grid, value, soc)
        state, seen = _forward(grid, chunk, after, state)
        told.append(jax.tree.map(np.asarray, seen))
    charge, discharge, soc_end, earned = (np.concatenate(column)[:count] for column in zip(*told, strict=True))
    stored_mwh = soc_end.astype(np.float64) * float(site.capacity_mwh)
    objective = float(np.asarray(earned, np.float64).sum()) + end_value_eur_per_mwh * stored_mwh[-1]
    return Plan(Schedule(charge, discharge, stored_mwh, objective), promised)


def _value_at(grid: Grid, value: Array, soc: float) -> float:
    """Of a charge with which a half-day begins."""
    return float(np.interp(soc, grid.soc, value[grid.single, np.arange(len(grid.soc))]))


def make_grid(site: Site, dt_h: float, wear: Wear, band_width: float, points: int) -> Grid:
    """The grid, its bands and its moves, of a site with scalar numbers."""
    low, high = float(site.soc_min), float(site.soc_max)
    one_price = not len(wear.depth_limits)
    count = 2 if one_price else max(int(np.ceil((high - low) / band_width - 1e-6)), 1) + 1
    per_band = points - 1 if one_price else POINTS_PER_BAND
    soc, step = np.linspace(low, high, per_band * (count - 1) + 1, retstep=True)
    bands = [(0, 1)] if one_price else [(i, j) for i in range(count) for j in range(i, count)]
    number = np.zeros((count, count), np.int32)
    for b, (i, j) in enumerate(bands):
        number[i, j] = b
    first, last = np.asarray(bands).T
    below, above = np.arange(len(soc)) // per_band, -(-np.arange(len(soc)) // per_band)
    joined = number[np.minimum(first[:, None], below), np.maximum(last[:, None], above)]
    depth = soc[::per_band][last] - soc[::per_band][first]
    prices, limits = (np.asarray(v, np.float64) for v in (wear.price_eur_per_mwh, wear.depth_limits))
    site = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), site)
    reach = [
        float(energy) * dt_h / float(site.capacity_mwh)
        for energy in (battery.stored_per_charge(site, site.power_mw), battery.drawn_per_discharge(site, site.power_mw))
    ]
    most = tuple(min(int(change / step + 1e-4), len(soc) - 1) for change in reach)
    change = np.concatenate([step * np.arange(-most[1], most[0] + 1), [reach[0], -reach[1]]])
    beyond = [max(full / step - whole, 0.0) for full, whole in zip(reach, most, strict=True)]  # else × NEVER is a gain
    return Grid(
        site=site,
        soc=jnp.asarray(soc, jnp.float32),
        ends=jnp.asarray(soc[::per_band], jnp.float32),
        joined=jnp.asarray(np.zeros_like(joined) if one_price else joined),
        single=jnp.asarray(np.zeros(len(soc), np.int32) if one_price else number[below, above]),
        number=jnp.asarray(number),
        rate=jnp.asarray(depth_stress.bucket_stress(depth, limits, prices)[joined], jnp.float32),
        price_eur_per_mwh=jnp.asarray(prices, jnp.float32),
        depth_limits=jnp.asarray(limits, jnp.float32),
        change=jnp.asarray(change, jnp.float32),
        power_mw=_power_of(site, jnp.asarray(change, jnp.float32), dt_h),
        beyond=jnp.asarray(beyond, jnp.float32),
        most=(most[0], most[1]),
        dt_h=dt_h,
    )


def _power_of(site: Site, change: Array, dt_h: float) -> Array:
    """AC power, discharge positive, that changes the charge by `change` in a step: what fits a store of just that size.

    Without the site's switches: where they let less through, `battery.dispatch` says so.
    """
    site = replace(site, switches=Switches())
    up, down = jnp.maximum(change, 0.0), jnp.maximum(-change, 0.0)
    charge_mw, _ = battery.feasible_power(
        replace(site, soc_min=0.0, soc_max=up), jnp.zeros(()), jnp.array(-jnp.inf), dt_h
    )
    _, discharge_mw = battery.feasible_power(replace(site, soc_min=0.0, soc_max=1.0), down, jnp.array(jnp.inf), dt_h)
    return discharge_mw - charge_mw


def _chunks(price: np.ndarray, pv_mw: np.ndarray, starts_half: np.ndarray) -> list[Steps]:
    """The steps in chunks of one length; what fills the last one is not active."""
    count = len(price)
    length = min(CHUNK_STEPS, count)
    fill = -count % length
    pad = lambda values: np.concatenate([values, np.zeros(fill, values.dtype)])  # noqa: E731
    resets = np.append(starts_half[1:], False)
    columns = [np.asarray(price, np.float32), np.asarray(pv_mw, np.float32), starts_half, resets, np.ones(count, bool)]
    table = [pad(column).reshape(-1, length) for column in columns]
    return [Steps(*(jnp.asarray(column[i]) for column in table)) for i in range(len(table[0]))]


def _earned(grid: Grid, soc: Array, request_mw: Array, pv_mw: Array, price: Array) -> tuple[battery.Dispatch, Array]:
    """Flows of a request, and what they earn at the meter before wear, EUR."""
    flows = battery.dispatch(grid.site, soc, request_mw, pv_mw, price, grid.dt_h)
    return flows, market.settle(grid.site, flows, price, jnp.zeros(()), grid.dt_h).profit_eur


@partial(jax.jit, static_argnames="keep")
def _backward(grid: Grid, steps: Steps, value: Array, keep: bool) -> tuple[Array, Array, Array | None]:
    """Values before a chunk of steps, `[B, S]`, from those after it.

    Returns also what was taken off at each step to keep values small, `[T]`, and, with `keep`, the values after each
    step, the start of half-days taken account of, `[T, B, S]`.
    """
    size = len(grid.soc)
    start = jnp.where(grid.change >= 0.0, grid.site.soc_min, grid.site.soc_max)

    def one(value: Array, step: Steps) -> tuple[Array, tuple[Array, Array | None]]:
        alone = value[grid.single, jnp.arange(size)]
        after = jnp.where(step.resets, alone[None, :], value)
        flows, earned = _earned(grid, start, grid.power_mw, step.pv_mw, step.price_eur_per_mwh)
        done = jnp.abs(flows.soc_end - start - grid.change) < 1e-5
        best = _best_move(grid, jnp.where(done, earned, NEVER), jnp.take_along_axis(after, grid.joined, axis=0))
        best = jnp.where(step.active, best, value)
        level = best[0, size // 2]
        return best - level, (level, after if keep else None)

    value, (level, after) = jax.lax.scan(one, value, steps, reverse=True)
    return value, level, after


def _best_move(grid: Grid, earned: Array, follows: Array) -> Array:
    """The best of all moves from every charge and band, `[B, S]`, given what each earns, `[M]`, and what follows, `[B,
    S]`.

    Blocks of moves in a loop: one long chain of slices runs no faster and takes half a minute to compile.
    """
    (count, size), (up, down) = follows.shape, grid.most
    energy_mwh = jnp.abs(grid.power_mw) * grid.dt_h
    whole, blocks = up + down + 1, -(-(up + down + 1) // BLOCK)
    left, right = down + 1, up + 1 + blocks * BLOCK - whole
    follows = jnp.pad(follows, ((0, 0), (left, right)), constant_values=NEVER)
    rate = jnp.pad(grid.rate, ((0, 0), (left, right)))
    fill = (0, blocks * BLOCK - whole)
    table = jnp.stack([jnp.pad(earned[:whole], fill, constant_values=NEVER), jnp.pad(energy_mwh[:whole], fill)])

    def block(number: Array, best: Array) -> Array:
        first = number * BLOCK
        cut = lambda values: jax.lax.dynamic_slice(values, (0, first + 1), (count, size + BLOCK - 1))  # noqa: E731
        gains, energies = jax.lax.dynamic_slice(table, (0, first), (2, BLOCK))
        further, rates = cut(follows), cut(rate)
        for i in range(BLOCK):
            best = jnp.maximum(best, gains[i] - energies[i] * rates[:, i : i + size] + further[:, i : i + size])
        return best

    best = jax.lax.fori_loop(0, blocks, block, jnp.full((count, size), NEVER))
    for place, last, further, share in ((-2, up, up + 1, grid.beyond[0]), (-1, -down, -down - 1, grid.beyond[1])):
        ends = [
            follows[:, w : w + size] - energy_mwh[place] * rate[:, w : w + size] for w in (left + last, left + further)
        ]
        best = jnp.maximum(best, earned[place] + (1.0 - share) * ends[0] + share * ends[1])
    return best


@jax.jit
def _forward(grid: Grid, steps: Steps, after: Array, state: Any) -> tuple[Any, Any]:
    """The best course through a chunk with exact charge and depth; `after` as kept by `_backward`.

    State: charge, lowest and highest since the half-day began. Told of each step: charge MW, discharge MW, charge at
      its end and what it earned after wear, EUR.
    """
    size = len(grid.soc)

    def one(state: Any, inputs: tuple[Steps, Array]) -> tuple[Any, Any]:
        (soc, low, high), (step, after) = state, inputs
        low, high = jnp.where(step.starts_half, soc, low), jnp.where(step.starts_half, soc, high)
        request_mw = jnp.concatenate(
            [_power_of(grid.site, grid.soc - soc, grid.dt_h), grid.power_mw[-2:], jnp.zeros(1)]
        )
        flows, earned = _earned(grid, soc, request_mw, step.pv_mw, step.price_eur_per_mwh)
        lows, highs = jnp.minimum(low, flows.soc_end), jnp.maximum(high, flows.soc_end)
        price = depth_stress.bucket_stress(highs - lows, grid.depth_limits, grid.price_eur_per_mwh)
        earned = earned - price * (flows.charge_mw + flows.discharge_mw) * grid.dt_h
        first = jnp.searchsorted(grid.ends, lows + 1e-6, side="right") - 1
        last = jnp.searchsorted(grid.ends, highs - 1e-6, side="left")
        band = grid.number[jnp.maximum(first, 0), jnp.minimum(last, len(grid.ends) - 1)]
        place = (flows.soc_end - grid.soc[0]) / (grid.soc[1] - grid.soc[0])
        index = jnp.clip(place.astype(jnp.int32), 0, size - 2)
        share = jnp.clip(place - index, 0.0, 1.0)
        left = (1.0 - share) * after[band, index] + share * after[band, index + 1]
        best = jnp.argmax(earned + left)
        soc = jnp.where(step.active, flows.soc_end[best], soc)
        told = (flows.charge_mw[best], flows.discharge_mw[best], soc, earned[best])
        return (soc, lows[best], highs[best]), told

    return jax.lax.scan(one, state, (steps, after))
