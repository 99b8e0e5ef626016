"""From a time series to the arrays that the environment reads on the device.

Every array ends with its split, so nothing behind the end of a split can be seen; what lies before it is history.
All statistics are causal (see `vmax.data.trailing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.data.series import DataConfig, Series, load_series
from vmax.data.solar import SolarConfig, generate_pv
from vmax.data.trailing import ar1_path, daily_spread, same_hour_mean, trailing_mean

Array = jax.Array

WINDOW_H = 36
"""Longest look ahead, hours: at 13:00 local the next day is known to its end (35 h, 36 with daylight saving)."""
HISTORY_H = 24
PUBLICATION_HOUR = 13
"""Local hour from which the day-ahead prices of the next day are known."""
ERROR_PATH_STEPS = 2**18


@dataclass(frozen=True)
class ForecastConfig:
    """The forecast error model: AR(1) along the target hours, marginal sd = `factor` × trailing within-day sd."""

    factor: float
    rho: float
    seed: int


@struct.dataclass
class Scenarios:
    """The series of one split with its history, on the device. T steps, then padding of one window.

    Step i of the split's series stands at row `i + pad`; the rows before are filled with the first value.
    """

    price_eur_per_mwh: Array
    spread_eur_per_mwh: Array
    mean_eur_per_mwh: Array
    profile_day1_eur_per_mwh: Array
    profile_day2_eur_per_mwh: Array
    pv_per_mw: Array
    pv_profile_per_mw: Array
    calendar: Array
    local_hour: Array
    known_until: Array
    block_end: Array
    error_path: Array
    starts: Array


@lru_cache(maxsize=8)
def read(data: DataConfig, solar: SolarConfig | None) -> tuple[Series, np.ndarray]:
    """The checked series and its PV output per MW of capacity, `[T]` (from the file, else generated, else zero)."""
    series = load_series(data)
    if "pv" in series.values:
        pv = series.values["pv"]
        return series, pv / max(float(pv.max()), 1e-9)
    if solar is None:
        return series, np.zeros(len(series.utc))
    return series, generate_pv(series.utc, series.dt_h, solar)


def _padded(values: np.ndarray, before: int, after: int) -> np.ndarray:
    return np.concatenate([np.repeat(values[:1], before, axis=0), values, np.repeat(values[-1:], after, axis=0)])


def _known_until(series: Series, stop: int) -> np.ndarray:
    """First step whose day-ahead price is not known yet, for each step, `[stop]`: the end of the local day, from 13:00
    the end of the next."""
    day, hour = series.local_day[:stop], series.local_hour[:stop]
    last_known_day = np.where(hour >= PUBLICATION_HOUR, day + 1, day)
    return np.searchsorted(day, last_known_day, side="right")


def _block_ends(series: Series, stop: int, blocks: tuple[tuple[int, int], ...]) -> np.ndarray:
    """For each step the end of its gap-free block (rows between blocks: of their segment), `[stop]`."""
    segment = series.segment[:stop]
    ends = np.searchsorted(segment, segment, side="right")
    for first, last in blocks:
        ends[first:last] = last
    return ends


def _calendar(series: Series, stop: int) -> np.ndarray:
    """Cyclic calendar features, `[stop, 6]`: sine and cosine of local hour, weekday and day of the year."""
    angles = [
        series.local_hour[:stop] / 24.0,
        series.local_weekday[:stop] / 7.0,
        series.day_of_year[:stop] / 365.25,
    ]
    return np.stack([f(2 * np.pi * a) for a in angles for f in (np.sin, np.cos)], axis=1)


def build_scenarios(
    series: Series, pv_per_mw: np.ndarray, split: str, forecast: ForecastConfig | None, episode_steps: int
) -> Scenarios:
    """Arrays of one split, history included. `forecast` None: day-ahead prices are known when published."""
    blocks = series.splits[split]
    stop = max(last for _, last in blocks)
    per_day, window = round(24 / series.dt_h), round(WINDOW_H / series.dt_h)
    history = round(HISTORY_H / series.dt_h)
    price, segment = series.values["price"][:stop], series.segment[:stop]
    train_first, train_last = series.splits["train"][0][0], series.splits["train"][-1][1]
    typical = float(np.mean(series.values["price"][train_first:train_last]))
    spread = daily_spread(price, series.local_day[:stop], segment, default=_typical_spread(series))
    day1 = same_hour_mean(price, per_day, 1, segment=segment, default=typical)
    day2 = same_hour_mean(price, per_day, 2, segment=segment, default=typical)
    ends = _block_ends(series, stop, blocks)
    known = np.arange(stop) + window if forecast else _known_until(series, stop)
    starts = [np.arange(first, max(last - episode_steps, first)) for first, last in blocks]
    path = ar1_path(ERROR_PATH_STEPS, forecast.rho, forecast.seed) if forecast else np.zeros(window, np.float32)

    def put(values: np.ndarray) -> Array:
        return jnp.asarray(_padded(np.asarray(values, np.float32), history, window))

    return Scenarios(
        price_eur_per_mwh=put(price),
        spread_eur_per_mwh=put(spread),
        mean_eur_per_mwh=put(trailing_mean(price, 7 * per_day, segment, default=typical)),
        profile_day1_eur_per_mwh=put(day1),
        profile_day2_eur_per_mwh=put(day2),
        pv_per_mw=put(pv_per_mw[:stop]),
        pv_profile_per_mw=put(same_hour_mean(pv_per_mw[:stop], per_day, 2, days=7, segment=segment, default=0.0)),
        calendar=put(_calendar(series, stop)),
        local_hour=put(series.local_hour[:stop]),
        known_until=jnp.asarray(_padded(np.minimum(known, ends).astype(np.int32), history, window)),
        block_end=jnp.asarray(_padded(ends.astype(np.int32), history, window)),
        error_path=jnp.asarray(np.concatenate([path, path[: window + 1]])),
        starts=jnp.asarray(np.concatenate(starts).astype(np.int32)),
    )


def _typical_spread(series: Series) -> float:
    """Mean within-day standard deviation over the training split, for the first steps of a segment."""
    days, price = series.local_day, series.values["price"]
    rows = np.concatenate([np.arange(first, last) for first, last in series.splits["train"]])
    _, index = np.unique(days[rows], return_inverse=True)
    count = np.bincount(index)
    mean = np.bincount(index, price[rows]) / count
    variance = np.bincount(index, price[rows] ** 2) / count - mean**2
    return float(np.mean(np.sqrt(np.maximum(variance, 0.0))))
