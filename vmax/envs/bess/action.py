"""What an action asks of the battery, and which action asks for a given power.

`signed` reads an action as a share of rated power, discharge positive. `peak_windows` reads it as a share a in [0, 1],
as a dispatcher after Cardo-Miota et al. (Applied Energy 388, 2025, 125561) does: around the day's two price peaks
a · rated power is discharged, in all other hours it is charged. The environment has then decided when to do what; what
is left to learn is how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.battery import Site
from vmax.envs.bess.known import Known, block_prices
from vmax.errors import UserError

Array = jax.Array

WINDOW_H = 1
"""Clock hours on either side of a peak's hour that belong to its window."""


@dataclass(frozen=True)
class ActionConfig:
    """What an action means, and shares of its range: `dead_band` around "nothing" means idle, `full_band` at the other
    end (in `signed`: at either end) means rated power."""

    mode: Literal["signed", "peak_windows"]
    dead_band: float
    full_band: float

    def __post_init__(self) -> None:
        for name in ("dead_band", "full_band"):
            if not 0.0 <= getattr(self, name) < 0.5:
                raise UserError(f"env.action.{name}={getattr(self, name)}: must be within [0, 0.5)")


@struct.dataclass
class Peaks:
    """The dearest steps of the local morning (hours 0-11) and evening (12-23), the first of equals, as known now.

    Attributes: places in the day and prices of the two, each `[2]`; a price of −inf: nothing is known of that half, and
    it has no peak. `now`: the place of this step.
    """

    place: Array
    price_eur_per_mwh: Array
    now: Array

    @property
    def exists(self) -> Array:
        """Whether there is such a peak, `[2]`."""
        return jnp.isfinite(self.price_eur_per_mwh)


def peaks(known: Known, dt_h: float) -> Peaks:
    """The two peaks of the local day that this step belongs to."""
    price, now = block_prices(known, 24, dt_h)
    halves = jnp.where(jnp.isfinite(price), price, -jnp.inf).reshape(2, -1)
    dearest = jnp.argmax(halves, axis=1)
    place = dearest + jnp.arange(2) * halves.shape[1]
    return Peaks(place, jnp.max(halves, axis=1), now)


def in_peak_window(known: Known, dt_h: float) -> Array:
    """Whether this step lies within `WINDOW_H` clock hours of a peak of its local day; no window leaves the day."""
    peak = peaks(known, dt_h)
    hour = lambda step: jnp.floor(step * dt_h)  # noqa: E731
    return jnp.any((jnp.abs(hour(peak.now) - hour(peak.place)) <= WINDOW_H) & peak.exists)


def asked_share(action: Array, peak: Array | None) -> Array:
    """What an action in [-1, 1] asks for before the bands apply, share of rated power, discharge positive.

    `peak`: whether the step lies in a peak window; None: the action is signed.
    """
    return action if peak is None else jnp.where(peak, 0.5, -0.5) * (action + 1.0)


def power_mw(config: ActionConfig, action: Array, site: Site, peak: Array | None) -> Array:
    """Requested AC power in MW, discharge positive, of an action (a scalar); 0 within the dead band."""
    share = asked_share(action, peak)
    return jnp.sign(share) * size_of(config, jnp.abs(share)) * site.power_mw


def action_for(config: ActionConfig, power_mw: Any, site: Site, peak: Array | None) -> Array:
    """The action that requests exactly this power: inverse of `power_mw`.

    Charging in a peak window and discharging outside of one cannot be asked for: that becomes idle.
    """
    band, full = config.dead_band, config.full_band
    share = jnp.clip(jnp.asarray(power_mw) / site.power_mw, -1.0, 1.0)
    asked = jnp.sign(share) * (band + jnp.abs(share) * (1.0 - band - full))
    return asked if peak is None else 2.0 * jnp.maximum(jnp.where(peak, asked, -asked), 0.0) - 1.0


def bids_mw(config: ActionConfig, names: tuple[str, ...], action: Array, site: Site) -> tuple[Array, Array]:
    """Upward and downward reserve in MW that the components `names` of an action bid, before any cut: -1 bids nothing,
    1 rated power, with the bands of `power_mw` at either end."""
    bids = {name: size_of(config, 0.5 * (action[i] + 1.0)) * site.power_mw for i, name in enumerate(names)}
    both = bids.get("reserve", jnp.zeros_like(site.power_mw))
    return bids.get("reserve_up", both), bids.get("reserve_down", both)


def action_for_bid(config: ActionConfig, bid_mw: Any, site: Site) -> Array:
    """The component of an action that bids this reserve: inverse of `bids_mw`."""
    share = jnp.clip(jnp.asarray(bid_mw) / site.power_mw, 0.0, 1.0)
    return 2.0 * jnp.sign(share) * (config.dead_band + share * (1.0 - config.dead_band - config.full_band)) - 1.0


def size_of(config: ActionConfig, share: Array) -> Array:
    """The share of rated power that a part of the action's range, within [0, 1], means."""
    return jnp.clip((share - config.dead_band) / (1.0 - config.dead_band - config.full_band), 0.0, 1.0)
