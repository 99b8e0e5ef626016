"""What the microgrid carries from step to step, where evaluation starts, and what a step tells."""

from __future__ import annotations

import jax
from flax import struct

from vmax.envs.microgrid.chargers import Vehicles
from vmax.envs.microgrid.objectives import Imports
from vmax.envs.microgrid.settings import TERMS
from vmax.spaces import Feature

Array = jax.Array


@struct.dataclass
class State:
    """One site. `year`, `time`: the year of the split and the step in it; `end`: the step at which looking stops.

    `weights`: of the objectives, `[5]`.
    """

    year: Array
    time: Array
    end: Array
    soc: Array
    vehicles: Vehicles
    imports: Imports
    weights: Array


@struct.dataclass
class Start:
    """A named start: year of the split, first step and the one at which looking stops, and the charge."""

    year: Array
    time: Array
    end: Array
    soc: Array


BIG_KW, BIG_KWH, BIG_MONEY = 1e5, 1e6, 1e6
INFO = (
    Feature("minutes", "min", 0.0, 2e8),
    Feature("pv_kw", "kW", 0.0, BIG_KW),
    Feature("curtailed_kw", "kW", -1e-2, BIG_KW),
    Feature("mall_kw", "kW", 0.0, BIG_KW),
    Feature("ev_kw", "kW", -BIG_KW, BIG_KW),
    Feature("ev_back_kw", "kW", 0.0, BIG_KW),
    Feature("charge_kw", "kW", 0.0, BIG_KW),
    Feature("discharge_kw", "kW", 0.0, BIG_KW),
    Feature("soc", "capacity", 0.0, 1.0),
    Feature("soc_end", "capacity", 0.0, 1.0),
    Feature("grid_import_kw", "kW", 0.0, BIG_KW),
    Feature("grid_export_kw", "kW", 0.0, BIG_KW),
    Feature("unserved_kw", "kW", 0.0, BIG_KW),
    Feature("carbon_kg_per_kwh", "kg/kWh", 0.0, 10.0),
    Feature("price_per_kwh", "money/kWh", 0.0, 100.0),
    Feature("ev_wanted_kwh", "kWh", 0.0, BIG_KWH),
    Feature("ev_unmet_kwh", "kWh", 0.0, BIG_KWH),
    Feature("energy_cost", "money", -BIG_MONEY, BIG_MONEY),
    Feature("demand_cost", "money", -BIG_MONEY, BIG_MONEY),
    Feature("wear_cost", "money", 0.0, BIG_MONEY),
    Feature("co2_kg", "kg", 0.0, BIG_KWH),
    *(Feature(f"term_{name}", "1", -1e4, 1e4) for name in TERMS),
    *(Feature(f"saturated_{name}", "1", 0.0, 1.0) for name in TERMS),
    Feature("shaping", "1", -1e4, 1e4),
)
"""`minutes`: since 1970, UTC; `ev_kw`: charging less `ev_back_kw`, which vehicles give back; `ev_wanted_kwh`: of
vehicles that plug in at this step; `term_…`: weighted, in units of no control's mean step."""
