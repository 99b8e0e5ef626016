"""Fronts of two objectives, both to be small: what nobody betters, and the area that it dominates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.table import Table

from vmax.evaluation.evaluate import NOTHINGS, Assessment
from vmax.plotting import canvas, colour

WIDTH = 120
BESIDE = 1.5
"""Times the largest of the learned: what lies beyond is not drawn."""


class Fronted(Assessment, Protocol):
    """An assessment whose objectives are weighted, the two of `fronted` against each other. `share`: what the second
    has of the weight that the configuration gives to both."""

    def reweighted(self, params: Any, share: float) -> Any:
        """The params of a split with weights of this share."""
        ...

    def weights_told(self, share: float) -> str:
        """Those weights for people."""
        ...

    def share_of(self, weights: tuple[float, ...]) -> float:
        """The share of the second in both, of any weights."""
        ...

    def objective_at(self, share: float, values: Mapping[str, Any], nothing: Mapping[str, Any]) -> float:
        """The weighted objective of a policy's key figures, beside those of doing nothing."""
        ...


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Which of the points `[N, 2]` no other one betters in one objective without being worse in the other, `[N]`. Of
    equal points the first counts."""
    kept, least = np.zeros(len(points), bool), np.inf
    for index in np.lexsort((points[:, 1], points[:, 0])):
        if points[index, 1] < least:
            kept[index], least = True, points[index, 1]
    return kept


def draw(
    axes: Any,
    groups: Mapping[str, np.ndarray],
    others: Mapping[str, np.ndarray],
    shades: Mapping[str, str],
    names: tuple[str, ...],
    unit: str,
) -> None:
    """Points `[N, 2]` of groups, and of others where they lie near these: whoever is far off is named below."""
    reach = BESIDE * np.concatenate(list(groups.values())).max(axis=0)
    near = {name: points for name, points in others.items() if (points <= reach).all(axis=1).any()}
    for marker, found in (("o", groups), ("D", near)):
        for name, points in found.items():
            shade, front = shades[name], points[non_dominated(points)]
            if name in near and len(points) > 1:
                axes.plot(*front[np.argsort(front[:, 0])].T, color=shade, linewidth=1.2, alpha=0.7)
            axes.scatter(*points.T, s=36, color=shade, marker=marker, label=name, zorder=4 if marker == "o" else 3)
    far = [name for name in others if name not in near]
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.set(xlabel=names[0], ylabel=f"{names[1]}, {unit}")
    axes.set_title("Both objectives" + (f"; far outside: {', '.join(far)}" if far else ""), wrap=True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
        axis.set_major_locator(MaxNLocator(6))


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Share of the rectangle between the origin and `reference` `[2]` that the points `[N, 2]` dominate, 0 to 1: what
    lies above and to the right of one of them. Objectives below 0 count as 0.

    After Zitzler & Thiele (1999), Multiobjective evolutionary algorithms, for two objectives.
    """
    inside = np.maximum(points[(points < reference).all(axis=1)], 0.0)
    front = inside[non_dominated(inside)]
    front = front[np.argsort(front[:, 0])]
    until = np.append(front[1:, 0], reference[0])
    return float(((until - front[:, 0]) * (reference[1] - front[:, 1])).sum() / np.prod(reference))


@dataclass(frozen=True)
class Point:
    """What a policy comes to: its kind, the second weight's share (None: of a rule, which knows no weights), both
    objectives of a mean year, and the weighted objective."""

    kind: str
    share: float | None
    first: float
    second: float
    objective: float | None


@dataclass(frozen=True)
class Front:
    """Points of all kinds, what the two objectives are called, and the unit of money."""

    points: list[Point]
    axes: tuple[str, ...]
    currency: str

    LEARNED: ClassVar[str] = "trained for all"

    def kinds(self) -> list[str]:
        """The kinds that have points, in order."""
        return list(dict.fromkeys(point.kind for point in self.points))

    def of(self, kind: str) -> np.ndarray:
        """Both objectives of a kind's points, `[N, 2]`."""
        return np.array([[point.first, point.second] for point in self.points if point.kind == kind])

    def hypervolumes(self) -> dict[str, float]:
        """Of each kind, in the rectangle of doing nothing."""
        nothing = next(name for name in self.kinds() if name in NOTHINGS)
        return {kind: hypervolume(self.of(kind), self.of(nothing)[0]) for kind in self.kinds() if kind != nothing}

    def described(self) -> dict[str, Any]:
        """For the record."""
        rule = "share of the rectangle of both objectives of doing nothing that the points of a kind dominate"
        return {
            "objectives": self.axes,
            "hypervolume": self.hypervolumes(),
            "rules": {"hypervolume": rule},
            "points": [asdict(point) for point in self.points],
        }

    def show(self) -> None:
        """Prints each kind's hypervolume, the range of both objectives, and its mean weighted objective."""
        table = Table(title="by weights, hypervolume first", title_justify="left")
        for heading in ("policy", "points", "hypervolume", *self.axes, "mean objective"):
            table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
        for kind, volume in sorted(self.hypervolumes().items(), key=lambda item: -item[1]):
            points = self.of(kind)
            ranges = [f"{low:,.0f} – {high:,.0f}" for low, high in zip(points.min(0), points.max(0), strict=True)]
            known = [point.objective for point in self.points if point.kind == kind and point.objective is not None]
            mean = f"{np.mean(known):.4f}" if known else "-"
            style = "bold cyan" if kind == self.LEARNED else None
            table.add_row(kind, str(len(points)), f"{volume:.4f}", *ranges, mean, style=style)
        console = Console()
        (console if console.is_terminal else Console(width=WIDTH)).print(table)

    def figure(self) -> Figure:
        """Both objectives of every point; a kind with several has a line through what nobody betters."""
        points = {kind: self.of(kind) for kind in self.kinds()}
        shades = {kind: colour(kind) for kind in points}
        learned = {self.LEARNED: points.pop(self.LEARNED)}
        with canvas(8.5, 5.5) as (figure, axes):
            draw(axes, learned, points, shades, self.axes, self.currency)
        return figure
