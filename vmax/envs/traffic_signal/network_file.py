"""Reads the file of a network: a description, or one line that says what is wrong with the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from vmax.envs.traffic_signal import network_yaml
from vmax.envs.traffic_signal.network import Demand, Description, Link, Signal
from vmax.envs.traffic_signal.network_rules import faults
from vmax.errors import UserError

MOST_QUOTED, MOST_LINE = 40, 300
"""Characters of a value that a message quotes, and of what it says beside the file's name."""
MOST_LANES, MOST_LENGTH_M = 20, 100_000
OURS = "vmax reads its own YAML (docs/traffic.md)"
SUMO_FILES = (".net.xml", ".net.xml.gz")


def read(path: Path) -> Description:
    """A network from its file. Raises UserError of one line."""
    return Reader(path).network()


class Reader:
    """Turns what YAML gives into a description, or says what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def network(self) -> Description:
        """The whole file."""
        top = self._mapping(self._loaded(), "the file", {"name", "jam_per_km", "nodes", "links", "signals", "demand"})
        name = top.get("name", self.path.stem)
        if not isinstance(name, str):
            self.fail(f"name={_quoted(name)}: must be text")
        description = Description(
            name,
            self._number(top.get("jam_per_km", 150), "jam_per_km", above=0),
            {n: self._pair(p, f"nodes.{n}") for n, p in self._named(top.get("nodes", {}), "nodes").items()},
            {n: self._link(n, v) for n, v in self._named(top.get("links"), "links").items()},
            {n: self._signal(n, v) for n, v in self._named(top.get("signals", {}), "signals").items()},
            {n: self._demand(n, v) for n, v in self._named(top.get("demand"), "demand").items()},
        )
        for fault in faults(description):
            self.fail(fault)
        return description

    def _loaded(self) -> Any:
        """What YAML gives, all values as text."""
        try:
            sumo = self.path.name.endswith(SUMO_FILES)
            text = "" if sumo else self.path.read_text(encoding="utf-8")
            if sumo or text.lstrip("\ufeff \t\r\n").startswith("<"):
                self.fail(f"{'a SUMO network' if sumo or '<net' in text else 'an XML file'}; {OURS}")
            for place, first, again in network_yaml.repeated(text):
                self.fail(f"{place}: given twice, in lines {first} and {again}; each key is given once")
            found = network_yaml.load(text)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            self.fail(f"no readable YAML ({' '.join(str(error).split())})")
        return self.fail("empty; see docs/traffic.md") if found is None else found

    def _link(self, name: str, found: Any) -> Link:
        keys = {"from", "to", "length_m", "lanes", "speed_kmh", "saturation_per_h", "turns"}
        values, where = self._mapping(found, f"links.{name}", keys), f"links.{name}"
        for key in ("length_m", "speed_kmh"):
            if key not in values:
                self.fail(f"{where}.{key}: missing")
        lanes = self._number(values.get("lanes", 1), f"{where}.lanes", least=1, most=MOST_LANES)
        if lanes != int(lanes):
            self.fail(f"{where}.lanes={lanes:g}: must be whole")
        turns = {
            to: self._number(share, f"{where}.turns.{to}", above=0)
            for to, share in self._named(values.get("turns", {}), f"{where}.turns").items()
        }
        return Link(
            name,
            self._text(values.get("from", ""), f"{where}.from"),
            self._text(values.get("to", ""), f"{where}.to"),
            self._number(values["length_m"], f"{where}.length_m", above=0, most=MOST_LENGTH_M),
            int(lanes),
            self._number(values["speed_kmh"], f"{where}.speed_kmh", above=0) / 3.6,
            self._number(values.get("saturation_per_h", 1800), f"{where}.saturation_per_h", above=0),
            turns,
        )

    def _signal(self, name: str, found: Any) -> Signal:
        where = f"signals.{name}"
        values = self._mapping(found, where, {"phases", "uncontrolled"})
        phases = {
            phase: self._links(links, f"{where}.phases.{phase}")
            for phase, links in self._named(values.get("phases"), f"{where}.phases").items()
        }
        open_always = values.get("uncontrolled")
        return Signal(name, phases, () if open_always is None else self._links(open_always, f"{where}.uncontrolled"))

    def _links(self, found: Any, where: str) -> tuple[str, ...]:
        """Names of links, each once."""
        if not isinstance(found, list) or not found:
            self.fail(f"{where}={_quoted(found)}: must be a list of links")
        links = tuple(self._text(link, where) for link in found)
        for link in links:
            if links.count(link) > 1:
                self.fail(f"{where}: {link} stands there twice")
        return links

    def _demand(self, name: str, found: Any) -> Demand:
        where = f"demand.{name}"
        values = self._mapping(found, where, {"per_h", "swing", "phase"})
        if "per_h" not in values:
            self.fail(f"{where}.per_h: missing")
        per_h = self._number(values["per_h"], f"{where}.per_h", least=0)
        low, high = self._pair(values.get("swing", [per_h, per_h]), f"{where}.swing")
        if not 0 <= low <= high:
            self.fail(f"{where}.swing=[{low:g}, {high:g}]: must be [least, greatest], both at least 0")
        if not low <= per_h <= high:
            self.fail(f"{where}.per_h={per_h:g}: must be within swing=[{low:g}, {high:g}]")
        return Demand(per_h, (low, high), self._number(values.get("phase", 0), f"{where}.phase", least=0, most=1))

    def _mapping(self, found: Any, where: str, allowed: set[str]) -> Mapping[str, Any]:
        values = self._named(found, where)
        for key in values:
            if key not in allowed:
                self.fail(f"{where}: unknown key {_quoted(key)}; allowed: {', '.join(sorted(allowed))}")
        return values

    def _named(self, found: Any, where: str) -> Mapping[str, Any]:
        """What stands under names."""
        if not isinstance(found, Mapping):
            self.fail(f"{where}: {'missing' if found in (None, '') else f'{_quoted(found)} is no mapping'}")
        for name in found:
            if not isinstance(name, str) or not name:
                self.fail(f"{where}: {_quoted(name)} is no name")
        return found

    def _text(self, found: Any, where: str) -> str:
        if not isinstance(found, str):
            self.fail(f"{where}={_quoted(found)}: must be a name")
        return found

    def _number(
        self, found: Any, where: str, above: float | None = None, least: float | None = None, most: float | None = None
    ) -> float:
        try:
            value = float(found) if isinstance(found, str | int | float) else np.nan
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            self.fail(f"{where}={_quoted(found)}: must be a number")
        if above is not None and not value > above:
            self.fail(f"{where}={value:g}: must be above {above:g}")
        if least is not None and not value >= least:
            self.fail(f"{where}={value:g}: must be at least {least:g}")
        if most is not None and not value <= most:
            self.fail(f"{where}={value:g}: must be at most {most:g}")
        return value

    def _pair(self, found: Any, where: str) -> tuple[float, float]:
        if not isinstance(found, list) or len(found) != 2:
            self.fail(f"{where}={_quoted(found)}: must be two numbers")
        return self._number(found[0], where), self._number(found[1], where)

    def fail(self, what: str) -> NoReturn:
        """Raises UserError, of a line that is not longer than people read."""
        raise UserError(f"{self.path}: {what if len(what) <= MOST_LINE else what[:MOST_LINE] + ' …'}")


def _quoted(found: Any) -> str:
    """A value as Python writes it, its beginning where it is long."""
    text = repr(found)
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]} …"
