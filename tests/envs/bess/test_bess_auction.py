"""An auction sells a day on what was known before it, and pays for what is missing; imbalance prices come late."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_bess import bess_on, wavy_prices

from vmax.data.imbalance import ImbalanceConfig, generate_imbalance_price
from vmax.envs.bess import auction
from vmax.envs.bess.assessment import BessAssessment
from vmax.envs.bess.planners import MPC, PerfectForesight, fit_calibration, lane_sites
from vmax.envs.bess.scenarios import row_of
from vmax.envs.bess.state import Start
from vmax.envs.rollout import rollout
from vmax.errors import UserError

AUCTION = ("env.information=forecast", "env.market.kind=auction")
FEATURES = "env.observation.features=[soc,price_mean,price_scale,price_level,price_window,price_past,forecast_error]"


@pytest.fixture(scope="module")
def env():
    return bess_on(wavy_prices(), *AUCTION, FEATURES)


@pytest.fixture(scope="module")
def params(env):
    return env.params("validation")


def start_at(time: int, hours: int, soc: float = 0.5) -> Start:
    return Start(jnp.int32(time), jnp.int32(time + hours), jnp.float32(soc), jnp.int32(7))


def another_day(env, params, midnight: int, change_eur: float):
    """The same forecasts of a day, but other prices in it: what the prices rise by, the errors fall by."""
    rows = slice(row_of(midnight, env.dt_h), row_of(midnight, env.dt_h) + 24)
    told = params.scenarios
    places = (midnight + 7 + np.arange(24)) % (told.error_path.shape[0] - 62)
    unit = change_eur / (params.forecast_factor * told.spread_eur_per_mwh[rows])
    price = told.price_eur_per_mwh.at[rows].add(change_eur)
    return params.replace(
        scenarios=told.replace(price_eur_per_mwh=price, error_path=told.error_path.at[places].add(-unit))
    )


@pytest.mark.parametrize("market", ["auction", "spot"])
def test_prices_of_the_day_itself_are_seen_by_nobody_who_sells_it_before(market):
    env = bess_on(wavy_prices(), "env.information=forecast", f"env.market.kind={market}", FEATURES)
    params = env.params("validation")
    midnight = env.series.splits["validation"][0][0] + 48
    other = another_day(env, params, midnight, 40.0)
    for hour in (1, 12, 23):
        state, seen = env.reset(jax.random.key(0), params, start_at(midnight + hour, 24))
        told = env.observe(state, other)
        views = [MPC(fit_calibration(env)).view(env, state, p).price_eur_per_mwh for p in (params, other)]
        same = np.abs(np.asarray(told) - np.asarray(seen)).max() < 2e-3 and np.allclose(*views, atol=0.05)
        assert same == (market == "auction")


def test_in_an_auction_the_last_known_error_grows_old_with_the_hour(env, params):
    midnight = env.series.splits["validation"][0][0] + 48
    known = [env.known(env.reset(jax.random.key(0), params, start_at(midnight + h, 24))[0], params) for h in (0, 9)]
    assert [int(k.error_age) for k in known] == [1, 10]
    assert float(known[0].last_error_eur_per_mwh) == float(known[1].last_error_eur_per_mwh)
    # nine hours later the same forecasts of the day are seen, moved by nine steps
    np.testing.assert_array_equal(known[0].price_eur_per_mwh[9:], known[1].price_eur_per_mwh[:27])
    np.testing.assert_array_equal(known[0].price_eur_per_mwh[:9], known[1].past_price_eur_per_mwh[-9:])


def test_what_is_sold_by_plan_is_delivered_and_what_is_merely_asked_for_costs_the_penalty(env, params):
    # 0.4 · 3.5 MWh · 0.97 = 1.358 MWh can be delivered from SOC 0.5, of the 1.5 MWh that are asked for
    time = env.series.splits["validation"][0][0] + 30
    ask = jnp.ones(1)
    state, _ = env.reset(jax.random.key(0), params, start_at(time, 24))
    _, step = env.step(jax.random.key(0), state, ask, params)
    assert step.info["sold_mw"] == pytest.approx(1.358, abs=1e-5)
    assert step.info["imbalance_cost_eur"] == pytest.approx(0.0, abs=1e-3)
    bold = bess_on(wavy_prices(), *AUCTION, "env.market.commitment=requested", "env.market.penalty_eur_per_mwh=50")
    state, _ = bold.reset(jax.random.key(0), bold.params("validation"), start_at(time, 24))
    _, step = bold.step(jax.random.key(0), state, ask, bold.params("validation"))
    assert step.info["sold_mw"] == pytest.approx(1.5)
    assert step.info["imbalance_mw"] == pytest.approx(-0.142, abs=1e-5)
    assert step.info["imbalance_cost_eur"] == pytest.approx(7.1, abs=1e-3)
    info = step.info
    earned = info["energy_revenue_eur"] - info["fee_eur"] - info["wear_cost_eur"] - info["imbalance_cost_eur"]
    assert info["profit_eur"] == pytest.approx(float(earned), abs=1e-3)
    assert info["energy_revenue_eur"] == pytest.approx(float(1.358 * info["price_eur_per_mwh"]), rel=1e-4)


def test_the_gap_at_the_gate_is_what_plans_of_the_next_day_start_from(params):
    site, yes, no = params.site, jnp.bool_(True), jnp.bool_(False)
    plan = auction.begin(jnp.float32(0.5))
    plan = auction.advance(site, plan, jnp.float32(0.6), jnp.float32(0.55), yes, no)  # true: 0.05 below
    assert plan.soc == pytest.approx(0.6) and plan.gap == pytest.approx(-0.05)
    plan = auction.advance(site, plan, jnp.float32(0.3), jnp.float32(0.1), no, no)  # not known any more
    assert plan.soc == pytest.approx(0.3) and plan.gap == pytest.approx(-0.05)
    plan = auction.advance(site, plan, jnp.float32(0.4), jnp.float32(0.2), no, yes)
    assert plan.soc == pytest.approx(0.35) and plan.gap == 0.0


def test_a_clipped_plant_leaves_plan_and_truth_apart():
    """PV takes the room at the connection that was sold: the battery delivers less, and plans go on as sold."""
    env = bess_on(
        wavy_prices(), *AUCTION, "env.battery.soc_min=0", "env.plant.pv_capacity_mw=2", "env.plant.inverter_mw=2",
        "env.plant.export_limit_mw=2", env="bess_pv",
    )  # fmt: skip
    params = env.params("validation")
    state, _ = env.reset(jax.random.key(0), params, start_at(env.series.splits["validation"][0][0], 48))
    step = jax.jit(env.step)
    apart = []
    for hour in range(24):
        action = jnp.full(1, 1.0 if 9 <= hour <= 15 else -1.0)
        state, seen = step(jax.random.key(0), state, action, params)
        apart.append((float(state.soc - state.plan.soc), float(seen.info["imbalance_mw"])))
    assert max(gap for gap, _ in apart) > 0.01
    assert min(missed for _, missed in apart) < -0.05


def test_the_optimum_replayed_in_an_auction_earns_its_objective_and_no_plan_more(env, params):
    judge = BessAssessment(env)
    starts = judge.starts(params, "validation", 1)
    optimum = PerfectForesight()
    site = lane_sites(env, params, starts)[0]
    _, objective_eur = optimum.schedule(env, params, jax.tree.map(lambda leaf: leaf[0], starts), site)
    earned = {}
    for name, policy in {"best": optimum, "raw": MPC(), "calibrated": MPC(fit_calibration(env))}.items():
        earned[name] = judge.summary(rollout(env, policy, params, starts), params, starts)["value_eur"]
    assert earned["best"] == pytest.approx(objective_eur, rel=1e-3)
    assert max(earned["raw"], earned["calibrated"]) < earned["best"]


def test_an_imbalance_price_is_unknown_until_its_step_is_over():
    env = bess_on(wavy_prices(), "env.market.kind=imbalance", "env.data.step_minutes=15", FEATURES)
    params = env.params("validation").replace(table=None)
    time = env.series.splits["validation"][0][0] + 4 * 30
    state, seen = env.reset(jax.random.key(0), params, start_at(time, 96))
    told = params.scenarios
    other = params.replace(
        scenarios=told.replace(price_eur_per_mwh=told.price_eur_per_mwh.at[row_of(time, env.dt_h)].add(50.0))
    )
    np.testing.assert_array_equal(env.observe(state, other), seen)
    later = replace(state, time=state.time + 1)
    assert np.abs(env.observe(later, other) - env.observe(later, params)).max() > 0.1
    revenue = [
        float(env.step(jax.random.key(0), state, jnp.ones(1), p)[1].info["energy_revenue_eur"]) for p in (params, other)
    ]
    assert revenue[1] - revenue[0] == pytest.approx(50.0 * 1.5 * 0.25, abs=1e-2)


@pytest.mark.parametrize(("tail", "noise"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.5)])
def test_generated_imbalance_prices_have_the_stated_moments(tail, noise):
    price, spread = np.full(400_000, 70.0), np.full(400_000, 20.0)
    config = ImbalanceConfig(deviation=0.8, rho=0.7, noise=noise, tail=tail, seed=1)
    deviation = generate_imbalance_price(price, spread, 0.25, config) - price
    assert deviation.mean() == pytest.approx(0.0, abs=0.3)
    assert deviation.std() == pytest.approx(16.0, rel=0.03)
    kurtosis = np.mean(deviation**4) / np.mean(deviation**2) ** 2
    assert (kurtosis > 4.0) if tail else (kurtosis == pytest.approx(3.0, abs=0.1))
    if not tail:  # 0.7 over the hour is 0.7^(1/4) over a step; what is noise correlates with nothing
        expected = 0.7 * (1.0 - noise)
        assert np.corrcoef(deviation[4:], deviation[:-4])[0, 1] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["env.market.kind=auction"],
            "env.market.kind=auction: needs env.information=forecast or provided, not day_ahead",
        ),
        (["env.market.kind=imbalance", "env.information=forecast"], "needs env.information=day_ahead"),
        ([*AUCTION, "env.reserve.product=up"], "env.reserve.product=up: must be none with env.market.kind=auction"),
        (["env.market.gate_hour=24"], "env.market.gate_hour=24: must be from 0 to 23"),
        (["env.market.penalty_eur_per_mwh=-1"], "env.market.penalty_eur_per_mwh=-1.0: must be within"),
        (["env.market.imbalance.noise=2"], "env.market.imbalance.noise=2.0: must be within [0, 1]"),
        (["env.market.imbalance.rho=1"], "env.market.imbalance.rho=1.0: must be within"),
        (["env.data.step_minutes=45"], "env.data.step_minutes=45"),
    ],
)
def test_markets_that_do_not_fit_are_one_line(overrides, said):
    with pytest.raises(UserError) as error:
        bess_on(wavy_prices(20), *overrides)
    assert said in str(error.value) and "\n" not in str(error.value)
