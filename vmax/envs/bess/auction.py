"""The day-ahead auction: all steps of a local day are sold before it begins, on what is known at the gate.

Within the day the environment still moves step by step. As nothing new becomes known between the gate and the end of
the day (see `known.look`), deciding the volumes one after the other, each with the charge that the plan has reached, is
the same as deciding all of them at the gate. What was sold is then delivered from the charge that there really is.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.battery import Dispatch, Site, dispatch

Array = jax.Array


@struct.dataclass
class Plan:
    """What the seller believes: the charge by plan, and by how much the true one lay above it at the last gate."""

    soc: Array
    gap: Array


def begin(soc: Array) -> Plan:
    """The plan of an episode that starts with this charge."""
    return Plan(soc, jnp.zeros_like(soc))


def planned(site: Site, plan: Plan, request_mw: Array, pv_mw: Array, dt_h: float) -> Dispatch:
    """What the battery would do by plan, with the PV output that is expected; every price is taken for positive."""
    return dispatch(site, plan.soc, request_mw, pv_mw, jnp.full_like(plan.soc, jnp.inf), dt_h)


def advance(site: Site, plan: Plan, planned_end: Array, soc_end: Array, gate: Array, new_day: Array) -> Plan:
    """The plan at the next step. At the `gate` the true charge is seen; with the `new_day` plans start from there.

    Today's sales are not undone, so what the charge lay apart at the gate still does at midnight.
    """
    gap = jnp.where(gate, soc_end - planned_end, plan.gap)
    soc = jnp.where(new_day, jnp.clip(planned_end + gap, site.soc_min, site.soc_max), planned_end)
    return Plan(soc, jnp.where(new_day, 0.0, gap))


def info(sold_mw: Array, flows: Dispatch, imbalance_cost_eur: Array | float) -> dict[str, Array]:
    """What a step tells of the auction."""
    return {
        "sold_mw": sold_mw,
        "imbalance_mw": flows.discharge_mw - flows.charge_mw - sold_mw,
        "imbalance_cost_eur": jnp.asarray(imbalance_cost_eur),
    }
