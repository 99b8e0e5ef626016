"""Plans of the microgrid: the optimum against a hand-worked day, its replay, every rule, and what is judged."""

from dataclasses import replace

import numpy as np
import pytest
from sites import days, site, told

from vmax.envs.course import KIND, course_of
from vmax.envs.microgrid import kpis
from vmax.envs.microgrid.optimum import Before, Prices, Storage, Stretch, optimise
from vmax.envs.microgrid.planners import MPC, PerfectForesight, lane_deficits_kw, plans
from vmax.envs.microgrid.rules import ConstantTargets, Greedy, Level, NoControl, PriorityRules, TimeOfUse
from vmax.envs.microgrid.settings import TERMS
from vmax.envs.rollout import rollout
from vmax.evaluation.evaluate import evaluate

FREE = Prices(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def objective(info) -> float:
    return float(sum(info[f"term_{name}"].sum() for name in TERMS))


def test_a_day_worked_by_hand():
    """Energy bought at 1 and used at 3, with losses; then a demand charge that makes it flat instead."""
    net, price = np.array([0.0, 0.0, 10.0, 10.0]), np.array([1.0, 1.0, 3.0, 3.0])
    storage = Storage(100.0, 0.0, 100.0, 0.0, 8.0, 0.9)
    none, peak = np.zeros(4), np.ones(4, bool)
    month = np.zeros(4, int)
    plan = optimise(Stretch(net, price, none, peak, month, 1.0), FREE, storage)
    # 16 kWh come in at full power, 14.4 are stored, 12.96 come out
    assert plan.objective == pytest.approx(16.0 + 3.0 * (20.0 - 12.96))
    assert plan.power_kw[:2] == pytest.approx([-8.0, -8.0])
    flat = Prices(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0)
    plan = optimise(Stretch(net, price, none, peak, month, 1.0), flat, storage)
    # import x in all four hours: 2 x 0.81 + 2 x = 20
    assert plan.import_kw == pytest.approx(20.0 / (2.0 + 2.0 * 0.81))
    ceiling = optimise(Stretch(net, price, none, peak, month, 1.0, Before(peak_kw=8.0)), flat, storage)
    assert ceiling.import_kw.max() == pytest.approx(8.0, abs=1e-6)  # up to the month's highest nothing more is charged


def test_surplus_is_not_burnt():
    """Charging and discharging at once would lose energy that otherwise has to be fed in."""
    spill = Prices(1.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    net, free = np.array([-10.0, -10.0, -10.0]), np.zeros(3)
    storage, off = Storage(4.0, 0.0, 4.0, 0.0, 50.0, 0.8), np.zeros(3, bool)
    plan = optimise(Stretch(net, free, free, off, np.zeros(3, int), 1.0), spill, storage)
    assert -plan.power_kw.sum() == pytest.approx(4.0 / 0.8)
    assert plan.objective == pytest.approx(5.0 * (30.0 - 5.0))


@pytest.mark.parametrize("name", [pytest.param("microgrid", marks=pytest.mark.slow), "microgrid_scarce"])
def test_the_optimum_is_what_its_replay_comes_to_and_nobody_is_below_it(name):
    """Replayed with an action for each socket and signed battery power."""
    env = site("env.action.battery=power", "env.action.chargers=socket", name=name)
    params, starts = env.params("test"), days(env, 60, first_day=20)
    worth = float(params.valued.stored_worth(params.valued.weights, params.battery.eta_discharge))

    def total(policy) -> float:
        info = told(env, policy, starts)
        return objective(info) - worth * info["soc_end"][-1, 0] * env.config.battery.capacity_kwh

    planned = plans(env, params, starts, lane_deficits_kw(env, params, starts))[0].objective
    found = total(PerfectForesight())
    assert found == pytest.approx(planned, rel=1e-3)
    rules = (NoControl(), Greedy(), Level(), PriorityRules(), TimeOfUse(6.0), ConstantTargets(100.0, 200.0))
    others = {type(rule).__name__: total(rule) for rule in rules}
    assert min(others.values()) > found - 1e-3 * abs(found)
    assert others["NoControl"] > others["Greedy"] > others["Level"]


def test_a_plan_on_what_is_known_lies_between_the_rules_and_the_optimum():
    env = site("env.reward.preset=cost_focus", name="microgrid_scarce")
    starts = days(env, 45, first_day=31)
    totals = {name: objective(told(env, policy, starts)) for name, policy in
              (("level", Level()), ("mpc", MPC(0.9, 1.0)), ("optimum", PerfectForesight()))}  # fmt: skip
    assert totals["optimum"] < totals["mpc"] < totals["level"]


def test_every_baseline_can_be_carried_out_as_an_import_target():
    """What a rule asks for does not depend on how an agent's actions are read."""
    starts = days(site(), 25, first_day=40)
    for policy in (Greedy(), Level(), PriorityRules()):
        one, other = (
            told(site(f"env.action.battery={mode}", name="microgrid_scarce"), policy, starts)
            for mode in ("power", "import_target")
        )
        np.testing.assert_allclose(one["grid_import_kw"], other["grid_import_kw"], atol=0.05, err_msg=str(policy))


def test_what_is_reported_follows_from_the_written_rows():
    env = site("env.data.test_years=2")
    found = evaluate(env, {}, "test", error_draws=1, bootstrap=200, max_episode_steps=1000, days=7)
    policies, rows = found.result["policies"], found.timeseries
    assert list(policies) == ["no_control", "greedy", "level", "constant_targets", "priority_rules", "time_of_use",
                              "mpc", "perfect_foresight"]  # fmt: skip
    assert {*("utc", "policy", "pv_kw", "curtailed_kw", "mall_kw", "ev_kw", "charge_kw", "discharge_kw", "soc"),
            *("soc_end", "grid_import_kw", "grid_export_kw", "net_grid_kw", "carbon_kg_per_kwh", "price_per_kwh"),
            "reward"} <= set(rows.columns)  # fmt: skip
    for name, values in policies.items():
        of = rows[rows["policy"] == name]
        assert len(of) == 2 * 7 * 24
        assert values["co2_kg"] == pytest.approx(0.5 * 0.4521 * of["grid_import_kw"].sum(), rel=1e-5)
        # a mean year: of sums, of intervals, and of what seasons come to together
        assert values["profit_eur"] == pytest.approx(-0.5 * of["cost"].sum(), rel=1e-5)
        assert sum(part["profit_eur"] for part in values["by_season"].values()) == pytest.approx(values["profit_eur"])
        low, high = values["ci95"]["profit_eur"]
        assert low <= values["profit_eur"] <= high
        assert values["max_residual_kw"] < 1e-3 and values["violations"] == 0
        assert values["ev_service"] == pytest.approx(1.0 - of["ev_unmet_kwh"].sum() / of["ev_wanted_kwh"].sum())
        assert values["objective"] == pytest.approx(
            sum(w * values["objectives"][k] for k, w in zip(TERMS, env.config.reward.vector, strict=True))
        )
    nothing = policies["no_control"]
    assert nothing["objectives"]["co2"] == nothing["objectives"]["cost"] == nothing["objectives"]["grid"] == 1.0
    assert nothing["capture"] == 0.0 and policies["perfect_foresight"]["capture"] == 1.0
    assert policies["greedy"]["co2_avoided_kg"] == pytest.approx(nothing["co2_kg"] - policies["greedy"]["co2_kg"])
    assert policies["perfect_foresight"]["uplift_eur"] >= max(v["uplift_eur"] for v in policies.values()) - 1e-6


def test_a_broken_row_is_counted():
    env = site()
    record = rollout(env, Greedy(), env.params("test"), days(env, 3))
    table = env.assessment.timeseries("greedy", record)
    values = {key: table[key].to_numpy(np.float64) for key in kpis.TOLD}
    assert kpis.violations(table, values, env.config).sum() == 0
    for key, change in (("soc", 0.3), ("charge_kw", 3000.0), ("ev_kw", 100.0), ("unserved_kw", 1.0)):
        broken = {**values, key: values[key].copy()}
        broken[key][10] += change
        assert kpis.violations(table, broken, env.config).sum() >= 1, key
    shifted = {**values, "grid_import_kw": values["grid_import_kw"] + 1.0}
    assert np.abs(kpis.residual_kw(kpis.flows_of(shifted))).max() == pytest.approx(1.0, abs=1e-3)
    assert np.isfinite(table["reward"].to_numpy(np.float64)).all()


def test_a_course_is_set_once_for_the_same_of_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("VMAX_COMPILATION_CACHE", "VMAX_REMEMBER"):
        monkeypatch.setenv(name, "on")
    calls, plan = [], MPC.course

    def counted(self, env, params, starts):
        calls.append(self)
        return plan(self, env, params, starts)

    monkeypatch.setattr(MPC, "course", counted)
    env = site()
    params, starts = env.params("test"), days(env, 1)
    first = course_of(env, MPC(0.9, 1.0), params, starts)
    again = course_of(env, MPC(0.9, 1.0), params, starts)
    assert len(calls) == 1 and np.array_equal(first.actions, again.actions)
    course_of(env, MPC(0.8, 1.0), params, starts)
    course_of(env, MPC(0.9, 1.0), params, replace(starts, soc=starts.soc + 0.01))
    dearer = replace(params, data=replace(params.data, price_per_kwh=1.01 * params.data.price_per_kwh))
    course_of(env, MPC(0.9, 1.0), dearer, starts)
    assert len(calls) == 4
    for path in tmp_path.rglob(f"{KIND}/*.npy"):
        path.write_bytes(b"broken")
    assert np.array_equal(course_of(env, MPC(0.9, 1.0), params, starts).actions, first.actions) and len(calls) == 5
    monkeypatch.setenv("VMAX_REMEMBER", "off")
    course_of(env, MPC(0.9, 1.0), params, starts)
    assert len(calls) == 6
