"""The observation of the battery: named features, each selectable in the config.

Each is computed from `Known` and the state. Prices enter relative to the trailing within-day spread of the series, so
one policy fits calm and wild years. A feature is divided by its root mean square over the training split; zero stays
zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.battery import Site
from vmax.envs.bess import day_features as day
from vmax.envs.bess.known import Known
from vmax.envs.bess.reserve_market import KnownReserve
from vmax.spaces import Box, Feature

Array = jax.Array

SCALE_REFERENCE_EUR = 10.0
MAX_HORIZONS_H = (1, 2, 3, 4, 6, 8, 12, 18, 24, 36)
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
COUNT_HORIZONS_H = (6, 12, 24)


@dataclass(frozen=True)
class Ranges:
    """What features in plain prices are mapped to [-1, 1] from: energy in EUR/MWh, reserve in EUR per MW and hour."""

    energy: tuple[float, float]
    reserve: tuple[float, float]


@struct.dataclass
class View:
    """What a feature may read of the outside world: what is known, the calendar, how prices are scaled."""

    known: Known
    calendar: Array
    dt_h: float = struct.field(pytree_node=False)
    ranges: Ranges = struct.field(pytree_node=False)

    @property
    def relative(self) -> Array:
        """Expected prices minus the current one in units of the spread, 0 where unknown, `[W]`."""
        price = self.known.expected_price_eur_per_mwh
        return jnp.where(self.known.mask, (price - price[0]) / self.known.spread_eur_per_mwh, 0.0)

    def steps(self, hours: float) -> int:
        return max(1, round(hours / self.dt_h))


@dataclass(frozen=True)
class Definition:
    """One selectable feature: how many numbers, their unit, how they are computed, whether they are scaled by a fit.

    `limit`: the declared bound of a value that is scaled, or in plain prices; of others it is 1.

    `absolute`: of plain prices, mapped from their range; such a feature changes with an episode's price factor.
    """

    size: Callable[[int], int]
    unit: str
    compute: Callable[[View], Array]
    fitted: bool = True
    absolute: bool = False
    limit: float = 10.0

    @property
    def bound(self) -> float:
        """The declared bound of its numbers."""
        return self.limit if self.fitted or self.absolute else 1.0


def _window(view: View) -> Array:
    return jnp.arcsinh(view.relative[1:])


def _extremes(view: View, sign: float) -> Array:
    """Highest (sign 1) or lowest (−1) known price up to some horizons, relative to the current one."""
    return _up_to_horizons(view, sign * jax.lax.cummax(sign * view.relative, axis=0))


def _up_to_horizons(view: View, running: Array) -> Array:
    last = [min(view.steps(h), running.shape[0] - 1) for h in MAX_HORIZONS_H]
    return jnp.arcsinh(running[jnp.asarray(last)])


def _quantiles(view: View) -> Array:
    """Quantiles of the known prices relative to the current one, by sorting with the unknown ones last."""
    ordered = jnp.sort(jnp.where(view.known.mask, view.relative, jnp.inf))
    last = jnp.maximum(view.known.mask.sum() - 1, 0)
    at = (jnp.asarray(QUANTILES) * last).astype(jnp.int32)
    return jnp.arcsinh(jnp.where(jnp.isfinite(ordered[at]), ordered[at], 0.0))


def _counts(view: View, sign: float) -> Array:
    """Share of the coming hours that are dearer (1) or cheaper (−1) than now, within some horizons."""
    better = (sign * view.relative > 0.0) & view.known.mask
    total = jnp.cumsum(better)
    return jnp.stack([total[min(view.steps(h), total.shape[0] - 1)] * (view.dt_h / h) for h in COUNT_HORIZONS_H])


def _time_to(view: View, sign: float) -> Array:
    """Hours until the highest (1) or lowest (−1) known price, share of 36 h."""
    scored = jnp.where(view.known.mask, sign * view.relative, -jnp.inf)
    return jnp.argmax(scored)[None] / scored.shape[0]


def _level(view: View) -> Array:
    known = view.known
    return jnp.arcsinh((known.expected_price_eur_per_mwh[0] - known.mean_eur_per_mwh) / known.spread_eur_per_mwh)[None]


def _profile(view: View) -> Array:
    known = view.known
    return jnp.arcsinh((known.profile_eur_per_mwh - known.mean_eur_per_mwh) / known.spread_eur_per_mwh)


def _raw_forecast(view: View) -> Array:
    known = view.known
    relative = (known.price_eur_per_mwh - known.mean_eur_per_mwh) / known.spread_eur_per_mwh
    return jnp.arcsinh(jnp.where(known.mask, relative, 0.0))


def _forecasts(view: View) -> Array:
    """Each of several forecasts less their mean, `[F · W]`."""
    known = view.known
    assert known.forecasts_eur_per_mwh is not None  # the feature is there with several forecasts alone
    return jnp.arcsinh((known.forecasts_eur_per_mwh - known.price_eur_per_mwh) / known.spread_eur_per_mwh).ravel()


def _forecast_spread(view: View) -> Array:
    """Standard deviation of several forecasts of a step."""
    known = view.known
    assert known.forecasts_eur_per_mwh is not None
    return jnp.arcsinh(known.forecasts_eur_per_mwh.std(axis=0) / known.spread_eur_per_mwh)


def _exogenous(view: View, number: int) -> Array:
    """One of the other forecasts, `[W]`."""
    assert view.known.exogenous is not None
    return view.known.exogenous[number]


def _past(view: View) -> Array:
    known = view.known
    relative = (known.past_price_eur_per_mwh - known.mean_eur_per_mwh) / known.spread_eur_per_mwh
    return jnp.arcsinh(relative)


def _plain(size: int, price: Callable[[View], Array], market: str = "energy") -> Definition:
    """A feature of plain prices of `energy` or `reserve`."""
    compute = lambda v: day.ranged(price(v), *getattr(v.ranges, market))  # noqa: E731
    return Definition(lambda w: size, f"range of {market} prices", compute, fitted=False, absolute=True)


def _of_day(size: int, unit: str, compute: Callable[[Known, float], Array]) -> Definition:
    """A feature of the local day, within [-1, 1]."""
    return Definition(lambda w: size, unit, lambda v: compute(v.known, v.dt_h), fitted=False)


def _spread_forward(view: View) -> Array:
    """Best later sale minus purchase within some horizons: max over i < j of price j minus price i, in spreads."""
    relative = jnp.where(view.known.mask, view.relative, -jnp.inf)
    lowest = jax.lax.cummin(jnp.where(view.known.mask, view.relative, jnp.inf), axis=0)
    best = jax.lax.cummax(jnp.where(view.known.mask, relative - lowest, 0.0), axis=0)
    last = [min(view.steps(h), best.shape[0] - 1) for h in (6, 12, 24, 36)]
    return jnp.arcsinh(best[jnp.asarray(last)])


def _of_reserve(view: View) -> KnownReserve:
    assert view.known.reserve is not None  # the settings ask for a product where its features are chosen
    return view.known.reserve


def _reserve_prices(view: View, direction: str) -> Array:
    """Prices of reserve capacity in spreads, this step's first, 0 where unknown."""
    return jnp.arcsinh(getattr(_of_reserve(view), f"{direction}_eur_per_mw_h") / view.known.spread_eur_per_mwh)


def _net_prices(view: View) -> Array:
    """Energy price less that of upward reserve, which a sale displaces, minus the current energy price, `[W]`; −∞:
    unknown."""
    known, told = view.known, _of_reserve(view)
    net = known.expected_price_eur_per_mwh - told.up_eur_per_mw_h - known.expected_price_eur_per_mwh[0]
    return jnp.where(known.mask & told.mask, net / known.spread_eur_per_mwh, -jnp.inf)


def _net_window(view: View) -> Array:
    net = _net_prices(view)
    return jnp.where(jnp.isfinite(net), jnp.arcsinh(net), 0.0)


def _net_maxima(view: View) -> Array:
    """Highest net price up to some horizons; 0 where none is known, as at the end of a segment of data."""
    running = jax.lax.cummax(_net_prices(view), axis=0)
    return _up_to_horizons(view, jnp.where(jnp.isfinite(running), running, 0.0))


EXOGENOUS: dict[str, Definition] = {
    "price_window": Definition(lambda w: w - 1, "spread", _window),
    "price_mask": Definition(lambda w: w - 1, "1", lambda v: v.known.mask[1:].astype(jnp.float32), fitted=False),
    "price_level": Definition(lambda w: 1, "spread", _level),
    "price_maxima": Definition(lambda w: len(MAX_HORIZONS_H), "spread", lambda v: _extremes(v, 1.0)),
    "price_minima": Definition(lambda w: len(MAX_HORIZONS_H), "spread", lambda v: _extremes(v, -1.0)),
    "price_quantiles": Definition(lambda w: len(QUANTILES), "spread", _quantiles),
    "price_swing": Definition(lambda w: 4, "spread", _spread_forward),
    "dearer_hours": Definition(lambda w: len(COUNT_HORIZONS_H), "1", lambda v: _counts(v, 1.0), fitted=False),
    "cheaper_hours": Definition(lambda w: len(COUNT_HORIZONS_H), "1", lambda v: _counts(v, -1.0), fitted=False),
    "time_to_peak": Definition(lambda w: 1, "36 h", lambda v: _time_to(v, 1.0), fitted=False),
    "time_to_trough": Definition(lambda w: 1, "36 h", lambda v: _time_to(v, -1.0), fitted=False),
    "price_profile": Definition(lambda w: w, "spread", _profile),
    "price_forecast": Definition(lambda w: w, "spread", _raw_forecast),
    "price_past": Definition(lambda w: w * 2 // 3, "spread", _past),
    "forecast_error": Definition(
        lambda w: 1, "spread", lambda v: jnp.arcsinh(v.known.last_error_eur_per_mwh / v.known.spread_eur_per_mwh)[None]
    ),
    "calendar": Definition(lambda w: 6, "1", lambda v: v.calendar, fitted=False),
    "pv_now": Definition(lambda w: 1, "capacity", lambda v: v.known.pv_mw[:1], fitted=False),
    "pv_forecast": Definition(lambda w: w - 1, "capacity", lambda v: v.known.pv_mw[1:], fitted=False),
    "hour": Definition(lambda w: 1, "day", lambda v: day.clock(v.known), fitted=False),
    "weekday": Definition(lambda w: 1, "week", lambda v: day.weekday(v.calendar), fitted=False),
    "season": Definition(lambda w: 1, "year", lambda v: day.season(v.calendar), fitted=False),
    "price_now": _plain(1, lambda v: v.known.price_eur_per_mwh[:1]),
    "day_peak_prices": _plain(2, lambda v: day.peak_prices(v.known, v.dt_h)),
    "day_peak_hours": _of_day(2, "day", day.peak_hours),
    "day_lowest_price": _plain(1, lambda v: day.lowest_price(v.known, v.dt_h)),
    "day_lowest_hour": _of_day(1, "day", day.lowest_hour),
    "hours_to_peak": _of_day(1, "21 h", day.hours_to_peak),
    "is_peak": _of_day(1, "±1", day.is_peak),
    "is_cheap_before_peak": _of_day(1, "±1", day.is_cheap_before_peak),
    "reserve_up_prices": Definition(lambda w: w, "spread", lambda v: _reserve_prices(v, "up")),
    "reserve_down_prices": Definition(lambda w: w, "spread", lambda v: _reserve_prices(v, "down")),
    "net_price_window": Definition(lambda w: w, "spread", _net_window),
    "net_price_maxima": Definition(lambda w: len(MAX_HORIZONS_H), "spread", _net_maxima),
    "reserve_mask": Definition(
        lambda w: w - 1, "1", lambda v: _of_reserve(v).mask[1:].astype(jnp.float32), fitted=False
    ),
    "reserve_block_left": Definition(lambda w: 1, "block", lambda v: _of_reserve(v).left[None], fitted=False),
    "reserve_price_now": _plain(1, lambda v: _of_reserve(v).up_eur_per_mw_h[:1], "reserve"),
    "day_reserve_prices": _plain(2, lambda v: day.reserve_extremes(v.known, v.dt_h), "reserve"),
}
"""Features of the outside world: the same for every battery at one time, so they can be tabulated once."""
RARE = 100.0
"""Forecasts of one step agree as a rule, and lie far apart now and then."""
OF_FORECASTS = ("price_forecasts", "forecast_spread")
"""Features of several forecasts of the price (`env.data.columns.forecast`)."""


@dataclass(frozen=True)
class Outside:
    """The features of the outside world that there are, by name, with these forecasts in the data: `forecasts` of the
    price, and others named `exogenous`."""

    forecasts: int
    exogenous: tuple[str, ...]

    @cached_property
    def definitions(self) -> Mapping[str, Definition]:
        several = self.forecasts if self.forecasts > 1 else 0
        return {
            **EXOGENOUS,
            "price_forecasts": Definition(lambda w: w * several, "spread", _forecasts, limit=RARE),
            "forecast_spread": Definition(lambda w: w if several else 0, "spread", _forecast_spread, limit=RARE),
            **{
                name: Definition(lambda w: w, "sd", lambda view, i=i: _exogenous(view, i))
                for i, name in enumerate(self.exogenous)
            },
        }

    def __contains__(self, name: str) -> bool:
        return name in self.definitions

    def __getitem__(self, name: str) -> Definition:
        return self.definitions[name]


OWN: dict[str, str] = {
    "soc": "window",
    "previous_soc": "window",
    "price_mean": "spread",
    "price_scale": "1",
    "half_day_start": "1",
    "soh": "share of capacity",
    "reserve_committed": "rated power",
    "last_call": "commitment",
    "wear": "share of capacity",
    "site": "range",
}
"""Features of this battery and episode: charge within the SOC window as [-1, 1], the trailing mean price and 10 EUR/MWh
in units of the (scaled) spread; what wear depends on, each only where it does: 1 where a local half-day begins (else
−1), the capacity left, `WearModel.observed`; the reserve promised upward and downward for the running block (0 where a
new one begins) and the last call of it; and the numbers that the config gives as ranges, each as [-1, 1] over its
range."""

OF_RESERVE = (
    "reserve_up_prices", "reserve_down_prices", "net_price_window", "net_price_maxima", "reserve_mask",
    "reserve_block_left", "reserve_committed", "last_call", "reserve_price_now", "day_reserve_prices",
)  # fmt: skip
"""Features that need a reserve product."""

NEEDED_BY_POST_DECISION = ("soc", "price_level", "price_mean", "price_scale")


def observation_space(features: tuple[str, ...], window: int, sizes: dict[str, int], outside: Outside) -> Box:
    """The declared space: sizes, units and bounds of the chosen features, in the chosen order.

    `sizes`: of own features that are not one number; what has none is left out.
    """
    parts = []
    for name in features:
        if name in outside:
            definition = outside[name]
            parts.append(Feature(name, definition.unit, -definition.bound, definition.bound, definition.size(window)))
        elif sizes.get(name, 1):
            limit = 20.0 if name in ("price_mean", "price_scale") else 1.001
            parts.append(Feature(name, OWN[name], -limit, limit, sizes.get(name, 1)))
    return Box(tuple(parts))


def exogenous(view: View, features: tuple[str, ...], outside: Outside) -> Array:
    """The chosen features of the outside world, unscaled, in the chosen order, `[E]`."""
    parts = [jnp.zeros(0), *(outside[name].compute(view) for name in features if name in outside)]
    return jnp.concatenate(parts).astype(jnp.float32)


def soc_feature(site: Site, soc: Array) -> Array:
    """State of charge as [-1, 1] over the SOC window."""
    return 2.0 * (soc - site.soc_min) / (site.soc_max - site.soc_min) - 1.0


def soc_from_feature(site: Site, feature: Array) -> Array:
    """Inverse of `soc_feature`."""
    return site.soc_min + 0.5 * (feature + 1.0) * (site.soc_max - site.soc_min)
