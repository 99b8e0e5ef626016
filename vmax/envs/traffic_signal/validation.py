"""Traffic flow beside what is known of it: exact solutions, Webster's uniform delay, waves, laws that always hold.

All of it is computed in float64 unless said otherwise; callers enable it (`jax.enable_x64(True)`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.traffic_signal.arrays import Network, Sizes, VehicleClass, build
from vmax.envs.traffic_signal.diagram import PowerLaw, Triangular
from vmax.envs.traffic_signal.flow import Flow, Traffic
from vmax.envs.traffic_signal.measures import vehicles
from vmax.envs.traffic_signal.models import Model, OneClass, TwoClass
from vmax.envs.traffic_signal.network import Demand, Description, Link, find
from vmax.envs.traffic_signal.network_file import read
from vmax.envs.traffic_signal.riemann import Pressure, Side, cell_means

Array = np.ndarray
FREE, JAM = 13.89, 0.15
"""Free speed, m/s, and vehicles a metre in a jam, of all that follows."""
CAR = VehicleClass("car", 1.0, FREE * 3.6, 1.0, 8.0)
MOTORCYCLE = VehicleClass("motorcycle", 0.25, 40.0, 2.0, 3.0)
PRESSURE = Pressure(FREE / JAM, 1.0)
LWR, ARZ = OneClass(PowerLaw(), adapts=False), OneClass(PowerLaw(), adapts=True)
CTM = OneClass(Triangular(0.4), adapts=False)
UPWIND, CLASSES = TwoClass((1.0,)), TwoClass((1.0, 2.0))
LENGTH_M, SECONDS = 2000.0, 30.0
CELLS = (50, 80, 100, 160, 200, 320, 400, 640, 800)
"""Grids on which rates of convergence are fitted; the fifth has cells of 10 m."""


def equilibrium(density: float) -> Side:
    """The speed that drivers settle at (Greenshields)."""
    return Side(density, FREE * (1.0 - density / JAM))


@dataclass(frozen=True)
class Known:
    """What a scheme does by an independent program in NumPy: its rate of convergence, and its error in vehicles with
    cells of 10 m; and what its rate must be at least."""

    rate: float
    off: float
    least: float


@dataclass(frozen=True)
class Case:
    """A Riemann problem: both sides of the jump, and what is known of each of `SCHEMES`."""

    left: Side
    right: Side
    known: Mapping[str, Known]


SCHEMES: Mapping[str, Model] = {"Godunov": ARZ, "two-class flux": UPWIND}


def _case(left: Side, right: Side, godunov: Known, two_classes: Known) -> Case:
    return Case(left, right, dict(zip(SCHEMES, (godunov, two_classes), strict=True)))


CASES = {
    "red light": _case(equilibrium(0.04), Side(JAM, 0.0), Known(1.55, 0.04, 0.8), Known(1.16, 0.59, 0.8)),
    "green light": _case(Side(JAM, 0.0), Side(0.0, FREE), Known(0.76, 1.4, 0.65), Known(0.79, 3.3, 0.65)),
    "contact": _case(Side(0.03, 5.0), Side(0.09, 5.0), Known(0.29, 1.7, 0.25), Known(0.36, 1.4, 0.25)),
    "shock and contact": _case(Side(0.04, 9.0), Side(0.06, 3.0), Known(0.39, 1.5, 0.25), Known(0.59, 2.6, 0.25)),
    "rarefaction and contact": _case(Side(0.10, 3.0), Side(0.03, 7.0), Known(0.48, 1.5, 0.25), Known(0.54, 2.4, 0.25)),
    "vacuum": _case(Side(0.03, 4.0), Side(0.02, 12.0), Known(0.67, 1.0, 0.65), Known(0.59, 1.7, 0.55)),
}
"""The rate of the red light is noise of where cells lie: its shock is caught within two cells."""


def one_road(
    length_m: float, dx_m: float, classes: Sequence[VehicleClass] = (CAR,), saturation_per_h: float = 1800.0
) -> Network:
    """A source that is a sink: vehicles enter a road and leave at its stop line."""
    link = Link("road", "", "", length_m, 1, FREE, saturation_per_h, {})
    described = Description("one", 1000.0 * JAM, {}, {"road": link}, {}, {"road": Demand(0.0, (0.0, 0.0), 0.0)})
    return build(described, Sizes.of([described], dx_m), tuple(classes), dx_m)


def in_float64(tree: Any) -> Any:
    """The same with float64 instead of float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def riemann_state(network: Network, left: Side, right: Side) -> tuple[Any, Any]:
    """r and y of a road with `left` and `right` of its middle, `[1, N]`."""
    count = network.roads.cells.shape[-1]
    first = np.arange(count) + 0.5 < count / 2
    r = jnp.asarray(np.where(first, left.density, right.density) / JAM)[None]
    return r, r * (jnp.asarray(np.where(first, left.speed, right.speed) / FREE)[None] + r)


def solved(model: Model, case: Case, cells: int) -> tuple[Array, Array]:
    """Density and speed of the cells after `SECONDS`, vehicles a metre and m/s, `[N]`, at 0.9 of the CFL bound and
    without relaxation."""
    dx_m = LENGTH_M / cells
    network = in_float64(one_road(LENGTH_M, dx_m))
    steps = int(np.ceil(SECONDS / (0.9 * dx_m / FREE / model.fastest_wave())))
    share = SECONDS / steps * FREE / dx_m

    def one(state: Any, _: None) -> tuple[Any, None]:
        padded = [jnp.pad(leaf, ((0, 0), (1, 1)), mode="edge") for leaf in state]
        w = model.wanted(*padded)
        passing = model.passing(padded[0][:, :-1], w[:, :-1], padded[0][:, 1:], w[:, 1:])
        moved = (share * passing, share * passing * w[:, :-1])
        return tuple(leaf - jnp.diff(flow, axis=1) for leaf, flow in zip(state, moved, strict=True)), None

    begin = riemann_state(network, case.left, case.right)
    (r, y), _ = jax.lax.scan(one, begin, None, length=steps)
    return np.asarray(r)[0] * JAM, np.asarray(model.speed(r, model.wanted(r, y)))[0] * FREE


def edges(cells: int) -> Array:
    """Of the cells, metres from the jump, `[N + 1]`."""
    return np.linspace(-LENGTH_M / 2, LENGTH_M / 2, cells + 1)


def error_veh(model: Model, case: Case, cells: int) -> float:
    """Vehicles by which the scheme is off after `SECONDS`, L1."""
    exact = cell_means(case.left, case.right, PRESSURE, edges(cells), SECONDS)
    return float(np.abs(solved(model, case, cells)[0] - exact).sum() * LENGTH_M / cells)


def errors_veh(model: Model, case: Case) -> Array:
    """The same on all grids of `CELLS`."""
    return np.array([error_veh(model, case, cells) for cells in CELLS])


def rate(errors: Array) -> float:
    """Order of convergence, fitted over `CELLS`."""
    return float(-np.polyfit(np.log(CELLS), np.log(errors), 1)[0])


def uniform_delay_s(arriving_per_s: float, cycle_s: float = 60.0, green_s: float = 30.0, per_s: float = 0.5) -> float:
    """C (1 - λ)² / (2 (1 - x λ)): delay of a steady stream at a signal. Source: Webster (1958)."""
    green = green_s / cycle_s
    return cycle_s * (1.0 - green) ** 2 / (2.0 * (1.0 - arriving_per_s / per_s))


def delay_at_signal_s(
    model: Model, arriving_per_s: float, dx_m: float = 5.0, cycle_s: float = 60.0, green_s: float = 30.0
) -> float:
    """Seconds per vehicle that a signal with red first costs a steady stream, over the last ten of thirty cycles,
    beside the same road without a signal."""
    network = in_float64(one_road(1500.0, dx_m))
    steps = 2 * int(np.ceil(cycle_s / (0.9 * dx_m / FREE / model.fastest_wave()) / 2))
    dt_s, flow = cycle_s / steps, Flow(model)
    arriving = jnp.full((1, 1), arriving_per_s * dt_s)

    def there(signalled: float) -> Any:
        def one(traffic: Traffic, step: Any) -> tuple[Traffic, Any]:
            red = (step % steps) * dt_s < cycle_s - green_s
            traffic, _ = flow.step(network.roads, traffic, 1.0 - signalled * red[None], arriving, jnp.ones(1), dt_s)
            return traffic, vehicles(network.roads, traffic).sum() + traffic.outside_veh.sum()

        return jax.lax.scan(one, flow.empty(network.roads), jnp.arange(30 * steps))[1][-10 * steps :].mean()

    return float((there(1.0) - there(0.0)) / arriving_per_s)


def wave_speeds() -> tuple[float, float]:
    """m/s at which the tail of a queue moves back at red (road a fifth full), and at which the head of a
    standing queue does at green; Greenshields: Vf / 5 and Vf."""
    network, flow, dt_s = in_float64(one_road(1500.0, 5.0)), Flow(LWR), 0.3
    arriving = jnp.full((1, 1), 0.2 * 0.8 * FREE * JAM * dt_s)
    r = jnp.full((1, 1, 300), 0.2)
    traffic = replace(flow.empty(network.roads), r=r, y=r)

    def run(traffic: Traffic, gate: Any, seconds: float) -> Traffic:
        def one(traffic: Traffic, _: None) -> tuple[Traffic, None]:
            return flow.step(network.roads, traffic, gate, arriving, jnp.ones(1), dt_s)[0], None

        return jax.lax.scan(one, traffic, None, length=round(seconds / dt_s))[0]

    closed = [run(traffic, jnp.zeros(1), seconds) for seconds in (60.0, 120.0)]
    tails = [float((np.asarray(t.r)[0, 0] > 0.6).sum()) * 5.0 for t in closed]
    opened = [run(closed[1], jnp.ones(1), seconds) for seconds in (5.0, 15.0)]
    heads = [300 - np.flatnonzero(np.asarray(t.r)[0, 0] > 0.99).max() for t in opened]
    return (tails[1] - tails[0]) / 60.0, (heads[1] - heads[0]) * 5.0 / 10.0


@dataclass(frozen=True)
class Account:
    """What a network under random signals and far too much demand came to: vehicles that came, left, and are missing;
    the least and the greatest occupancy; by how much `w` went beyond its bound."""

    came: float
    left: float
    missing: float
    least: float
    most: float
    over: float


def account(name: str, model: Model, dt_s: float, fifo: bool = True, steps: int = 1500, exact: bool = True) -> Account:
    """The account of a shipped network after `steps` sub-steps, in float64 (`exact`) or float32."""
    described, classes = read(find(name)), ((CAR, MOTORCYCLE) if isinstance(model, TwoClass) else (CAR,))
    network = build(described, Sizes.of([described], 15.0), classes, 15.0)
    network = in_float64(network) if exact else network
    flow, kind, links = Flow(model, fifo), network.roads.dx_m.dtype, network.roads.dx_m.shape[0]
    fading = jnp.exp(-dt_s / jnp.asarray([c.tau_s for c in classes], kind))

    def one(carry: Any, key: Any) -> tuple[Any, Any]:
        traffic, came, left = carry
        green = jax.random.bernoulli(key, 0.5, (links,)).astype(kind)
        gate = jnp.where(network.unsignalled > 0, jnp.ones((), kind), green)
        arriving = jax.random.poisson(key, 0.6, (len(classes), links)).astype(kind) * network.roads.source
        traffic, passed = flow.step(network.roads, traffic, gate, arriving, fading, dt_s)
        told = (traffic.r.min(), traffic.r.sum(axis=0).max(), jnp.max(traffic.y - traffic.r * (1 + 1e-9)))
        return (traffic, came + arriving.sum(), left + passed.left_veh.sum()), told

    begin = (flow.empty(network.roads), jnp.zeros((), kind), jnp.zeros((), kind))
    (traffic, came, left), (least, most, over) = jax.lax.scan(one, begin, jax.random.split(jax.random.key(0), steps))
    inside = vehicles(network.roads, traffic).sum() + traffic.outside_veh.sum()
    figures = (came, left, came - left - inside, least.min(), most.max(), over.max())
    return Account(*(float(figure) for figure in figures))


def discharge_per_s(saturation_per_h: float = 1800.0) -> Array:
    """Passenger cars a second that leave a full road of both classes, by half-second, `[60]`."""
    network = in_float64(one_road(600.0, 15.0, (CAR, MOTORCYCLE), saturation_per_h))
    flow, r = Flow(CLASSES), jnp.full((2, 1, 40), 0.5)
    fading = jnp.exp(-0.5 / jnp.array([CAR.tau_s, MOTORCYCLE.tau_s]))

    def one(traffic: Traffic, _: None) -> tuple[Traffic, Any]:
        traffic, passed = flow.step(network.roads, traffic, jnp.ones(1), jnp.zeros((2, 1)), fading, 0.5)
        return traffic, (passed.left_veh[0, 0] + MOTORCYCLE.pce * passed.left_veh[1, 0]) / 0.5

    begin = replace(flow.empty(network.roads), r=r, y=r)
    return np.asarray(jax.lax.scan(one, begin, None, length=60)[1])
