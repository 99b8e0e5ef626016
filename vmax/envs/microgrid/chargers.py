"""Vehicles at their sockets: what each could take, what it must take now to leave served, and how power is shared.

Vectors over sockets `[S]`, ordered by group; vectors over groups `[G]`. Powers in kW, energies in kWh, at the AC
terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array


@struct.dataclass
class Vehicles:
    """The vehicles of one site, `[S]`: energy that each still wants, steps until it leaves (0: nobody there), and
    energy that it was charged here and still holds (None: nobody asks)."""

    need_kwh: Array
    left_steps: Array
    charged_kwh: Array | None = None


@struct.dataclass
class Limits:
    """What the chargers can do: each socket `[S]`, each group `[G]`, all together."""

    socket_kw: Array
    group_kw: Array
    total_kw: Array


@dataclass(frozen=True)
class Groups:
    """Which sockets belong to which group: `sizes` of the groups, in order."""

    sizes: tuple[int, ...]

    def total(self, values: Array) -> Array:
        """Sums over the sockets of each group, `[S]` -> `[G]`."""
        return jnp.stack([part.sum() for part in self._parts(values)])

    def spread(self, values: Array) -> Array:
        """The value of its group for each socket, `[G]` -> `[S]`."""
        return jnp.concatenate([jnp.full(size, values[i]) for i, size in enumerate(self.sizes)])

    def _parts(self, values: Array) -> list[Array]:
        first, parts = 0, []
        for size in self.sizes:
            parts.append(values[first : first + size])
            first += size
        return parts


def could_take(vehicles: Vehicles, limits: Limits, dt_h: float) -> Array:
    """The most that each present vehicle takes in this step, `[S]`."""
    present = vehicles.left_steps > 0
    return jnp.where(present, jnp.minimum(limits.socket_kw, vehicles.need_kwh / dt_h), 0.0)


def must_take(vehicles: Vehicles, limits: Limits, dt_h: float) -> Array:
    """What each must take in this step, or it leaves unserved even at full power from then on, `[S]`."""
    later_kw = limits.socket_kw * (vehicles.left_steps - 1)
    return jnp.clip(vehicles.need_kwh / dt_h - later_kw, 0.0, could_take(vehicles, limits, dt_h))


def could_give(vehicles: Vehicles, limits: Limits, efficiency: float, dt_h: float) -> Array:
    """The most that each vehicle gives back in this step, `[S]`: of what it was charged here, and no more than it has
    time to get back. `efficiency`: of giving back and charging that again."""
    time_for_kwh = limits.socket_kw * (vehicles.left_steps - 1) * dt_h - vehicles.need_kwh
    assert vehicles.charged_kwh is not None
    back_kw = efficiency * jnp.minimum(vehicles.charged_kwh, time_for_kwh) / dt_h
    return jnp.clip(back_kw, 0.0, limits.socket_kw)


def given_back(wanted_kw: Array, deficit_kw: Array, limits: Limits) -> Array:
    """Power `[G]` that groups give back of what is wanted of them: within the limits, and no more than the site is
    short of, so that no vehicle feeds the grid or fills the battery."""
    group_kw = within_limits(wanted_kw, limits)
    return group_kw * jnp.minimum(1.0, jnp.maximum(deficit_kw, 0.0) / jnp.maximum(group_kw.sum(), 1e-9))


def within_limits(wanted_kw: Array, limits: Limits) -> Array:
    """Power of the groups `[G]` within their limits and that of all together, which all then share in proportion."""
    group_kw = jnp.clip(wanted_kw, 0.0, limits.group_kw)
    return group_kw * jnp.minimum(1.0, limits.total_kw / jnp.maximum(group_kw.sum(), 1e-9))


def share_out(group_kw: Array, could_kw: Array, must_kw: Array, groups: Groups) -> Array:
    """Power of the sockets `[S]` from that of their groups: the pressing first, the rest in proportion to what each
    could take besides."""
    pressing, most = groups.total(must_kw), groups.total(could_kw)
    served = jnp.minimum(1.0, group_kw / jnp.maximum(pressing, 1e-9))
    rest = jnp.maximum(group_kw - pressing, 0.0) / jnp.maximum(most - pressing, 1e-9)
    return must_kw * groups.spread(served) + (could_kw - must_kw) * groups.spread(jnp.minimum(rest, 1.0))


def after(vehicles: Vehicles, charged_kwh: Array) -> tuple[Vehicles, Array]:
    """Vehicles at the end of a step in which each was charged so much `[S]` (below 0: has to be charged again), those
    that leave gone, and the energy that each of them misses, `[S]`."""
    need_kwh = jnp.maximum(vehicles.need_kwh - charged_kwh, 0.0)
    leaves = vehicles.left_steps == 1
    left = jnp.maximum(vehicles.left_steps - 1, 0)
    held = None
    if vehicles.charged_kwh is not None:
        held = jnp.where(left > 0, jnp.maximum(vehicles.charged_kwh + charged_kwh, 0.0), 0.0)
    return Vehicles(jnp.where(left > 0, need_kwh, 0.0), left, held), jnp.where(leaves, need_kwh, 0.0)


def arrive(vehicles: Vehicles, need_kwh: Array, stay_steps: Array) -> Vehicles:
    """Vehicles that plug in now, `[S]`; 0 steps: nobody does."""
    comes = stay_steps > 0
    return Vehicles(
        jnp.where(comes, need_kwh.astype(jnp.float32), vehicles.need_kwh),
        jnp.where(comes, stay_steps.astype(jnp.int32), vehicles.left_steps),
        None if vehicles.charged_kwh is None else jnp.where(comes, 0.0, vehicles.charged_kwh),
    )
