"""The post-decision state of the battery: what is certain the moment a decision is taken, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from vmax.envs.bess import battery, market, observation
from vmax.envs.bess.params import BessParams
from vmax.errors import UserError

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

Array = jax.Array


def post_decision(env: Bess, seen: Array, action: Array, numbers: Any) -> tuple[Array, Array]:
    """What is certain once the action is taken: its reward at the expected price, and the features that remain.

    Reads the (scaled) observation alone, so it can be applied to stored transitions. Exact in `day_ahead`, but for
    `shaping=potential`, whose mark at the next step is taken to be that of this one.
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
    linear_mw = action[0] * site.power_mw
    request_mw = env.to_power(action, site) + 1e-4 * linear_mw
    request_mw = linear_mw + jax.lax.stop_gradient(request_mw - linear_mw)
    flows = battery.dispatch(scaled, soc, request_mw, pv_mw * site.pv_capacity_mw, price, env.dt_h)
    prices = replace(numbers.wear, replacement_eur_per_mwh=numbers.wear.replacement_eur_per_mwh * inverse)
    starts_half = get("half_day_start")[0] > 0.0 if env.wear.by_half_day else jnp.array(False)
    memory = env.wear.recover(get("wear") if env.wear.observed_size else jnp.zeros(0), soc)
    new = replace(scaled, capacity_mwh=new_mwh)
    memory, wear = env.wear.step(prices, memory, new, soc, flows, starts_half, env.dt_h)
    money = market.settle(scaled, flows, price, wear.cost_eur, env.dt_h)
    shaping = market.shaping_eur(env.config.reward, site, soc, flows.soc_end, mean, mean)
    after = seen.at[env.observation_space.slice("soc")].set(observation.soc_feature(site, flows.soc_end))
    if "previous_soc" in env.observation_space:
        after = after.at[env.observation_space.slice("previous_soc")].set(get("soc"))
    if "soh" in env.observation_space:
        after = after.at[env.observation_space.slice("soh")].add(-2.0 * wear.soh_loss)
    if env.wear.observed_size:
        after = after.at[env.observation_space.slice("wear")].set(env.wear.observed(memory, flows.soc_end))
    return (money.profit_eur + shaping) / site.power_mw, after


def context(env: Bess, params: BessParams) -> Any:
    """The numbers that `post_decision` reads. Raises UserError if the observation lacks a feature that it needs."""
    needed = [*observation.NEEDED_BY_POST_DECISION, *(["pv_now"] if env.has_pv else [])]
    missing = [name for name in needed if name not in env.observation_space]
    if missing:
        raise UserError(
            f"algorithm.post_decision_critic=true: needs env.observation.features to contain {', '.join(missing)}"
        )
    return replace(params, scenarios=None, table=None, estimate=None)
