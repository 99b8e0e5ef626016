"""The known bugs of junctions under control, each built in on purpose: the checks find it by what happens."""

from dataclasses import replace
from functools import cached_property, lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vmax
from vmax.checks.finding import judge
from vmax.checks.registry import BY_ID
from vmax.checks.settings import SizesConfig, thresholds_of
from vmax.checks.subject import Subject
from vmax.config import compose, to_mapping
from vmax.envs.traffic_signal import account
from vmax.envs.traffic_signal.environment import TrafficSignal
from vmax.envs.traffic_signal.signals import Signals

SIZES = SizesConfig(
    lanes=4, steps=60, most_steps=60, hold=12, states=6, trial=30, episodes=4, linear=4, rounds=1, corners=8
)  # fmt: skip
SHIPPED = thresholds_of(to_mapping(compose([], "check"))["thresholds"])
TOWN = """
links:
  west: {from: w, to: x, length_m: 150, speed_kmh: 50, turns: {out: 1.0}}
  south: {from: s, to: x, length_m: 150, speed_kmh: 50, turns: {out: 1.0}}
  out: {from: x, to: e, length_m: 60, speed_kmh: 50}
signals:
  x: {phases: {west: [west], south: [south]}}
demand:
  west: {per_h: 500, swing: [200, 800], phase: 0.0}
  south: {per_h: 500, swing: [200, 800], phase: 0.5}
"""


class Truncates(TrafficSignal):
    """The choice as a share of all, cut off by int()."""

    def wish(self, action, state, network):
        return (super().wish(action, state, network) / network.phases.shape[1]).astype(jnp.int32)


class NobodyStands(TrafficSignal):
    """Queues are counted where vehicles stand twice as close as they can."""

    def measures(self, network, traffic):
        found = super().measures(network, traffic)
        return replace(found, halted_veh=0.0 * found.halted_veh, outside_veh=0.0 * found.outside_veh)


class OtherDevice(TrafficSignal):
    """Reads its densities by way of the host."""

    def measures(self, network, traffic):
        shape = jax.ShapeDtypeStruct(traffic.r.shape, jnp.float32)
        return super().measures(network, replace(traffic, r=jax.pure_callback(np.asarray, shape, traffic.r)))


class Pays(TrafficSignal):
    """Another reward."""

    def reward(self, step, state):
        raise NotImplementedError

    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return state, replace(step, reward=self.reward(step, state))


class Constant(Pays):
    def reward(self, step, state):
        return jnp.float32(-1.0) + 0.0 * step.reward


class OnlyInside(Pays):
    """Vehicles that wait outside cost nothing."""

    def reward(self, step, state):
        return -step.info["inside_veh"] / 20.0


class Unconnected(TrafficSignal):
    """Clocks of signals run, roads never hear of them."""

    def _flow(self, network, traffic, signals, arriving, params):
        deaf = Signals.fresh(jnp.zeros_like(signals.phase))
        traffic, _, passed, delays = super()._flow(network, traffic, deaf, arriving, params)
        _, signals, _, _ = super()._flow(network, traffic, signals, 0.0 * arriving, params)
        return traffic, signals, passed, delays


class Stale(TrafficSignal):
    """The buffer that is observed is the one that reset filled."""

    def observe(self, state, params):
        roads = self.network(state, params).roads
        return super().observe(
            replace(state, traffic=self.flow.empty(roads), signals=Signals.fresh(0 * state.signals.phase)), params
        )


class Inert(TrafficSignal):
    """The level of demand is drawn for each episode, and never read."""

    def step(self, key, state, action, params):
        plain = replace(state, drawn=replace(state.drawn, level=jnp.float32(1.0)))
        after, step = super().step(key, plain, action, params)
        return replace(after, drawn=state.drawn), step


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    file = tmp_path_factory.mktemp("town") / "town.yaml"
    file.write_text(TOWN)
    return f"env.network={file}"


@lru_cache(maxsize=4)
def subject(kind, *overrides):
    """Checks of one and the same junction share its runs."""
    return Subject(kind(vmax.make_env("traffic_signal", overrides).config), SIZES)


def found(check, kind, *overrides):
    return judge(BY_ID[check], subject(kind, *overrides), SHIPPED[check], SHIPPED[check])


RANGE = "env.demand.train_spread=0.3"
LOADED = "env.demand.level=2.2"
"""More than the junction can take, whoever sets it."""
THROUGHPUT = "env.reward.weights={delay: 1.0, throughput: 400.0}"
BUGS = [
    ("action truncated", "action_reaches_plant", Truncates, (), "FAIL"),
    ("queue always zero", "load", NobodyStands, (), "FAIL"),
    ("decision interval too long", "interval", TrafficSignal, ("env.signals.decide_s=60",), "WARN"),
    ("device mismatch", "transfer", OtherDevice, (), "FAIL"),
    ("constant reward", "reward_spread", Constant, (), "FAIL"),
    ("actuator not connected", "action_reaches_plant", Unconnected, (), "FAIL"),
    ("actuator not connected", "reward_by_action", Unconnected, (), "FAIL"),
    ("stale observation", "obs_live", Stale, (), "FAIL"),
    ("inert randomisation", "param_live", Inert, (RANGE,), "FAIL"),
    ("dominated reward term", "reward_terms", TrafficSignal, (THROUGHPUT,), "WARN"),
    ("gating exploit", "agreement", OnlyInside, (LOADED,), "FAIL"),
]


ALWAYS = ("action truncated", "stale observation", "gating exploit")
"""Of each kind of bug one: in what is done, in what is seen, in what is judged."""
NAMED = [pytest.param(*bug, id=f"{bug[0]}-{bug[1]}", marks=[pytest.mark.slow] * (bug[0] not in ALWAYS)) for bug in BUGS]
SOUND = {check: any(check == bug[1] and bug[0] in ALWAYS for bug in BUGS) for _, check, *_ in BUGS}


@pytest.mark.parametrize(("bug", "check", "kind", "overrides", "worst"), NAMED)
def test_a_known_bug_of_signal_control_is_found(town, bug, check, kind, overrides, worst):
    told = found(check, kind, town, *overrides)
    assert told.status == worst and "could not be measured" not in told.detail, told


@pytest.mark.parametrize(
    "check", [pytest.param(check, marks=[pytest.mark.slow] * (not SOUND[check])) for check in sorted(SOUND)]
)
def test_the_junction_without_it_passes(town, check):
    """Two terms of like size; the demand as with the bug."""
    demand = LOADED if check == "agreement" else RANGE
    told = found(check, TrafficSignal, town, demand, "env.reward.weights={delay: 1.0, throughput: 5.0}")
    assert told.status == "PASS", told


STEADY = """
links:
  10: {from: w, to: x, length_m: 150, speed_kmh: 50, turns: {out: 1.0}}
  1_0: {from: s, to: x, length_m: 150, speed_kmh: 50, turns: {out: 1.0}}
  out: {from: x, to: e, length_m: 150, speed_kmh: 50}
signals:
  x: {phases: {west: [10], south: [1_0]}}
demand: {10: {per_h: 300}, 1_0: {per_h: 300}}
"""


class OneName(TrafficSignal):
    """`1_0` and `10` are one number to YAML, so one of the two is lost with its demand."""

    @cached_property
    def descriptions(self):
        (network,) = super().descriptions
        return (replace(network, demand={"10": network.demand["10"]}),)


class FewDraws(TrafficSignal):
    """Arrivals of a sub-step are one draw, which stops at 12."""

    @cached_property
    def arrivals(self):
        return replace(super().arrivals, draws=1)


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    file = tmp_path_factory.mktemp("steady") / "steady.yaml"
    file.write_text(STEADY)
    return f"env.network={file}"


@pytest.mark.parametrize("pattern", ["steady", "swinging", "time_of_day"])
@pytest.mark.parametrize(
    ("kind", "come", "off"),
    [(TrafficSignal, 1.0, (0.0, 0.0)), (OneName, 1.0, (0.5, 0.0)), (TrafficSignal, 0.5, (0.0, 0.5))],
    ids=["all come", "a name is lost", "half of them stay away"],
)
def test_vehicles_that_a_file_asks_for_and_that_do_not_come_are_missed(steady, pattern, kind, come, off):
    env = kind(vmax.make_env("traffic_signal", [steady, f"env.demand.pattern={pattern}", "env.demand.level=9"]).config)
    params = env.params("train")
    state, _ = env.reset(jax.random.key(0), params)
    arriving = env.arrivals.of_step(env.network(state, params), state.drawn, state.time, 5, 1.0)
    told = account.residuals(env, state, {"arrived_veh": come * arriving.sum()}, params)
    assert [float(told[law]) for law in ("demand of the file", "arrivals")] == pytest.approx(off, abs=1e-5)


def test_arrivals_that_draws_cut_off_are_missed(steady):
    """300 vehicles an hour at level 100 and sub-steps of 2 s: 21.7 in each at the most."""
    long = (steady, "env.flow.dt_s=2", "env.flow.dx_m=30", "env.signals.decide_s=10", "env.demand.level=100")
    config = vmax.make_env("traffic_signal", long).config
    assert TrafficSignal(config).arrivals.draws == 22 and account.undrawn(TrafficSignal(config)) == 0.0
    assert account.undrawn(FewDraws(config)) > 0.2


def test_the_check_of_conservation_misses_lost_demand_and_numbers_of_a_swing_that_is_none_are_exempt(steady):
    assert found("conservation", OneName, steady).status == "FAIL"
    told = found("param_live", TrafficSignal, steady)
    assert told.status == "PASS" and "networks.swing_phase: no demand swings" in told.detail
