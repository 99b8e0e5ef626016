"""One step of the battery, from the action to the flows and their money: what was sold ahead, what is promised as
reserve, what the battery does, and what is told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs import battery
from vmax.envs.battery import Dispatch, Site
from vmax.envs.bess import action as actions
from vmax.envs.bess import auction, market, reserve
from vmax.envs.bess.degradation import WearStep
from vmax.envs.bess.params import BessParams
from vmax.envs.bess.scenarios import information_row, row_of
from vmax.envs.bess.state import State

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

Array = jax.Array


@struct.dataclass
class Done:
    """What a step carried out.

    Attributes:
      flows: what the battery did. asked_mw: the power that it was to deliver, before its limits.
      sold: in an auction the dispatch by plan that was sold, else None.
      reserve: what was promised, called and delivered, where reserve is sold, else None.
    """

    flows: Dispatch
    asked_mw: Array
    sold: Dispatch | None
    reserve: reserve.Operation | None


def carry_out(env: Bess, state: State, action: Array, site: Site, params: BessParams, price: Array) -> Done:
    """The flows of an action `[A]` at this step."""
    scenarios, row = params.scenarios, row_of(state.time, env.dt_h)
    asked_mw = actions.power_mw(env.config.action, action[0], site, env.peak(state, params))
    pv_mw, sold = scenarios.pv_per_mw[row] * site.pv_capacity_mw, None
    if state.plan is not None:
        expected_mw = scenarios.pv_profile_per_mw[row] * site.pv_capacity_mw
        sold = auction.planned(site, state.plan, asked_mw, expected_mw, env.dt_h)
        if env.config.market.commitment == "feasible":
            asked_mw = sold.discharge_mw - sold.charge_mw
    if state.reserve is None:
        flows = battery.dispatch(site, state.soc, asked_mw, pv_mw, price, env.dt_h)
        return Done(flows, asked_mw, sold, None)
    assert params.reserve is not None and scenarios.reserve is not None
    operated = reserve.operate(
        env.config.reserve,
        params.reserve,
        site,
        state.soc,
        asked_mw,
        env.to_bids(action, site),
        state.reserve,
        scenarios.reserve.opens[row] > 0.5,
        params.reserve.call(state.time, state.error_offset),
        pv_mw,
        price,
        env.dt_h,
    )
    return Done(operated.flows, asked_mw, sold, operated)


def follow(env: Bess, state: State, done: Done, site: Site, params: BessParams) -> State:
    """The state after the step, but for its wear."""
    scenarios, row = params.scenarios, row_of(state.time + 1, env.dt_h)
    plan, promised = state.plan, None if done.reserve is None else done.reserve.commitment
    if plan is not None:
        assert done.sold is not None and scenarios.issued is not None
        gate = scenarios.local_hour[row] == env.config.market.gate_hour
        new_day = scenarios.issued[row] != scenarios.issued[row - 1]
        plan = auction.advance(site, plan, done.sold.soc_end, done.flows.soc_end, gate, new_day)
    return replace(
        state,
        time=state.time + 1,
        soc=done.flows.soc_end,
        previous_soc=state.soc,
        plan=plan,
        reserve=promised,
    )


def shaping_eur(env: Bess, state: State, done: Done, site: Site, params: BessParams) -> Array:
    """What the reward gets besides the profit; no part of any key figure."""
    rules, scenarios = env.config.reward, params.scenarios
    rows = (information_row(scenarios, time, env.dt_h) for time in (state.time, state.time + 1))
    mark, next_mark = (state.price(scenarios.mean_eur_per_mwh[row]) for row in rows)
    shaping = market.shaping_eur(rules, site, state.soc, done.flows.soc_end, mark, next_mark)
    if done.reserve is None:
        return shaping
    return shaping - reserve.standard_pay_eur(rules, site, _reserve_pay(env, state, params), env.dt_h)


def _reserve_pay(env: Bess, state: State, params: BessParams) -> tuple[Array, Array]:
    """What a MW of upward and downward reserve is paid in this step, EUR per hour."""
    assert params.scenarios.reserve is not None
    up, down = params.scenarios.reserve.prices(row_of(state.time, env.dt_h))
    return state.difference(up), state.difference(down)


def tell(
    env: Bess,
    state: State,
    following: State,
    done: Done,
    wear: WearStep,
    site: Site,
    params: BessParams,
    price: Array,
) -> dict[str, Array]:
    """The info entries of the step, without shaping."""
    flows, money = done.flows, market.settle(site, done.flows, price, wear.cost_eur, env.dt_h)
    if done.sold is not None:
        money = market.settle_imbalance(money, flows, done.asked_mw, params.penalty_eur_per_mwh, env.dt_h)
    left_mwh = (flows.soc_end - state.start_soc) * site.capacity_mwh
    value = left_mwh * env.terminal_price(params, following, site)
    info = {
        "price_eur_per_mwh": price,
        "charge_mw": flows.charge_mw,
        "discharge_mw": flows.discharge_mw,
        "soc": state.soc,
        "soc_end": flows.soc_end,
        "pv_mw": flows.pv_mw + flows.curtailed_mw,
        "curtailed_mw": flows.curtailed_mw,
        "standby_mw": flows.standby_mw,
        "energy_revenue_eur": money.energy_revenue_eur,
        "fee_eur": money.fee_eur,
        "wear_cost_eur": money.wear_cost_eur,
        "soh_loss": wear.soh_loss,
        "profit_eur": money.profit_eur,
        "terminal_value_eur": jnp.where(following.time >= state.end, value, 0.0),
        "time": state.time,
    }
    if state.soh_loss is not None:
        info["capacity_mwh"] = site.capacity_mwh
    if env.wear.stacked:
        info["wear_overflow"] = jnp.asarray(wear.overflow)
    if done.sold is not None:
        info |= auction.info(done.asked_mw, flows, money.imbalance_cost_eur)
    if done.reserve is not None:
        assert params.reserve is not None
        told = reserve.settle(params.reserve, done.reserve, _reserve_pay(env, state, params), price, env.dt_h)
        info = reserve.with_reserve(info, told, price)
    return info
