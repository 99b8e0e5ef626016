"""Road networks as their files describe them: links with their turns, signals with their phases, and the demand of each
link by which vehicles enter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmax.errors import UserError

SHIPPED = Path(__file__).parent / "networks"


@dataclass(frozen=True)
class Demand:
    """Vehicles an hour that come to a link: steady, and the least and the greatest of a swing from `phase` on."""

    per_h: float
    swing: tuple[float, float]
    phase: float


@dataclass(frozen=True)
class Link:
    """A road in one direction. `saturation_per_h`: vehicles that pass the stop line of a lane. `turns`: share of its
    vehicles that goes on to each link, by name; none for an exit."""

    name: str
    start: str
    end: str
    length_m: float
    lanes: int
    speed_m_per_s: float
    saturation_per_h: float
    turns: Mapping[str, float]


@dataclass(frozen=True)
class Signal:
    """A junction's signal. `phases`: names, each with the links that have green in it; `uncontrolled`: links that end
    here and are always open, on purpose."""

    name: str
    phases: Mapping[str, tuple[str, ...]]
    uncontrolled: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """A network as its file says."""

    name: str
    jam_per_km: float
    nodes: Mapping[str, tuple[float, float]]
    links: Mapping[str, Link]
    signals: Mapping[str, Signal]
    demand: Mapping[str, Demand]

    def signal_of(self, link: str) -> str | None:
        """The signal at the stop line of a link."""
        return next((s.name for s in self.signals.values() for p in s.phases.values() if link in p), None)


def find(name: str) -> Path:
    """The file of a shipped network, or the user's own. Raises UserError."""
    if name in shipped():
        return SHIPPED / f"{name}.yaml"
    path = Path(name)
    if not path.is_file():
        raise UserError(f"env.network={name}: no such file, and none of {', '.join(shipped())}")
    return path


def shipped() -> list[str]:
    """Names of the networks that come with vmax."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))
