"""The clock of signals, plans by Webster, and arrivals."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmax.envs.traffic_signal.arrays import CAR_ONLY, Sizes, build, check_cfl
from vmax.envs.traffic_signal.demand import Arrivals, Drawn, draws, poisson
from vmax.envs.traffic_signal.network import Description, Link, Signal, find
from vmax.envs.traffic_signal.network_file import read
from vmax.envs.traffic_signal.plans import coordinated, critical_ratios, green_begins, link_flows, webster
from vmax.envs.traffic_signal.signals import Signals, Timing, allowed, gates, request, tick
from vmax.errors import UserError

TIMING = Timing(3.0, 2.0, 10.0, 60.0)
PHASES = jnp.ones((1, 2))


def seconds(signals, count):
    for _ in range(count):
        signals = tick(signals, 1.0)
    return signals


def test_a_change_takes_the_clearance_and_then_the_least_green():
    signals = seconds(Signals.fresh(jnp.zeros(1, jnp.int32)), 9)
    assert int(request(signals, jnp.array([1]), PHASES, TIMING).phase[0]) == 0  # 9 s of 10
    signals = request(tick(signals, 1.0), jnp.array([1]), PHASES, TIMING)
    assert (int(signals.phase[0]), float(signals.clear_s[0]), float(signals.switches[0])) == (1, 5.0, 1.0)
    green = jnp.eye(2)[None]  # phase p opens link p
    opened = []
    for _ in range(16):
        opened.append(float(gates(signals, green, jnp.zeros(2))[1]))
        assert float(gates(signals, green, jnp.zeros(2))[0]) == 0.0
        assert not bool(allowed(signals, PHASES, TIMING)[0, 0]) or len(opened) > 15
        signals = tick(signals, 1.0)
    assert opened == [0.0] * 5 + [1.0] * 11


def test_a_link_with_green_before_and_after_a_change_stays_open_through_the_clearance():
    """a in both phases, b in the first, c in the second."""
    green = jnp.array([[[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]])
    signals = request(seconds(Signals.fresh(jnp.zeros(1, jnp.int32)), 10), jnp.array([1]), PHASES, TIMING)
    opened = []
    for _ in range(6):
        opened.append(gates(signals, green, jnp.zeros(3)).tolist())
        signals = tick(signals, 1.0)
    assert opened == [[1.0, 0.0, 0.0]] * 5 + [[1.0, 0.0, 1.0]]


def test_after_the_most_green_another_phase_follows_whatever_is_wished_for():
    signals = seconds(Signals.fresh(jnp.zeros(1, jnp.int32)), 60)
    assert allowed(signals, PHASES, TIMING).tolist() == [[False, True]]
    assert int(request(signals, jnp.array([0]), PHASES, TIMING).phase[0]) == 1
    three = replace(Signals.fresh(jnp.array([2])), green_s=jnp.array([60.0]))
    assert int(request(three, jnp.array([2]), jnp.ones((1, 3)), TIMING).phase[0]) == 0
    assert int(request(three, jnp.array([1]), jnp.ones((1, 3)), TIMING).phase[0]) == 1


def test_a_phase_that_a_signal_does_not_have_is_never_shown():
    signals = replace(Signals.fresh(jnp.array([0, 1])), green_s=jnp.array([60.0, 60.0]))
    phases = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert allowed(signals, phases, TIMING).tolist() == [[False, True, False], [True, False, True]]
    assert request(signals, jnp.array([2, 2]), phases, TIMING).phase.tolist() == [1, 2]


def test_websters_example():
    """L = 10 s, Y = 0.6: C0 = 50 s, greens 26.7 and 13.3 s, on a grid of 5 s 25 and 15 (Webster 1958)."""
    assert webster([0.4, 0.2], TIMING, 5.0).green_s == (25.0, 15.0)
    fine = webster([0.4, 0.2], TIMING, 0.1)
    assert fine.green_s == pytest.approx((26.7, 13.3), abs=0.051)
    assert webster([0.7, 0.6], TIMING, 5.0).green_s[0] == 60.0  # beyond capacity: as long as may be


@pytest.mark.parametrize(
    ("phases", "flows", "ratios"),
    [
        (("a", "b", "c"), (900, 600, 300), [1 / 2, 1 / 3, 1 / 6]),
        (("ab", "ac", "c"), (900, 300, 600), [1 / 6, 1 / 3, 0.0]),
        (("ab", "bc", "ca"), (600, 600, 600), [1 / 6, 1 / 6, 1 / 6]),
        (("a", "ab", "bc"), (1200, 300, 300), [1 / 3, 1 / 3, 1 / 6]),
    ],
)
def test_a_link_with_green_in_several_phases_counts_once_in_websters_ratios(phases, flows, ratios):
    """By hand: shares of 1,800 vehicles an hour, the least that all phases of a link together have to give it."""
    links = {name: Link(name, "", "y", 200.0, 1, 13.9, 1800.0, {}) for name in "abc"}
    signal = Signal("y", {str(number): tuple(names) for number, names in enumerate(phases)}, ())
    network = Description("own", 150.0, {}, links, {"y": signal}, {})
    found = critical_ratios(network, "y", dict(zip("abc", (flow / 3600 for flow in flows), strict=True)))
    assert found == pytest.approx(ratios, abs=1e-6)


def test_flows_follow_turns_and_plans_make_a_green_wave():
    network = read(find("corridor"))
    entering = {name: demand.per_h / 3600.0 for name, demand in network.demand.items()}
    flows = link_flows(network, entering)
    leaving = sum(flow for name, flow in flows.items() if not network.links[name].turns)
    assert leaving == pytest.approx(sum(entering.values()))
    by_hand = 0.8 * flows["west_a"] + 0.3 * (flows["north_a"] + flows["south_a"])
    assert flows["a_b"] == pytest.approx(by_hand)
    assert critical_ratios(network, "a", flows)[1] == pytest.approx(220 / 1800)
    plans = coordinated(network, TIMING, 5.0)
    cycles = {sum(plan.green_s) + 10.0 for plan in plans.values()}
    assert len(cycles) == 1
    begins = {name: plans[name].offset_s + green_begins(plans[name], 0, TIMING) for name in plans}
    free_s, cycle_s = 375.0 / network.links["a_b"].speed_m_per_s, cycles.pop()
    for other in ("a", "c"):  # the tree grows from the signal with most vehicles, the middle one
        late_s = (begins[other] - begins["b"] - free_s) % cycle_s
        assert min(late_s, cycle_s - late_s) == pytest.approx(0.0, abs=1e-6)


@given(mean=st.floats(0.0, 1.0))
def test_poisson_draws_have_the_mean_and_the_variance(mean):
    drawn = np.asarray(poisson(jax.random.uniform(jax.random.key(1), (40_000,)), jnp.float32(mean)))
    assert drawn.mean() == pytest.approx(mean, abs=6 * np.sqrt(mean / 40_000) + 1e-6)
    assert drawn.var() == pytest.approx(mean, abs=6 * np.sqrt((mean + 2 * mean**2) / 40_000) + 1e-6)


def simple(**changes):
    network = read(find("simple"))
    arrays = build(network, Sizes.of([network], 15.0), CAR_ONLY, 15.0)
    drawn = Drawn(jnp.float32(1.0), jnp.float32(0.0), jnp.float32(7.0), jnp.ones(1), jax.random.key(0))
    given = {"pattern": "swinging", "period_s": 1200.0, "by_hour": (1.0,) * 24, "poisson": False, "draws": 1}
    return arrays, drawn, Arrivals(**{**given, **changes})


@pytest.mark.parametrize(("dt_s", "level"), [(1.0, 1.0), (5.0, 3.0), (10.0, 8.0), (60.0, 4.0)])
def test_long_sub_steps_lose_no_arrivals(dt_s, level):
    """Up to 58 vehicles in a sub-step, where a single draw stops at 12."""
    network = read(find("simple"))
    arrays, drawn, arrivals = simple(poisson=True, pattern="steady", draws=draws([network], level, 1.0, dt_s))
    drawn = replace(drawn, level=jnp.float32(level))
    came = jax.vmap(lambda step: arrivals.of_step(arrays, drawn, step, 1, dt_s))(jnp.arange(4000))
    per_sub_step = level * dt_s * np.array([720, 720, 360, 360]) / 3600
    np.testing.assert_allclose(came[:, 0, 0].mean(axis=0), per_sub_step, atol=5 * np.sqrt(per_sub_step.max() / 4000))
    np.testing.assert_allclose(came[:, 0, 0].var(axis=0), per_sub_step, rtol=0.15)


def test_demand_swings_between_least_and_greatest_and_the_streets_take_turns():
    arrays, drawn, arrivals = simple()
    rates = np.array([arrivals.rates(arrays, drawn, jnp.float32(t)) for t in np.arange(0.0, 1200.0, 10.0)])
    np.testing.assert_allclose([rates.min(), rates.max()], [216 / 3600, 864 / 3600], rtol=1e-3)
    np.testing.assert_allclose(rates[:, 0] + rates[:, 2], 1080 / 3600, rtol=1e-5)
    steady, _, even = simple(pattern="steady")
    np.testing.assert_allclose(even.rates(steady, drawn, jnp.float32(0.0)) * 3600, [720, 720, 360, 360], rtol=1e-6)
    hours = (*[0.5] * 8, *[2.0] * 16)
    _, _, daily = simple(pattern="time_of_day", by_hour=hours)
    assert float(daily.rates(arrays, drawn, jnp.float32(3599.0))[0]) == pytest.approx(0.1)
    assert float(daily.rates(arrays, drawn, jnp.float32(3601.0))[0]) == pytest.approx(0.4)


def test_arrivals_depend_on_the_episode_and_the_time_alone_and_add_up_to_the_rates():
    arrays, drawn, arrivals = simple(poisson=True, pattern="steady")
    steps = jnp.arange(720)
    came = jax.vmap(lambda step: arrivals.of_step(arrays, drawn, step, 5, 1.0))(steps)
    again = arrivals.of_step(arrays, drawn, jnp.int32(100), 5, 1.0)
    np.testing.assert_array_equal(came[100], again)
    assert not np.array_equal(came[100], came[101])
    per_h = np.asarray(came).sum(axis=(0, 1, 2))
    assert np.all(np.abs(per_h - [720, 720, 360, 360]) < 5 * np.sqrt([720, 720, 360, 360]))


def test_a_missing_file_and_a_step_too_long_are_named():
    with pytest.raises(UserError, match=r"env\.network=nowhere: no such file, and none of corridor, lagos, simple"):
        find("nowhere")
    with pytest.raises(
        UserError, match=r"env\.flow\.dt_s=1\.2: must be at most 1\.08 with the 15 m cells of link west"
    ):
        check_cfl([read(find("simple"))], CAR_ONLY, 15.0, 1.2, 1.0)
