"""Networks as arrays: what files say of them, cut into cells, padded to one size and stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.traffic_signal.flow import Roads
from vmax.envs.traffic_signal.network import Description, Link
from vmax.errors import UserError

Array = jax.Array


@dataclass(frozen=True)
class VehicleClass:
    """Vehicles of a kind: `pce` passenger cars take as much road as one; `speed_kmh` is the most that they drive;
    `beta` of u_e = 1 - r^beta, and the seconds `tau_s` in which they adapt to it."""

    name: str
    pce: float
    speed_kmh: float
    beta: float
    tau_s: float

    def __post_init__(self) -> None:
        for key in ("pce", "speed_kmh", "beta", "tau_s"):
            if getattr(self, key) <= 0:
                raise UserError(f"env.vehicles.{self.name}.{key}={getattr(self, key)}: must be above 0")


CAR_ONLY = (VehicleClass("car", 1.0, 60.0, 1.0, 8.0),)
"""The one class of first-order models."""


@struct.dataclass
class Network:
    """Arrays of a network of L links, J signals and up to P phases; or of M networks, with a leading dimension.

    Attributes:
      roads: the links, see there.
      green: 1 where a link has green in a phase of a signal, `[J, P, L]`.
      unsignalled: 1 at links whose stop line is always open, `[L]`.
      phases: 1 where the signal has such a phase, `[J, P]`.
      steady_per_s, low_per_s, high_per_s, swing_phase: demand of sources, vehicles a second, `[L]`.
    """

    roads: Roads
    green: Array
    unsignalled: Array
    phases: Array
    steady_per_s: Array
    low_per_s: Array
    high_per_s: Array
    swing_phase: Array


@dataclass(frozen=True)
class Sizes:
    """What networks are padded to."""

    links: int
    cells: int
    signals: int
    phases: int
    ahead: int

    @classmethod
    def of(cls, networks: Sequence[Description], dx_m: float) -> Sizes:
        """The largest of each."""
        signals = [s for n in networks for s in n.signals.values()]
        return cls(
            max(len(n.links) for n in networks),
            max(cell_count(link, dx_m) for n in networks for link in n.links.values()),
            max(1, *(len(n.signals) for n in networks)),
            max([2, *(len(s.phases) for s in signals)]),
            max([1, *(len(link.turns) for n in networks for link in n.links.values())]),
        )


def cell_count(link: Link, dx_m: float) -> int:
    """Cells of about dx on a link, at least one."""
    return max(1, round(link.length_m / dx_m))


def cell_length_m(link: Link, dx_m: float) -> float:
    """Metres of each of its cells."""
    return link.length_m / cell_count(link, dx_m)


def free_speed(link: Link, kind: VehicleClass) -> float:
    """Metres a second: what the link allows and the vehicle can."""
    return min(link.speed_m_per_s, kind.speed_kmh / 3.6)


def check_cfl(
    networks: Sequence[Description], classes: Sequence[VehicleClass], dx_m: float, dt_s: float, fastest_wave: float
) -> None:
    """Raises UserError where a wave crosses more than a cell in a sub-step: dt V fastest_wave <= dx."""
    for network in networks:
        for link in network.links.values():
            cell_m = cell_length_m(link, dx_m)
            speed = max(free_speed(link, kind) for kind in classes)
            if dt_s * speed * fastest_wave > cell_m * (1.0 + 1e-9):
                raise UserError(
                    f"env.flow.dt_s={dt_s:g}: must be at most {cell_m / (speed * fastest_wave):.3g} with the "
                    f"{cell_m:.3g} m cells of link {link.name} of {network.name}, else waves pass cells in one step"
                )


def build(
    network: Description, sizes: Sizes, classes: Sequence[VehicleClass], dx_m: float, steepness: Any = None
) -> Network:
    """The arrays of one network, float32. `steepness`: at how many times its own speed the curve of each class on each
    link begins, `[K, L]` (see capacity.py); None: at once."""
    names = list(network.links)
    index = {name: i for i, name in enumerate(names)}
    by_link = lambda values: _padded(np.asarray(values, np.float64), (sizes.links,))  # noqa: E731
    links = list(network.links.values())
    counts = [cell_count(link, dx_m) for link in links]
    cell_m = np.array([cell_length_m(link, dx_m) for link in links])
    pce_per_m = network.jam_per_km / 1000.0 * np.array([link.lanes for link in links])

    cells, entry = np.zeros((2, sizes.links, sizes.cells))
    for i, n in enumerate(counts):
        cells[i, sizes.cells - n :], entry[i, sizes.cells - n] = 1.0, 1.0
    free = np.array([[free_speed(link, kind) for link in links] for kind in classes])
    holds = np.array([pce_per_m * cell_m / kind.pce for kind in classes])
    saturation = np.array([link.saturation_per_h * link.lanes for link in links]) / 3600.0 / (pce_per_m * cell_m)
    demand = [network.demand.get(name) for name in names]
    per_s = lambda pick: by_link([pick(d) / 3600.0 if d else 0.0 for d in demand])  # noqa: E731
    green, phases = _signals(network, sizes, index)
    leaf = lambda values: jnp.asarray(values, jnp.float32)  # noqa: E731
    return Network(
        roads=Roads(
            cells=leaf(cells),
            entry=leaf(entry),
            first=jnp.asarray(entry.argmax(axis=1), jnp.int32),
            dx_m=leaf(_padded(cell_m, (sizes.links,), 1.0)),
            free_m_per_s=leaf(_padded(free if steepness is None else free * steepness, (len(classes), sizes.links))),
            limit=None if steepness is None else leaf(_padded(1.0 / steepness, (len(classes), sizes.links), 1.0)),
            holds_veh=leaf(_padded(holds, (len(classes), sizes.links), 1.0)),
            saturation=leaf(by_link(saturation)),
            **_turns(network, sizes, index),
            source=leaf(by_link([float(d is not None) for d in demand])),
            sink=leaf(by_link([float(not link.turns) for link in links])),
        ),
        green=leaf(green),
        unsignalled=leaf(by_link([float(network.signal_of(name) is None) for name in names])),
        phases=leaf(phases),
        steady_per_s=leaf(per_s(lambda d: d.per_h)),
        low_per_s=leaf(per_s(lambda d: d.swing[0])),
        high_per_s=leaf(per_s(lambda d: d.swing[1])),
        swing_phase=leaf(by_link([d.phase if d else 0.0 for d in demand])),
    )


def _turns(network: Description, sizes: Sizes, index: dict[str, int]) -> dict[str, Array]:
    """`ahead`, `turns` and `feeds` of `Roads`."""
    shape = (sizes.links, sizes.ahead)
    ahead, turns = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    feeds = np.zeros((*shape, sizes.links), np.float32)
    for name, link in network.links.items():
        for d, (to, share) in enumerate(link.turns.items()):
            i, j = index[name], index[to]
            ahead[i, d], turns[i, d], feeds[i, d, j] = j, share, 1.0
    return {
        "ahead": jnp.asarray(ahead),
        "turns": jnp.asarray(turns),
        "feeds": jnp.asarray(feeds.reshape(-1, sizes.links)),
    }


def _signals(network: Description, sizes: Sizes, index: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """`green` and `phases` of `Network`."""
    green = np.zeros((sizes.signals, sizes.phases, sizes.links))
    phases = np.zeros((sizes.signals, sizes.phases))
    for j, signal in enumerate(network.signals.values()):
        for p, links in enumerate(signal.phases.values()):
            phases[j, p] = 1.0
            green[j, p, [index[link] for link in links]] = 1.0
    return green, phases


def _padded(values: np.ndarray, shape: tuple[int, ...], fill: float = 0.0) -> np.ndarray:
    found = np.full(shape, fill)
    found[tuple(slice(0, n) for n in values.shape)] = values
    return found


def stack(networks: Sequence[Network]) -> Any:
    """Networks of one size with a leading dimension, `[M, ...]`."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
