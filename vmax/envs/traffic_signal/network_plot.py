"""The network as a map: density along links, which lie where their file says, and who has green; still and moving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from vmax.envs.traffic_signal.arrays import cell_count
from vmax.envs.traffic_signal.film import Film, lights
from vmax.envs.traffic_signal.plots import GREEN, NOBODY, RED, clock_minutes
from vmax.plotting import Moving, canvas

if TYPE_CHECKING:
    from vmax.envs.traffic_signal.environment import TrafficSignal

Array = np.ndarray
ASIDE_M = 12.0
"""Links lie so far to the right of the line between their nodes, as traffic keeps to the right."""
MOST_FRAMES = 90
MOVING_MINUTES = 15.0
"""Of the hour that the moving picture shows, around the longest queues."""


class Map:
    """A drawing of one network that can be brought to any step of a film."""

    def __init__(self, env: TrafficSignal, shown: Film, name: str, dpi: float | None = None) -> None:
        self.env, self.film, self.name, self.network = env, shown, name, env.descriptions[0]
        places = np.array(list(self.network.nodes.values()) or [(0.0, 0.0)])
        wide, high = np.maximum(np.ptp(places, axis=0), 1.0)
        with canvas(9.0, float(np.clip(8.0 * high / wide, 1.6, 8.0)) + 1.0) as (figure, axes):
            self.figure, self.axes = figure, axes
            if dpi is not None:
                figure.set_dpi(dpi)
            self.cells, self.stops = self._roads(), self._stops()
            if self.cells:
                figure.colorbar(self.cells[0][1], ax=axes, label="jam density", shrink=0.7)
            axes.set(xlabel="m", ylabel="m")
            axes.set_aspect("equal")

    def _roads(self) -> list[tuple[int, Any]]:
        """A row of points for each link that has places."""
        found = []
        for number, link in enumerate(self.network.links.values()):
            ends = [self.network.nodes.get(node) for node in (link.start, link.end)]
            if ends[0] is None or ends[1] is None:
                continue
            begin, way, aside = _line(ends[0], ends[1])
            cells = cell_count(link, self.env.config.flow.dx_m)
            points = begin + (np.arange(cells) + 0.5)[:, None] / cells * way + aside
            drawn = self.axes.scatter(
                *points.T, c=np.zeros(cells), cmap="magma_r", vmin=0.0, vmax=1.0, s=18, linewidths=0
            )
            found.append((number, drawn))
        return found

    def _stops(self) -> list[tuple[int, Array, Any]]:
        """A point at each stop line: number of its signal, which phases give it green, the point."""
        found = []
        for name, link in self.network.links.items():
            signal = self.network.signal_of(name)
            ends = [self.network.nodes.get(node) for node in (link.start, link.end)]
            if signal is None or ends[0] is None or ends[1] is None:
                continue
            begin, way, aside = _line(ends[0], ends[1])
            point = self.axes.scatter(*(begin + way + aside), s=34, marker="s", linewidths=0, zorder=3)
            phases = np.array([name in links for links in self.network.signals[signal].phases.values()])
            found.append((list(self.network.signals).index(signal), phases, point))
        return found

    def draw(self, step: int) -> None:
        """Brings it to a step."""
        for number, drawn in self.cells:
            drawn.set_array(self.film.occupied[step, number, -len(drawn.get_offsets()) :])
        for signal, phases, point in self.stops:
            point.set_color((RED, GREEN, NOBODY)[lights(self.film, signal, phases)[step]])
        seconds = round(60.0 * clock_minutes(self.env, self.film)[step])
        title = f"{self.name}, {seconds // 60:02d}:{seconds % 60:02d}"
        self.axes.set_title(title, loc="left", fontweight="bold", fontsize=11)


def _line(start: tuple[float, float], end: tuple[float, float]) -> tuple[Array, Array, Array]:
    """Where a link begins, the way to its end, and what it lies aside."""
    begin, way = np.asarray(start), np.asarray(end) - np.asarray(start)
    unit = way / max(float(np.hypot(*way)), 1e-9)
    return begin, way, ASIDE_M * np.array([unit[1], -unit[0]])


def snapshot(env: TrafficSignal, shown: Film, name: str) -> Figure:
    """The network when queues are longest."""
    drawn = Map(env, shown, f"Longest queues, {name}")
    drawn.draw(int(shown.queue_veh.sum(axis=1).argmax()))
    return drawn.figure


def moving(env: TrafficSignal, shown: Film, name: str) -> Moving:
    """The minutes around the longest queues."""
    total = len(shown.arrived_veh)
    count = min(round(MOVING_MINUTES * 60.0 / env.config.signals.decide_s), total)
    first = int(np.clip(int(shown.queue_veh.sum(axis=1).argmax()) - count // 2, 0, total - count))
    every = -(-count // MOST_FRAMES)
    drawn = Map(env, shown, name, dpi=75.0)
    return Moving(drawn.figure, lambda frame: drawn.draw(first + frame * every), -(-count // every), 8.0)
