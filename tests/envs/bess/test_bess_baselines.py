"""Rules and planners: what they do on a day worked by hand, what they may know, and that money is the environment's."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from small_bess import bess_on, small_bess, wavy_prices

from vmax.envs.bess.baselines import CheapDear, Threshold, TwoCycle
from vmax.envs.bess.known import Known, block_prices
from vmax.envs.bess.planners import MPC, Calibration, PerfectForesight, calibrated, lane_sites, repeat_last_day
from vmax.envs.bess.tuning import tuned_settings
from vmax.envs.rollout import rollout
from vmax.evaluation.evaluate import evaluate

HALF_DAY = [50.0, 20.0, 10.0, 30.0, 40.0, 60.0, 90.0, 100.0, 15.0, 5.0, 50.0, 50.0]


def known_at(hour: int, day: list[float], mask_from: int = 36) -> Known:
    """What is known at an hour of a day whose prices repeat for ever."""
    prices = np.tile(np.asarray(day, np.float32), 4)
    window, zero = np.arange(36), np.float32(0.0)
    return Known(
        price_eur_per_mwh=jnp.asarray(np.where(window < mask_from, prices[24 + hour + window], 0.0)),
        expected_price_eur_per_mwh=jnp.asarray(prices[24 + hour + window]),
        mask=jnp.asarray(window < mask_from),
        past_price_eur_per_mwh=jnp.asarray(prices[hour : 24 + hour]),
        last_error_eur_per_mwh=jnp.asarray(zero),
        error_age=jnp.int32(1),
        profile_eur_per_mwh=jnp.full(36, 45.0),
        pv_mw=jnp.zeros(36),
        local_hour=jnp.asarray((hour + window) % 24, jnp.float32),
        mean_eur_per_mwh=jnp.float32(50.0),
        spread_eur_per_mwh=jnp.float32(20.0),
    )


def decisions(rule, day=HALF_DAY + HALF_DAY) -> list[float]:
    """Power in MW in the hours of a day."""
    site = small_bess().params("train").site
    return [float(rule.power_mw(known_at(hour, day), site, 1.0)) for hour in range(24)]


def test_two_cycle_buys_the_two_cheapest_hours_before_the_two_dearest():
    half = [0, -1.5, -1.5, 0, 0, 0, 1.5, 1.5, 0, 0, 0, 0]  # 5 and 15 EUR come too late
    assert decisions(TwoCycle(-jnp.inf)) == half + half


def test_the_gate_holds_back_where_the_spread_is_no_larger():
    assert decisions(TwoCycle(79.9)) == decisions(TwoCycle(0.0))  # (90 + 100) / 2 − (10 + 20) / 2 = 80
    assert decisions(TwoCycle(80.0)) == [0.0] * 24


def test_cheap_dear_takes_hours_of_the_whole_day():
    day = [float(10 * h) for h in range(24)]
    assert decisions(CheapDear(2.0), day) == [-1.5, -1.5] + [0.0] * 20 + [1.5, 1.5]


def test_threshold_compares_the_price_with_the_week_behind():
    assert decisions(Threshold(1.0))[:8] == [0, -1.5, -1.5, 0, 0, 0, 1.5, 1.5]  # 50 ± 20, at 30 not yet


def test_block_prices_join_past_and_future():
    price, place = block_prices(known_at(17, [*HALF_DAY, *reversed(HALF_DAY)]), 12, 1.0)
    assert price.tolist() == HALF_DAY[::-1]
    assert int(place) == 5


def test_unknown_hours_repeat_the_last_known_day():
    day = [float(h) for h in range(24)]
    price = repeat_last_day(known_at(10, day, mask_from=14), 24)  # known to midnight
    assert price.tolist() == [*range(10, 24), *range(0, 22)]


def test_calibration_lets_the_error_die_out_and_shrinks_to_the_profile():
    known = replace(known_at(0, [65.0] * 24, mask_from=3), last_error_eur_per_mwh=jnp.float32(10.0))
    price = calibrated(known, 0.5, 0.6)
    assert price[:4].tolist() == pytest.approx([45 + 0.6 * 15, 45 + 0.6 * 17.5, 45 + 0.6 * 18.75, 45])


def negative_at_noon() -> pd.DataFrame:
    prices = wavy_prices()
    prices.loc[prices["utc"].dt.hour.isin(range(8, 15)), "price_eur_per_mwh"] -= 90.0
    return prices


def quarter_hours() -> pd.DataFrame:
    """Prices of 60 days in steps of 15 minutes; the day of 23 hours in March is in the test split."""
    hours = wavy_prices()
    utc = pd.date_range("2023-01-28", periods=4 * len(hours), freq="15min")
    wiggle = np.tile([-6.0, 2.0, 3.0, 1.0], len(hours))
    return pd.DataFrame({"utc": utc, "price_eur_per_mwh": hours["price_eur_per_mwh"].to_numpy().repeat(4) + wiggle})


FEES = ("env.plant.import_fee_eur_per_mwh=4", "env.plant.export_fee_eur_per_mwh=2")
WORLDS = {
    "bess": small_bess,
    "bess_pv": lambda: bess_on(negative_at_noon(), *FEES, env="bess_pv"),
    "bess_pv, forecast": lambda: bess_on(negative_at_noon(), "env.information=forecast", env="bess_pv"),
    "no import": lambda: bess_on(negative_at_noon(), "env.plant.import_limit_mw=0", env="bess_pv"),
    "quarter hours": lambda: bess_on(quarter_hours(), "env.data.timezone=Europe/Amsterdam", *FEES),
    "narrow window": lambda: bess_on(wavy_prices(), "env.battery.soc_max=0.45"),
}


@pytest.mark.parametrize("name", WORLDS)
def test_schedule_of_the_optimum_earns_its_objective_in_the_environment(name):
    world = WORLDS[name]()
    params = world.params("test")
    starts = world.evaluation_starts(params, "test")
    record = rollout(world, PerfectForesight(), params, starts)
    earned = sum(np.asarray(record.info[k], np.float64).sum() for k in ("profit_eur", "terminal_value_eur"))
    lane = jax.tree.map(lambda leaf: leaf[0], starts)
    _, objective = PerfectForesight().schedule(world, params, lane, lane_sites(world, params, starts)[0])
    assert earned == pytest.approx(objective * len(starts.time), rel=1e-3)


def leaking() -> Any:
    leak = "env.battery.self_discharge_per_h=0.002"
    return bess_on(negative_at_noon(), "env.plant.import_limit_mw=0", leak, env="bess_pv")


@pytest.mark.parametrize("make", [pytest.param(WORLDS["bess_pv"], marks=pytest.mark.slow), leaking])
def test_no_policy_earns_more_than_the_optimum_or_breaks_a_law(make):
    policies = evaluate(make(), {}, "test", error_draws=1, bootstrap=5, max_episode_steps=1000).result["policies"]
    for policy, figures in policies.items():
        assert figures["capture"] <= 1.0 + 1e-3, policy
        assert figures["violations"] == 0 and figures["max_energy_residual_mwh"] < 1e-5, policy


@pytest.mark.parametrize(
    ("information", "make", "zone"),
    [
        pytest.param("day_ahead", wavy_prices, "UTC", marks=pytest.mark.slow),
        ("forecast", wavy_prices, "UTC"),
        pytest.param("day_ahead", quarter_hours, "Europe/Amsterdam", marks=pytest.mark.slow),
    ],
)
def test_no_baseline_sees_beyond_what_is_known(information, make, zone):
    prices = make()
    changed = prices.copy()
    midnights = prices["utc"].dt.tz_localize("UTC").dt.tz_convert(zone).dt.strftime("%H:%M") == "00:00"
    per_hour = len(prices) // (24 * 60)
    cut = prices.index[midnights & (prices.index >= 24 * 57 * per_hour)][0]  # within the test split
    changed.loc[cut:, "price_eur_per_mwh"] = 250.0 - 3.0 * changed.loc[cut:, "price_eur_per_mwh"]
    acted = []
    for table in (prices, changed):
        env = bess_on(table, f"env.information={information}", f"env.data.timezone={zone}")
        params, policies = env.params("test"), env.assessment.baselines()
        starts = env.evaluation_starts(params, "test")
        first = int(starts.time[0])
        unaware = cut - first - per_hour * (11 if information == "day_ahead" else 35)  # prices are published at 13:00
        records = {name: rollout(env, policy, params, starts) for name, policy in policies.items()}
        power = {name: np.asarray(r.info["discharge_mw"] - r.info["charge_mw"]) for name, r in records.items()}
        acted.append({name: values[:unaware] for name, values in power.items() if name != "perfect_foresight"})
    for name in acted[0]:
        np.testing.assert_array_equal(acted[0][name], acted[1][name], err_msg=name)
    assert any(values.any() for values in acted[0].values())


def test_a_planner_looks_ahead_as_far_as_it_may():
    env = small_bess()
    params = env.params("test")
    starts = env.evaluation_starts(params, "test")
    captured = {}
    for name, policy in {"mpc": MPC(), "blind": MPC(Calibration(0.0, 0.0)), "best": PerfectForesight()}.items():
        info = rollout(env, policy, params, starts).info
        captured[name] = float(np.asarray(info["profit_eur"] + info["terminal_value_eur"], np.float64).sum())
    assert captured["blind"] < captured["mpc"] <= captured["best"] + 0.01
    assert captured["mpc"] > 0.97 * captured["best"]


def test_settings_are_chosen_by_profit_before_the_test_split():
    prices = wavy_prices()
    tuned = tuned_settings(bess_on(prices))
    spoilt = prices.copy()
    spoilt.loc[24 * 52 :, "price_eur_per_mwh"] = np.linspace(0, 500, len(spoilt) - 24 * 52)
    assert tuned == tuned_settings(bess_on(spoilt))
    assert 0 < tuned["gated_two_cycle"] < 100
