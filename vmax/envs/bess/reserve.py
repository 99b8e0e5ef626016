"""Reserve capacity: what a bid holds back, when it is called, and its money.

A battery may sell the readiness to change its power: upward (feed in more), downward (take more) or both. It holds for
every step of a block, at its start and at the end of the schedule,

    −P + r_dn ≤ p ≤ P − r_up          power: p the scheduled power, discharge positive
    τ·u·r_up ≤ (s − s_min)·E          energy for a call of τ hours, u = 1/η_d + 2q the most that a MW draws
    τ·η_c·r_dn ≤ (s_max − s)·E

and the grid connection keeps room for a call; PV gives way to it. The commitment comes first: bids are cut to what the
charge at the start of the block backs, and in every step the scheduled power is limited to what keeps the rest. After a
call the schedule restores the backing as fast as power allows. `product=simple` is the rule of a published dispatcher
instead: no bid, and in each step the room that the schedule leaves is sold, upward, for the capacity price alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.battery import Dispatch, Site, dispatch, feasible_power, next_soc
from vmax.envs.bess.market import RewardConfig
from vmax.envs.bess.reserve_rules import SELLS_DOWN, SELLS_UP, ReserveConfig
from vmax.spaces import Feature

Array = jax.Array

TOLERANCE = 1e-6
"""Share of rated power below which a call counts as delivered: the rounding of float32."""


@struct.dataclass
class ReserveNumbers:
    """The numbers of the rules, and the path of calls (None: never called)."""

    backing_h: Array
    penalty_eur_per_mwh: Array
    premium_eur_per_mwh: Array
    calls: Array | None

    @classmethod
    def of(cls, config: ReserveConfig) -> ReserveNumbers:
        return cls(
            backing_h=jnp.float32(config.backing_h),
            penalty_eur_per_mwh=jnp.float32(config.penalty_eur_per_mwh),
            premium_eur_per_mwh=jnp.float32(config.activation.premium_eur_per_mwh),
            calls=jnp.asarray(config.calls()) if config.called else None,
        )

    def call(self, time: Array, offset: Array) -> Array:
        """The call of a step, share of the committed power, upward positive."""
        if self.calls is None:
            return jnp.float32(0.0)
        return self.calls[(time + offset) % self.calls.shape[0]]


@struct.dataclass
class Commitment:
    """What is promised for the block, MW each way, and the last call (share of it, upward positive)."""

    up_mw: Array
    down_mw: Array
    last_call: Array

    @classmethod
    def none(cls) -> Commitment:
        return cls(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(0.0))

    def features(self, site: Site, opens: Array) -> dict[str, Array]:
        """The features of the observation: shares of rated power, of the commitment."""
        share = jnp.stack([self.up_mw, self.down_mw]) / site.power_mw
        return {"reserve_committed": jnp.where(opens > 0.5, 0.0, share), "last_call": self.last_call}


@struct.dataclass
class Operation:
    """One step with reserve: what flowed, what was promised, called and delivered (MW, upward positive)."""

    flows: Dispatch
    commitment: Commitment
    called_mw: Array
    delivered_mw: Array


INFO = (
    Feature("reserve_up_mw", "MW", 0.0, 1e6),
    Feature("reserve_down_mw", "MW", 0.0, 1e6),
    Feature("reserve_revenue_eur", "EUR", -1e9, 1e9),
    Feature("activated_mwh", "MWh", -1e6, 1e6),
    Feature("activation_revenue_eur", "EUR", -1e9, 1e9),
    Feature("non_delivered_mwh", "MWh", 0.0, 1e6),
    Feature("penalty_eur", "EUR", 0.0, 1e9),
)
"""What a step tells besides, where a product is sold."""


def per_mw_backing_mwh(site: Site, backing_h: Any) -> tuple[Any, Any]:
    """Stored energy, and room for it, that one MW of upward or downward reserve must hold, MWh.

    Upward with the steepest draw, 1/η + 2q at rated power, so that a call on top of any schedule is backed.
    """
    return backing_h * (1.0 / site.eta_discharge + 2.0 * site.quadratic_loss), backing_h * site.eta_charge


def full_commitment(config: ReserveConfig, backing_h: Array, site: Site) -> tuple[Array, Array, Array, Array]:
    """Rated power each way that the product sells, or what the SOC window can back, MW, and the charge that backs it.

    Returns: `(up_mw, down_mw, lowest, highest)`, the last two the ends of that charge, shares of capacity.
    """
    per_up, per_down = per_mw_backing_mwh(site, backing_h)
    per_up = backing_h if config.product == "simple" else per_up
    per_up, per_down = per_up * (config.product in SELLS_UP), per_down * (config.product in SELLS_DOWN)
    usable_mwh = (site.soc_max - site.soc_min) * site.capacity_mwh
    power_mw = jnp.minimum(site.power_mw, usable_mwh / (per_up + per_down))
    lowest = site.soc_min + power_mw * per_up / site.capacity_mwh
    highest = site.soc_max - power_mw * per_down / site.capacity_mwh
    return power_mw * (config.product in SELLS_UP), power_mw * (config.product in SELLS_DOWN), lowest, highest


def cut_bids(site: Site, soc: Array, up_mw: Array, down_mw: Array, backing_h: Array) -> tuple[Array, Array]:
    """Bids as far as rated power, grid connection and the charge at the start of the block allow, MW."""
    per_up, per_down = per_mw_backing_mwh(site, backing_h)
    stored_mwh = jnp.maximum(soc - site.soc_min, 0.0) * site.capacity_mwh
    room_mwh = jnp.maximum(site.soc_max - soc, 0.0) * site.capacity_mwh
    most_up = jnp.minimum(jnp.minimum(site.power_mw, site.export_limit_mw), stored_mwh / per_up)
    most_down = jnp.minimum(jnp.minimum(site.power_mw, site.import_limit_mw), room_mwh / per_down)
    return jnp.clip(up_mw, 0.0, most_up), jnp.clip(down_mw, 0.0, most_down)


def schedule(
    site: Site,
    soc: Array,
    request_mw: Array,
    up_mw: Array,
    down_mw: Array,
    backing_h: Array,
    pv_mw: Array,
    price_eur_per_mwh: Array,
    dt_h: float,
) -> Dispatch:
    """The energy schedule of a step as far as the commitment allows: what flows if nothing is called."""
    per_up, per_down = per_mw_backing_mwh(site, backing_h)
    lowest = site.soc_min + up_mw * per_up / site.capacity_mwh
    highest = site.soc_max - down_mw * per_down / site.capacity_mwh
    least_mw, most_mw = down_mw - site.power_mw, site.power_mw - up_mw
    still = replace(site, self_discharge_per_h=jnp.zeros_like(site.self_discharge_per_h))
    restore_mw, _ = feasible_power(replace(still, soc_max=lowest), soc, -site.power_mw, dt_h)
    # A downward call undoes a discharge before it charges, so what it leaves room for is less by the losses of both.
    empty_mw = (soc - highest) * site.capacity_mwh / (site.eta_charge * dt_h)
    upper_mw = jnp.where(restore_mw > 0.0, jnp.maximum(-restore_mw, least_mw), most_mw)
    lower_mw = jnp.where(empty_mw > 0.0, jnp.minimum(empty_mw, most_mw), least_mw)
    left = replace(
        site,
        soc_min=lowest,
        soc_max=highest,
        export_limit_mw=site.export_limit_mw - up_mw,
        import_limit_mw=site.import_limit_mw - down_mw,
    )
    return dispatch(left, soc, jnp.clip(request_mw, lower_mw, upper_mw), pv_mw, price_eur_per_mwh, dt_h)


def deliver(site: Site, soc: Array, planned: Dispatch, called_mw: Array, dt_h: float) -> Dispatch:
    """What flows when `called_mw` (upward positive) comes on top of the schedule; PV and standby stay as planned."""
    still = replace(site, self_discharge_per_h=jnp.zeros_like(site.self_discharge_per_h))
    kept = soc * (1.0 - site.self_discharge_per_h * dt_h)
    kept = kept + planned.standby_mw * site.eta_charge * dt_h / site.capacity_mwh
    request_mw = planned.discharge_mw - planned.charge_mw + called_mw
    charge_mw, discharge_mw = feasible_power(still, kept, request_mw, dt_h)
    soc_end, _ = next_soc(still, kept, charge_mw, discharge_mw, dt_h)
    return replace(planned, charge_mw=charge_mw, discharge_mw=discharge_mw, soc_end=soc_end)


def room_sold(site: Site, soc: Array, flows: Dispatch, backing_h: Array) -> Array:
    """Upward reserve of `product=simple`, MW: the room that the schedule leaves and the charge at the start backs.

        min(P, (s − s_min)·E/τ, P − p_dis + p_ch, export limit − export)

    Without efficiency, and at the charge at the start of the step alone.
    Source: Cardo-Miota et al. (2025), Applied Energy 388, 125561, and their dispatcher.
    """
    backed_mw = (soc - site.soc_min) * site.capacity_mwh / backing_h
    power_mw = jnp.minimum(site.power_mw, site.power_mw - flows.discharge_mw + flows.charge_mw)
    export_mw = jnp.maximum(flows.pv_mw + flows.discharge_mw - flows.charge_mw - flows.standby_mw, 0.0)
    return jnp.maximum(jnp.minimum(jnp.minimum(power_mw, backed_mw), site.export_limit_mw - export_mw), 0.0)


def operate(
    config: ReserveConfig,
    numbers: ReserveNumbers,
    site: Site,
    soc: Array,
    request_mw: Array,
    bids_mw: tuple[Array, Array],
    commitment: Commitment,
    opens: Array,
    call: Array,
    pv_mw: Array,
    price_eur_per_mwh: Array,
    dt_h: float,
) -> Operation:
    """One step: where a block `opens` the bids `(up, down)` are cut and become the commitment; then the schedule is
    limited, and the call (share of the commitment, upward positive) carried out."""
    nothing = jnp.zeros_like(soc)
    if config.product == "simple":
        flows = dispatch(site, soc, request_mw, pv_mw, price_eur_per_mwh, dt_h)
        sold = Commitment(room_sold(site, soc, flows, numbers.backing_h), nothing, nothing)
        return Operation(flows, sold, nothing, nothing)
    up_mw, down_mw = cut_bids(site, soc, *bids_mw, numbers.backing_h)
    if config.product == "symmetric":
        up_mw = down_mw = jnp.minimum(up_mw, down_mw)
    up_mw = jnp.where(opens, up_mw, commitment.up_mw)
    down_mw = jnp.where(opens, down_mw, commitment.down_mw)
    planned = schedule(site, soc, request_mw, up_mw, down_mw, numbers.backing_h, pv_mw, price_eur_per_mwh, dt_h)
    promised = Commitment(up_mw, down_mw, call)
    if not config.called:
        return Operation(planned, promised, nothing, nothing)
    called_mw = jnp.maximum(call, 0.0) * up_mw + jnp.minimum(call, 0.0) * down_mw
    flows = deliver(site, soc, planned, called_mw, dt_h)
    change_mw = flows.discharge_mw - flows.charge_mw - (planned.discharge_mw - planned.charge_mw)
    missed = jnp.abs(called_mw - change_mw) > TOLERANCE * site.power_mw
    return Operation(flows, promised, called_mw, jnp.where(missed, change_mw, called_mw))


def standard_pay_eur(
    config: RewardConfig, site: Site, capacity_eur_per_mw_h: tuple[Array, Array], dt_h: float
) -> Array:
    """What rated power each way would be paid in a step: taken off the reward with `shaping=mark`.

    No decision moves it, so it changes no optimum; but critics then learn what trading costs and brings beside standing
    ready, instead of a level that is a hundred times greater.
    """
    if config.shaping != "mark":
        return jnp.float32(0.0)
    return site.power_mw * (capacity_eur_per_mw_h[0] + capacity_eur_per_mw_h[1]) * dt_h


def settle(
    numbers: ReserveNumbers,
    done: Operation,
    capacity_eur_per_mw_h: tuple[Array, Array],
    price_eur_per_mwh: Array,
    dt_h: float,
) -> dict[str, Array]:
    """The info entries of a step, `INFO`. `capacity_eur_per_mw_h`: what upward and downward reserve is paid.

    Energy that was called is paid at the step's energy price, plus the premium upward and minus it downward; what was
    called and not delivered costs the penalty.
    """
    held, activated_mwh = done.commitment, done.delivered_mw * dt_h
    missing_mwh = jnp.abs(done.called_mw - done.delivered_mw) * dt_h
    up_price, down_price = capacity_eur_per_mw_h
    return {
        "reserve_up_mw": held.up_mw,
        "reserve_down_mw": held.down_mw,
        "reserve_revenue_eur": (held.up_mw * up_price + held.down_mw * down_price) * dt_h,
        "activated_mwh": activated_mwh,
        "activation_revenue_eur": activated_mwh * price_eur_per_mwh
        + jnp.abs(activated_mwh) * numbers.premium_eur_per_mwh,
        "non_delivered_mwh": missing_mwh,
        "penalty_eur": missing_mwh * numbers.penalty_eur_per_mwh,
    }


def with_reserve(info: dict[str, Array], told: dict[str, Array], price_eur_per_mwh: Array) -> dict[str, Array]:
    """A step's info with the streams of reserve: the energy that was called moves from energy revenue to its own."""
    earned = told["reserve_revenue_eur"] + told["activation_revenue_eur"] - told["penalty_eur"]
    called_eur = told["activated_mwh"] * price_eur_per_mwh
    return {
        **info,
        **told,
        "energy_revenue_eur": info["energy_revenue_eur"] - called_eur,
        "profit_eur": info["profit_eur"] - called_eur + earned,
    }
