"""What passes stop lines, counted there: the file's saturation flow at any speed, or what is said to be carried."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vmax
from vmax.envs.traffic_signal.arrays import CAR_ONLY, Sizes, VehicleClass, build
from vmax.envs.traffic_signal.capacity import Capacities
from vmax.envs.traffic_signal.flow import Flow
from vmax.envs.traffic_signal.network import find
from vmax.envs.traffic_signal.network_file import read
from vmax.envs.traffic_signal.plans import critical_ratios
from vmax.envs.traffic_signal.state import Start
from vmax.envs.traffic_signal.validation import ARZ, CLASSES, CTM, LWR

CARS = (VehicleClass("car", 1.0, 60.0, 1.0, 8.0), VehicleClass("motorcycle", 0.25, 60.0, 2.0, 3.0))
STREETS = """
links:
  fifty: {from: a, to: y, length_m: 300, speed_kmh: 50, turns: {fifty_on: 1.0}}
  thirty: {from: b, to: y, length_m: 300, speed_kmh: 30, turns: {thirty_on: 1.0}}
  twenty: {from: c, to: y, length_m: 300, speed_kmh: 20, lanes: 2, turns: {twenty_on: 1.0}}
  fifty_on: {from: y, to: w, length_m: 300, speed_kmh: 50}
  thirty_on: {from: y, to: w, length_m: 300, speed_kmh: 30}
  twenty_on: {from: y, to: w, length_m: 300, speed_kmh: 20, lanes: 2}
signals:
  y: {phases: {one: [fifty, thirty], two: [thirty, twenty]}}
demand: {fifty: {per_h: 900}, thirty: {per_h: 900}, twenty: {per_h: 900}}
"""


@pytest.fixture
def streets(tmp_path):
    path = tmp_path / "streets.yaml"
    path.write_text(STREETS)
    return read(path)


def passed_per_h(network, model, classes=CAR_ONLY, dt_s=1.0, shares=(1.0,)):
    """Passenger cars an hour and lane that pass each stop line, of queues that never end: the last 10 of 20 minutes."""
    capacities = Capacities(model, classes, 15.0, dt_s)
    arrays = build(network, Sizes.of([network], 15.0), classes, 15.0, capacities.steepness(network))
    flow, roads = Flow(model), arrays.roads
    pce = jnp.array([kind.pce for kind in classes])
    fading = jnp.exp(-dt_s / jnp.array([kind.tau_s for kind in classes]))
    come = jnp.array(shares)[:, None] / pce[:, None] * 2.0 * dt_s * roads.source

    @jax.jit
    def run():
        def one(traffic, _):
            moved, _ = flow.step(roads, traffic, jnp.ones(len(network.links)), come, fading, dt_s)
            held = (moved.r * roads.holds_veh[..., None]).sum(axis=2) + moved.outside_veh
            before = (traffic.r * roads.holds_veh[..., None]).sum(axis=2) + traffic.outside_veh
            return moved, (come - held + before).T @ pce

        return jax.lax.scan(one, flow.empty(roads), None, length=round(1200 / dt_s))[1]

    lanes = np.array([link.lanes for link in network.links.values()])
    return dict(
        zip(network.links, np.asarray(run())[round(600 / dt_s) :].mean(axis=0) / dt_s * 3600 / lanes, strict=True)
    )


@pytest.mark.parametrize(
    ("model", "classes", "dt_s", "shares", "within"),
    [
        (LWR, CAR_ONLY, 1.0, (1.0,), 0.002), (CTM, CAR_ONLY, 1.0, (1.0,), 0.002), (ARZ, CAR_ONLY, 1.0, (1.0,), 0.002),
        (CLASSES, CARS, 0.4, (0.6, 0.4), 0.01),
    ],
    ids=["lwr", "ctm", "arz", "arz2"],
)  # fmt: skip
def test_queues_discharge_at_the_saturation_flow_whatever_the_speed_of_the_street(
    streets, model, classes, dt_s, shares, within
):
    """Each class alone carries it; a mix a little less, as classes carry most at unlike densities."""
    passed = passed_per_h(streets, model, classes, dt_s, shares)
    assert {name: passed[name] for name in ("fifty", "thirty", "twenty")} == {
        name: pytest.approx(1800.0, rel=within) for name in ("fifty", "thirty", "twenty")
    }


def test_vehicles_on_a_slow_street_keep_to_its_speed(streets):
    """A single one takes as long as at free speed, though the curve begins at more."""
    capacities = Capacities(LWR, CAR_ONLY, 15.0, 1.0)
    arrays = build(streets, Sizes.of([streets], 15.0), CAR_ONLY, 15.0, capacities.steepness(streets))
    flow, roads = Flow(LWR), arrays.roads
    thin = 0.01 * roads.cells[None]
    traffic = replace(flow.empty(roads), r=thin, y=thin)
    np.testing.assert_allclose(flow.speed(roads, traffic)[0, 1, -20:], 1.0)
    _, passed = flow.step(roads, traffic, jnp.ones(6), jnp.zeros((1, 6)), jnp.ones(1), 1.0)
    per_s = np.asarray(passed.through_veh) / (0.01 * np.array([0.15, 0.15, 0.3, 0.15, 0.15, 0.3]))
    np.testing.assert_allclose(per_s * 3.6, [49.5, 30.0, 20.0, 49.5, 30.0, 20.0], rtol=1e-5)


def test_what_cannot_be_carried_is_said_once_and_counted_on_nowhere(streets, capsys):
    """15 km/h: 1,625 with sub-steps of a second, whose waves may not pass a cell; 1,800 with shorter ones."""
    slow = replace(streets.links["thirty"], speed_m_per_s=15 / 3.6)
    network = replace(streets, name="slow", links={**streets.links, "thirty": slow})
    capacities = Capacities(LWR, CAR_ONLY, 15.0, 1.0)
    kept, _ = capacities.kept(network), capacities.kept(network)
    assert capsys.readouterr().err == (
        "warning: network slow: links.thirty: at 15 km/h a lane carries 1,625 vehicles an hour with env.flow.dt_s=1, "
        "less than saturation_per_h=1800; queues discharge at that\n"
    )
    assert kept.links["thirty"].saturation_per_h == pytest.approx(1625.0)
    assert kept.links["fifty"] == network.links["fifty"]
    assert passed_per_h(kept, LWR)["thirty"] == pytest.approx(1625.0, rel=0.01)
    assert critical_ratios(kept, "y", dict.fromkeys(network.links, 0.1))[0] >= 0.1 * 3600 / 1800
    assert Capacities(LWR, CAR_ONLY, 15.0, 0.5).kept(network) is network and capsys.readouterr().err == ""


def test_streets_that_carry_their_saturation_flow_keep_their_curve():
    """So nothing changes in the shipped networks."""
    for name in ("traffic_signal", "traffic_corridor", "traffic_lagos"):
        env = vmax.make_env(name)
        assert all((env.capacities.steepness(network) == 1.0).all() for network in env.descriptions)
        assert env.params("test").networks.roads.limit is None
        assert [read(find(name)) for name in env.config.networks] == list(env.descriptions)


def test_a_link_with_green_in_two_phases_passes_its_saturation_flow_while_they_alternate(tmp_path):
    """A change every 15 s, 5 s of them clearance: 1,200 for the others, were they loaded, 1,800 for `thirty`."""
    path = tmp_path / "streets.yaml"
    path.write_text(STREETS.replace("thirty: {per_h: 900}", "thirty: {per_h: 3600}"))
    env = vmax.make_env(
        "traffic_signal", [f"env.network={path}", "env.demand.pattern=steady", "env.demand.poisson=false"]
    )
    params = env.params("test")
    state, _ = env.reset(jax.random.key(0), params, Start(*(jnp.int32(n) for n in (0, 0, 0, 1000))))

    def one(state, step):
        following, _ = env.step(jax.random.key(0), state, (step // 3) % 2, params)
        return following, following.through_veh - state.through_veh

    through = np.asarray(jax.jit(lambda state: jax.lax.scan(one, state, jnp.arange(240))[1])(state))
    number = list(env.descriptions[0].links).index("thirty")
    assert through[60:, number].mean() * 720 == pytest.approx(1800.0, rel=0.005)
