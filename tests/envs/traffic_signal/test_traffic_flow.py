"""Traffic flow against the exact solution, Webster's uniform delay, and laws that hold for any input."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roads import CAR, FREE, JAM, MOTORCYCLE, delay_at_signal, in_float64, one_road, riemann_state, vehicles

from vmax.envs.traffic_signal.arrays import Sizes, build
from vmax.envs.traffic_signal.diagram import PowerLaw, Triangular, demand, supply
from vmax.envs.traffic_signal.flow import Flow
from vmax.envs.traffic_signal.models import OneClass, TwoClass
from vmax.envs.traffic_signal.network import find, read
from vmax.envs.traffic_signal.riemann import Pressure, Side, cell_means, solve

LWR, ARZ = OneClass(PowerLaw(), adapts=False), OneClass(PowerLaw(), adapts=True)
CTM = OneClass(Triangular(0.4), adapts=False)
UPWIND = TwoClass((1.0,))
PRESSURE = Pressure(FREE / JAM, 1.0)


def in_equilibrium(density):
    return density, FREE * (1.0 - density / JAM)


CASES = {
    "red": (in_equilibrium(0.04), (JAM, 0.0)),
    "green": ((JAM, 0.0), (0.0, FREE)),
    "contact": ((0.03, 5.0), (0.09, 5.0)),
    "shock and contact": ((0.04, 9.0), (0.06, 3.0)),
    "rarefaction and contact": ((0.10, 3.0), (0.03, 7.0)),
    "vacuum": ((0.03, 4.0), (0.02, 12.0)),
}


def error(model, left, right, cells, seconds=30.0, length_m=2000.0):
    """Vehicles by which the scheme is off after so long, L1, in float64, at 0.9 of the CFL bound."""
    network = in_float64(one_road(length_m, length_m / cells))
    r, y = riemann_state(network, left, right)
    steps = int(np.ceil(seconds / (0.9 * length_m / cells / FREE / model.fastest_wave)))
    share = seconds / steps * FREE / (length_m / cells)

    def one(state, _):
        padded = [jnp.pad(leaf, ((0, 0), (1, 1)), mode="edge") for leaf in state]
        w = model.wanted(*padded)
        passing = model.passing(padded[0][:, :-1], w[:, :-1], padded[0][:, 1:], w[:, 1:])
        moved = (share * passing, share * passing * w[:, :-1])
        return tuple(leaf - jnp.diff(flow, axis=1) for leaf, flow in zip(state, moved, strict=True)), None

    (r, _), _ = jax.lax.scan(one, (r, y), None, length=steps)
    edges = np.linspace(-length_m / 2, length_m / 2, cells + 1)
    exact = cell_means(Side(*left), Side(*right), PRESSURE, edges, seconds)
    return float(np.abs(np.asarray(r)[0] * JAM - exact).sum() * length_m / cells)


@pytest.mark.parametrize(
    ("model", "case", "rate", "off_at_10_m"),
    [
        (ARZ, "red", 0.8, 0.06),
        (ARZ, "green", 0.65, 1.44),
        (ARZ, "contact", 0.25, 1.73),
        (ARZ, "shock and contact", 0.25, 1.51),
        (ARZ, "rarefaction and contact", 0.25, 1.53),
        (ARZ, "vacuum", 0.65, 1.0),
        (UPWIND, "red", 0.8, 0.61),
        (UPWIND, "green", 0.65, 3.3),
        (UPWIND, "contact", 0.25, 1.43),
        (UPWIND, "vacuum", 0.55, 1.73),
    ],
)
def test_schemes_converge_to_the_exact_solution_of_the_riemann_problem(model, case, rate, off_at_10_m):
    """Rates on discontinuities lie below one; errors are those of a prototype in NumPy, within a tenth."""
    with jax.enable_x64(True):
        cells = [50, 80, 100, 160, 200, 320, 400, 640, 800]
        errors = [error(model, *CASES[case], n) for n in cells]
    fitted = -np.polyfit(np.log(cells), np.log(errors), 1)[0]
    assert fitted >= rate, (fitted, errors)
    assert errors[4] == pytest.approx(off_at_10_m, rel=0.1, abs=0.01)


def test_the_exact_solution_keeps_what_its_waves_keep():
    """Across the first wave w stays, across the contact the speed; a red light is a shock at -Vf ρ_a / ρ_jam."""
    left, right = Side(0.10, 3.0), Side(0.03, 7.0)
    density, speed = solve(left, right, PRESSURE, np.linspace(-20, 7 - 1e-6, 200))
    w = speed + PRESSURE.scale * density
    np.testing.assert_allclose(w, 3.0 + PRESSURE.scale * 0.10, rtol=1e-12)
    before, after = (solve(left, right, PRESSURE, np.array([7 + side * 1e-9])) for side in (-1, 1))
    assert before[1] == pytest.approx(after[1]) and before[0] != pytest.approx(after[0])
    ahead, behind = (Side(*side) for side in CASES["red"])
    shock = -FREE * 0.04 / JAM
    density, _ = solve(ahead, behind, PRESSURE, np.array([shock - 0.01, shock + 0.01]))
    np.testing.assert_allclose(density, [0.04, JAM])


@pytest.mark.parametrize("model", [LWR, CTM], ids=["lwr", "ctm"])
def test_delay_at_a_signal_is_websters_uniform_term(model):
    """d = C (1 - λ)² / (2 (1 - x λ)) at five demands, within 1 %: cycle 60 s, green 30 s, saturation 0.5 veh/s."""
    with jax.enable_x64(True):
        for arriving in (0.05, 0.10, 0.15, 0.20, 0.24):
            theory = 60.0 * 0.5**2 / (2.0 * (1.0 - arriving / 0.5))
            assert delay_at_signal(model, arriving, 5.0, 60.0, 30.0) == pytest.approx(theory, rel=0.01)


def test_a_queue_grows_and_discharges_at_the_speeds_of_its_waves():
    """At red the tail moves back at Vf ρ_a / ρ_jam, at green the head of a standing queue at Vf (Greenshields)."""
    with jax.enable_x64(True):
        network = in_float64(one_road(1500.0, 5.0))
        flow, dt_s = Flow(LWR), 0.3
        arriving = jnp.full((1, 1), 0.25 * FREE * 0.15 * dt_s * 0.64)  # r = 0.2 upstream: r (1 - r) = 0.16
        r = jnp.full((1, 1, 300), 0.2)
        traffic = replace(flow.empty(network.roads), r=r, y=r)

        def run(traffic, gate, seconds):
            def one(traffic, _):
                return flow.step(network.roads, traffic, gate, arriving, jnp.ones(1), dt_s)[0], None

            return jax.lax.scan(one, traffic, None, length=round(seconds / dt_s))[0]

        closed = [run(traffic, jnp.zeros(1), seconds) for seconds in (60.0, 120.0)]
        tails = [float((np.asarray(t.r)[0, 0] > 0.6).sum()) * 5.0 for t in closed]
        assert (tails[1] - tails[0]) / 60.0 == pytest.approx(FREE * 0.2, rel=0.05)
        opened = [run(closed[1], jnp.ones(1), seconds) for seconds in (5.0, 15.0)]
        heads = [300 - np.flatnonzero(np.asarray(t.r)[0, 0] > 0.99).max() for t in opened]
        assert (heads[1] - heads[0]) * 5.0 / 10.0 == pytest.approx(FREE, rel=0.15)


def test_the_second_order_model_is_the_first_order_one_where_all_want_free_speed():
    network = one_road(600.0, 15.0)
    rng = np.random.default_rng(0)
    r = jnp.asarray(rng.uniform(0.0, 0.9, (1, 1, 40)), jnp.float32)
    states = [replace(Flow(model).empty(network.roads), r=r, y=r) for model in (LWR, ARZ)]
    for step in range(100):
        gate, arriving = jnp.float32([step % 40 < 20]), jnp.full((1, 1), 0.2)
        states = [
            Flow(model).step(network.roads, traffic, gate, arriving, jnp.exp(-jnp.ones(1) / 8.0), 1.0)[0]
            for model, traffic in zip((LWR, ARZ), states, strict=True)
        ]
    np.testing.assert_allclose(states[0].r, states[1].r, atol=2e-6)


@given(w=st.floats(0.05, 1.0), r=st.floats(0.0, 1.0), gamma=st.sampled_from([1.0, 1.5, 2.0]))
def test_demand_and_supply_meet_in_the_flow_and_never_exceed_what_the_curve_carries(w, r, gamma):
    diagram = PowerLaw(gamma)
    w, r = jnp.float32(w), jnp.float32(r) * diagram.density(jnp.float32(w), jnp.float32(0.0))
    u = diagram.speed(r, w)
    most = demand(diagram, diagram.critical(w), w)
    sends, takes = demand(diagram, r, w), supply(diagram, w, u)
    assert 0.0 <= sends <= most * (1 + 1e-5) and 0.0 <= takes <= most * (1 + 1e-5)
    assert float(jnp.minimum(sends, takes)) == pytest.approx(float(r * u), abs=1e-5)
    assert float(diagram.want(r, u)) == pytest.approx(float(w), abs=1e-5)


def gridded(name, classes):
    network = read(find(name))
    return build(network, Sizes.of([network], 15.0), classes, 15.0)


@pytest.mark.parametrize(
    ("name", "model", "classes", "dt_s"),
    [
        ("corridor", ARZ, (CAR,), 1.0),
        ("corridor", CTM, (CAR,), 1.0),
        ("lagos", TwoClass((1.0, 2.0)), (CAR, MOTORCYCLE), 0.5),
    ],
    ids=["arz", "ctm", "arz2"],
)
@pytest.mark.parametrize("fifo", [True, False])
def test_vehicles_are_neither_made_nor_lost_and_fit_on_the_road(name, model, classes, dt_s, fifo):
    """Random signals and far too many vehicles: in = out + inside + outside, every occupancy within [0, 1]."""
    with jax.enable_x64(True):
        network, flow = in_float64(gridded(name, classes)), Flow(model, fifo)
        links = network.roads.dx_m.shape[0]
        fading = jnp.exp(-dt_s / jnp.array([kind.tau_s for kind in classes]))

        def one(carry, key):
            traffic, came, left = carry
            gate = jnp.where(network.unsignalled > 0, 1.0, jax.random.bernoulli(key, 0.5, (links,)))
            arriving = jax.random.poisson(key, 0.6, (len(classes), links)) * network.roads.source
            traffic, passed = flow.step(network.roads, traffic, gate, arriving, fading, dt_s)
            total = traffic.r.sum(axis=0)
            told = (traffic.r.min(), total.max(), jnp.max(traffic.y - traffic.r * (1 + 1e-9)))
            return (traffic, came + arriving.sum(), left + passed.left_veh.sum()), told

        begin = (flow.empty(network.roads), 0.0, 0.0)
        (traffic, came, left), (least, most, over) = jax.lax.scan(one, begin, jax.random.split(jax.random.key(0), 1500))
        inside = vehicles(network, traffic) + traffic.outside_veh.sum()
        assert float(came) > 1000 and float(left) > 100
        assert abs(float(came - left - inside)) <= 1e-9 * float(came)
        assert least.min() >= 0.0 and most.max() <= 1.0 + 1e-9 and over.max() <= 1e-9


def test_a_queue_of_two_classes_discharges_at_the_cap_and_exits_do_not_block():
    network = one_road(600.0, 15.0, (CAR, MOTORCYCLE))
    flow = Flow(TwoClass((1.0, 2.0)))
    r = jnp.full((2, 1, 40), 0.5)
    traffic = replace(flow.empty(network.roads), r=r, y=r)
    fading = jnp.exp(-0.5 / jnp.array([8.0, 3.0]))
    passed = []
    for _ in range(60):
        traffic, moved = flow.step(network.roads, traffic, jnp.ones(1), jnp.zeros((2, 1)), fading, 0.5)
        passed.append(float(moved.left_veh[0, 0] + 0.25 * moved.left_veh[1, 0]) / 0.5)
    assert max(passed) <= 0.5 + 1e-5 and np.mean(passed[:40]) == pytest.approx(0.5, rel=0.02)


def test_spillback_blocks_the_junction_behind_and_fifo_those_who_turn_elsewhere():
    """The road ahead is full: nobody goes there; with FIFO nobody goes at all, without it the others do."""
    network = gridded("corridor", (CAR,))
    names = list(read(find("corridor")).links)
    here, full, side = (names.index(name) for name in ("west_a", "a_b", "a_north"))
    r = jnp.zeros((1, len(names), network.roads.cells.shape[-1]))
    r = r.at[0, full].set(network.roads.cells[full]).at[0, here, -1].set(0.5)
    for fifo, expected in ((True, 0.0), (False, 0.1)):
        flow = Flow(LWR, fifo)
        traffic = replace(flow.empty(network.roads), r=r, y=r)
        gate = jnp.zeros(len(names)).at[here].set(1.0)
        moved, _ = flow.step(network.roads, traffic, gate, jnp.zeros((1, len(names))), jnp.ones(1), 1.0)
        entered = moved.r[0, side].sum() / (0.25 * FREE / 15.0)
        assert float(entered) == pytest.approx(expected, abs=0.02)
        assert float(moved.r[0, full].sum()) == pytest.approx(float(r[0, full].sum()), abs=1e-5)
