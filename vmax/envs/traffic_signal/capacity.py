"""What a lane carries beside what its file says that a stop line lets pass.

A curve of speed over density carries a fixed share of jam density times free speed: at 30 km/h fewer vehicles than pass
the stop line of such a street, whose queues discharge about as fast as others. So on a link whose curve carries less
than its saturation flow the curve begins at a higher speed, and drivers keep to the link's own: the density at which
they have to slow down lies higher, and the curve carries the saturation flow. How far that goes is bounded by the
sub-step, as waves in dense traffic are faster then; what cannot be carried is said, and not counted on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from vmax.envs.traffic_signal.arrays import VehicleClass, cell_length_m, free_speed
from vmax.envs.traffic_signal.models import Model
from vmax.envs.traffic_signal.network import Description, Link

STEEPEST = 10.0
"""No curve begins at more than so many times the speed of its link."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Capacities:
    """Capacities of links under a model with cells of about `dx_m` and sub-steps of `dt_s`."""

    model: Model
    classes: tuple[VehicleClass, ...]
    dx_m: float
    dt_s: float

    def steepness(self, network: Description) -> np.ndarray:
        """How many times its own speed the curve of each class on each link begins at, `[K, L]`."""
        links = network.links.values()
        return np.array([[self._steep(network, link, kind) for link in links] for kind in range(len(self.classes))])

    def carried_per_h(self, network: Description, link: Link) -> float:
        """Passenger cars that a lane carries, of the class that it carries most of."""
        return max(
            self._flow(network, link, kind, self._steep(network, link, kind)) for kind in range(len(self.classes))
        )

    def kept(self, network: Description) -> Description:
        """The network with no more saturation flow than its lanes carry; says on standard error which carry less."""
        carried = {name: self.carried_per_h(network, link) for name, link in network.links.items()}
        less = [
            name for name, most in carried.items() if most < (1.0 - ROUNDING) * network.links[name].saturation_per_h
        ]
        if not less:
            return network
        first = network.links[less[0]]
        _say(
            f"warning: network {network.name}: links.{first.name}: at {first.speed_m_per_s * 3.6:g} km/h a lane "
            f"carries {carried[first.name]:,.0f} vehicles an hour with env.flow.dt_s={self.dt_s:g}, less than "
            f"saturation_per_h={first.saturation_per_h:g}; queues discharge at that"
            + (f" (and {len(less) - 1} more links)" if len(less) > 1 else "")
        )
        mended = {name: replace(network.links[name], saturation_per_h=carried[name]) for name in less}
        return replace(network, links={**network.links, **mended})

    def _flow(self, network: Description, link: Link, kind: int, steep: float) -> float:
        """Passenger cars an hour that a lane of one class alone carries."""
        free_kmh = 3.6 * free_speed(link, self.classes[kind])
        return steep * self.model.curve(kind).capacity(1.0 / steep) * network.jam_per_km * free_kmh

    def _steep(self, network: Description, link: Link, kind: int) -> float:
        """The least that carries the saturation flow, or the most that the sub-step lets."""
        cell_m, free = cell_length_m(link, self.dx_m), free_speed(link, self.classes[kind])
        enough = _first(lambda steep: self._flow(network, link, kind, steep) >= link.saturation_per_h)
        too_fast = _first(
            lambda steep: self.dt_s * free * steep * self.model.fastest_wave(1.0 / steep) > cell_m * (1.0 + ROUNDING)
        )
        return max(1.0, min(enough, too_fast * (1.0 - ROUNDING)))


def _first(holds: Callable[[float], bool]) -> float:
    """The least number within [1, STEEPEST] from which on something holds; STEEPEST where it never does."""
    low, high = 1.0, STEEPEST
    if holds(low):
        return low
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@cache
def _say(line: str) -> None:
    """Once a process: environments are made many times."""
    print(line, file=sys.stderr, flush=True)
