"""Traffic flow against the exact solution, Webster's uniform delay, and laws that hold for any input."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmax.envs.traffic_signal import validation
from vmax.envs.traffic_signal.arrays import Sizes, build
from vmax.envs.traffic_signal.diagram import PowerLaw, demand, supply
from vmax.envs.traffic_signal.flow import Flow
from vmax.envs.traffic_signal.network import find
from vmax.envs.traffic_signal.network_file import read
from vmax.envs.traffic_signal.riemann import Side, solve
from vmax.envs.traffic_signal.validation import (
    ARZ,
    CAR,
    CASES,
    CLASSES,
    CTM,
    FREE,
    JAM,
    LWR,
    PRESSURE,
    one_road,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("scheme", validation.SCHEMES)
@pytest.mark.parametrize("case", CASES)
def test_schemes_converge_to_the_exact_solution_of_the_riemann_problem(scheme, case):
    """Rates on discontinuities lie below one; errors are those of a prototype in NumPy, within a tenth and rounding."""
    errors, known = validation.errors_veh(validation.SCHEMES[scheme], CASES[case]), CASES[case].known[scheme]
    assert validation.rate(errors) >= known.least, errors
    assert errors[validation.CELLS.index(200)] == pytest.approx(known.off, rel=0.1, abs=0.03)


def test_the_exact_solution_keeps_what_its_waves_keep():
    """Across the first wave w stays, across the contact the speed; a red light is a shock at -Vf ρ_a / ρ_jam."""
    left, right = Side(0.10, 3.0), Side(0.03, 7.0)
    density, speed = solve(left, right, PRESSURE, np.linspace(-20, 7 - 1e-6, 200))
    w = speed + PRESSURE.scale * density
    np.testing.assert_allclose(w, 3.0 + PRESSURE.scale * 0.10, rtol=1e-12)
    before, after = (solve(left, right, PRESSURE, np.array([7 + side * 1e-9])) for side in (-1, 1))
    assert before[1] == pytest.approx(after[1]) and before[0] != pytest.approx(after[0])
    red, shock = CASES["red light"], -FREE * 0.04 / JAM
    density, _ = solve(red.left, red.right, PRESSURE, np.array([shock - 0.01, shock + 0.01]))
    np.testing.assert_allclose(density, [0.04, JAM])


@pytest.mark.parametrize("model", [LWR, CTM], ids=["lwr", "ctm"])
def test_delay_at_a_signal_is_websters_uniform_term(model):
    """d = C (1 - λ)² / (2 (1 - x λ)) at five demands, within 1 %: cycle 60 s, green 30 s, saturation 0.5 veh/s."""
    for arriving in (0.05, 0.10, 0.15, 0.20, 0.24):
        theory = validation.uniform_delay_s(arriving)
        assert validation.delay_at_signal_s(model, arriving) == pytest.approx(theory, rel=0.01)


def test_a_queue_grows_and_discharges_at_the_speeds_of_its_waves():
    """At red the tail moves back at Vf ρ_a / ρ_jam, at green the head of a standing queue at Vf (Greenshields)."""
    tail, head = validation.wave_speeds()
    assert tail == pytest.approx(FREE * 0.2, rel=0.05)
    assert head == pytest.approx(FREE, rel=0.15)


@pytest.mark.slow
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
    ("name", "model", "dt_s"),
    [("corridor", ARZ, 1.0), ("corridor", CTM, 1.0), ("lagos", CLASSES, 0.5)],
    ids=["arz", "ctm", "arz2"],
)
@pytest.mark.parametrize("fifo", [True, False])
def test_vehicles_are_neither_made_nor_lost_and_fit_on_the_road(name, model, dt_s, fifo):
    """Random signals and far too many vehicles: in = out + inside + outside, every occupancy within [0, 1]."""
    found = validation.account(name, model, dt_s, fifo)
    assert found.came > 1000 and found.left > 100
    assert abs(found.missing) <= 1e-9 * found.came
    assert found.least >= 0.0 and found.most <= 1.0 + 1e-9 and found.over <= 1e-9


def test_in_float32_no_more_is_lost_than_rounding():
    found = validation.account("corridor", ARZ, 1.0, exact=False)
    assert found.came > 1000 and abs(found.missing) <= 1e-5 * found.came


def test_a_queue_of_two_classes_discharges_at_the_cap_and_exits_do_not_block():
    passed = validation.discharge_per_s()
    assert max(passed) <= 0.5 + 1e-5 and np.mean(passed[:40]) == pytest.approx(0.5, rel=0.02)
    assert validation.discharge_per_s(1e6).max() > 1.0  # without it, a burst that no stop line lets pass


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
