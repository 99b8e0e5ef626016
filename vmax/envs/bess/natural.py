"""The observation and the action of the battery in the units of the world (`vmax.envs.natural`).

Charges are shares of the capacity, hours are hours, plain prices are EUR/MWh. Prices that the observation holds in
relation to others stay so, in trailing spreads: what has to be computed of a list of prices cannot be undone number by
number, and its definition stands beside it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.bess import action as actions
from vmax.envs.bess import observation
from vmax.envs.bess.day_features import MOST_HOURS_TO_PEAK
from vmax.envs.bess.params import BessParams
from vmax.envs.bess.reserve_rules import BIDS
from vmax.envs.bess.scenarios import HISTORY_H, WINDOW_H, typical_values
from vmax.envs.natural import Natural, Quantity

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

Array = jax.Array


class Range(NamedTuple):
    """A feature within [-1, 1], or [0, 1], that is linear in a value from `low` to `high`."""

    low: float
    high: float
    unit: str
    meaning: str
    centred: bool = True


HORIZONS = ", ".join(map(str, observation.MAX_HORIZONS_H))
COUNTED = ", ".join(map(str, observation.COUNT_HORIZONS_H))
SPREAD = "spread: trailing 28-day mean of the standard deviation of prices within a day"
MEAN = "trailing 168-hour mean price"
MOST_SPREADS = 1000.0
"""No price of a market lies so many spreads away from another: whoever passes more passes another unit."""

RANGES: dict[str, Range] = {
    "price_mask": Range(0, 1, "1", "1: the price of the step is known, 0: it is not", False),
    "dearer_hours": Range(0, 1, "1", f"share of the coming {COUNTED} hours that are dearer than this one", False),
    "cheaper_hours": Range(0, 1, "1", f"share of the coming {COUNTED} hours that are cheaper than this one", False),
    "time_to_peak": Range(0, WINDOW_H, "h", "hours until the highest known price", False),
    "time_to_trough": Range(0, WINDOW_H, "h", "hours until the lowest known price", False),
    "calendar": Range(-1, 1, "1", "sine and cosine of local hour / 24, weekday / 7 (Monday 0), day of year / 365.25"),
    "pv_now": Range(0, 1, "capacity", "PV output of this step, share of the plant's capacity", False),
    "pv_forecast": Range(0, 1, "capacity", "PV expected in the coming steps, share of the capacity", False),
    "hour": Range(0, 24, "h", "local hour"),
    "weekday": Range(0, 6, "day", "local weekday, Monday 0"),
    "season": Range(0, 3, "1", "0 winter (from December), 1 spring, 2 summer, 3 autumn"),
    "day_peak_hours": Range(0, 24, "h", "local hours of the highest prices of morning and evening"),
    "day_lowest_hour": Range(0, 24, "h", "local hour of the lowest price of the day"),
    "hours_to_peak": Range(0, MOST_HOURS_TO_PEAK, "h", f"hours to the next peak window; {MOST_HOURS_TO_PEAK}: none"),
    "is_peak": Range(0, 1, "1", "1 within an hour of one of the day's two price peaks, else 0"),
    "is_cheap_before_peak": Range(0, 1, "1", "1 in the three cheapest hours before a peak, else 0"),
    "reserve_mask": Range(0, 1, "1", "1: the reserve price of the step is known, 0: it is not", False),
    "reserve_block_left": Range(0, 1, "block", "share of the running block that is left", False),
    "half_day_start": Range(0, 1, "1", "1 where a local half-day (0-12, 12-24 h) begins, else 0"),
    "soh": Range(0, 1, "capacity", "capacity left, share of the new battery's"),
    "wear": Range(0, 1, "capacity", "what wear depends on, see WearModel.observed in vmax/envs/bess/degradation.py"),
}
"""Features that are linear in a value, by name."""

FITTED: dict[str, str] = {
    "price_window": "price of each coming step less the present one; 0: unknown",
    "price_level": f"present price less the {MEAN}",
    "price_maxima": f"highest known price within {HORIZONS} h less the present one",
    "price_minima": f"lowest known price within {HORIZONS} h less the present one",
    "price_quantiles": f"quantiles {', '.join(map(str, observation.QUANTILES))} of known prices less the present one",
    "price_swing": "best later sale less purchase within 6, 12, 24, 36 h",
    "price_profile": f"14-day mean price at the clock hour of each step less the {MEAN}",
    "price_forecast": f"forecast price of each step less the {MEAN}; 0: unknown",
    "price_forecasts": "each of the forecasts less their mean, by forecast and step; 0: unknown",
    "forecast_spread": "standard deviation of the forecasts of each step; 0: unknown",
    "price_past": f"price of each of the last {HISTORY_H} hours, oldest first, less the {MEAN}",
    "forecast_error": "forecast less actual price of the last step whose price is known",
    "reserve_up_prices": "price of upward reserve of each step, EUR per MW and hour; 0: unknown",
    "reserve_down_prices": "price of downward reserve of each step, EUR per MW and hour; 0: unknown",
    "net_price_window": "price less that of upward reserve in each step, less the present price; 0: unknown",
    "net_price_maxima": f"highest of these within {HORIZONS} h",
}
"""Features that are arcsinh of a value in spreads over a fitted scale."""

PLAIN: dict[str, str] = {
    "price_now": "price of this step",
    "day_peak_prices": "highest known prices of the local morning and evening",
    "day_lowest_price": "lowest known price of the local day",
    "reserve_price_now": "price of upward reserve in this step",
    "day_reserve_prices": "lowest and highest known price of upward reserve of the local day",
}
"""Features in plain prices."""


def natural(env: Bess, params: BessParams) -> Natural:
    """How observation and action of `env` read in the world; `params` are those of any split."""
    quantities = tuple(q for name in env.features for q in _quantities(env, params, name))
    return Natural(quantities, _action(env, params), _Units(env, params, [q.name for q in quantities]), _data(env))


def _quantities(env: Bess, params: BessParams, name: str) -> list[Quantity]:
    """The quantities of one feature, one for each of its numbers."""
    box = env.observation_space
    if name not in box:
        return []
    if name == "site":
        return [_drawn(params, number) for number in env.ranged]
    size = len(range(box.size)[box.slice(name)])
    names = [name] if size == 1 else [f"{name}_{i}" for i in range(size)]
    one = _one(env, params, name)
    return [replace(one, name=n) for n in names]


def _one(env: Bess, params: BessParams, name: str) -> Quantity:
    """The quantity of which each number of a feature tells."""
    limit = next(f.high for f in env.observation_space.features if f.name == name)
    config, site = env.config, params.site
    if name in ("soc", "previous_soc"):
        meaning = "state of charge" if name == "soc" else "state of charge a step before"
        if env.ranged and {"soc_min", "soc_max"} & set(env.ranged):
            return Quantity(name, "window", -limit, limit, f"{meaning}, −1 lowest, 1 highest allowed")
        return _linear(name, "capacity", float(site.soc_min), float(site.soc_max), limit, meaning)
    if name in RANGES:
        of = RANGES[name]
        return _linear(name, of.unit, of.low, of.high, 1.0, of.meaning, of.centred)
    if name in PLAIN:
        ranges, reserve = config.observation.ranges, "reserve" in name
        low, high = ranges.reserve if reserve else ranges.energy
        money = config.data.currency
        return _linear(name, f"{money} per MW and hour" if reserve else f"{money}/MWh", low, high, limit, PLAIN[name])
    if name in FITTED:
        return _bent(name, "spread", "arcsinh", _scale(env, params, name), limit, f"{FITTED[name]}; {SPREAD}")
    if name in config.data.exogenous:
        constants = typical_values(env.series, env.series.values["price"])
        number = config.data.exogenous.index(name)
        mean, deviation = float(constants.exogenous_mean[number]), float(constants.exogenous_deviation[number])
        scale = deviation * _scale(env, params, name)
        meaning = f"forecast '{config.data.mapped[f'exogenous.{name}']}' of each step; where unknown, the mean"
        low, high = mean - limit * scale, mean + limit * scale
        return Quantity(name, "as in the file", low, high, meaning, "linear", mean, scale)
    if name == "price_mean":
        return _bent(name, "spread", "arcsinh", float(params.scales[name]), limit, f"{MEAN}; {SPREAD}")
    if name == "price_scale":
        unit, meaning = f"{config.data.currency}/MWh", SPREAD.removeprefix("spread: ")
        return _bent(name, unit, "arcsinh_of_share", float(params.scales[name]), limit, meaning)
    meanings = {
        "reserve_committed": "reserve promised for the running block, upward and downward; 0 where a new one begins",
        "last_call": "last call of it, share of the commitment",
    }
    return Quantity(name, observation.OWN[name], -limit, limit, meanings[name])


def _linear(
    name: str, unit: str, low: float, high: float, limit: float, meaning: str, centred: bool = True
) -> Quantity:
    """A feature that is linear in a value: −1 (not centred: 0) at `low`, 1 at `high`, declared up to ±`limit`."""
    offset, scale = (0.5 * (low + high), 0.5 * (high - low)) if centred else (low, high - low)
    least = offset - limit * scale if centred else low
    return Quantity(name, unit, least, offset + limit * scale, meaning, "linear", offset, scale)


def _bent(
    name: str, unit: str, curve: Literal["arcsinh", "arcsinh_of_share"], scale: float, limit: float, meaning: str
) -> Quantity:
    """A feature of prices, declared up to ±`limit`."""
    q = Quantity(name, unit, 0.0, 0.0, meaning, curve, 0.0, scale, observation.SCALE_REFERENCE_EUR)
    if curve == "arcsinh":
        most = min(float(q.value(limit)), MOST_SPREADS)
        return replace(q, low=-most, high=most)
    return replace(q, low=float(q.value(limit)), high=float("inf"))  # a spread is positive


def _scale(env: Bess, params: BessParams, name: str) -> float:
    """The fitted constant that a feature of the outside world is divided by."""
    outside = env.config.outside
    names = [n for n in env.features if n in outside]
    before = names[: names.index(name)]
    return float(params.scales["exogenous"][sum(outside[n].size(env.window) for n in before)])


def _drawn(params: BessParams, name: str) -> Quantity:
    """A number of the site that is drawn for each episode."""
    low, high = map(float, getattr(params.site, name))
    units = {"_mwh": "MWh", "_mw": "MW", "_eur_per_mwh": "EUR/MWh", "_per_h": "1/h"}
    unit = next((units[end] for end in ("_eur_per_mwh", "_per_h", "_mwh", "_mw") if name.endswith(end)), "1")
    span = max(high - low, 1e-9)
    return Quantity(name, unit, low, high, "of this site", "linear", low + 0.5 * span, 0.5 * span)


class _Units:
    """Actions `[N, A]` as power and bids in MW `[N, A]`; what varies from row to row is read from raw rows `[N, D]`."""

    def __init__(self, env: Bess, params: BessParams, names: list[str]) -> None:
        self.config, self.site, self.bids = env.config.action, params.site, BIDS[env.config.reserve.product]
        self.power = names.index("power_mw") if "power_mw" in env.ranged else None
        self.peak = names.index("is_peak") if "is_peak" in names else None

    def __call__(self, raw: Array, action: Array) -> Array:
        site = self.site if self.power is None else replace(self.site, power_mw=raw[:, self.power])
        # Without the feature: the size alone, as of a step in a peak window.
        told = jnp.array(True) if self.peak is None else raw[:, self.peak] > 0.5
        peak = None if self.config.mode == "signed" else told
        power = actions.power_mw(self.config, action[:, 0], site, peak)
        bid = lambda i, name: actions.bids_mw(self.config, (name,), action[:, i][None], site)  # noqa: E731
        sold = [jnp.maximum(*bid(i, name)) for i, name in enumerate(self.bids, 1)]
        return jnp.stack([power, *sold], axis=1)


def _action(env: Bess, params: BessParams) -> tuple[Quantity, ...]:
    """The actions in MW. What battery, grid and rules make of a request depends on the state and comes after it."""
    rated, bands = float(np.max(params.site.power_mw)), env.config.action
    shares = f"idle within {bands.dead_band:g} around 0, rated power within {bands.full_band:g} of the end"
    asked = f"AC power requested, discharge positive, before limits of charge, grid and rules; {shares}"
    power = Quantity("power_mw", "MW", -rated, rated, asked)
    if bands.mode == "peak_windows" and "is_peak" not in env.observation_space:
        told = (
            f"size of the AC power requested: to be discharged within an hour of a price peak, else charged; {shares}"
        )
        power = Quantity("power_size_mw", "MW", 0.0, rated, told)
    bids = BIDS[env.config.reserve.product]
    return (power, *(Quantity(f"{name}_mw", "MW", 0.0, rated, "reserve that is bid, before any cut") for name in bids))


def _data(env: Bess) -> dict[str, Any]:
    """Where the prices come from, and the first and last step of each split, UTC."""
    series = env.series
    splits = {
        name: [str(series.utc[blocks[0][0]]), str(series.utc[blocks[-1][1] - 1])]
        for name, blocks in series.splits.items()
    }
    return {"source": series.source, "step_h": series.dt_h, "timezone": series.timezone, "utc": splits}
