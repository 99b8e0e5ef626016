"""Road networks: what a file says of one, checked, and the arrays that it becomes.

A file names links with their turns, signals with their phases, and the demand of each link by which vehicles enter.
Networks of different sizes become arrays of one size, padded with links without cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from vmax.errors import UserError

SHIPPED = Path(__file__).parent / "networks"
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Demand:
    """Vehicles an hour that come to a link: steady, and the least and the greatest of a swing from `phase` on."""

    per_h: float
    swing: tuple[float, float]
    phase: float


@dataclass(frozen=True)
class Link:
    """A road in one direction. `turns`: share of its vehicles that goes on to each link, by name; none for an exit."""

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
    """A junction's signal. `phases`: names, each with the links that have green in it."""

    name: str
    phases: Mapping[str, tuple[str, ...]]


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


def read(path: Path) -> Description:
    """A network from its file. Raises UserError of one line."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: no readable YAML ({' '.join(str(error).split())})") from None
    return Reader(path).network(found)


class Reader:
    """Turns what YAML gives into a description, or says what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def network(self, found: Any) -> Description:
        """The whole file."""
        if found is None:
            self.fail("empty; see docs/traffic.md")
        top = self._mapping(found, "the file", {"name", "jam_per_km", "nodes", "links", "signals", "demand"})
        nodes = {str(n): self._pair(p, f"nodes.{n}") for n, p in self._any(top.get("nodes", {}), "nodes").items()}
        links = {str(n): self._link(str(n), v) for n, v in self._any(top.get("links"), "links").items()}
        signals = {str(n): self._signal(str(n), v) for n, v in self._any(top.get("signals", {}), "signals").items()}
        demand = {str(n): self._demand(str(n), v) for n, v in self._any(top.get("demand"), "demand").items()}
        jam = self._number(top.get("jam_per_km", 150), "jam_per_km", above=0)
        description = Description(str(top.get("name", self.path.stem)), jam, nodes, links, signals, demand)
        self._fits(description)
        return description

    def _link(self, name: str, found: Any) -> Link:
        keys = {"from", "to", "length_m", "lanes", "speed_kmh", "saturation_per_h", "turns"}
        values, where = self._mapping(found, f"links.{name}", keys), f"links.{name}"
        for key in ("length_m", "speed_kmh"):
            if key not in values:
                self.fail(f"{where}.{key}: missing")
        lanes = self._number(values.get("lanes", 1), f"{where}.lanes", above=0)
        if lanes != int(lanes):
            self.fail(f"{where}.lanes={lanes}: must be whole")
        turns = {
            str(to): self._number(share, f"{where}.turns.{to}", above=0)
            for to, share in self._any(values.get("turns", {}), f"{where}.turns").items()
        }
        return Link(
            name,
            str(values.get("from", "")),
            str(values.get("to", "")),
            self._number(values["length_m"], f"{where}.length_m", above=0),
            int(lanes),
            self._number(values["speed_kmh"], f"{where}.speed_kmh", above=0) / 3.6,
            self._number(values.get("saturation_per_h", 1800), f"{where}.saturation_per_h", above=0),
            turns,
        )

    def _signal(self, name: str, found: Any) -> Signal:
        where = f"signals.{name}"
        values = self._mapping(found, where, {"phases"})
        phases = self._any(values.get("phases"), f"{where}.phases")
        for phase, links in phases.items():
            if not isinstance(links, list) or not links:
                self.fail(f"{where}.phases.{phase}={links!r}: must be a list of links")
        return Signal(name, {str(phase): tuple(str(link) for link in links) for phase, links in phases.items()})

    def _demand(self, name: str, found: Any) -> Demand:
        where = f"demand.{name}"
        values = self._mapping(found, where, {"per_h", "swing", "phase"})
        per_h = self._number(values.get("per_h"), f"{where}.per_h", least=0)
        low, high = self._pair(values.get("swing", [per_h, per_h]), f"{where}.swing")
        if not 0 <= low <= high:
            self.fail(f"{where}.swing=[{low:g}, {high:g}]: must be [least, greatest], both at least 0")
        return Demand(per_h, (low, high), self._number(values.get("phase", 0.0), f"{where}.phase"))

    def _fits(self, network: Description) -> None:
        """Raises UserError where one part names what another has not."""
        links = network.links
        if not network.demand:
            self.fail("demand: empty; at least one link must have vehicles that enter by it")
        fed = {to for link in links.values() for to in link.turns}
        for link in links.values():
            for to in link.turns:
                if to not in links:
                    self.fail(f"links.{link.name}.turns.{to}: no such link; links are {_some(links)}")
            if link.turns and abs(sum(link.turns.values()) - 1.0) > TOLERANCE:
                self.fail(f"links.{link.name}.turns: add up to {sum(link.turns.values()):g}, must be 1")
            for node in (link.start, link.end):
                if network.nodes and node and node not in network.nodes:
                    self.fail(f"links.{link.name}: node {node!r} is none of {_some(network.nodes)}")
            if link.name not in fed and link.name not in network.demand:
                self.fail(f"links.{link.name}: no vehicle ever comes here; it needs demand or a turn to it")
        for name in network.demand:
            if name not in links:
                self.fail(f"demand.{name}: no such link; links are {_some(links)}")
            if name in fed:
                self.fail(f"demand.{name}: other links turn into it; vehicles enter by links of their own")
        self._signals_fit(network)

    def _signals_fit(self, network: Description) -> None:
        seen: dict[str, str] = {}
        for signal in network.signals.values():
            if len(signal.phases) < 2:
                self.fail(f"signals.{signal.name}.phases: {len(signal.phases)} given, at least 2 needed")
            for phase, links in signal.phases.items():
                for link in links:
                    if link not in network.links:
                        self.fail(f"signals.{signal.name}.phases.{phase}: no link {link!r}")
                    if seen.setdefault(link, signal.name) != signal.name:
                        self.fail(f"signals.{signal.name}.phases.{phase}: {link} belongs to {seen[link]}")

    def _mapping(self, found: Any, where: str, allowed: set[str]) -> Mapping[str, Any]:
        values = self._any(found, where)
        for key in values:
            if key not in allowed:
                self.fail(f"{where}: unknown key {key!r}; allowed: {', '.join(sorted(allowed))}")
        return values

    def _any(self, found: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(found, Mapping):
            self.fail(f"{where}: {'missing' if found is None else f'{found!r} is no mapping'}")
        return found

    def _number(self, found: Any, where: str, above: float | None = None, least: float | None = None) -> float:
        if isinstance(found, bool) or not isinstance(found, int | float) or not np.isfinite(found):
            self.fail(f"{where}={found!r}: must be a number")
        if above is not None and not found > above:
            self.fail(f"{where}={found:g}: must be above {above:g}")
        if least is not None and not found >= least:
            self.fail(f"{where}={found:g}: must be at least {least:g}")
        return float(found)

    def _pair(self, found: Any, where: str) -> tuple[float, float]:
        if not isinstance(found, list) or len(found) != 2:
            self.fail(f"{where}={found!r}: must be two numbers")
        return self._number(found[0], where), self._number(found[1], where)

    def fail(self, what: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{self.path}: {what}")


def _some(names: Iterable[str]) -> str:
    """The first few of these names."""
    listed = list(names)
    return ", ".join(listed[:8]) + (" …" if len(listed) > 8 else "")
