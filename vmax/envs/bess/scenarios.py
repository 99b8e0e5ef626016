"""From a time series to the arrays that the environment reads on the device.

Every array ends with its split, so nothing behind the end of a split can be seen; what lies before it is history.
All statistics are causal (see `vmax.data.trailing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.data.days import whole_days
from vmax.data.imbalance import generate_imbalance_price
from vmax.data.series import Series
from vmax.data.solar import SolarConfig, generate_pv
from vmax.data.trailing import ar1_path, daily_spread, same_hour_mean, trailing_mean
from vmax.envs.bess.market import MarketConfig
from vmax.envs.bess.reserve_market import ReserveScenarios, reserve_scenarios
from vmax.envs.bess.reserve_rules import ReserveConfig
from vmax.errors import UserError
from vmax.spaces import Number

Array = jax.Array

WINDOW_H = 36
"""Longest look ahead, hours: at 13:00 local the next day is known to its end (35 h, 36 with daylight saving)."""
HISTORY_H = 24
LONGEST_DAY_H = 25
PUBLICATION_HOUR = 13
"""Local hour from which the day-ahead prices of the next day are known."""
ERROR_PATH_STEPS = 2**18
PV_SHARES = (0.2, 1.05)
"""A plant's highest output, share of its capacity: above, another unit or plant; below, its unit has to be said."""


@dataclass(frozen=True)
class ForecastConfig:
    """The forecast error model: AR(1) along the target hours, marginal sd = `factor` × trailing within-day sd."""

    factor: float
    rho: float
    seed: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.factor <= 10.0:
            raise UserError(f"env.forecast.factor={self.factor}: must be within [0, 10]")
        if not -1.0 < self.rho < 1.0:
            raise UserError(f"env.forecast.rho={self.rho}: must be within (-1, 1)")
        if self.seed < 0:
            raise UserError(f"env.forecast.seed={self.seed}: must be at least 0")

    def path(self, dt_h: float, split: str) -> np.ndarray:
        """One long path of unit errors, `[ERROR_PATH_STEPS]`; ρ is the correlation over an hour.

        That of training is another one than that of evaluations, so that no error is met twice.
        """
        if self.rho < 0.0 and dt_h < 1.0:
            raise UserError(f"env.forecast.rho={self.rho}: must be at least 0 where a step is shorter than an hour")
        seed = [self.seed, 1] if split == "train" else self.seed
        return ar1_path(ERROR_PATH_STEPS, self.rho if dt_h == 1.0 else self.rho**dt_h, seed)


def row_of(time: Any, dt_h: Any) -> Any:
    """The row of `Scenarios` that holds step `time` of the series."""
    return time + round(HISTORY_H / dt_h)


@struct.dataclass
class Scenarios:
    """The series of one split with its history, on the device.

    Every array starts with `HISTORY_H` hours that repeat the first value (see `row_of`) and ends, behind the last step
    of the split, with `span_steps` that repeat the last one. But for the error path, and the steps at which an episode
    and a whole local day may begin.

    Attributes:
      price_eur_per_mwh: what energy is settled at.
      quoted_eur_per_mwh: the day-ahead price where another one settles (`market=imbalance`), the mean of the forecasts
        where the data has them (`information=provided`), else None.
      forecasts_eur_per_mwh: these forecasts, `[R, F]`, else None.
      exogenous: other forecasts of the data, in standard deviations of the training split from its mean, `[R, X]`, or
        None; with the step from which on they are not known, `exogenous_until` (that of `forecasts_eur_per_mwh` too).
      issued: in an auction the step before which the day of each step was sold, the first of its local day; else None.
    """

    price_eur_per_mwh: Array
    quoted_eur_per_mwh: Array | None
    forecasts_eur_per_mwh: Array | None
    exogenous: Array | None
    exogenous_until: Array | None
    issued: Array | None
    spread_eur_per_mwh: Array
    mean_eur_per_mwh: Array
    profile_day1_eur_per_mwh: Array
    profile_day2_eur_per_mwh: Array
    profile_day3_eur_per_mwh: Array | None
    pv_per_mw: Array
    pv_profile_per_mw: Array
    calendar: Array
    local_hour: Array
    known_until: Array
    error_path: Array
    starts: Array
    day_starts: Array
    reserve: ReserveScenarios | None


def information_row(scenarios: Scenarios, time: Array, dt_h: float) -> Array:
    """The row at whose beginning all that is known at step `time` was known: its own, in an auction that of its day."""
    row = row_of(time, dt_h)
    return row if scenarios.issued is None else row_of(scenarios.issued[row], dt_h)


def span_steps(scenarios: Scenarios, dt_h: float) -> int:
    """How many steps from the information on are looked at: the window, in an auction a day of 25 hours more."""
    return round((WINDOW_H + (0 if scenarios.issued is None else LONGEST_DAY_H)) / dt_h)


def pv_per_mw(series: Series, solar: SolarConfig, capacity_mw: Number) -> np.ndarray:
    """PV output per MW of capacity, `[T]`: from the file, else generated; 0 without PV.

    The file's plant has the capacity of the config, the upper one of a range; other capacities scale it. Raises
    UserError where the file's output and the capacity do not fit.
    """
    most_mw = float(np.max(capacity_mw))
    if "pv" not in series.values:
        return _generated(series, solar) if most_mw > 0 else np.zeros(len(series.utc))
    per_unit, pv = series.pv_unit == "per_unit", series.values["pv"]
    share = pv if per_unit else pv / max(most_mw, 1e-9)
    little = series.pv_unit is None and share.max() < PV_SHARES[0]
    if little or share.max() > PV_SHARES[1]:
        highest = f"{share.max():.3g} per unit" if per_unit else f"{pv.max():g} MW"
        raise UserError(
            f"{series.source}: the PV column reaches {highest} with env.plant.pv_capacity_mw={capacity_mw}; set "
            "env.data.pv_unit= to its unit (MW, kW, W, per_unit) or env.plant.pv_capacity_mw= to the plant's capacity "
            "in MW (env.plant.inverter_mw= to the inverter's limit), or env.data.columns.pv=null"
        )
    return share


@lru_cache(maxsize=8)
def _generated(series: Series, solar: SolarConfig) -> np.ndarray:
    return generate_pv(series.utc, series.dt_h, solar)


def _padded(values: np.ndarray, before: int, after: int) -> np.ndarray:
    return np.concatenate([np.repeat(values[:1], before, axis=0), values, np.repeat(values[-1:], after, axis=0)])


def _known_until(series: Series, stop: int, from_hour: int) -> np.ndarray:
    """First step that is not known yet, for each step, `[stop]`: the end of the local day, from a local hour on the end
    of the next."""
    day, hour = series.local_day[:stop], series.local_hour[:stop]
    last_known_day = np.where(hour >= from_hour, day + 1, day)
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
    series: Series,
    pv_per_mw: np.ndarray,
    split: str,
    information: Literal["day_ahead", "forecast", "provided"],
    forecast: ForecastConfig,
    episode_steps: int,
    market: MarketConfig,
    reserve: ReserveConfig,
    typical: Typical | None = None,
) -> Scenarios:
    """Arrays of one split, history included.

    `information`: whether prices are known when published, forecast with errors of `forecast`, or by the data's own
    forecasts, which are issued before the gate of the auction. `typical`: what `typical_values` gives; None: those of
    this series.
    """
    blocks = series.splits[split]
    stop = max(last for _, last in blocks)
    per_day, auction = round(24 / series.dt_h), market.kind == "auction"
    window, history = round(WINDOW_H / series.dt_h), round(HISTORY_H / series.dt_h)
    span = window + (round(LONGEST_DAY_H / series.dt_h) if auction else 0)
    settled, quoted = settlement_prices(series, market)
    forecasts = series.forecasts("forecast[") if information == "provided" else None
    if forecasts is not None:
        quoted = forecasts.mean(axis=1)
    price, segment = settled[:stop], series.segment[:stop]
    typical = typical or typical_values(series, settled)
    usual = typical.price
    spread = daily_spread(price, series.local_day[:stop], segment, default=typical.spread)
    profile = [same_hour_mean(price, per_day, day, segment=segment, default=usual) for day in (1, 2, 3)]
    ends = _block_ends(series, stop, blocks)
    published = _known_until(series, stop, PUBLICATION_HOUR)
    issued = _known_until(series, stop, market.gate_hour)
    known = {"day_ahead": published, "forecast": np.arange(stop) + span, "provided": issued}[information]
    exogenous = series.forecasts("exogenous.")
    if exogenous is not None:
        exogenous = (exogenous - typical.exogenous_mean) / typical.exogenous_deviation
    starts = np.concatenate([np.arange(first, max(last - episode_steps + 1, first)) for first, last in blocks])
    if not len(starts):
        raise UserError(
            f"{series.source}: no gap-free block of the {split} split holds an episode of {episode_steps} steps; "
            "set a smaller env.episode.days"
        )
    path = forecast.path(series.dt_h, split) if information == "forecast" else np.zeros(span, np.float32)
    # an auction closes at noon of the day before, when the output of that day is not known yet
    pv_profile = same_hour_mean(pv_per_mw[:stop], per_day, 3 if auction else 2, days=7, segment=segment, default=0.0)

    def put(values: np.ndarray, dtype: type = np.float32) -> Array:
        return jnp.asarray(_padded(np.asarray(values, dtype), history, span))

    return Scenarios(
        price_eur_per_mwh=put(price),
        quoted_eur_per_mwh=None if quoted is None else put(quoted[:stop]),
        forecasts_eur_per_mwh=None if forecasts is None else put(forecasts[:stop]),
        exogenous=None if exogenous is None else put(exogenous[:stop]),
        exogenous_until=None if exogenous is None else put(np.minimum(issued, ends), np.int32),
        issued=put(_day_starts(series, stop), np.int32) if auction else None,
        spread_eur_per_mwh=put(spread),
        mean_eur_per_mwh=put(trailing_mean(price, 7 * per_day, segment, default=usual)),
        profile_day1_eur_per_mwh=put(profile[0]),
        profile_day2_eur_per_mwh=put(profile[1]),
        profile_day3_eur_per_mwh=put(profile[2]) if auction else None,
        pv_per_mw=put(pv_per_mw[:stop]),
        pv_profile_per_mw=put(pv_profile),
        calendar=put(_calendar(series, stop)),
        local_hour=put(series.local_hour[:stop]),
        known_until=put(np.minimum(known, ends), np.int32),
        error_path=jnp.asarray(np.concatenate([path, path[: span + 1]])),
        starts=jnp.asarray(starts.astype(np.int32)),
        day_starts=jnp.asarray(whole_days(series, split).astype(np.int32)),
        reserve=reserve_scenarios(series, reserve, np.minimum(published, ends), put) if reserve.sold else None,
    )


def settlement_prices(series: Series, market: MarketConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """What energy is settled at, `[T]`, and what was quoted beforehand where that is another price.

    Imbalance prices come from the file's column, else from the generator.
    """
    price = series.values["price"]
    if market.kind != "imbalance":
        return price, None
    if "imbalance" in series.values:
        return series.values["imbalance"], price
    spread = daily_spread(price, series.local_day, series.segment, default=_typical_spread(series, price))
    return generate_imbalance_price(price, spread, series.dt_h, market.imbalance), price


def _day_starts(series: Series, stop: int) -> np.ndarray:
    """The first step of the local day of each step (in its segment, where a gap cuts a day), `[stop]`."""
    new = np.concatenate([[True], (np.diff(series.local_day) != 0) | (np.diff(series.segment) != 0)])
    return np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))[:stop]


@dataclass(frozen=True, eq=False)
class Typical:
    """Constants of the training split: mean price and mean within-day standard deviation, which stand where there is no
    history yet; mean and standard deviation `[X]` of the other forecasts."""

    price: float
    spread: float
    exogenous_mean: np.ndarray
    exogenous_deviation: np.ndarray


def typical_values(series: Series, price: np.ndarray) -> Typical:
    """These of a series that is settled at `price` `[T]`."""
    first, last = series.splits["train"][0][0], series.splits["train"][-1][1]
    exogenous = series.forecasts("exogenous.")
    seen = np.zeros((1, 0)) if exogenous is None else exogenous[first:last]
    deviation = np.maximum(seen.std(axis=0), 1e-9)
    return Typical(float(np.mean(price[first:last])), _typical_spread(series, price), seen.mean(axis=0), deviation)


def _typical_spread(series: Series, price: np.ndarray) -> float:
    """Mean within-day standard deviation over the training split, for the first steps of a segment."""
    days = series.local_day
    rows = np.concatenate([np.arange(first, last) for first, last in series.splits["train"]])
    _, index = np.unique(days[rows], return_inverse=True)
    count = np.bincount(index)
    mean = np.bincount(index, price[rows]) / count
    variance = np.bincount(index, price[rows] ** 2) / count - mean**2
    return float(np.mean(np.sqrt(np.maximum(variance, 0.0))))
