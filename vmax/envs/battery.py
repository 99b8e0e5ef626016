"""Physics of a battery behind a grid connection, with or without PV: pure functions, powers at the AC terminals.

Limits are applied before the state of charge moves, so no later clip can create or destroy energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.errors import UserError
from vmax.spaces import Number

Array = jax.Array


@dataclass(frozen=True)
class BatteryConfig:
    """Numbers of the battery; each may be a range [low, high], drawn anew for each episode."""

    capacity_mwh: Number
    power_mw: Number
    soc_min: Number
    soc_max: Number
    eta_charge: Number
    eta_discharge: Number
    quadratic_loss: Number
    self_discharge_per_h: Number
    wear_eur_per_mwh: Number
    compat_power_limit: bool
    compat_soc_clip: bool

    def __post_init__(self) -> None:
        for name in ("capacity_mwh", "power_mw"):
            _require(self, name, 1e-9, float("inf"))
        for name in ("soc_min", "soc_max"):
            _require(self, name, 0.0, 1.0)
        for name in ("eta_charge", "eta_discharge"):
            _require(self, name, 0.01, 1.0)
        _require(self, "quadratic_loss", 0.0, 0.4)
        _require(self, "self_discharge_per_h", 0.0, 0.1)
        _require(self, "wear_eur_per_mwh", 0.0, float("inf"))
        if _high(self.soc_min) >= _low(self.soc_max):
            raise UserError(f"env.battery.soc_min={self.soc_min}: must be below env.battery.soc_max={self.soc_max}")


@dataclass(frozen=True)
class PlantConfig:
    """PV plant (capacity 0: none), inverter and grid connection (limit None: none)."""

    curtailment: Literal["price", "limit"]

    pv_capacity_mw: Number
    inverter_mw: Number | None
    import_limit_mw: Number | None
    export_limit_mw: Number | None
    import_fee_eur_per_mwh: Number
    export_fee_eur_per_mwh: Number

    def __post_init__(self) -> None:
        for name in ("pv_capacity_mw", "inverter_mw", "import_limit_mw", "export_limit_mw"):
            _require(self, name, 0.0, float("inf"), group="plant")
        for name in ("import_fee_eur_per_mwh", "export_fee_eur_per_mwh"):
            _require(self, name, 0.0, float("inf"), group="plant")


def _low(value: Number) -> float:
    return value[0] if isinstance(value, tuple) else value


def _high(value: Number) -> float:
    return value[1] if isinstance(value, tuple) else value


def _require(config: object, name: str, low: float, high: float, group: str = "battery") -> None:
    value = getattr(config, name)
    if value is None:
        return
    if isinstance(value, tuple) and value[0] > value[1]:
        raise UserError(f"env.{group}.{name}={list(value)}: a range is [low, high] with low <= high")
    if not (low <= _low(value) and _high(value) <= high):
        allowed = f"at least {low:g}" if high == float("inf") else f"within [{low:g}, {high:g}]"
        shown = list(value) if isinstance(value, tuple) else value
        raise UserError(f"env.{group}.{name}={shown}: must be {'above 0' if low == 1e-9 else allowed}")


@dataclass(frozen=True)
class Switches:
    """What of the config changes formulas and not numbers; as it is here energy is conserved and PV sold where it pays.

    The two for compatibility reproduce another simulator (docs/fidelity.md): `compat_power_limit` leaves the
    efficiency out of the limits that the charge sets, so that charging stops short of full; where discharging would
    then take more than is stored, its power is still cut, unless `compat_soc_clip` lets it be and clips the charge
    afterwards, so that energy appears.
    """

    compat_power_limit: bool = False
    compat_soc_clip: bool = False
    curtailment: Literal["price", "limit"] = "price"


@struct.dataclass
class Site:
    """The numbers of battery, plant and money as arrays: scalars, or `[2]` for a range not drawn yet."""

    capacity_mwh: Array
    power_mw: Array
    soc_min: Array
    soc_max: Array
    eta_charge: Array
    eta_discharge: Array
    quadratic_loss: Array
    self_discharge_per_h: Array
    wear_eur_per_mwh: Array
    pv_capacity_mw: Array
    inverter_mw: Array
    import_limit_mw: Array
    export_limit_mw: Array
    import_fee_eur_per_mwh: Array
    export_fee_eur_per_mwh: Array
    switches: Switches = struct.field(pytree_node=False, default=Switches())

    @classmethod
    def of(cls, battery: BatteryConfig, plant: PlantConfig) -> Site:
        """The numbers of the config; no limit is an infinite one."""
        values = {**vars(battery), **vars(plant)}
        switches = Switches(**{name: values.pop(name) for name in vars(Switches())})
        numbers = {k: jnp.asarray(jnp.inf if v is None else v, jnp.float32) for k, v in values.items()}
        return cls(**numbers, switches=switches)

    @property
    def numbers(self) -> dict[str, Any]:
        """All but the switches, by name."""
        return {name: value for name, value in vars(self).items() if name != "switches"}


@struct.dataclass
class Dispatch:
    """What one step does physically. Powers in MW at the AC side, mean over the step; all non-negative."""

    charge_mw: Array
    discharge_mw: Array
    soc_end: Array
    pv_mw: Array
    curtailed_mw: Array
    standby_mw: Array


def stored_per_charge(site: Site, charge_mw: Array) -> Array:
    """Power that reaches the cells: η·p − q·p²/P, q the share of rated power lost at rated power besides 1 − η."""
    return site.eta_charge * charge_mw - site.quadratic_loss * charge_mw**2 / site.power_mw


def drawn_per_discharge(site: Site, discharge_mw: Array) -> Array:
    """Power taken from the cells: p/η + q·p²/P."""
    return discharge_mw / site.eta_discharge + site.quadratic_loss * discharge_mw**2 / site.power_mw


def feasible_power(site: Site, soc: Array, request_mw: Array, dt_h: float) -> tuple[Array, Array]:
    """Split a signed request into the charge and discharge power that the battery can carry out for one step.

    Inverts `stored_per_charge` and `drawn_per_discharge` in the form that is exact for q = 0 too.

    Args:
      soc: state of charge at the start of the step, share of capacity, `[...]`.
      request_mw: AC power, discharge positive, `[...]`.

    Returns:
      `(charge_mw, discharge_mw)`, non-negative, at most one of them positive.
    """
    kept = soc * (1.0 - site.self_discharge_per_h * dt_h)
    kept = jnp.maximum(kept, jnp.minimum(site.soc_min, soc))  # the grid keeps it from falling below (see `next_soc`)
    room_mw = jnp.maximum(site.soc_max - kept, 0.0) * site.capacity_mwh / dt_h
    stored_mw = jnp.maximum(kept - site.soc_min, 0.0) * site.capacity_mwh / dt_h
    loss = site.quadratic_loss / site.power_mw
    root = jnp.sqrt(jnp.maximum(site.eta_charge**2 - 4.0 * loss * room_mw, 0.0))
    most_charge = jnp.where(
        site.eta_charge**2 < 4.0 * loss * room_mw, site.power_mw, 2.0 * room_mw / (site.eta_charge + root)
    )
    most_discharge = (
        2.0 * stored_mw / (1.0 / site.eta_discharge + jnp.sqrt(site.eta_discharge**-2 + 4 * loss * stored_mw))
    )
    if site.switches.compat_power_limit:
        most_charge = room_mw
        most_discharge = stored_mw if site.switches.compat_soc_clip else most_discharge
    charge_mw = jnp.clip(-request_mw, 0.0, jnp.minimum(site.power_mw, most_charge))
    discharge_mw = jnp.clip(request_mw, 0.0, jnp.minimum(site.power_mw, most_discharge))
    return charge_mw, discharge_mw


def next_soc(site: Site, soc: Array, charge_mw: Array, discharge_mw: Array, dt_h: float) -> tuple[Array, Array]:
    """State of charge after the step and the standby power that the grid had to add, `(soc_end, standby_mw)`.

    A battery that self-discharges at its lower limit stands still there; the grid covers the loss and is paid for it.
    The final projection moves less than a float32 rounding (but for `compat_soc_clip`).
    """
    kept = soc * (1.0 - site.self_discharge_per_h * dt_h)
    missing = jnp.maximum(jnp.minimum(site.soc_min, soc) - kept, 0.0)
    moved_mw = stored_per_charge(site, charge_mw) - drawn_per_discharge(site, discharge_mw)
    soc_end = kept + missing + moved_mw * dt_h / site.capacity_mwh
    lower = jnp.minimum(site.soc_min, soc)
    return jnp.clip(soc_end, lower, site.soc_max), missing * site.capacity_mwh / (site.eta_charge * dt_h)


def dispatch(
    site: Site, soc: Array, request_mw: Array, pv_mw: Array, price_eur_per_mwh: Array, dt_h: float
) -> Dispatch:
    """Carry out a request behind the grid connection.

    The battery keeps to what the connection leaves: discharge up to the export limit less PV, charging up to the import
    limit plus PV. PV that finds no room is curtailed. The inverter feeds in only where that pays at this price
    after the fee, and where even taking from the grid is paid for, it covers no more than the grid cannot; with
    `curtailment=limit` it feeds in whatever the price.
    """
    available_mw = jnp.minimum(pv_mw, site.inverter_mw)
    regardless = site.switches.curtailment == "limit"
    feeding_in_pays = (price_eur_per_mwh >= site.export_fee_eur_per_mwh) | regardless
    taking_costs = price_eur_per_mwh > -site.import_fee_eur_per_mwh
    fed_in_mw = jnp.where(feeding_in_pays, available_mw, 0.0)
    request_mw = jnp.clip(
        request_mw, -(site.import_limit_mw + available_mw), jnp.maximum(site.export_limit_mw - fed_in_mw, 0.0)
    )
    charge_mw, discharge_mw = feasible_power(site, soc, request_mw, dt_h)
    soc_end, standby_mw = next_soc(site, soc, charge_mw, discharge_mw, dt_h)
    own_use_mw = jnp.where(taking_costs, charge_mw, jnp.maximum(charge_mw - site.import_limit_mw, 0.0))
    room_mw = site.export_limit_mw - discharge_mw + charge_mw
    used_mw = jnp.minimum(available_mw, jnp.where(feeding_in_pays, room_mw, own_use_mw))
    return Dispatch(charge_mw, discharge_mw, soc_end, used_mw, pv_mw - used_mw, standby_mw)


def flows_of(info: Mapping[str, Any]) -> Dispatch:
    """What the battery did, from the entries of a step's info or the columns of a table."""
    return Dispatch(
        charge_mw=info["charge_mw"],
        discharge_mw=info["discharge_mw"],
        soc_end=info["soc_end"],
        pv_mw=info["pv_mw"] - info["curtailed_mw"],
        curtailed_mw=info["curtailed_mw"],
        standby_mw=info["standby_mw"],
    )


def energy_residual_mwh(site: Site, soc: Any, flows: Dispatch, dt_h: float) -> Any:
    """Conservation law of one step: energy that appeared from nowhere in the cells, MWh (0 but for rounding).

    Of numbers or arrays, of JAX or NumPy.
    """
    lost = soc * site.self_discharge_per_h * dt_h * site.capacity_mwh
    stored_mw = stored_per_charge(site, flows.charge_mw) + site.eta_charge * flows.standby_mw
    moved_mw = stored_mw - drawn_per_discharge(site, flows.discharge_mw)
    return (flows.soc_end - soc) * site.capacity_mwh + lost - moved_mw * dt_h
