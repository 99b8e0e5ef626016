"""Energy and reserve planned together: against an independent program, and carried out by the environment."""

from functools import lru_cache
from typing import Any

import jax
import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog
from small_bess import bess_on, small_bess, wavy_prices

from vmax.envs.bess import kpis
from vmax.envs.bess.baselines import Idle
from vmax.envs.bess.planners import lane_sites
from vmax.envs.bess.reserve_planners import ReserveForesight, ReserveMPC
from vmax.envs.bess.reserve_program import ReserveMarket, ReserveProgram
from vmax.envs.bess.reserve_rules import ActivationConfig, ReserveConfig
from vmax.envs.rollout import rollout
from vmax.evaluation.evaluate import compare

UNCALLED = ActivationConfig(0.0, (2.0, 3.0), 0.0, 0)


def textbook_optimum(price: np.ndarray, up: np.ndarray, block: int, backing_h: float) -> float:
    """Profit of 1.5 MW / 3.5 MWh from half full to at least half full with upward reserve, 15 EUR/MWh of wear."""
    n, eta = len(price), 0.97
    one, zero, before = sparse.identity(n), sparse.csr_matrix((n, n)), sparse.eye(n, k=-1)
    balance = sparse.hstack([-eta * one, one / eta, one - before, zero])
    start = np.zeros(n)
    start[0] = 1.75
    same = sparse.hstack([zero, zero, zero, one - before]).tocsr()[np.arange(n) % block != 0]
    held = backing_h / eta * one
    limits = [sparse.hstack([-one, one, zero, one]), sparse.hstack([zero, zero, -one, held]),
              sparse.hstack([zero, zero, -before, held])]  # fmt: skip
    bounds = [np.full(n, 1.5), np.full(n, -0.35), start - 0.35]
    result = linprog(
        np.concatenate([price + 15, 15 - price, np.zeros(n), -up]),
        A_ub=sparse.vstack(limits),
        b_ub=np.concatenate(bounds),
        A_eq=sparse.vstack([balance, same]),
        b_eq=np.concatenate([start, np.zeros(same.shape[0])]),
        bounds=[(0, 1.5)] * (2 * n) + [(0.35, 3.15)] * (n - 1) + [(1.75, 3.15)] + [(0, 1.5)] * n,
    )
    return -result.fun


@pytest.mark.parametrize(("block_h", "backing_h"), [(1, 1.0), (4, 1.0), (4, 0.25)])
def test_the_program_agrees_with_one_written_out_from_the_rules(block_h, backing_h):
    draw = np.random.default_rng(0)
    price, up = draw.uniform(0, 150, 96), draw.exponential(20.0, 96)
    rules = ReserveConfig("up", backing_h, block_h, 500.0, UNCALLED, 1.0, 0)
    program = ReserveProgram(96, 1.0, small_bess().params("test").site, rules)
    program.storage.set_column_bounds(program.storage.columns_of("stored")[-1:], np.array([1.75]), np.array([3.15]))
    plan = program.solve(price, 0.5, ReserveMarket(up, 0 * up, np.arange(96) % block_h == 0))
    assert plan.flows.objective_eur == pytest.approx(textbook_optimum(price, up, block_h, backing_h), rel=1e-6)


CASES = {
    "simple": ("product=simple",),
    "symmetric": ("product=symmetric", "block_h=4", "backing_h=0.5"),
    "up_and_down": ("product=up_and_down", "block_h=4", "activation.share=0.3", "activation.premium_eur_per_mwh=10"),
}


@lru_cache(maxsize=8)
def selling(case: str) -> tuple[Any, Any, Any]:
    """The battery, its params and six days of the test split."""
    rules = (f"env.reserve.{setting}" for setting in CASES[case])
    env = bess_on(wavy_prices(), *rules, "env.observation.features=[soc]")
    params = env.params("test")
    return env, params, env.evaluation_starts(params, "test", days=6)


def carried_out(env: Any, policy: Any, params: Any, starts: Any) -> dict[str, np.ndarray]:
    record = rollout(env, policy, params, starts)
    return {key: np.asarray(value, np.float64)[: int(record.steps[0]), 0] for key, value in record.info.items()}


@pytest.mark.parametrize("case", CASES)
def test_the_optimum_earns_in_the_environment_what_it_promises(case):
    env, params, starts = selling(case)
    start = jax.tree.map(lambda leaf: leaf[0], starts)
    _, promised_eur = ReserveForesight().plan(env, params, start, lane_sites(env, params, starts)[0])
    info = carried_out(env, ReserveForesight(), params, starts)
    assert info["profit_eur"].sum() + info["terminal_value_eur"].sum() == pytest.approx(promised_eur, rel=1e-3)
    assert info["non_delivered_mwh"].sum() == 0.0
    assert info["reserve_revenue_eur"].sum() > 0.0


def test_planning_under_risk_lies_between_idling_and_the_optimum():
    env, params, starts = selling("up_and_down")
    value = {}
    for policy in (ReserveForesight(), ReserveMPC(), Idle()):
        info = carried_out(env, policy, params, starts)
        value[type(policy)] = info["profit_eur"].sum() + info["terminal_value_eur"].sum()
    assert value[Idle] < value[ReserveMPC] < value[ReserveForesight]


def test_the_optimum_leaves_room_behind_a_shared_connection_and_losses_do_not_break_it():
    env = bess_on(wavy_prices(), "env.reserve.product=up_and_down", "env.battery.self_discharge_per_h=0.002",
                  "env.plant.export_limit_mw=3", "env.plant.import_limit_mw=1.2",
                  "env.observation.features=[soc]", env="bess_pv")  # fmt: skip
    params = env.params("test")
    starts = env.evaluation_starts(params, "test", days=6)
    start = jax.tree.map(lambda leaf: leaf[0], starts)
    _, promised_eur = ReserveForesight().plan(env, params, start, lane_sites(env, params, starts)[0])
    info = carried_out(env, ReserveForesight(), params, starts)
    export = info["pv_mw"] - info["curtailed_mw"] + info["discharge_mw"] - info["charge_mw"] - info["standby_mw"]
    assert (export + info["reserve_up_mw"] < 3 + 1e-5).all()
    assert (info["reserve_down_mw"] - export - info["standby_mw"] < 1.2 + 1e-5).all()
    assert info["profit_eur"].sum() + info["terminal_value_eur"].sum() == pytest.approx(promised_eur, rel=1e-3)


def test_idle_charges_once_and_then_sells_rated_power():
    env = bess_on(wavy_prices(), "env.reserve.product=up", "env.observation.features=[soc]")
    params = env.params("test")
    starts = env.evaluation_starts(params, "test", days=3)
    info = carried_out(env, Idle(), params, starts)
    assert info["charge_mw"][0] == pytest.approx((1.5 / 0.97 - 0.4 * 3.5) / 0.97, rel=1e-4)
    assert info["reserve_up_mw"][0] == pytest.approx(0.4 * 3.5 * 0.97, rel=1e-5)  # what the charge at the start backs
    np.testing.assert_allclose(info["reserve_up_mw"][1:], 1.5, rtol=1e-5)
    assert info["charge_mw"][1:].max() < 1e-5 and info["discharge_mw"].max() == 0.0


def test_key_figures_tell_the_streams_apart():
    env, params, _ = selling("up_and_down")
    starts = env.evaluation_starts(params, "test", error_draws=2, days=4)
    record = rollout(env, Idle(), params, starts)
    table = kpis.timeseries("idle", record.info, record.steps, env.series)
    figures = env.assessment.key_figures(table, params, starts)
    streams = ("energy_revenue_eur", "reserve_revenue_eur", "activation_revenue_eur")
    costs = ("fee_eur", "wear_cost_eur", "penalty_eur")
    total = sum(figures[key] for key in streams) - sum(figures[key] for key in costs)
    assert figures["profit_eur"] == pytest.approx(total, abs=1e-2)
    assert figures["activated_up_mwh"] > 0 and figures["activated_down_mwh"] > 0
    assert figures["violations"] == figures["reserve_violations"] == 0
    missed = (table["non_delivered_mwh"] > 1e-6 * 1.5).sum()
    assert figures["non_deliveries"] == missed
    broken = table.assign(reserve_up_mw=table["reserve_up_mw"] + 1.6)
    assert env.assessment.key_figures(broken, params, starts)["reserve_violations"] == len(table)


def test_the_share_is_that_of_what_trading_adds_to_idle():
    earned = {"do_nothing": 1.0, "idle": 8.0, "mpc": 9.5, "perfect_foresight": 10.0}
    daily = {name: {"profit_eur": np.full(7, x), "value_eur": np.full(7, x)} for name, x in earned.items()}
    figures: dict[str, dict[str, Any]] = {name: {} for name in daily}
    compare(figures, daily, bootstrap=5, seed=0)
    assert figures["mpc"]["reserve_share"] == pytest.approx(0.75)
    assert figures["idle"]["reserve_share"] == 0.0
    without = {name: {} for name in daily if name != "idle"}
    compare(without, {name: daily[name] for name in without}, bootstrap=5, seed=0)
    assert "reserve_share" not in without["mpc"]
