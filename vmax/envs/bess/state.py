"""What the battery environment carries from step to step, where it starts, and what it tells of a step."""

from __future__ import annotations

from typing import Any

import jax
from flax import struct

from vmax.envs.bess.auction import Plan
from vmax.envs.bess.reserve import Commitment
from vmax.spaces import Feature

Array = jax.Array


@struct.dataclass
class Start:
    """Where an evaluation begins and ends: steps of the series, charge, place on the path of forecast errors."""

    time: Array
    end: Array
    soc: Array
    error_offset: Array


@struct.dataclass
class State:
    """Physical state and the draws of the episode.

    `drawn` holds the numbers that the config gives as ranges, `wear` what the wear model remembers, `soh_loss` the
    share of capacity lost since the episode began (None where it does not shrink the capacity), `plan` what an auction
    was sold on, `reserve` what is promised where reserve is sold (each None elsewhere).
    """

    time: Array
    end: Array
    soc: Array
    previous_soc: Array
    start_soc: Array
    error_offset: Array
    price_factor: Array
    price_shift: Array
    drawn: dict[str, Array]
    wear: Any
    soh_loss: Any = None
    plan: Plan | None = None
    reserve: Commitment | None = None

    @property
    def seen_soc(self) -> Array:
        """The charge that decisions start from: the true one, in an auction that of the plan."""
        return self.soc if self.plan is None else self.plan.soc

    def price(self, price_eur_per_mwh: Any) -> Array:
        """A price of the series as it is in this episode."""
        return self.price_factor * price_eur_per_mwh + self.price_shift

    def difference(self, difference_eur_per_mwh: Any) -> Array:
        """A difference between prices (a spread, an error) as it is in this episode."""
        return self.price_factor * difference_eur_per_mwh


INFO = (
    Feature("price_eur_per_mwh", "EUR/MWh", -1e4, 1e5),
    Feature("charge_mw", "MW", 0.0, 1e6),
    Feature("discharge_mw", "MW", 0.0, 1e6),
    Feature("soc", "share of capacity", 0.0, 1.0),
    Feature("soc_end", "share of capacity", 0.0, 1.0),
    Feature("pv_mw", "MW", 0.0, 1e6),
    Feature("curtailed_mw", "MW", 0.0, 1e6),
    Feature("standby_mw", "MW", 0.0, 1e6),
    Feature("energy_revenue_eur", "EUR", -1e9, 1e9),
    Feature("fee_eur", "EUR", 0.0, 1e9),
    Feature("wear_cost_eur", "EUR", 0.0, 1e9),
    Feature("soh_loss", "share of capacity", 0.0, 1.0),
    Feature("profit_eur", "EUR", -1e9, 1e9),
    Feature("shaping_eur", "EUR", -1e9, 1e9),
    Feature("terminal_value_eur", "EUR", -1e9, 1e9),
    Feature("time", "step", 0, 2**31 - 1),
)
"""The entries of a step's info."""
AUCTION_INFO = (
    Feature("sold_mw", "MW", -1e6, 1e6),
    Feature("imbalance_mw", "MW", -1e6, 1e6),
    Feature("imbalance_cost_eur", "EUR", 0.0, 1e9),
)
"""What an auction adds: what the battery was to feed in (taking is negative), what it fed in above that, its price."""

CAPACITY = Feature("capacity_mwh", "MWh", 0.0, 1e6)
"""Where wear shrinks the capacity: the one of this step."""
OVERFLOW = Feature("wear_overflow", "turning points", 0.0, 1.0)
"""Where wear counts cycles: turning points that found no room on the stack."""
