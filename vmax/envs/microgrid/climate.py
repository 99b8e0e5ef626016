"""What the training years say of any moment: expected PV, mall and charging, and how long the weather stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.microgrid.data_settings import ChargersConfig, DataConfig
from vmax.envs.microgrid.settings import Forecast
from vmax.envs.microgrid.tables import Calendar
from vmax.envs.microgrid.weather import Weather, fit_weather, stretch_of, trailing_ratio
from vmax.envs.microgrid.years import Years, clear_sky_kw

Array = jax.Array

DAY_TYPES = 3
"""Weekdays, Saturdays, Sundays."""


@dataclass(frozen=True)
class Climate:
    """Fitted on the training years.

    Attributes:
      clear_kw, pv_kw: PV of a cloudless year, and expected, `[T]`.
      mall_kw, ev_kw: expected by type of day and step of the day, `[3, steps per day]`.
      weather: what share of the expected PV the coming hours bring, given the last ones.
      pv_rho, mall_rho: share of the last day's deviation that is expected of the next.
      carbon_mean, price_mean: of the training years, kg and money per kWh.
      exogenous_mean, exogenous_deviation: of other forecasts in the training years, `[X]`.
    """

    clear_kw: np.ndarray
    pv_kw: np.ndarray
    mall_kw: np.ndarray
    ev_kw: np.ndarray
    weather: Weather
    pv_rho: float
    mall_rho: float
    carbon_mean: float
    price_mean: float
    exogenous_mean: np.ndarray
    exogenous_deviation: np.ndarray


@struct.dataclass
class Outlook:
    """What may be known at a step: the present means and what is expected of the W - 1 steps after it, `[W]`."""

    pv_kw: Array
    mall_kw: Array
    ev_kw: Array
    price_per_kwh: Array
    carbon_kg_per_kwh: Array
    peak: Array
    same_month: Array


@struct.dataclass
class Expected:
    """The climate along the years of a split: `[T]`, `[Y, T]`. `pv_share`: what of the expected PV comes, by stretch
    ahead, `[Y, T, 3]`, `pv_share_last_day`: by the last day alone; `mall_ratio`: last 24 hours to what was expected."""

    pv_kw: Array
    mall_kw: Array
    ev_kw: Array
    pv_share: Array
    pv_share_last_day: Array
    mall_ratio: Array
    mall_rho: Array


def fit_climate(config: DataConfig, years: Years, calendar: Calendar, price: np.ndarray) -> Climate:
    """The climate of the training years; `price` are theirs, `[Y, T]`."""
    clear, of_day, per_day, own = clear_sky_kw(config), calendar.sun_step, config.steps_per_day, years.own
    shines = np.bincount(of_day, clear * own.sum(axis=0), per_day)
    seen = np.bincount(np.tile(of_day, len(own)), (years.pv_kw * own).ravel().astype(np.float64), per_day)
    pv = clear * np.where(shines > 0, seen / np.maximum(shines, 1e-9), 0.0)[of_day]
    mall = _by_day_type(years.mall_kw, calendar, per_day, own)
    ev = _by_day_type(arrival_load_kw(years, config.chargers, calendar.dt_h), calendar, per_day, own)
    expected_mall = mall[calendar.kind, calendar.step_of_day]
    pv_ratio = trailing_ratio(years.pv_kw, np.broadcast_to(pv, years.pv_kw.shape), per_day)
    mall_ratio = trailing_ratio(years.mall_kw, expected_mall, per_day)
    exogenous = np.zeros((1, 0)) if years.exogenous is None else years.exogenous[own].astype(np.float64)
    return Climate(
        clear_kw=clear,
        pv_kw=pv,
        mall_kw=mall,
        ev_kw=ev,
        weather=fit_weather(years.pv_kw, pv, of_day, calendar.dt_h, own),
        pv_rho=_persistence(pv_ratio, per_day, own),
        mall_rho=_persistence(mall_ratio, per_day, own),
        carbon_mean=max(float(years.carbon_kg_per_kwh[own].mean(dtype=np.float64)), 1e-9),
        price_mean=max(float(price[own].mean(dtype=np.float64)), 1e-9),
        exogenous_mean=exogenous.mean(axis=0),
        exogenous_deviation=np.maximum(exogenous.std(axis=0), 1e-9),
    )


def expected_of(climate: Climate, years: Years, calendar: Calendar) -> dict[str, np.ndarray]:
    """The climate along the years of a split, the entries of `Expected`, float32."""
    mall, per_day = climate.mall_kw[calendar.kind, calendar.step_of_day], climate.mall_kw.shape[1]
    pv = np.broadcast_to(climate.pv_kw, years.pv_kw.shape)
    found = {
        "pv_kw": climate.pv_kw,
        "mall_kw": mall,
        "ev_kw": climate.ev_kw[calendar.kind, calendar.step_of_day],
        "pv_share": climate.weather.shares(years.pv_kw, climate.pv_kw, calendar.sun_step, calendar.dt_h),
        "pv_share_last_day": 1.0 + climate.pv_rho * (trailing_ratio(years.pv_kw, pv, per_day) - 1.0),
        "mall_ratio": trailing_ratio(years.mall_kw, mall, per_day),
        "mall_rho": climate.mall_rho,
    }
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def look(data: Any, year: Array, time: Array, window: int, dt_h: float, forecast: Forecast) -> Outlook:
    """The outlook of W steps: the present is measured, the rest is forecast in the user's files as far as that is
    known, and expected from the climate and the last hours.

    `perfect_pv` is for a planner that shows what a forecast could be worth at most; nobody can know it.
    """
    expected, length = data.expected, data.peak.shape[1]
    steps = (time + jnp.arange(window)) % length
    ahead = jnp.arange(window) > 0
    ahead_pv = {
        "weather": expected.pv_kw[steps] * expected.pv_share[year, time][stretch_of(window, dt_h)],
        "last_day": expected.pv_kw[steps] * expected.pv_share_last_day[year, time],
        "perfect_pv": data.pv_kw[year, steps],
    }
    level = 1.0 + expected.mall_rho * (expected.mall_ratio[year, time] - 1.0)
    ahead_mall = expected.mall_kw[year, steps] * level
    told = time + jnp.arange(window) < data.told_until[year, time]
    if data.mall_forecast_kw is not None:
        ahead_mall = jnp.where(told, data.mall_forecast_kw[year, steps], ahead_mall)
    if data.pv_forecast_kw is not None and forecast != "perfect_pv":
        ahead_pv[forecast] = jnp.where(told, data.pv_forecast_kw[year, steps], ahead_pv[forecast])
    pv = jnp.where(ahead, ahead_pv[forecast], data.pv_kw[year, time])
    mall = jnp.where(ahead, ahead_mall, data.mall_kw[year, time])
    begins = data.month_begins[year, steps] & ahead
    return Outlook(
        pv_kw=pv,
        mall_kw=mall,
        ev_kw=expected.ev_kw[year, steps],
        price_per_kwh=data.price_per_kwh[year, steps],
        carbon_kg_per_kwh=data.carbon_kg_per_kwh[year, steps],
        peak=data.peak[year, steps],
        same_month=jnp.cumsum(begins) == 0,
    )


def arrival_load_kw(years: Years, chargers: ChargersConfig, dt_h: float) -> np.ndarray:
    """Power of all vehicles if each charges from its arrival, the groups within their limits, `[Y, T]`."""
    total, first = np.zeros(years.pv_kw.shape), 0
    for group in chargers.groups:
        sockets = slice(first, first + group.sockets)
        first += group.sockets
        most = group.power_kw * dt_h
        need = years.need_kwh[:, :, sockets].astype(np.float32)
        load, k = np.zeros(total.shape), 0
        while (left := np.clip(need - k * most, 0.0, most).sum(axis=2)).any():
            load[:, k:] += left[:, : left.shape[1] - k] / dt_h
            k += 1
        total += np.minimum(load, group.limit_kw)
    return np.minimum(total, chargers.limit_kw)


def _by_day_type(values: np.ndarray, calendar: Calendar, per_day: int, own: np.ndarray) -> np.ndarray:
    """Means of the steps `own` by type of day and step of the day on the clock, `[3, per_day]`; of a type without days
    those of all."""
    cell = (calendar.kind * per_day + calendar.step_of_day)[own]
    size = DAY_TYPES * per_day
    count = np.bincount(cell, minlength=size).reshape(DAY_TYPES, per_day)
    total = np.bincount(cell, values[own].astype(np.float64), size).reshape(DAY_TYPES, per_day)
    overall = total.sum(axis=0) / count.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), overall)


def _persistence(ratio: np.ndarray, per_day: int, own: np.ndarray) -> float:
    """Slope of a day's ratio on that of the day before, both `own`, within [0, 1]."""
    daily, counts = ratio[:, per_day - 1 :: per_day], own[:, per_day - 1 :: per_day]
    pairs, mean = counts[:, :-1] & counts[:, 1:], daily[counts].mean()
    before, after = daily[:, :-1][pairs] - mean, daily[:, 1:][pairs] - mean
    return float(np.clip((before * after).sum() / max((before**2).sum(), 1e-12), 0.0, 1.0))
