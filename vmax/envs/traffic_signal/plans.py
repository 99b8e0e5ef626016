"""Fixed-time plans: what is set beforehand from known demand, by Webster's rules, and carried out by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from vmax.envs.traffic_signal.network import Description, Link
from vmax.envs.traffic_signal.signals import Timing

MAX_CYCLE_S = 150.0
"""No plan has a longer cycle; where demand is beyond what signals can serve, Webster's formula has no bound."""
ROUNDING = 1e-12
SECOND = 1e-3
"""Weight of the largest ratio beside the sum of all."""


@dataclass(frozen=True)
class Plan:
    """Of one signal: seconds of green of each phase, and when in its cycle the first one begins."""

    green_s: tuple[float, ...]
    offset_s: float = 0.0


def link_flows(network: Description, entering_per_s: Mapping[str, float]) -> dict[str, float]:
    """Vehicles a second on every link when these enter and all get through: q = q_in + Tᵀ q."""
    names = list(network.links)
    index = {name: i for i, name in enumerate(names)}
    turns = np.zeros((len(names), len(names)))
    for link in network.links.values():
        for to, share in link.turns.items():
            turns[index[link.name], index[to]] = share
    entering = np.array([entering_per_s.get(name, 0.0) for name in names])
    flows = np.linalg.lstsq(np.eye(len(names)) - turns.T, entering, rcond=None)[0]
    return dict(zip(names, flows.tolist(), strict=True))


def critical_ratios(network: Description, signal: str, flows: Mapping[str, float]) -> list[float]:
    """y of each phase: the largest flow over saturation flow among its links; a link with green in several phases needs
    its ratio of all of them together, and ratios are the least that give it."""
    phases = list(network.signals[signal].phases.values())
    names = sorted({link for links in phases for link in links})
    green = np.array([[name in links for links in phases] for name in names], float)
    saturation = {n: link.saturation_per_h * link.lanes / 3600.0 for n, link in network.links.items()}
    needed = np.array([flows[name] / saturation[name] for name in names])
    alone = green.sum(axis=1) == 1.0
    ratios = (green[alone] * needed[alone, None]).max(axis=0, initial=0.0)
    return ratios.tolist() if np.all(green @ ratios >= needed - ROUNDING) else _least_sum(green, needed)


def _least_sum(green: np.ndarray, needed: np.ndarray) -> list[float]:
    """Ratios `[P]` with the least sum that give each link what it needs, `green` `[L, P]`; of several such the ones
    whose largest is least."""
    count = green.shape[1]
    largest = np.column_stack([np.eye(count), -np.ones(count)])  # y_p - (the largest) <= 0
    serves = np.column_stack([-green, np.zeros(len(green))])
    bounds = np.concatenate([-needed, np.zeros(count)])
    solved = linprog(np.append(np.ones(count), SECOND), np.concatenate([serves, largest]), bounds)
    return solved.x[:count].tolist()


def webster(ratios: list[float], timing: Timing, grid_s: float, cycle_s: float | None = None) -> Plan:
    """Greens that share the cycle of least delay by the phases' critical ratios.

        C0 = (1.5 L + 5) / (1 - Y),   g_i = y_i / Y (C0 - L)

    L is the lost time of a cycle, Y the sum of y. Greens are whole multiples of `grid_s`, at least the least green.
    `cycle_s`: instead of C0, where signals share one. Source: Webster (1958), Traffic Signal Settings.
    """
    lost_s, total = timing.clearance_s * len(ratios), sum(ratios)
    if cycle_s is None:
        cycle_s = (1.5 * lost_s + 5.0) / (1.0 - total) if total < 1.0 else np.inf
    green_s = min(cycle_s, MAX_CYCLE_S) - lost_s
    shares = [y / total if total > 0 else 1.0 / len(ratios) for y in ratios]
    least = np.ceil(timing.min_green_s / grid_s) * grid_s
    longest = np.floor(timing.max_green_s / grid_s) * grid_s
    greens = [float(np.clip(np.round(share * green_s / grid_s) * grid_s, least, longest)) for share in shares]
    return Plan(tuple(greens))


def coordinated(network: Description, timing: Timing, grid_s: float) -> dict[str, Plan]:
    """Webster's plan for every signal at the file's steady demand, with one cycle and offsets along the heaviest way.

    The cycle is the longest that any signal asks for. From signal to signal, along the links with most vehicles between
    them, green begins as much later as free traffic takes.
    """
    entering = {name: demand.per_h / 3600.0 for name, demand in network.demand.items()}
    flows = link_flows(network, entering)
    ratios = {name: critical_ratios(network, name, flows) for name in network.signals}
    own = {name: webster(ratios[name], timing, grid_s) for name in network.signals}
    cycle_s = max(sum(p.green_s) + timing.clearance_s * len(p.green_s) for p in own.values())
    plans = own if len(own) == 1 else {n: webster(ratios[n], timing, grid_s, cycle_s) for n in own}
    return _offset(network, plans, flows, timing)


def _offset(
    network: Description, plans: dict[str, Plan], flows: Mapping[str, float], timing: Timing
) -> dict[str, Plan]:
    """The plans with offsets, by a tree of the heaviest links from the signal with the most vehicles on."""
    ways = sorted(_ways(network, flows), key=lambda way: -way[0])
    carried = {n: sum(flows[link] for p in s.phases.values() for link in p) for n, s in network.signals.items()}
    offsets = {max(carried, key=lambda name: carried[name]): 0.0}
    while True:
        new = next((w for w in ways if w[1].signal in offsets and w[2].signal not in offsets), None)
        if new is None:
            break
        _, here, there, link = new
        begin = offsets[here.signal] + green_begins(plans[here.signal], here.phase, timing)
        arrival = begin + link.length_m / link.speed_m_per_s
        offsets[there.signal] = arrival - green_begins(plans[there.signal], there.phase, timing)
    return {name: Plan(plan.green_s, offsets.get(name, 0.0)) for name, plan in plans.items()}


@dataclass(frozen=True)
class _Stop:
    """A signal and one of its phases."""

    signal: str
    phase: int


def _ways(network: Description, flows: Mapping[str, float]) -> list[tuple[float, _Stop, _Stop, Link]]:
    """Turns from one signal's stop line to a link that leads to another: vehicles a second, both, and that link."""
    stops: dict[str, _Stop] = {}
    for signal in network.signals.values():
        phases = list(signal.phases.values())
        for p, links in enumerate(phases):
            for link in links:
                begins = link not in phases[p - 1]
                if link not in stops or (begins and link in phases[stops[link].phase - 1]):
                    stops[link] = _Stop(signal.name, p)  # where its green begins
    return [
        (flows[name] * share, stops[name], stops[to], network.links[to])
        for name, link in network.links.items()
        for to, share in link.turns.items()
        if name in stops and to in stops
    ]


def green_begins(plan: Plan, phase: int, timing: Timing) -> float:
    """Seconds from the beginning of the cycle to the green of a phase; the clearance before it comes first."""
    return sum(plan.green_s[:phase]) + timing.clearance_s * (phase + 1)
