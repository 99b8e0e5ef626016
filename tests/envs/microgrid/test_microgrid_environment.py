"""The microgrid's physics, money and observation against conservation laws, hand-worked steps and plain NumPy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sites import days, random_run, site, told

from vmax.envs.microgrid.balance import Connection, Tariff, balance, residual_kw
from vmax.envs.microgrid.objectives import Holdings, Imports
from vmax.envs.microgrid.params import battery_site
from vmax.envs.microgrid.rules import Greedy, NoControl, level_kw
from vmax.envs.microgrid.settings import TERMS
from vmax.errors import UserError

kilowatts = st.floats(0.0, 4000.0)
CONFIG = site().config
balanced = jax.jit(balance)


@settings(max_examples=60, deadline=None)
@given(
    soc=st.floats(0.26, 1.0),
    request_kw=st.floats(-4000.0, 4000.0),
    pv=kilowatts, mall=kilowatts, ev=st.floats(0.0, 150.0),
    import_limit=st.sampled_from([np.inf, 500.0]), export_limit=st.sampled_from([np.inf, 0.0, 300.0]),
)  # fmt: skip
def test_every_kilowatt_goes_somewhere(soc, request_kw, pv, mall, ev, import_limit, export_limit):
    battery = battery_site(CONFIG.battery)
    connection = Connection(jnp.float32(import_limit), jnp.float32(export_limit), jnp.float32(0.0))
    soc_, *powers = map(jnp.float32, (soc, request_kw, pv, mall, ev))
    flows = balanced(battery, connection, soc_, powers[0], powers[1], powers[2], powers[3], 1.0)
    assert abs(float(residual_kw(flows))) < 1e-3
    for name in ("curtailed_kw", "charge_kw", "discharge_kw", "import_kw", "export_kw", "unserved_kw"):
        assert float(getattr(flows, name)) >= -1e-3, name
    assert float(flows.import_kw) <= import_limit and float(flows.export_kw) <= export_limit
    assert min(float(flows.charge_kw), float(flows.discharge_kw)) == 0.0
    assert 0.2586 - 1e-6 <= float(flows.soc_end) <= 1.0
    stored = (float(flows.soc_end) - soc) * 4520.0
    moved = 0.95**0.5 * float(flows.charge_kw) - float(flows.discharge_kw) / 0.95**0.5
    assert stored == pytest.approx(moved, abs=2e-3)
    if float(flows.unserved_kw) > 1e-2:  # only where the battery gives all that it can
        assert float(flows.soc_end) == pytest.approx(0.2586, abs=1e-5) or float(flows.discharge_kw) >= 2711.9


def test_the_demand_charge_of_a_month_is_what_the_tariff_says_and_its_parts_add_up_to_it():
    env = site()
    info = told(env, NoControl(), days(env, 365))
    month = np.repeat(np.arange(12), np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) * 24)
    hour = np.arange(8760) % 24
    peak = (hour >= 18) & (hour < 22)
    imported = info["grid_import_kw"][:, 0]
    highest = [[imported[(month == m) & which].max() for which in (peak, ~peak)] for m in range(12)]
    charge = sum(48.5 * p + 22.8 * max(o - p, 0.0) for p, o in highest) / 3.75
    assert info["demand_cost"].sum() == pytest.approx(charge, rel=1e-5)
    energy = (imported * np.where(peak, 0.45, 0.28)).sum() / 3.75
    assert info["energy_cost"].sum() == pytest.approx(energy, rel=1e-5)
    assert info["co2_kg"].sum() == pytest.approx(0.4521 * imported.sum(), rel=1e-5)


def test_no_control_comes_to_the_weights_on_its_own_years():
    env = site("env.data.train_years=2")
    info = told(env, NoControl(), days(env, 365, years=2), "train")
    weights = dict(zip(TERMS, env.config.reward.vector, strict=True))
    for name in ("co2", "solar", "cost", "grid"):
        assert info[f"term_{name}"].mean() == pytest.approx(weights[name], rel=5e-3), name
    assert info["term_ev"].mean() < 1e-4


def test_shedding_never_pays():
    """An unmet kWh costs more than any kWh saves: the dearest hour, the demand charge that it raises included."""
    for name in ("co2_focus", "cost_focus", "ev_focus", "grid_focus", "balanced"):
        env = site(f"env.reward.preset={name}")
        valued = env.params("train").valued
        weights, mean = np.asarray(valued.weights), np.asarray(valued.mean_terms)
        carbon, dearest = weights[0] * 0.4521 / mean[0], float(valued.dearest_per_kwh)
        unmet = carbon + weights[2] * dearest / mean[2] + weights[3] / mean[3]
        saved = carbon + weights[2] * (0.45 + 48.5) / 3.75 / mean[2]
        assert unmet >= saved, name


def test_a_flat_tariff_has_no_demand_charge():
    env = site("env.tariff.kind=flat")
    info = told(env, Greedy(), days(env, 40))
    assert np.abs(info["demand_cost"]).max() == 0.0
    assert info["energy_cost"].sum() == pytest.approx(0.2 * info["grid_import_kw"].sum(), rel=1e-5)


def test_the_highest_imports_begin_anew_with_the_month_and_with_an_episode():
    env = site()
    params = env.params("test")
    state, _ = env.reset(jax.random.key(0), params, jax.tree.map(lambda x: x[0], days(env, 3, first_day=30)))
    for hour in range(26):
        before = state.imports
        state, step = env.step(jax.random.key(0), state, jnp.array([1.0, 1.0, 1.0]), params)
        if hour == 23:  # the last hour of January
            assert float(state.imports.peak_kw) == 0.0 and float(state.imports.offpeak_kw) == 0.0
        elif step.info["grid_import_kw"] > 0:
            assert max(float(state.imports.peak_kw), float(state.imports.offpeak_kw)) > 0
        assert float(before.last_kw) >= 0.0
    imports = Imports(jnp.float32(10.0), jnp.float32(5.0), jnp.float32(0.0))
    assert float(imports.after(jnp.float32(7.0), jnp.array(False)).offpeak_kw) == 7.0
    assert float(imports.after(jnp.float32(7.0), jnp.array(True)).peak_kw) == 10.0
    assert float(Tariff(jnp.float32(4.0), jnp.float32(2.0)).demand(jnp.float32(10.0), jnp.float32(3.0))) == 46.0


@pytest.mark.parametrize("v2g", [False, True])
def test_what_the_critic_is_told_for_certain_is_the_reward_but_for_vehicles_that_leave(v2g):
    env = site("env.action.full_band=0.0", f"env.action.v2g={v2g}", "env.action.v2g_per_kwh=0.3")
    params = env.params("train")
    states, actions, steps = random_run(env, 800, seed=2)
    seen = jax.vmap(lambda state: env.observe(state, params))(states)
    context = env.post_decision_context(params)
    known, left = jax.jit(jax.vmap(env.post_decision, in_axes=(0, 0, None)))(seen, jnp.clip(actions, -1, 1), context)
    served = np.asarray(steps.info["ev_unmet_kwh"]) < 1e-6
    fits = np.asarray(seen[:, env.observation_space.slice("pv_now")][:, 0]) < 4.0
    assert (served & fits).sum() > 100
    np.testing.assert_allclose(known[served & fits], np.asarray(steps.reward)[served & fits], atol=2e-4)
    box = env.observation_space
    np.testing.assert_allclose(left[:-1, box.slice("soc")], seen[1:, box.slice("soc")], atol=1e-4)
    for name in ("peak_so_far", "offpeak_so_far"):
        np.testing.assert_allclose(left[:-1, box.slice(name)], seen[1:, box.slice(name)], atol=1e-4)
    np.testing.assert_allclose(left[:-1, box.slice("last_import")], seen[1:, box.slice("last_import")], atol=1e-4)


def test_shaping_adds_up_to_the_change_of_the_potential_and_what_arrivals_add():
    """Over 40 days, across the ends of months: no decision earns by it."""
    env = site("env.reward.shaping_discount=1.0", "env.episode.days=60")
    params = env.params("train")
    states, _, steps = random_run(env, 960, seed=3)
    left = params.data.month_left[states.year, states.time]
    held = Holdings(states.soc, states.vehicles.need_kwh.sum(axis=1), states.imports, left)
    potential = np.asarray(
        jax.vmap(lambda h: params.valued.potential(params.valued.weights, params.battery, h))(held), np.float64
    )
    arriving = np.asarray(steps.info["ev_wanted_kwh"], np.float64)[1:-1].sum()
    added = float(params.valued.stored_worth(params.valued.weights, jnp.float32(1.0))) * arriving
    total = np.asarray(steps.info["shaping"], np.float64)[:-1].sum()
    assert added > 0.1
    assert total == pytest.approx(potential[-1] - potential[0] + added, abs=0.02)


def test_whatever_the_charge_and_the_imports_all_else_goes_the_same_way():
    env = site()
    params = env.params("train")
    state, _ = env.reset(jax.random.key(5), params)
    other = replace(state, soc=jnp.float32(0.9), imports=Imports(*map(jnp.float32, (300.0, 500.0, 40.0))))
    action, key = jnp.array([0.3, 0.2, -0.4]), jax.random.key(0)
    after = jax.jit(lambda s: jax.lax.scan(lambda s, _: (env.step(key, s, action, params)[0], None), s, length=4)[0])
    left, right = (np.asarray(env.observe(after(s), params)) for s in (state, other))
    controlled = list(env.observation_space.entries(tuple(env.controlled)))
    np.testing.assert_array_equal(np.delete(left, controlled), np.delete(right, controlled))
    assert np.abs(left - right)[controlled[:3]].min() > 1e-3  # the charge and the highest imports


def test_the_level_that_an_energy_allows():
    deficits = jnp.array([10.0, 30.0, 20.0, 0.0])
    assert float(level_kw(deficits, jnp.float32(20.0), 1.0)) == pytest.approx(15.0, abs=1e-3)
    assert float(level_kw(deficits, jnp.float32(0.0), 1.0)) == pytest.approx(30.0, abs=1e-3)
    assert float(level_kw(deficits, jnp.float32(99.0), 1.0)) == 0.0


def test_the_rules_dispatch_the_battery_under_a_policy_of_the_chargers():
    env = site("env.action.battery=rule")
    assert env.action_space.names == ("charge_motos", "charge_mototaxis")
    info = told(env, NoControl(), days(env, 10))  # its battery power is not asked for
    assert info["discharge_kw"].sum() > 0 and info["charge_kw"].sum() > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.reward.weights.co2=0.6", r"must be at least 0 and sum to 1, not 1.1"),
        ("env.reward.preset=green", r"env.reward.preset=green: must be one of"),
        ("env.battery.soc_min=1.2", r"env.battery.soc_min=1.2: must be at least 0 and below env.battery.soc_max=1.0"),
        ("env.tariff.peak_hours=[22,18]", r"env.tariff.peak_hours=\[22, 18\]: must be"),
        ("env.action.target_exponent=0.5", r"env.action.target_exponent=0.5: must be within \[1, 4\]"),
        ("env.action.v2g_efficiency=0", r"env.action.v2g_efficiency=0.0: must be above 0 and at most 1"),
        ("env.action.full_band=1.0", r"env.action.full_band=1.0: must be at least 0 and below 1"),
        ("env.grid.import_limit_kw=-1", r"env.grid.import_limit_kw=-1.0: must be at least 0, or null"),
        ("env.episode.days=0", r"env.episode.days=0: must be at least 1"),
        ("env.mpc.pv_factor=3", r"env.mpc.pv_factor=3.0: must be within"),
    ],
)
def test_a_setting_out_of_range_is_one_line(override, message):
    with pytest.raises(UserError, match=message):
        site(override)


def test_arrival_leaves_nothing_to_give_back():
    with pytest.raises(UserError, match="env.action.v2g=true: needs env.action.chargers=group or socket"):
        site("env.action.v2g=true", "env.action.chargers=arrival")


def test_rules_and_arrival_leave_nothing_to_decide():
    with pytest.raises(UserError, match="leaves nothing to decide"):
        site("env.action.battery=rule", "env.action.chargers=arrival")


def test_a_preference_is_drawn_for_each_training_episode_and_observed():
    env = site("env.reward.conditioned=true")
    params = env.params("train")
    states, seen = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(jax.random.key(0), 64), params)
    np.testing.assert_allclose(np.asarray(states.weights).sum(axis=1), 1.0, atol=1e-5)
    first = env.observation_space.slice("weight_co2").start
    np.testing.assert_allclose(seen[:, first : first + 5], states.weights, atol=1e-6)
    assert np.asarray(states.weights).std(axis=0).min() > 0.1
    for length in (3, 365):  # what is named is evaluated with the weights that are configured
        named, _ = env.reset(jax.random.key(1), params, jax.tree.map(lambda x: x[0], days(env, length)))
        np.testing.assert_allclose(named.weights, env.config.reward.vector, atol=1e-6)


def test_a_drawn_start_is_midnight_within_the_year_and_its_battery_within_bounds():
    env = site()
    params = env.params("train")
    states, _ = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(jax.random.key(0), 200), params)
    time = np.asarray(states.time)
    assert (time % 24 == 0).all() and time.min() >= 0 and (np.asarray(states.end) <= 8760).all()
    assert len(set(np.asarray(states.year).tolist())) == 2
    soc = np.asarray(states.soc)
    assert soc.min() >= 0.2586 - 1e-6 and soc.max() <= 1.0 and soc.std() > 0.1
    assert replace(states, time=states.time).vehicles.need_kwh.shape == (200, 4)
