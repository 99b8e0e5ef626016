"""Chargers and vehicles: what a socket gives, who comes first, what is given back, and that no energy is lost."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from sites import days, random_run, site, told

from vmax.envs.microgrid.chargers import (
    Groups,
    Limits,
    Vehicles,
    after,
    could_give,
    could_take,
    given_back,
    must_take,
    share_out,
    within_limits,
)


@pytest.mark.parametrize(
    ("chargers", "minutes", "v2g"),
    [("group", 60, False), ("socket", 15, False), ("group", 15, True), ("socket", 60, True)],
)
def test_the_balance_closes_and_vehicles_keep_to_their_sockets_under_random_actions(chargers, minutes, v2g):
    env = site(
        *(f"env.action.chargers={chargers}", f"env.data.step_minutes={minutes}", "env.action.guarantee=false"),
        *(f"env.action.v2g={v2g}", "env.action.v2g_efficiency=0.8"),
    )
    states, _, steps = random_run(env, 10 * env.steps_per_day)
    info = {name: np.asarray(values, np.float64) for name, values in steps.info.items()}
    into = info["pv_kw"] + info["discharge_kw"] + info["grid_import_kw"]
    out_of = info["mall_kw"] + info["ev_kw"] + info["charge_kw"] + info["grid_export_kw"] + info["curtailed_kw"]
    assert np.abs(into - out_of).max() < 1e-3
    need = np.asarray(states.vehicles.need_kwh, np.float64)
    left = np.asarray(states.vehicles.left_steps)
    assert (need >= 0).all() and (need[left == 0] == 0).all()
    assert info["ev_kw"].max() <= 9.0 + 1e-4
    # energy wanted = energy charged, less what giving back undoes, + missing at departure + still wanted at the end
    wanted = need[0].sum() + info["ev_wanted_kwh"][1:].sum()
    charged = info["ev_kw"] + info["ev_back_kw"] - info["ev_back_kw"] / 0.8
    rest = charged.sum() * env.dt_h + info["ev_unmet_kwh"].sum() + need[-1].sum()
    last = charged[-1] * env.dt_h + info["ev_unmet_kwh"][-1]
    assert (info["ev_back_kw"].sum() > 1.0) == v2g
    gives = info["ev_back_kw"] > 1e-4  # only where the site is short of it: it is neither fed in nor stored
    assert (info["grid_export_kw"] + info["curtailed_kw"])[gives].max(initial=0.0) < 1e-2
    assert wanted == pytest.approx(rest - last, rel=2e-3)
    assert info["ev_unmet_kwh"].sum() > 0  # random actions leave some unserved


LIMITS = Limits(jnp.array([2.0, 2.0, 3.0]), jnp.array([3.0, 3.0]), jnp.float32(5.0))
GROUPS = Groups((2, 1))


def test_what_presses_is_charged_first():
    # two steps to go: 4 kWh at 2 kW has to start now, 1 kWh has not; the third must take half of its power now
    vehicles = Vehicles(jnp.array([4.0, 1.0, 4.5]), jnp.array([2, 2, 2]))
    could, must = could_take(vehicles, LIMITS, 1.0), must_take(vehicles, LIMITS, 1.0)
    assert could.tolist() == [2.0, 1.0, 3.0] and must.tolist() == [2.0, 0.0, 1.5]
    power = share_out(jnp.array([2.5, 1.0]), could, must, GROUPS)
    assert power.tolist() == pytest.approx([2.0, 0.5, 1.0])
    following, unmet = after(vehicles, power)
    assert following.need_kwh.tolist() == pytest.approx([2.0, 0.5, 3.5]) and unmet.tolist() == [0.0, 0.0, 0.0]
    gone, unmet = after(following, jnp.array([2.0, 0.5, 3.0]))
    assert gone.left_steps.tolist() == [0, 0, 0] and gone.need_kwh.tolist() == [0.0, 0.0, 0.0]
    assert unmet.tolist() == pytest.approx([0.0, 0.0, 0.5])


def test_limits_of_group_and_of_all_are_kept_in_proportion():
    assert within_limits(jnp.array([9.0, 2.0]), LIMITS).tolist() == pytest.approx([3.0, 2.0])
    assert within_limits(jnp.array([9.0, 9.0]), LIMITS).tolist() == pytest.approx([2.5, 2.5])


@struct.dataclass
class Never:
    """Asks for no charging at all."""

    def initial(self, env, params, starts):
        return ()

    def act(self, env, states, observation, params, carry, key):
        return jnp.full((len(observation), 3), -1.0), carry


def test_a_vehicle_gives_back_what_it_was_charged_and_has_time_to_get_again():
    vehicles = Vehicles(jnp.array([0.0, 1.0, 2.0, 0.0]), jnp.array([3, 2, 2, 0]), jnp.array([3.0, 3.0, 0.5, 0.0]))
    limits = Limits(jnp.array([2.0, 2.0, 3.0, 3.0]), jnp.array([4.0, 4.0]), jnp.float32(5.0))
    could = could_give(vehicles, limits, 0.8, 1.0)
    # the socket's power; 1 kWh of time less what the loss takes; what it was charged, less the loss; nobody there
    assert could == pytest.approx([2.0, 0.8, 0.4, 0.0])
    following, _ = after(vehicles, -could / 0.8)
    assert following.need_kwh == pytest.approx([2.5, 2.0, 2.5, 0.0])
    assert following.charged_kwh == pytest.approx([0.5, 2.0, 0.0, 0.0])
    assert given_back(jnp.array([2.8, 0.4]), jnp.float32(1.6), limits) == pytest.approx([1.4, 0.2])
    assert given_back(jnp.array([2.8, 0.4]), jnp.float32(-1.0), limits) == pytest.approx([0.0, 0.0])


def test_giving_back_lowers_import_is_paid_for_and_nobody_leaves_unserved_for_it():
    env = site("env.action.v2g=true", "env.action.v2g_per_kwh=0.5", "env.action.battery=power")
    starts = days(env, 3)
    keen = told(env, Alternating(-1.0), starts)
    calm = told(env, Alternating(0.0), starts)
    gives = keen["ev_back_kw"] > 1e-3
    assert gives.sum() > 3 and keen["ev_unmet_kwh"].sum() < 1e-3 and not calm["ev_back_kw"].any()
    paid = keen["energy_cost"] - keen["grid_import_kw"] * keen["price_per_kwh"]
    np.testing.assert_allclose(paid, 0.5 * keen["ev_back_kw"], atol=2e-3)
    assert (keen["ev_kw"] + keen["ev_back_kw"]).sum() > calm["ev_kw"].sum()  # what was given back is charged again


@struct.dataclass
class Alternating:
    """The battery rests; chargers take all in every second step, and do `otherwise` in the others."""

    otherwise: float

    def initial(self, env, params, starts):
        return jnp.int32(0)

    def act(self, env, states, observation, params, carry, key):
        chargers = jnp.where(carry % 2 == 0, 1.0, self.otherwise) * jnp.ones((len(states.time), 2))
        return jnp.concatenate([jnp.zeros((len(states.time), 1)), chargers], axis=1), carry + 1


def test_a_guarantee_serves_everybody_whom_the_limits_allow():
    starts = days(site(), 20)
    shed, kept = (told(site(f"env.action.guarantee={g}"), Never(), starts) for g in ("false", "true"))
    assert shed["ev_kw"].max() == 0.0
    assert kept["ev_unmet_kwh"].sum() < 0.05 * shed["ev_unmet_kwh"].sum()
