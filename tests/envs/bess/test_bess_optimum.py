"""The storage program against hand-worked days, dynamic programming and its own variants."""

import numpy as np
import pytest

from vmax.envs.battery import Site
from vmax.envs.bess.optimum import StorageProgram, perfect_foresight

DEFAULTS = {
    "capacity_mwh": 3.5,
    "power_mw": 1.5,
    "soc_min": 0.1,
    "soc_max": 0.9,
    "eta_charge": 0.97,
    "eta_discharge": 0.97,
    "quadratic_loss": 0.0,
    "self_discharge_per_h": 0.0,
    "wear_eur_per_mwh": 15.0,
    "pv_capacity_mw": 0.0,
    "inverter_mw": 0.0,
    "import_limit_mw": 1.5,
    "export_limit_mw": 1.5,
    "import_fee_eur_per_mwh": 0.0,
    "export_fee_eur_per_mwh": 0.0,
}
IDEAL = {
    "capacity_mwh": 1.0,
    "power_mw": 1.0,
    "soc_min": 0.0,
    "soc_max": 1.0,
    "eta_charge": 1.0,
    "eta_discharge": 1.0,
    "wear_eur_per_mwh": 0.0,
}


def site(**numbers: float) -> Site:
    return Site(**{name: np.asarray(value) for name, value in {**DEFAULTS, **numbers}.items()})  # pyright: ignore


def test_lossless_battery_sells_both_peaks_of_a_hand_worked_day():
    schedule = perfect_foresight(site(**IDEAL), np.array([10.0, 50.0, 20.0, 60.0]), 1.0, soc=0.0)
    assert schedule.objective_eur == pytest.approx((50 - 10) + (60 - 20))
    assert schedule.power_mw == pytest.approx([-1, 1, -1, 1])


def test_wear_and_losses_are_paid():
    # buy 1 MWh at 10, wear 2; 0.9 arrives, 0.81 leaves at 50, wear 2
    lossy = site(**IDEAL | {"eta_charge": 0.9, "eta_discharge": 0.9, "wear_eur_per_mwh": 2.0})
    schedule = perfect_foresight(lossy, np.array([10.0, 50.0]), 1.0, soc=0.0)
    assert schedule.objective_eur == pytest.approx(0.81 * (50 - 2) - (10 + 2))


def test_fees_close_a_spread_that_does_not_cover_them():
    fees = {"import_fee_eur_per_mwh": 25.0, "export_fee_eur_per_mwh": 20.0}
    schedule = perfect_foresight(site(**IDEAL, **fees), np.array([10.0, 50.0]), 1.0, soc=0.0)
    assert schedule.objective_eur == pytest.approx(0.0)


def test_energy_left_has_its_value_and_a_demanded_end_is_kept():
    prices = np.array([10.0, 50.0])
    assert perfect_foresight(site(**IDEAL), prices, 1.0, 0.0, 70.0).objective_eur == pytest.approx(70 - 10)
    schedule = perfect_foresight(site(**IDEAL), prices, 1.0, 0.5, end_mwh=0.5)
    assert schedule.objective_eur == pytest.approx(0.5 * 40)
    assert schedule.stored_mwh[-1] == pytest.approx(0.5)


def test_quarter_hours_count_as_quarters():
    hourly = perfect_foresight(site(), np.array([10.0, 90.0, 20.0, 80.0]), 1.0, 0.5)
    quarters = perfect_foresight(site(), np.repeat([10.0, 90.0, 20.0, 80.0], 4), 0.25, 0.5)
    assert quarters.objective_eur == pytest.approx(hourly.objective_eur)


def test_burning_energy_at_negative_prices_is_excluded():
    burning = site(**IDEAL | {"eta_charge": 0.8, "eta_discharge": 0.8})
    prices = np.array([-300.0, -300.0, -300.0, 40.0])
    schedule = perfect_foresight(burning, prices, 1.0, soc=1.0)
    relaxed = StorageProgram(4, 1.0, burning).solve(prices, soc=1.0)
    assert schedule.simultaneous_steps > 0
    assert np.minimum(schedule.charge_mw, schedule.discharge_mw).max() < 1e-9
    assert schedule.objective_eur < relaxed.objective_eur


def test_kept_model_gives_what_a_fresh_one_gives():
    rng, kept = np.random.default_rng(0), StorageProgram(24, 1.0, site())
    for _ in range(20):
        prices, soc, value = rng.normal(60, 40, 24), rng.uniform(0.1, 0.9), rng.uniform(0, 80)
        fresh = StorageProgram(24, 1.0, site()).solve(prices, soc, value)
        assert kept.solve(prices, soc, value).objective_eur == pytest.approx(fresh.objective_eur)


def test_agrees_with_dynamic_programming_over_a_grid_of_charge():
    prices = 60 + 40 * np.sin(np.arange(96) / 3.8) + np.random.default_rng(1).normal(0, 15, 96)
    linear = perfect_foresight(site(), prices, 1.0, soc=0.5, end_value_eur_per_mwh=50.0).objective_eur
    grid = best_on_grid(prices, points=561)
    assert grid <= linear + 1e-9
    assert grid == pytest.approx(linear, rel=5e-3)


def best_on_grid(prices: np.ndarray, points: int) -> float:
    """Bellman recursion over stored energy 0.35 … 3.15 MWh from 1.75 MWh; 50 EUR for each MWh left."""
    stored = np.linspace(0.35, 3.15, points)
    move = stored[None, :] - stored[:, None]
    charge, discharge = np.maximum(move, 0) / 0.97, np.maximum(-move, 0) * 0.97
    allowed = np.maximum(charge, discharge) <= 1.5
    value = 50.0 * stored
    for price in prices[::-1]:
        earned = price * (discharge - charge) - 15 * (discharge + charge)
        value = np.where(allowed, earned + value[None, :], -np.inf).max(axis=1)
    return float(value[points // 2])


def test_power_dependent_losses_cost_and_stay_below_their_bound():
    prices = np.array([10.0, 90.0] * 6)
    without = perfect_foresight(site(), prices, 1.0, 0.5).objective_eur
    with_losses = perfect_foresight(site(quadratic_loss=0.05), prices, 1.0, 0.5).objective_eur
    constant = perfect_foresight(site(eta_charge=0.92, eta_discharge=1 / (1 / 0.97 + 0.05)), prices, 1.0, 0.5)
    assert constant.objective_eur < with_losses < without


def test_self_discharge_loses_a_share_each_step():
    # 0.9 of the full MWh is left after the first hour and filled up for nothing; 0.9 is left to sell in the second
    leaking = site(**IDEAL, self_discharge_per_h=0.1)
    schedule = perfect_foresight(leaking, np.array([0.0, 100.0]), 1.0, soc=1.0)
    assert schedule.objective_eur == pytest.approx(90.0)


def test_pv_is_sold_stored_behind_the_limit_and_curtailed_at_negative_prices():
    # 2 MW of PV, 1 MW of export: the rest is stored at 50 and sold at 80; at -40 nothing is exported
    plant = site(**IDEAL, pv_capacity_mw=2.0, inverter_mw=2.0, export_limit_mw=1.0, import_limit_mw=0.0)
    schedule = perfect_foresight(plant, np.array([50.0, 80.0, -40.0]), 1.0, 0.0, pv_mw=np.array([2.0, 0.0, 2.0]))
    assert schedule.objective_eur == pytest.approx(50 + 80)
