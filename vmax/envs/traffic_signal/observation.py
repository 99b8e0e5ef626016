"""What a policy sees of each signal: its approaches, the road ahead of them, and its own clock.

The observation is one block for each signal, all built alike, so one network can decide for every signal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.traffic_signal.arrays import Network
from vmax.envs.traffic_signal.measures import Measures, pressure
from vmax.envs.traffic_signal.signals import Signals, Timing, allowed
from vmax.spaces import Feature

Array = jax.Array
OUTSIDE_REFERENCE_VEH = 100.0
"""Vehicles that wait outside at which their feature is 1; more is more, never cut off."""


@dataclass(frozen=True)
class Approaches:
    """Where the approaches of signals stand among links: `count`, A, of each of J signals, padded with none."""

    count: int

    def of(self, network: Network) -> tuple[Array, Array]:
        """Links `[J, A]`, in their order, and whether there is such an approach, `[J, A]`."""
        controlled = network.green.sum(axis=1) > 0.0  # [J, L]
        order = jnp.argsort(~controlled, axis=1, stable=True)[:, : self.count]
        return order, jnp.take_along_axis(controlled, order, axis=1)


@dataclass(frozen=True)
class View:
    """What features are made of: everything about one network at one moment."""

    network: Network
    measures: Measures
    by_cell: Array
    signals: Signals
    timing: Timing
    index: Array
    there: Array
    groups: int
    hour: Array

    def approach(self, values: Array) -> Array:
        """Values of links `[L]` at the approaches, 0 where there is none, `[J, A]`."""
        return jnp.where(self.there, values[self.index], 0.0)


def _profile(view: View) -> Array:
    """Vehicles in groups of cells from the stop line back, share of what fills them, `[J, A · G]`."""
    roads, groups = view.network.roads, view.groups
    size = -(-roads.cells.shape[-1] // groups)
    pad = ((0, 0), (size * groups - roads.cells.shape[-1], 0))
    grouped = lambda x: jnp.pad(x, pad).reshape(len(x), groups, size).sum(axis=2)[:, ::-1]  # noqa: E731
    room = grouped(roads.cells * roads.holds_veh.min(axis=0)[:, None])
    share = grouped(view.by_cell.sum(axis=0)) / jnp.maximum(room, 1e-6)
    found = jnp.where(view.there[..., None], share[view.index], 0.0)
    return found.reshape(len(found), -1)


def _classes(view: View) -> Array:
    """Vehicles of the last class, share of the link's, `[J, A]`."""
    last = view.by_cell[-1].sum(axis=-1) / jnp.maximum(view.measures.count_veh, 1e-6)
    return view.approach(jnp.where(view.measures.count_veh > 1e-6, last, 0.0))


def _phase(view: View) -> Array:
    """Which phase is or comes next, `[J, P]`."""
    return (jnp.arange(view.network.phases.shape[1]) == view.signals.phase[:, None]).astype(jnp.float32)


def _column(values: Array) -> Array:
    return values.astype(jnp.float32)[:, None]


@dataclass(frozen=True)
class Kind:
    """A feature of every signal: how it is found, `[J, n]`; n per approach (`each`) or in all; its unit and bounds."""

    find: Callable[[View], Array]
    unit: str
    low: float
    high: float
    per: str


FEATURES: dict[str, Kind] = {
    "count": Kind(lambda v: v.approach(v.measures.count_veh / jnp.maximum(v.measures.holds_veh, 1e-6)),
                  "capacity", 0.0, 4.0, "approach"),
    "halted": Kind(lambda v: v.approach(v.measures.halted_veh / jnp.maximum(v.measures.holds_veh, 1e-6)),
                   "capacity", 0.0, 4.0, "approach"),
    "speed": Kind(lambda v: v.approach(v.measures.speed), "free speed", 0.0, 1.0, "approach"),
    "near": Kind(lambda v: v.approach(v.measures.near), "jam density", 0.0, 1.0, "approach"),
    "outside": Kind(lambda v: v.approach(jnp.log1p(v.measures.outside_veh) / np.log1p(OUTSIDE_REFERENCE_VEH)),
                    "log share", 0.0, 3.0, "approach"),
    "profile": Kind(_profile, "capacity", 0.0, 4.0, "group"),
    "ahead": Kind(lambda v: v.approach(v.network.roads.mean_ahead(v.measures.filled)),
                  "jam density", 0.0, 1.0, "approach"),
    "blocked": Kind(lambda v: v.approach(v.network.roads.mean_ahead(v.measures.first)),
                    "jam density", 0.0, 1.0, "approach"),
    "pressure": Kind(lambda v: v.approach(
                         pressure(v.network.roads, v.measures) / jnp.maximum(v.measures.holds_veh, 1e-6)),
                     "capacity", -4.0, 40.0, "approach"),
    "motorcycles": Kind(_classes, "share", 0.0, 1.0, "approach"),
    "phase": Kind(_phase, "1", 0.0, 1.0, "phase"),
    "allowed": Kind(lambda v: allowed(v.signals, v.network.phases, v.timing).astype(jnp.float32),
                    "1", 0.0, 1.0, "phase"),
    "green": Kind(lambda v: _column(jnp.minimum(v.signals.green_s / v.timing.max_green_s, 2.0)),
                  "longest green", 0.0, 2.0, "signal"),
    "held": Kind(lambda v: _column(v.signals.green_s < v.timing.min_green_s), "1", 0.0, 1.0, "signal"),
    "clearing": Kind(lambda v: _column(v.signals.clear_s > 0.0), "1", 0.0, 1.0, "signal"),
    "hour_sin": Kind(lambda v: _column(jnp.full(len(v.there), jnp.sin(2.0 * jnp.pi * v.hour / 24.0))),
                     "1", -1.0, 1.0, "signal"),
    "hour_cos": Kind(lambda v: _column(jnp.full(len(v.there), jnp.cos(2.0 * jnp.pi * v.hour / 24.0))),
                     "1", -1.0, 1.0, "signal"),
}  # fmt: skip


def numbers(name: str, approaches: int, phases: int, groups: int) -> int:
    """How many numbers a feature has for each signal."""
    return {"approach": approaches, "group": approaches * groups, "phase": phases, "signal": 1}[FEATURES[name].per]


def features(names: tuple[str, ...], signals: tuple[str, ...], approaches: int, phases: int, groups: int) -> Any:
    """The declared features, block by block."""
    return tuple(
        Feature(
            name if len(signals) == 1 else f"{signal}_{name}",
            FEATURES[name].unit,
            FEATURES[name].low,
            FEATURES[name].high,
            numbers(name, approaches, phases, groups),
        )
        for signal in signals
        for name in names
    )


def observe(view: View, names: tuple[str, ...]) -> Array:
    """The observation, `[J · n]`."""
    return jnp.concatenate([FEATURES[name].find(view) for name in names], axis=1).reshape(-1)
