"""The local day at a glance: its two price peaks, its lowest price, where this step stands to them; each as [-1, 1].

What a dispatcher after Cardo-Miota et al. (2025) observes (docs/fidelity.md). All of it is read from what is known at
the step: in `day_ahead` the prices of the whole local day, in `forecast` those that have passed and the forecasts of
the rest.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from vmax.envs.bess.action import in_peak_window, peaks
from vmax.envs.bess.known import Known, block_prices

Array = jax.Array

MOST_HOURS_TO_PEAK = 21
"""From the end of a window at hours 0 and 1 to a peak at 23. Stands also for "no more today"."""
CHEAP_H = 3
"""Hours before each peak that count as cheap."""
SPRING_DAY, SUMMER_DAY, AUTUMN_DAY, WINTER_DAY = 60, 152, 244, 335
"""Day of the year on which a season of three whole months begins (a day early in a leap year)."""


def ranged(value: Array, low: float, high: float) -> Array:
    """A value as [-1, 1] over a fixed range; what lies outside of the range lies outside of [-1, 1]."""
    return 2.0 * (value - low) / (high - low) - 1.0


def clock(known: Known) -> Array:
    """The local hour, `[1]`."""
    return ranged(known.local_hour[:1], 0.0, 24.0)


def weekday(calendar: Array) -> Array:
    """Monday −1 to Sunday 1, `[1]`, from the cyclic calendar."""
    return ranged(_place_on_circle(calendar[2:4], 7.0)[None], 0.0, 6.0)


def season(calendar: Array) -> Array:
    """Winter −1, spring, summer, autumn 1, `[1]`, from the cyclic calendar."""
    day = _place_on_circle(calendar[4:6], 365.25)
    begun = (day >= jnp.asarray([SPRING_DAY, SUMMER_DAY, AUTUMN_DAY, WINTER_DAY])).sum()
    return ranged((begun % 4)[None].astype(jnp.float32), 0.0, 3.0)


def peak_prices(known: Known, dt_h: float) -> Array:
    """The highest prices of morning and evening, EUR/MWh, `[2]`; the trailing mean where nothing is known."""
    peak = peaks(known, dt_h)
    return jnp.where(peak.exists, peak.price_eur_per_mwh, known.mean_eur_per_mwh)


def peak_hours(known: Known, dt_h: float) -> Array:
    """The local hours of these prices, `[2]`; the first of the half-day where nothing is known."""
    return ranged(peaks(known, dt_h).place * dt_h, 0.0, 24.0)


def lowest_price(known: Known, dt_h: float) -> Array:
    """The lowest price of the day, EUR/MWh, `[1]`; the trailing mean where nothing is known."""
    price, _ = block_prices(known, 24, dt_h)
    lowest = jnp.min(price)
    return jnp.where(jnp.isfinite(lowest), lowest, known.mean_eur_per_mwh)[None]


def lowest_hour(known: Known, dt_h: float) -> Array:
    """The local hour of the lowest price, `[1]`."""
    price, _ = block_prices(known, 24, dt_h)
    return ranged(jnp.argmin(price)[None] * dt_h, 0.0, 24.0)


def reserve_extremes(known: Known, dt_h: float) -> Array:
    """Lowest and highest price of upward reserve in the day as far as they are known, EUR per MW and hour, `[2]`; the
    present one where nothing is known."""
    market = known.reserve
    assert market is not None  # the settings ask for a product where this feature is chosen
    of_reserve = replace(
        known,
        price_eur_per_mwh=market.up_eur_per_mw_h,
        past_price_eur_per_mwh=market.past_up_eur_per_mw_h,
        mask=market.mask,
    )
    price, _ = block_prices(of_reserve, 24, dt_h)
    exists = jnp.isfinite(price)
    extremes = jnp.stack([jnp.min(price), jnp.max(jnp.where(exists, price, -jnp.inf))])
    return jnp.where(exists.any(), extremes, market.up_eur_per_mw_h[0])


def is_peak(known: Known, dt_h: float) -> Array:
    """1 in a peak window, −1 outside, `[1]`."""
    return _sign(in_peak_window(known, dt_h))


def hours_to_peak(known: Known, dt_h: float) -> Array:
    """Hours to the next peak of the day, 0 in a peak window, `MOST_HOURS_TO_PEAK` after the last one, `[1]`."""
    peak = peaks(known, dt_h)
    ahead = jnp.where((peak.place >= peak.now) & peak.exists, (peak.place - peak.now) * dt_h, MOST_HOURS_TO_PEAK)
    hours = jnp.where(in_peak_window(known, dt_h), 0.0, jnp.min(ahead))
    return ranged(hours[None], 0.0, MOST_HOURS_TO_PEAK)


def is_cheap_before_peak(known: Known, dt_h: float) -> Array:
    """1 in the `CHEAP_H` cheapest hours from midnight to the morning's peak, and from there to the evening's, `[1]`."""
    peak, (price, place) = peaks(known, dt_h), block_prices(known, 24, dt_h)
    step, (morning, evening) = jnp.arange(price.shape[0]), peak.place
    before_morning = place < morning
    first, last = jnp.where(before_morning, 0, morning + 1), jnp.where(before_morning, morning, evening)
    candidate = jnp.where((step >= first) & (step < last), price, jnp.inf)
    cheaper = (candidate < price[place]) | ((candidate == price[place]) & (step < place))
    return _sign(jnp.isfinite(candidate[place]) & (cheaper.sum() < round(CHEAP_H / dt_h)))


def _place_on_circle(sine_cosine: Array, period: float) -> Array:
    """The whole number below `period` whose angle these are."""
    turn = jnp.arctan2(sine_cosine[0], sine_cosine[1]) / (2.0 * jnp.pi)
    return jnp.round((turn % 1.0) * period) % period


def _sign(condition: Array) -> Array:
    return jnp.where(condition, 1.0, -1.0)[None]
