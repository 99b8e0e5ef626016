"""Money of one step: revenue, fees, wear, the value of what is left at the end, and reward shaping."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.data.imbalance import ImbalanceConfig
from vmax.envs.battery import Dispatch, Site
from vmax.errors import UserError

Array = jax.Array


@dataclass(frozen=True)
class RewardConfig:
    """`shaping`: `mark` values energy moved at the trailing mean price; `potential` is strictly potential-based.

    `scale_eur`: the profit that is a reward of 1; None: the trailing spread of prices for an hour at rated power.
    """

    scale_eur: float | None
    shaping: Literal["none", "mark", "potential"]
    potential_discount: float

    def __post_init__(self) -> None:
        if self.scale_eur is not None and not self.scale_eur > 0.0:
            raise UserError(f"env.reward.scale_eur={self.scale_eur}: must be above 0, or null")
        if not 0.0 <= self.potential_discount <= 1.0:
            raise UserError(f"env.reward.potential_discount={self.potential_discount}: must be within [0, 1]")


@dataclass(frozen=True)
class MarketConfig:
    """When energy is sold, and at which price it is settled.

    Attributes:
      kind: `spot`: each step as it comes, at the day-ahead price. `auction`: all steps of a local day before it begins,
        on what is known at the gate of the day before; settled at the day-ahead price. `imbalance`: each step as it
        comes, at an imbalance price that is known after it.
      gate_hour: local hour at which an auction closes.
      commitment: what an auction sells: what the battery can deliver by plan (`feasible`), or whatever is asked for.
      penalty_eur_per_mwh: what it costs besides the price to deliver more or less than was sold.
      imbalance: the generator of imbalance prices, where the data has no column for them.
    """

    kind: Literal["spot", "auction", "imbalance"]
    gate_hour: int
    commitment: Literal["feasible", "requested"]
    penalty_eur_per_mwh: float
    imbalance: ImbalanceConfig

    def __post_init__(self) -> None:
        if not 0 <= self.gate_hour <= 23:
            raise UserError(f"env.market.gate_hour={self.gate_hour}: must be from 0 to 23")
        if not 0.0 <= self.penalty_eur_per_mwh <= 1e5:
            raise UserError(f"env.market.penalty_eur_per_mwh={self.penalty_eur_per_mwh}: must be within [0, 100000]")


@struct.dataclass
class Money:
    """Money of one step in the market's currency (EUR in names). profit = revenue − fees − wear − imbalance."""

    energy_revenue_eur: Array
    fee_eur: Array
    wear_cost_eur: Array
    imbalance_cost_eur: Array | float = 0.0

    @property
    def profit_eur(self) -> Array:
        return self.energy_revenue_eur - self.fee_eur - self.wear_cost_eur - self.imbalance_cost_eur


def settle(site: Site, flows: Dispatch, price_eur_per_mwh: Array, wear_cost_eur: Array, dt_h: float) -> Money:
    """Settle a step at the meter. Linear in (price, fees, wear), so scaled prices give scaled money."""
    net_mw = flows.pv_mw + flows.discharge_mw - flows.charge_mw - flows.standby_mw
    exported_mwh, imported_mwh = jnp.maximum(net_mw, 0.0) * dt_h, jnp.maximum(-net_mw, 0.0) * dt_h
    fee = exported_mwh * site.export_fee_eur_per_mwh + imported_mwh * site.import_fee_eur_per_mwh
    return Money(net_mw * dt_h * price_eur_per_mwh, fee, wear_cost_eur)


def settle_imbalance(money: Money, flows: Dispatch, sold_mw: Array, penalty_eur_per_mwh: Array, dt_h: float) -> Money:
    """Adds what it costs that the battery delivered more or less than was sold.

    The difference is bought or sold at the price itself, which `settle` did; what comes on top is the penalty.
    """
    missed_mwh = jnp.abs(flows.discharge_mw - flows.charge_mw - sold_mw) * dt_h
    return replace(money, imbalance_cost_eur=missed_mwh * penalty_eur_per_mwh)


def stored_value_eur_per_mwh(site: Site, mean_price_eur_per_mwh: Array) -> Array:
    """What one stored MWh is worth at the end: sold at the trailing mean price, after fees and wear; never below 0."""
    net = mean_price_eur_per_mwh - site.export_fee_eur_per_mwh - site.wear_eur_per_mwh
    return jnp.maximum(net, 0.0) * site.eta_discharge


def shaping_eur(config: RewardConfig, site: Site, soc: Array, soc_end: Array, mark: Array, next_mark: Array) -> Array:
    """Shaping of a step: `mark` pays energy moved at the mark; `potential` is γΦ(s') − Φ(s), Φ = mark · stored energy
    (Ng, Harada & Russell 1999)."""
    if config.shaping == "none":
        return jnp.zeros_like(soc)
    if config.shaping == "mark":
        return mark * (soc_end - soc) * site.capacity_mwh
    return (config.potential_discount * next_mark * soc_end - mark * soc) * site.capacity_mwh
