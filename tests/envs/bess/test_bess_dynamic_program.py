"""The dynamic program against the linear program, against every course of a small battery, and in the environment."""

from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_bess import bess_on, wavy_prices

from vmax.envs.battery import Site, Switches
from vmax.envs.bess.depth_stress import bucket_stress
from vmax.envs.bess.dynamic_program import Wear, optimise
from vmax.envs.bess.optimum import perfect_foresight
from vmax.envs.bess.planners import PerfectForesight, lane_sites
from vmax.envs.rollout import rollout

NUMBERS = {
    "capacity_mwh": 3.5, "power_mw": 1.5, "soc_min": 0.1, "soc_max": 0.9, "eta_charge": 0.97, "eta_discharge": 0.97,
    "quadratic_loss": 0.0, "self_discharge_per_h": 0.0, "wear_eur_per_mwh": 15.0, "pv_capacity_mw": 0.0,
    "inverter_mw": 0.0, "import_limit_mw": np.inf, "export_limit_mw": np.inf, "import_fee_eur_per_mwh": 0.0,
    "export_fee_eur_per_mwh": 0.0,
}  # fmt: skip


def site(**changes) -> Site:
    return Site(**{name: np.float64(value) for name, value in {**NUMBERS, **changes}.items()})  # pyright: ignore[reportArgumentType]


def one_price(count, eur_per_mwh=15.0):
    return Wear(np.array([eur_per_mwh]), np.zeros(0), np.zeros(count, bool))


def prices(days=4, seed=1):
    return 60 + 40 * np.sin(np.arange(24 * days) / 3.8) + np.random.default_rng(seed).normal(0, 15, 24 * days)


@pytest.mark.parametrize(
    "changes",
    [{}, {"quadratic_loss": 0.05}, {"import_fee_eur_per_mwh": 8.0, "export_fee_eur_per_mwh": 3.0}],
    ids=["plain", "power-dependent losses", "fees"],
)
def test_agrees_with_the_linear_program_where_wear_is_linear(changes):
    course = prices()
    best = perfect_foresight(site(**changes), course, 1.0, 0.5, 50.0).objective_eur
    plan = optimise(site(**changes), course, 1.0, 0.5, one_price(len(course)), 50.0)
    base = 50.0 * 0.5 * 3.5
    assert plan.schedule.objective_eur <= best + 0.05 + (1.0 if "quadratic_loss" in changes else 0.0)  # chords: EUR 1
    assert plan.schedule.objective_eur - base == pytest.approx(best - base, rel=5e-3)
    assert plan.value_eur == pytest.approx(plan.schedule.objective_eur, rel=1e-3)


def test_agrees_with_the_linear_program_behind_a_connection_with_pv():
    course = prices(2)
    course[30:34] = -20.0
    pv_mw = np.maximum(3.0 * np.sin(np.pi * (np.arange(48) % 24 - 6) / 12), 0.0)
    plant = site(pv_capacity_mw=3.0, inverter_mw=2.5, export_limit_mw=2.0, import_limit_mw=0.5)
    best = perfect_foresight(plant, course, 1.0, 0.5, 50.0, pv_mw=pv_mw).objective_eur
    found = optimise(plant, course, 1.0, 0.5, one_price(48), 50.0, pv_mw).schedule.objective_eur
    assert found <= best + 0.05
    assert found == pytest.approx(best, rel=5e-3)


LIMITS, STRESS_EUR = np.array([0.3, 0.6]), np.array([1.0, 6.0, 20.0])


def best_of_all_courses(course, starts_half):
    """Over every course of a lossless 1 MWh store, 0.5 MW, from 0.5, in steps of 0.1: value and cost as published."""
    levels = np.round(np.arange(11) * 0.1, 1)
    paths = np.array(list(product(levels, repeat=len(course))))
    paths = np.hstack([np.full((len(paths), 1), 0.5), paths])
    moves = np.diff(paths)
    paths, moves = (rows[(np.abs(moves) <= 0.5 + 1e-9).all(axis=1)] for rows in (paths, moves))
    low = high = paths[:, 0]
    total = 50.0 * paths[:, -1]
    for t, price in enumerate(course):
        if starts_half[t]:
            low = high = paths[:, t]
        low, high = np.minimum(low, paths[:, t + 1]), np.maximum(high, paths[:, t + 1])
        total -= moves[:, t] * price + np.abs(moves[:, t]) * bucket_stress(high - low, LIMITS, STRESS_EUR)
    return total.max()


@pytest.mark.parametrize("seed", range(4))
def test_is_the_best_of_all_courses_where_depth_has_a_price(seed):
    course = np.random.default_rng(seed).uniform(20, 80, 5).round()
    starts_half = np.arange(5) == 2
    small = site(
        capacity_mwh=1.0,
        power_mw=0.5,
        soc_min=0.0,
        soc_max=1.0,
        eta_charge=1.0,
        eta_discharge=1.0,
        wear_eur_per_mwh=0.0,
    )
    plan = optimise(small, course, 1.0, 0.5, Wear(STRESS_EUR, LIMITS, starts_half), 50.0)
    assert plan.schedule.objective_eur == pytest.approx(best_of_all_courses(course, starts_half), abs=1e-3)


def test_the_order_of_the_buckets_changes_the_plan():
    # from 0.5 at 10, 100 and back to 10 EUR: without wear all of it is sold; where depth is dear a swing of 0.3
    small = site(capacity_mwh=1.0, power_mw=0.5, soc_min=0.0, soc_max=1.0, eta_charge=1.0, eta_discharge=1.0)
    course, never = np.array([50.0, 80.0, 50.0]), np.zeros(3, bool)
    for prices_eur, swing in (([0.0, 0.0, 0.0], 0.5), ([0.0, 40.0, 40.0], 0.3)):
        plan = optimise(small, course, 1.0, 0.5, Wear(np.array(prices_eur), LIMITS, never), 50.0)
        assert plan.schedule.discharge_mw[1] == pytest.approx(swing, abs=1e-4)


def test_limits_that_leave_out_the_efficiency_cost_little():
    course, usual = prices(), optimise(site(), prices(), 1.0, 0.5, one_price(96), 50.0).schedule.objective_eur
    tighter = replace(site(), switches=Switches(compat_power_limit=True))
    found = optimise(tighter, course, 1.0, 0.5, one_price(96), 50.0).schedule.objective_eur
    assert usual * 0.98 < found <= usual


def test_self_discharge_is_refused():
    with pytest.raises(ValueError, match="self-discharge"):
        optimise(site(self_discharge_per_h=0.01), prices(), 1.0, 0.5, one_price(96))


@pytest.mark.parametrize("model", ["cardo_miota", "cardo_miota_linear"])
def test_the_optimum_earns_its_objective_in_the_environment(model):
    """Replayed in float32 within 1e-4 of what the plan reckons, and nothing else does better."""
    env = bess_on(wavy_prices(), f"env.degradation.model={model}", "env.degradation.replacement_eur_per_mwh=60000",
                  "env.observation.features=[soc]")  # fmt: skip
    params = env.params("test")
    starts = env.evaluation_starts(params, "test")
    start = jax.tree.map(lambda leaf: leaf[0], starts)
    _, objective_eur = PerfectForesight().schedule(env, params, start, lane_sites(env, params, starts)[0])
    info = rollout(env, PerfectForesight(), params, starts).info
    earned = float(np.asarray(info["profit_eur"] + info["terminal_value_eur"], np.float64).sum())
    assert objective_eur > 100
    assert earned == pytest.approx(objective_eur, rel=1e-4)
    assert float(jnp.sum(info["wear_cost_eur"])) > 0
