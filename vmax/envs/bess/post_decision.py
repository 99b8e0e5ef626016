"""The post-decision state of the battery: what is certain the moment a decision is taken, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from vmax.envs import battery
from vmax.envs.bess import action as actions
from vmax.envs.bess import market, observation, reserve
from vmax.envs.bess.params import BessParams
from vmax.envs.bess.reserve_rules import BIDS, SELLS_DOWN, SELLS_UP
from vmax.errors import UserError

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

Array = jax.Array


def post_decision(env: Bess, seen: Array, action: Array, numbers: Any) -> tuple[Array, Array]:
    """What is certain once the action is taken: its reward at the expected price, and the features that remain.

    Reads the (scaled) observation alone, so it can be applied to stored transitions. Exact in `day_ahead`, but for
    `shaping=potential`, whose mark at the next step is taken to be that of this one, and for calls of reserve.
    `numbers` are what `context` gives. Source: Powell (2011), post-decision state.
    """
    get = lambda name: seen[env.observation_space.slice(name)]  # noqa: E731
    scales, site = numbers.scales, numbers.site
    if env.ranged:
        unit = 0.5 * (get("site") + 1.0)
        drawn = {}
        for i, name in enumerate(env.ranged):
            low, high = getattr(site, name)
            drawn[name] = low + unit[i] * (high - low)
        site = replace(site, **drawn)
    new_mwh = site.capacity_mwh
    if "soh" in env.observation_space:
        site = replace(site, capacity_mwh=new_mwh * 0.5 * (get("soh")[0] + 1.0))
    soc = observation.soc_from_feature(site, get("soc")[0])
    mean = jnp.sinh(get("price_mean")[0] * scales["price_mean"])
    price = jnp.sinh(get("price_level")[0] * numbers.level_scale) + mean
    inverse = jnp.sinh(get("price_scale")[0] * scales["price_scale"]) / observation.SCALE_REFERENCE_EUR
    scaled = replace(site, **{n: getattr(site, n) * inverse for n in vars(site) if n.endswith("eur_per_mwh")})
    pv_mw = get("pv_now")[0] if "pv_now" in env.observation_space else jnp.float32(0.0)
    # Inside the dead band power has no slope. It is lent that of a vanishing request in the action's direction,
    # which leads out of the band where a trade pays and back to 0 where it does not.
    peak = get("is_peak")[0] > 0.0 if env.config.action.mode == "peak_windows" else None
    linear_mw = actions.asked_share(action[0], peak) * site.power_mw
    request_mw = actions.power_mw(env.config.action, action[0], site, peak) + 1e-4 * linear_mw
    request_mw = linear_mw + jax.lax.stop_gradient(request_mw - linear_mw)
    scale_eur, pv_mw, after, capacity = env.config.reward.scale_eur, pv_mw * site.pv_capacity_mw, seen, 0.0
    if env.config.reserve.sold:
        flows, capacity, after = _with_reserve(env, seen, action, numbers, scaled, soc, request_mw, pv_mw, price)
    else:
        flows = battery.dispatch(scaled, soc, request_mw, pv_mw, price, env.dt_h)
    prices = replace(numbers.wear, replacement_eur_per_mwh=numbers.wear.replacement_eur_per_mwh * inverse)
    starts_half = get("half_day_start")[0] > 0.0 if env.wear.by_half_day else jnp.array(False)
    memory = env.wear.recover(get("wear") if env.wear.observed_size else jnp.zeros(0), soc)
    new = replace(scaled, capacity_mwh=new_mwh)
    memory, wear = env.wear.step(prices, memory, new, soc, flows, starts_half, env.dt_h)
    money = market.settle(scaled, flows, price, wear.cost_eur, env.dt_h)
    if env.sells_ahead and env.config.market.commitment == "requested":
        money = market.settle_imbalance(money, flows, request_mw, numbers.penalty_eur_per_mwh * inverse, env.dt_h)
    shaping = market.shaping_eur(env.config.reward, scaled, soc, flows.soc_end, mean, mean)
    after = after.at[env.observation_space.slice("soc")].set(observation.soc_feature(site, flows.soc_end))
    if "previous_soc" in env.observation_space:
        after = after.at[env.observation_space.slice("previous_soc")].set(get("soc"))
    if "soh" in env.observation_space:
        after = after.at[env.observation_space.slice("soh")].add(-2.0 * wear.soh_loss)
    if env.wear.observed_size:
        after = after.at[env.observation_space.slice("wear")].set(env.wear.observed(memory, flows.soc_end))
    earned = money.profit_eur + capacity + shaping
    return earned / (site.power_mw if scale_eur is None else scale_eur * inverse), after


def _with_reserve(
    env: Bess,
    seen: Array,
    action: Array,
    numbers: Any,
    site: battery.Site,
    soc: Array,
    request_mw: Array,
    pv_mw: Array,
    price: Array,
) -> tuple[battery.Dispatch, Array, Array]:
    """The schedule that bids allow, what the reserve is paid (in spreads) and the features with the commitment.

    What calls bring is not certain and left to the critic, which is told what may be called.
    """
    rules, space = env.config.reserve, env.observation_space
    count = action.shape[0] - 1
    # Bids have the slope of a bid without bands, so that an actor can leave the ends of the range.
    linear = 0.5 * (action[1:] + 1.0) * site.power_mw
    names = BIDS[rules.product]
    slope = {n: linear[i] - jax.lax.stop_gradient(linear[i]) for i, n in enumerate(names)}
    bids = [jax.lax.stop_gradient(bid) for bid in env.to_bids(action, site)]
    both = slope["reserve"] if "reserve" in slope else jnp.float32(0.0)
    up, down = (slope.get(n, both) for n in ("reserve_up", "reserve_down"))
    held, opens, lasts = reserve.Commitment.none(), jnp.bool_(True), jnp.bool_(False)
    if count and rules.block_h > env.dt_h:
        shares, left = seen[space.slice("reserve_committed")], seen[space.slice("reserve_block_left")][0]
        held = reserve.Commitment(shares[0] * site.power_mw, shares[1] * site.power_mw, jnp.float32(0.0))
        opens = left > 1.0 - 0.5 * env.dt_h / rules.block_h
        lasts = left > 1.5 * env.dt_h / rules.block_h
    uncalled = replace(rules, activation=replace(rules.activation, share=0.0))
    done = reserve.operate(
        uncalled, numbers.reserve, site, soc, request_mw, (bids[0] + up, bids[1] + down),
        held, opens, jnp.float32(0.0), pv_mw, price, env.dt_h,
    )  # fmt: skip
    promised = jnp.stack([done.commitment.up_mw, done.commitment.down_mw])
    pay = [
        jnp.sinh(seen[space.slice(name)][0] * numbers.reserve_scales[i]) if name in space else jnp.float32(0.0)
        for i, name in enumerate(("reserve_up_prices", "reserve_down_prices"))
    ]
    capacity = (promised[0] * pay[0] + promised[1] * pay[1]) * env.dt_h
    capacity -= reserve.standard_pay_eur(env.config.reward, site, (pay[0], pay[1]), env.dt_h)
    if "reserve_committed" in space:
        shares = jnp.where(lasts | rules.called, promised / site.power_mw, 0.0)
        seen = seen.at[space.slice("reserve_committed")].set(shares)
    return done.flows, capacity, seen


def needed_for_reserve(env: Bess) -> list[str]:
    """Features that the post-decision state of a reserve product reads."""
    rules, names = env.config.reserve, []
    if rules.product in SELLS_UP:
        names.append("reserve_up_prices")
    if rules.product in SELLS_DOWN:
        names.append("reserve_down_prices")
    blocks = rules.sold and rules.product != "simple" and rules.block_h > env.dt_h
    if rules.called or blocks:
        names.append("reserve_committed")
    return [*names, *(["reserve_block_left"] if blocks else [])]


def context(env: Bess, params: BessParams) -> Any:
    """The numbers that `post_decision` reads. Raises UserError if the observation lacks a feature that it needs."""
    needed = [*observation.NEEDED_BY_POST_DECISION, *(["pv_now"] if env.has_pv else []), *needed_for_reserve(env)]
    needed += ["is_peak"] if env.config.action.mode == "peak_windows" else []
    missing = [name for name in needed if name not in env.observation_space]
    if missing:
        raise UserError(
            f"algorithm.post_decision_critic=true: needs env.observation.features to contain {', '.join(missing)}"
        )
    if env.config.episode.end == "settled" and env.config.reward.shaping == "none":
        raise UserError(
            "algorithm.post_decision_critic=true: does not know what energy left is paid; set "
            "env.reward.shaping=mark, or env.episode.end=cut"
        )
    rules = None if params.reserve is None else replace(params.reserve, calls=None)
    return replace(params, scenarios=None, table=None, estimate=None, reserve=rules)
