"""Pictures of traffic at signals: what stood where and when, who had green, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from vmax.envs.traffic_signal.arrays import cell_count
from vmax.envs.traffic_signal.film import Film, lights
from vmax.plotting import canvas, colour

if TYPE_CHECKING:
    from vmax.envs.traffic_signal.environment import TrafficSignal

MINUTES = 20.0
"""Of the hour that the diagrams of space and time show, from where queues are longest."""
MOST_LINKS = 6
RED, GREEN, NOBODY = "#c62828", "#2e8b57", "#bdbdbd"


def time_space(env: TrafficSignal, shown: Film, name: str) -> Figure:
    """Density along the busiest approaches over time, with the signal at the stop line on top: one panel a link."""
    network, steps = env.descriptions[0], _window(env, shown)
    links, minutes = _busiest(env, shown), clock_minutes(env, shown)[steps]
    with canvas(12, 1.0 + 1.7 * len(links), rows=len(links)) as (figure, axes):
        for link, axis in zip(links, np.atleast_1d(axes), strict=True):
            cells = cell_count(network.links[link], env.config.flow.dx_m)
            density = shown.occupied[steps, list(network.links).index(link), -cells:].T
            length = network.links[link].length_m
            image = axis.imshow(
                density, origin="lower", aspect="auto", cmap="magma_r", vmin=0.0, vmax=1.0, interpolation="nearest",
                extent=(minutes[0], minutes[-1], -length, 0.0),
            )  # fmt: skip
            _signal_bar(env, shown, steps, link, axis, minutes, 0.06 * length)
            axis.set(ylabel=f"{link}\nm to the stop line", ylim=(-length, 0.08 * length))
            axis.grid(False)
            figure.colorbar(image, ax=axis, label="jam density", pad=0.01)
        np.atleast_1d(axes)[0].set_title(f"Density before the stop lines, {name}; above: green, red, clearance")
        np.atleast_1d(axes)[-1].set_xlabel("minutes")
    return figure


def _signal_bar(
    env: TrafficSignal, shown: Film, steps: slice, link: str, axis: Any, minutes: np.ndarray, height: float
) -> None:
    """Who had green at the stop line of a link, above it."""
    network = env.descriptions[0]
    signal = network.signal_of(link)
    if signal is None:
        return
    number = list(network.signals).index(signal)
    phases = np.array([link in links for links in network.signals[signal].phases.values()])
    state = lights(shown, number, phases)[steps]
    axis.imshow(
        state[None], aspect="auto", cmap=ListedColormap([RED, GREEN, NOBODY]), vmin=0, vmax=2, interpolation="nearest",
        extent=(minutes[0], minutes[-1], 0.0, height), origin="lower",
    )  # fmt: skip


def queues(env: TrafficSignal, films: Mapping[str, Film]) -> Figure:
    """Vehicles that stand or wait outside over time under several policies, and below who had green at one signal under
    the first."""
    network, name = env.descriptions[0], next(iter(films))
    signal = max(network.signals, key=lambda s: len(network.signals[s].phases))
    number = list(network.signals).index(signal)
    with canvas(12, 5.2, rows=2, sharex=True, height_ratios=[4, 1]) as (figure, (top, bottom)):
        for policy, shown in films.items():
            top.plot(
                clock_minutes(env, shown),
                shown.queue_veh.sum(axis=1),
                color=colour(policy),
                label=policy,
                linewidth=1.2,
            )
        top.set(title="Queues: vehicles that stand or wait outside", ylabel="vehicles")
        top.legend()
        shown = films[name]
        for phase in range(len(network.signals[signal].phases)):
            lit = (shown.phase[:, number] == phase) & ~shown.clearing[:, number]
            bottom.fill_between(
                clock_minutes(env, shown), phase, phase + lit * 0.9, step="post", color=GREEN, linewidth=0
            )
        labels = list(network.signals[signal].phases)
        bottom.set_yticks(np.arange(len(labels)) + 0.45, labels)
        bottom.set(xlabel="minutes", title=f"Green of {signal}, {name}")
    return figure


def cumulative(env: TrafficSignal, films: Mapping[str, Film]) -> Figure:
    """Vehicles that came and that left: the area between is the time that they spent."""
    with canvas(9, 4.8) as (figure, axes):
        first = next(iter(films.values()))
        axes.plot(clock_minutes(env, first), first.arrived_veh, color="#111111", linewidth=1.6, label="came")
        for policy, shown in films.items():
            axes.plot(
                clock_minutes(env, shown), shown.left_veh, color=colour(policy), linewidth=1.2, label=f"left, {policy}"
            )
        axes.set(title="Vehicles so far", xlabel="minutes", ylabel="vehicles")
        axes.legend()
    return figure


def by_seed(delays: Mapping[str, np.ndarray]) -> Figure:
    """How delay lies over the demand seeds, by policy, the least first; beyond five times the least none is shown."""
    means = {name: float(values.mean()) for name, values in delays.items()}
    least = min(means.values())
    names = [name for name in sorted(means, key=lambda name: means[name]) if means[name] <= 5.0 * least]
    with canvas(9, 1.0 + 0.45 * len(names)) as (figure, axes):
        for place, name in enumerate(names):
            spread = np.random.default_rng(0).uniform(-0.25, 0.25, len(delays[name]))
            axes.scatter(delays[name], place + spread, s=8, color=colour(name), alpha=0.5, linewidths=0)
            axes.plot([means[name]] * 2, [place - 0.35, place + 0.35], color=colour(name), linewidth=2.5)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="seconds of delay per vehicle; a point is a demand seed", ylim=(len(names) - 0.5, -0.5))
    return figure


def by_world(worlds: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Delay of policies at other levels of demand, with 95 % intervals; what is beyond six times the least of a level
    lies at the edge."""
    names, least = list(worlds), min(v["delay_s_per_veh"] for found in worlds.values() for v in found.values())
    policies = [name for name in next(iter(worlds.values())) if name != "last"]
    most = max(min(v["delay_s_per_veh"], 6.0 * least) for found in worlds.values() for v in found.values())
    with canvas(9, 4.5) as (figure, axes):
        for number, policy in enumerate(policies):
            means = [worlds[name][policy]["delay_s_per_veh"] for name in names]
            ends = np.array([worlds[name][policy]["ci95"]["delay_s_per_veh"] for name in names]).T
            places = np.arange(len(names)) + 0.8 * ((number + 0.5) / len(policies) - 0.5)
            axes.bar(places, means, 0.8 / len(policies), color=colour(policy), label=policy)
            axes.errorbar(places, means, abs(ends - means), fmt="none", ecolor="#111111", elinewidth=0.8)
        axes.set_xticks(range(len(names)), names)
        axes.set(title="Delay at other levels of demand", ylabel="s per vehicle", ylim=(0.0, 1.05 * most))
        axes.grid(False, axis="x")
        axes.legend(ncols=len(policies), loc="upper left")
    return figure


def clock_minutes(env: TrafficSignal, shown: Film) -> np.ndarray:
    return (np.arange(len(shown.arrived_veh)) + 1) * env.config.signals.decide_s / 60.0


def _window(env: TrafficSignal, shown: Film) -> slice:
    """The steps around the longest queues."""
    count = min(round(MINUTES * 60.0 / env.config.signals.decide_s), len(shown.arrived_veh))
    middle = int(shown.queue_veh.sum(axis=1).argmax())
    first = int(np.clip(middle - count // 2, 0, len(shown.arrived_veh) - count))
    return slice(first, first + count)


def _busiest(env: TrafficSignal, shown: Film) -> list[str]:
    """The approaches with the longest queues, in the order of the file."""
    network = env.descriptions[0]
    names = [name for name in network.links if network.signal_of(name)]
    queue = {name: shown.queue_veh[:, list(network.links).index(name)].mean() for name in names}
    chosen = sorted(names, key=lambda name: -queue[name])[:MOST_LINKS]
    return [name for name in names if name in chosen]
