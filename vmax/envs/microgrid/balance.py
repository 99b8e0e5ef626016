"""The energy balance of the site, and what it costs: pure functions, powers in kW as means over a step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.battery import Site, feasible_power, next_soc

Array = jax.Array

KW = 1e3
"""kW per MW: the battery's own module reckons in MW."""


@struct.dataclass
class Flows:
    """One step. PV + discharge + import = mall + EV + charge + export + curtailed."""

    pv_kw: Array
    curtailed_kw: Array
    mall_kw: Array
    ev_kw: Array
    charge_kw: Array
    discharge_kw: Array
    soc_end: Array
    import_kw: Array
    export_kw: Array
    unserved_kw: Array


@struct.dataclass
class Connection:
    """The grid connection: limits (infinite: none) and what a kWh fed in is paid."""

    import_limit_kw: Array
    export_limit_kw: Array
    export_price_per_kwh: Array


@struct.dataclass
class Tariff:
    """Prices in the site's currency: per kWh and month's kW of the peak hours, and of what the others exceed it by."""

    demand_peak_per_kw: Array
    demand_excess_per_kw: Array

    def demand(self, peak_kw: Array, excess_kw: Array) -> Array:
        """The demand charge of a month with these highest imports so far, or of what they have risen by."""
        return self.demand_peak_per_kw * peak_kw + self.demand_excess_per_kw * excess_kw


def balance(
    battery: Site,
    connection: Connection,
    soc: Array,
    request_kw: Array,
    pv_kw: Array,
    mall_kw: Array,
    ev_kw: Array,
    dt_h: float,
) -> Flows:
    """Carries out a battery's request (discharge positive); what is left over is imported, fed in or curtailed.

    Where the import limit would be passed the battery charges less or discharges more, as far as it can; what is
    missing then is load that is not served (`unserved_kw`), which the checks and key figures count.
    """
    deficit_kw = mall_kw + ev_kw - pv_kw
    request_kw = jnp.maximum(request_kw, deficit_kw - connection.import_limit_kw)
    charge, discharge = feasible_power(battery, soc, request_kw / KW, dt_h)
    soc_end, _ = next_soc(battery, soc, charge, discharge, dt_h)
    charge_kw, discharge_kw = charge * KW, discharge * KW
    net_kw = deficit_kw + charge_kw - discharge_kw
    import_kw = jnp.clip(net_kw, 0.0, connection.import_limit_kw)
    export_kw = jnp.clip(-net_kw, 0.0, connection.export_limit_kw)
    return Flows(
        pv_kw=pv_kw,
        curtailed_kw=jnp.maximum(-net_kw, 0.0) - export_kw,
        mall_kw=mall_kw,
        ev_kw=ev_kw,
        charge_kw=charge_kw,
        discharge_kw=discharge_kw,
        soc_end=soc_end,
        import_kw=import_kw,
        export_kw=export_kw,
        unserved_kw=jnp.maximum(net_kw, 0.0) - import_kw,
    )


def residual_kw(flows: Any) -> Any:
    """Power from nowhere: 0 but for rounding. Of numbers or arrays, of JAX or NumPy."""
    into = flows.pv_kw + flows.discharge_kw + flows.import_kw + flows.unserved_kw
    out_of = flows.mall_kw + flows.ev_kw + flows.charge_kw + flows.export_kw + flows.curtailed_kw
    return into - out_of


def held(deficit_kw: Array, target_kw: Array) -> Array:
    """The battery power, discharge positive, that holds an import: surplus is stored whatever the target."""
    return deficit_kw - target_kw
