"""Reserve capacity: laws for every input, numbers worked by hand, hours of a published dispatcher, what may be seen."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_bess import bess_on, small_bess, wavy_prices

from vmax.envs.battery import Dispatch, Site, energy_residual_mwh
from vmax.envs.bess import reserve
from vmax.envs.bess.reserve import Commitment, ReserveNumbers
from vmax.envs.bess.reserve_market import payments
from vmax.envs.bess.reserve_rules import ActivationConfig, ReserveConfig
from vmax.envs.bess.state import Start
from vmax.errors import UserError

CALLED = ActivationConfig(share=1.0, called=(2.0, 3.0), premium_eur_per_mwh=10.0, seed=0)
RULES = ReserveConfig("up_and_down", 1.0, 1, 500.0, CALLED, 1.0, 0)
IDEAL = {
    "capacity_mwh": 2.0,
    "power_mw": 1.0,
    "soc_min": 0.0,
    "soc_max": 1.0,
    "eta_charge": 1.0,
    "eta_discharge": 1.0,
    "wear_eur_per_mwh": 0.0,
}


def site(**numbers: float) -> Site:
    return replace(small_bess().params("train").site, **{k: jnp.float32(v) for k, v in numbers.items()})


@partial(jax.jit, static_argnames="rules")
def operate(rules, place, soc, request, bids, held, opens, call, pv, price):
    numbers = replace(ReserveNumbers.of(rules), calls=None)
    done = reserve.operate(rules, numbers, place, soc, request, bids, held, opens, call, pv, price, 1.0)
    return done, reserve.settle(numbers, done, (jnp.float32(20.0), jnp.float32(5.0)), price, 1.0)


def run(place, soc, request, up, down, call=0.0, rules=RULES, held=(0.0, 0.0), opens=True, pv=0.0, price=50.0):
    f = jnp.float32
    promised = Commitment(f(held[0]), f(held[1]), f(0.0))
    return operate(
        rules, place, f(soc), f(request), (f(up), f(down)), promised, jnp.bool_(opens), f(call), f(pv), f(price)
    )


SHARE = st.floats(0.0, 1.0, width=32)
SITES = st.fixed_dictionaries(
    {
        "capacity_mwh": st.floats(0.5, 10.0),
        "power_mw": st.floats(0.5, 3.0),
        "eta_charge": st.floats(0.8, 1.0),
        "eta_discharge": st.floats(0.8, 1.0),
        "quadratic_loss": st.sampled_from([0.0, 0.05]),
        "self_discharge_per_h": st.sampled_from([0.0, 0.01]),
        "export_limit_mw": st.floats(1.0, 5.0),
        "import_limit_mw": st.floats(1.0, 5.0),
        "inverter_mw": st.just(3.0),
    }
)


@given(SITES, SHARE, st.floats(-4, 4), SHARE, SHARE, st.floats(-1, 1), st.floats(0, 4), st.sampled_from([-20.0, 50.0]))
def test_power_energy_and_connection_are_held_back_and_every_call_is_delivered(
    numbers, share, request, up, down, call, pv, price
):
    place = site(**numbers)
    soc = 0.1 + 0.8 * share
    bids = (up * numbers["power_mw"], down * numbers["power_mw"])
    planned, _ = run(place, soc, request, *bids, call=0.0, pv=pv, price=price)
    flows, held = planned.flows, planned.commitment
    power = float(flows.discharge_mw - flows.charge_mw)
    near = 1e-5 * numbers["power_mw"]
    assert power + held.up_mw <= numbers["power_mw"] + near and power - held.down_mw >= -numbers["power_mw"] - near
    net = float(flows.pv_mw) + power - float(flows.standby_mw)
    assert net + held.up_mw <= numbers["export_limit_mw"] + 1e-5
    assert -net + held.down_mw <= numbers["import_limit_mw"] + float(flows.standby_mw) + 1e-5
    for charge in (soc, float(flows.soc_end)):
        assert held.up_mw / numbers["eta_discharge"] <= (charge - 0.1) * numbers["capacity_mwh"] + 1e-5
        assert held.down_mw * numbers["eta_charge"] <= (0.9 - charge) * numbers["capacity_mwh"] + 1e-5
    done, told = run(place, soc, request, *bids, call=call, pv=pv, price=price)
    assert abs(float(energy_residual_mwh(place, jnp.float32(soc), done.flows, 1.0))) < 1e-5
    assert 0.1 - 1e-6 <= done.flows.soc_end <= 0.9 + 1e-6
    assert float(told["non_delivered_mwh"]) == 0.0  # backed for an hour, and the call lasts no longer
    expected = call * float(held.up_mw if call > 0 else held.down_mw)
    assert float(told["activated_mwh"]) == pytest.approx(expected, abs=1e-5)


def test_a_bid_and_its_call_by_hand():
    place = site(**IDEAL)
    # half full, charging 0.5 MW with 1 MW upward: a full call turns it to a discharge of 0.5 MW
    done, told = run(place, 0.5, -0.5, 1.0, 0.0, call=1.0)
    assert float(done.flows.soc_end) == pytest.approx(0.25)  # 1 MWh + 0.5 of schedule − 1 of call, of 2 MWh
    assert float(told["reserve_revenue_eur"]) == pytest.approx(20.0)
    assert float(told["activation_revenue_eur"]) == pytest.approx(50.0 + 10.0)
    # downward: taking energy costs its price less the premium
    _, told = run(place, 0.5, 0.0, 0.0, 0.8, call=-0.5)
    assert float(told["activated_mwh"]) == pytest.approx(-0.4)
    assert float(told["activation_revenue_eur"]) == pytest.approx(-0.4 * 50.0 + 0.4 * 10.0)
    assert float(told["reserve_revenue_eur"]) == pytest.approx(0.8 * 5.0)


def test_the_commitment_limits_the_schedule_and_the_charge_limits_the_bid():
    place = site(**IDEAL)
    done, _ = run(place, 0.25, 1.0, 1.0, 0.0)
    assert float(done.commitment.up_mw) == pytest.approx(0.5)  # 0.5 MWh back half a megawatt for an hour
    assert float(done.flows.discharge_mw) == pytest.approx(0.0)  # … and none of it may be sold besides
    done, _ = run(place, 0.75, 1.0, 0.6, 0.0)
    assert float(done.flows.discharge_mw) == pytest.approx(0.4)  # rated power less what is promised
    done, _ = run(place, 0.75, 1.0, 0.0, 0.0, held=(0.9, 0.0), opens=False)
    assert float(done.commitment.up_mw) == pytest.approx(0.9)  # within a block the bid does not count
    assert float(done.flows.discharge_mw) == pytest.approx(0.1)


def test_what_a_call_took_is_restored_first():
    done, _ = run(site(**IDEAL), 0.2, 1.0, 0.0, 0.0, held=(0.8, 0.0), opens=False)
    assert float(done.flows.charge_mw) == pytest.approx(0.4)  # back to the 0.8 MWh that are promised
    done, _ = run(site(**IDEAL), 0.9, 0.0, 0.0, 0.0, held=(0.8, 0.5), opens=False)
    assert float(done.flows.discharge_mw) == pytest.approx(0.2)  # 0.3 MWh too full, but 0.8 of 1 MW are promised upward


def test_a_call_longer_than_the_backing_is_missed_and_penalised():
    quarter = replace(RULES, backing_h=0.25)
    done, told = run(site(**IDEAL), 0.125, 0.0, 1.0, 0.0, call=1.0, rules=quarter)
    assert float(done.commitment.up_mw) == pytest.approx(1.0)
    assert float(told["activated_mwh"]) == pytest.approx(0.25)
    assert float(told["non_delivered_mwh"]) == pytest.approx(0.75)
    assert float(told["penalty_eur"]) == pytest.approx(0.75 * 500.0)


@pytest.mark.parametrize(
    ("soc_before", "battery_mw", "pv_mw", "sold_mw"),
    [
        (0.5000000000001141, -1.3999999999996007, 0.0, 1.4000000000003996),  # charging: the charge at the start counts
        (0.45817461797453585, 1.2536111629108755, 0.0, 0.2463888370891245),  # what discharging leaves of the power
        (0.10740586304504957, -0.0008869004377629608, 0.0, 0.02592052065767346),  # nearly empty
        (0.45799482115677426, -1.4924431443214417, 7.223739088272605, 1.25298187404871),
        (0.8999999999999604, 0.0, 14.003913776490375, 1.5),
    ],
)
def test_the_simple_rule_is_that_of_the_published_dispatcher(soc_before, battery_mw, pv_mw, sold_mw):
    """Hours of the dispatch that Cardo-Miota et al.'s system wrote: 1.5 MW / 3.5 MWh, export limit 16.5 MW."""
    place = site(export_limit_mw=16.5)
    charge, discharge = max(-battery_mw, 0.0), max(battery_mw, 0.0)
    nothing = jnp.float32(0.0)
    flows = Dispatch(jnp.float32(charge), jnp.float32(discharge), nothing, jnp.float32(pv_mw), nothing, nothing)
    sold = reserve.room_sold(place, jnp.float32(soc_before), flows, jnp.float32(1.0))
    assert float(sold) == pytest.approx(sold_mw, abs=2e-6)


def with_reserve_prices(change_from: int | None = None) -> pd.DataFrame:
    """Wavy prices with reserve prices of their own; from step `change_from` on other reserve prices."""
    table = wavy_prices()
    draw = np.random.default_rng(1)
    table["up"], table["down"] = draw.uniform(0, 60, (2, len(table))).round(2)
    if change_from is not None:
        table.loc[change_from:, "up"] += 7.0
        table.loc[change_from:, "down"] += 7.0
    return table


COLUMNS = ("env.data.columns.reserve_up=up", "env.data.columns.reserve_down=down")
BLOCKS = (
    "env.reserve.product=up_and_down",
    "env.reserve.block_h=4",
    "env.reserve.activation.share=0.5",
    "env.observation.features=[soc,price_mean,price_scale,price_level,reserve_up_prices,reserve_down_prices,"
    "reserve_mask,reserve_block_left,reserve_committed,last_call]",
)


def at(env, params, time, soc=0.5):
    start = Start(jnp.int32(time), jnp.int32(time + 48), jnp.float32(soc), jnp.int32(7))
    return jax.jit(env.reset)(jax.random.key(0), params, start)


def test_reserve_prices_are_known_like_published_prices_whatever_else_is():
    """At 10:00 they are known to midnight; what lies behind changes neither the observation nor what is known."""
    overrides = (*COLUMNS, *BLOCKS, "env.information=forecast")
    env = bess_on(with_reserve_prices(), *overrides)
    time = env.series.splits["validation"][0][0] + 24 + 10
    seen, known = [], []
    for change_from in (None, time + 14, time + 13):
        other = bess_on(with_reserve_prices(change_from), *overrides)
        params = other.params("validation")
        state, observation = at(other, params, time)
        seen.append(np.asarray(observation))
        known.append(other.known(state, params).reserve)
    assert known[0].mask.sum() == 14
    np.testing.assert_array_equal(seen[0], seen[1])
    jax.tree.map(np.testing.assert_array_equal, replace(known[0], opens=0), replace(known[1], opens=0))
    assert np.abs(seen[2] - seen[0]).max() > 1e-3  # the test can fail


def test_a_bid_holds_for_its_block_and_the_observation_says_so():
    env = bess_on(with_reserve_prices(), *COLUMNS, *BLOCKS, "env.reserve.activation.share=0")
    params = env.params("validation")
    step = jax.jit(env.step)
    first = env.series.splits["validation"][0][0]
    state, seen = at(env, params, first + 2)  # inside a block: nothing is promised yet
    held, left, committed = [], [], []
    for hour in range(2, 11):
        left.append(float(seen[env.observation_space.slice("reserve_block_left")][0]))
        committed.append(float(seen[env.observation_space.slice("reserve_committed")][0]))
        bid = env.action_for_power(0.0, state, params, 0.1 * hour, 0.0)
        state, told = step(jax.random.key(0), state, bid, params)
        seen = told.observation
        held.append(round(float(told.info["reserve_up_mw"]), 4))
    assert held == [0.0, 0.0, 0.4, 0.4, 0.4, 0.4, 0.8, 0.8, 0.8]
    assert left == [0.5, 0.25, 1.0, 0.75, 0.5, 0.25, 1.0, 0.75, 0.5]
    np.testing.assert_allclose(np.asarray(committed) * 1.5, [0, 0, 0, 0.4, 0.4, 0.4, 0, 0.8, 0.8], atol=1e-6)


@pytest.mark.parametrize("product", ["up", "down"])
def test_one_way_reserve_backed_for_an_hour_is_delivered_whatever_the_battery_does(product):
    env = bess_on(with_reserve_prices(), *COLUMNS, *BLOCKS[1:2], f"env.reserve.product={product}",
                  "env.reserve.activation.share=0.9", "env.reserve.activation.called=[5,1]")  # fmt: skip
    params = env.params("train")

    def one(state, key):
        action = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        following, told = env.step(key, state, action, params)
        return following, told.info

    start = env.reset(jax.random.key(0), params)[0]
    _, info = jax.jit(lambda: jax.lax.scan(one, start, jax.random.split(jax.random.key(1), 800)))()
    assert np.abs(info["activated_mwh"]).sum() > 50.0
    assert np.asarray(info["non_delivered_mwh"]).sum() == 0.0


def test_all_policies_meet_the_same_calls_and_draws_differ():
    env = bess_on(with_reserve_prices(), *COLUMNS, *BLOCKS)
    params = env.params("test")
    starts = env.evaluation_starts(params, "test", error_draws=2)
    assert len(starts.time) == 2
    step, reset = jax.jit(env.step), jax.jit(env.reset)

    def calls(lane, key, action):
        state, _ = reset(key, params, jax.tree.map(lambda leaf: leaf[lane], starts))
        told = []
        for _ in range(24):
            state, result = step(key, state, jnp.full(3, action), params)
            told.append(float(result.observation[env.observation_space.slice("last_call")][0]))
        return told

    assert calls(0, jax.random.key(1), 0.5) == calls(0, jax.random.key(2), -0.9)
    assert calls(0, jax.random.key(1), 0.5) != calls(1, jax.random.key(1), 0.5)


def test_the_path_of_calls_has_the_moments_of_its_settings():
    part = replace(CALLED, share=0.3)
    for product, sign in (("up", [1.0]), ("down", [-1.0]), ("symmetric", [-1.0, 1.0])):
        rules = replace(RULES, product=product, activation=part)
        path = rules.calls().astype(float)
        assert np.mean(path != 0) == pytest.approx(0.3, abs=0.005)
        assert np.abs(path[path != 0]).mean() == pytest.approx(0.4, abs=0.005)  # 2 / (2 + 3)
        assert sorted(set(np.sign(path[path != 0]))) == sign
        up, down = rules.expected_call()
        assert np.maximum(path, 0).mean() == pytest.approx(up, abs=0.002)
        assert np.maximum(-path, 0).mean() == pytest.approx(down, abs=0.002)
    np.testing.assert_array_equal(RULES.calls(), RULES.calls())
    assert (RULES.calls() != replace(RULES, activation=replace(CALLED, seed=1)).calls()).any()


def test_who_bids_nothing_trades_as_without_reserve():
    seen = "env.observation.features=[soc]"
    plain, selling = bess_on(wavy_prices(), seen), bess_on(wavy_prices(), seen, "env.reserve.product=up_and_down")
    assert plain.action_space.size == 1 and selling.action_space.names == ("power", "reserve_up", "reserve_down")
    step = {env: jax.jit(env.step) for env in (plain, selling)}
    states = {env: env.reset(jax.random.key(3), env.params("train"))[0] for env in (plain, selling)}
    for i in range(12):
        told = {}
        for env in (plain, selling):
            action = jnp.full(env.action_space.size, -1.0).at[0].set((-1.0) ** i * 0.7)
            states[env], told[env] = step[env](jax.random.key(0), states[env], action, env.params("train"))
        for name, value in told[plain].info.items():
            if name != "shaping_eur":  # what standing ready would be paid is taken off where reserve is sold
                np.testing.assert_allclose(value, told[selling].info[name], rtol=1e-6)
        assert float(told[selling].info["reserve_up_mw"]) == 0.0


@pytest.mark.parametrize(("product", "block_h"), [("simple", 1), ("symmetric", 1), ("up_and_down", 4)])
def test_post_decision_knows_what_reserve_is_paid_and_what_stays_promised(product, block_h):
    env = bess_on(wavy_prices(), f"env.reserve.product={product}", f"env.reserve.block_h={block_h}", BLOCKS[3])
    params = env.params("train")
    numbers = env.post_decision_context(params)
    state, seen = env.reset(jax.random.key(4), params)
    step, post = jax.jit(env.step), jax.jit(env.post_decision)
    for i in range(6):
        action = jnp.array([(-1.0) ** i * 0.5, 0.3, 0.8])[: env.action_space.size]
        reward, after = post(seen, action, numbers)
        state, told = step(jax.random.key(0), state, action, params)
        seen = told.observation
        assert float(told.info["reserve_revenue_eur"]) > 0 or i < 4
        np.testing.assert_allclose(reward, told.reward, atol=3e-4)
        for name in ("soc", "reserve_committed"):
            where = env.observation_space.slice(name)
            np.testing.assert_allclose(after[where], seen[where], atol=1e-4)
    if env.action_space.size > 1:
        slope = jax.jit(jax.grad(lambda a: post(seen, a, numbers)[0]))(jnp.full(env.action_space.size, -0.95))
        assert np.abs(slope[1:]).max() > 1e-4 or not bool(params.scenarios.reserve.opens[state.time + 24])


def test_prices_are_paid_as_the_product_says():
    table = with_reserve_prices()
    up, down = table["up"].to_numpy(), table["down"].to_numpy()
    expected = {
        "simple": (0.5 * (up + down), 0 * up),
        "up": (up, 0 * up),
        "down": (0 * up, down),
        "symmetric": (up, down),
    }
    for product, pay in expected.items():
        env = bess_on(table, *COLUMNS, f"env.reserve.product={product}")
        np.testing.assert_array_equal(payments(env.series, env.config.reserve), pay)


@pytest.mark.parametrize(
    "override",
    [
        "env.reserve.backing_h=0",
        "env.reserve.block_h=5",
        "env.reserve.penalty_eur_per_mwh=-1",
        "env.reserve.activation.share=1.5",
        "env.reserve.activation.called=[0,1]",
        "env.reserve.price_level=-1",
    ],
)
def test_a_reserve_setting_out_of_range_is_one_line_with_its_key(override):
    with pytest.raises(UserError, match=rf"{override.partition('=')[0]}=.*: must be"):
        bess_on(wavy_prices(), override)


def test_what_does_not_go_together_is_said_in_one_line():
    with pytest.raises(UserError, match=r"activation.share=0.5: must be 0 with product=simple"):
        bess_on(wavy_prices(), "env.reserve.product=simple", "env.reserve.activation.share=0.5")
    with pytest.raises(UserError, match=r"features: 'last_call' needs a product"):
        bess_on(wavy_prices(), "env.observation.features=[soc,last_call]")
    with pytest.raises(UserError, match=r"product=down: needs the column of downward prices"):
        bess_on(with_reserve_prices(), COLUMNS[0], "env.reserve.product=down").params("test")
    with pytest.raises(UserError, match=r"column 'up' falls to -1 per MW and hour; reserve prices must be at least 0"):
        bess_on(with_reserve_prices().assign(up=-1.0, down=np.arange(1440.0)).assign(up=lambda t: t["down"] - 1),
                *COLUMNS, "env.reserve.product=simple")  # fmt: skip
    env = bess_on(with_reserve_prices(), *COLUMNS, *BLOCKS, "env.observation.features=[soc,price_mean,price_scale]")
    needed = "price_level, reserve_up_prices, reserve_down_prices, reserve_committed, reserve_block_left"
    with pytest.raises(UserError, match=f"needs env.observation.features to contain {needed}"):
        env.post_decision_context(env.params("train"))


def test_every_feature_is_finite_up_to_the_end_of_a_segment_where_nothing_more_is_known():
    prices = wavy_prices()
    holed = prices.drop(index=range(300, 306))
    names = "soc,price_level,price_mean,price_scale,reserve_up_prices,net_price_window,net_price_maxima"
    env = bess_on(holed, "env.reserve.product=simple", "env.data.gaps=segments",
                  f"env.observation.features=[{names}]")  # fmt: skip
    for split in ("train", "validation", "test"):
        assert np.isfinite(np.asarray(env.params(split).table)).all()
