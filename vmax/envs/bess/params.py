"""Arrays and numbers of a split on the device, with everything that is fitted on the training split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.data.series import Series, check_split_lengths, load_series
from vmax.envs.battery import Site
from vmax.envs.bess import observation
from vmax.envs.bess.combination import fit_combination
from vmax.envs.bess.degradation import WearNumbers
from vmax.envs.bess.known import fit_price_estimate, look
from vmax.envs.bess.reserve import ReserveNumbers
from vmax.envs.bess.scenarios import (
    WINDOW_H,
    Scenarios,
    Typical,
    build_scenarios,
    information_row,
    pv_per_mw,
    row_of,
    settlement_prices,
    typical_values,
)
from vmax.envs.bess.settings import BessConfig

Array = jax.Array

TABLE_LIMIT_BYTES = 512 * 2**20
FIT_SAMPLE = 4096


@struct.dataclass
class BessParams:
    """What the environment is given at each call.

    Attributes:
      site: numbers of battery, plant and money; `[2]` where the config gives a range.
      wear: numbers of the wear models.
      estimate: weights of the linear price estimate (`known.py`), or of the combination of the data's own forecasts
        (`combination.py`), where prices are not certain, else None.
      penalty_eur_per_mwh: of delivering more or less than was sold.
      table: scaled features of the outside world for each step from `table_first`, `[R, E]`, where they depend on
        nothing but the time; else None.
      scales: fitted constants by which features are divided: `exogenous` `[E]`, `price_mean`, `price_scale`.
      level_scale: the one of `price_level`.
      reserve: numbers of the reserve product and its calls; None where none is sold.
      reserve_scales: the constants of the features `reserve_up_prices` and `reserve_down_prices`, `[2]`.
    """

    scenarios: Any
    site: Site
    wear: WearNumbers
    estimate: Array | None
    forecast_factor: Array
    penalty_eur_per_mwh: Array
    table: Array | None
    table_first: Array
    scales: dict[str, Array]
    level_scale: Array
    start_soc: Array
    log_factor: Array
    shift: Array
    reserve: ReserveNumbers | None
    reserve_scales: Array


def series_of(config: BessConfig) -> Series:
    """The checked series of this configuration (read once, and again when the file has changed)."""
    series = load_series(config.data)
    check_split_lengths(series, config.episode.days)
    return series


@lru_cache(maxsize=8)
def build_params(config: BessConfig, series: Series, split: str, features: tuple[str, ...]) -> BessParams:
    """Params of a split. Fits on `train` are made once and shared."""
    pv = pv_per_mw(series, config.solar, config.plant.pv_capacity_mw)
    scenarios = scenarios_of(config, series, pv, split)
    pair = lambda value: jnp.asarray(np.broadcast_to(np.asarray(value, np.float32), (2,)))  # noqa: E731
    params = BessParams(
        scenarios=scenarios,
        site=Site.of(config.battery, config.plant),
        wear=WearNumbers.of(config.degradation),
        estimate=None,
        forecast_factor=jnp.float32(config.forecast.factor),
        penalty_eur_per_mwh=jnp.float32(config.market.penalty_eur_per_mwh),
        table=None,
        table_first=jnp.int32(0),
        scales={},
        level_scale=jnp.float32(1.0),
        start_soc=pair(config.episode.start_soc),
        log_factor=jnp.log(pair(config.augmentation.price_factor)),
        shift=pair(config.augmentation.price_shift_eur_per_mwh),
        reserve=ReserveNumbers.of(config.reserve) if config.reserve.sold else None,
        reserve_scales=jnp.ones(2),
    )
    shown = _shown(config, series, features)
    forecast = config.information == "forecast"
    seed = config.forecast.seed if config.uncertain else None
    fitted = _fit(params, shown, seed) if split == "train" else build_params(config, series, "train", features)
    params = replace(
        params,
        estimate=fitted.estimate,
        scales=fitted.scales,
        level_scale=fitted.level_scale,
        reserve_scales=fitted.reserve_scales,
    )
    untold = forecast or (shown.absolute and config.augmentation.changes_prices)
    return params if untold else _tabulate(params, series, split, shown)


def scenarios_of(
    config: BessConfig, series: Series, pv: np.ndarray, split: str, typical: Typical | None = None
) -> Scenarios:
    """The arrays of a split for this configuration; `pv` `[T]` per MW."""
    steps = config.episode.days * round(24 / series.dt_h)
    return build_scenarios(
        series, pv, split, config.information, config.forecast, steps, config.market, config.reserve, typical
    )


def with_series(
    config: BessConfig, params: BessParams, series: Series, pv: np.ndarray, features: tuple[str, ...], error_path: Array
) -> BessParams:
    """Training params with the data of another series, all that was fitted kept: what a world that goes on otherwise
    would have looked like. `error_path` replaces that of forecasts."""
    own = series_of(config)
    typical = typical_values(own, settlement_prices(own, config.market)[0])
    scenarios = scenarios_of(config, series, pv, "train", typical)
    params = replace(params, scenarios=replace(scenarios, error_path=error_path))
    if params.table is None:
        return params
    return _tabulate(params, series, "train", _shown(config, series, features))


@dataclass(frozen=True)
class Shown:
    """What is to be computed of the outside world, and how plain prices are scaled."""

    features: tuple[str, ...]
    outside: observation.Outside
    dt_h: float
    ranges: observation.Ranges

    @property
    def absolute(self) -> bool:
        """Whether any of it is a plain price."""
        return any(self.outside[name].absolute for name in self.features if name in self.outside)


def _shown(config: BessConfig, series: Series, features: tuple[str, ...]) -> Shown:
    return Shown(features, config.outside, series.dt_h, config.observation.ranges)


def _raw_features(scenarios: Scenarios, estimate: Array | None, factor: Array, time: Array, shown: Shown) -> Array:
    """Unscaled features of the outside world at one time, error path at offset 0, `[E]`."""
    known = look(scenarios, estimate, factor, time, jnp.int32(0), jnp.float32(1.0), shown.dt_h)
    view = observation.View(known, scenarios.calendar[row_of(time, shown.dt_h)], shown.dt_h, shown.ranges)
    return observation.exogenous(view, shown.features, shown.outside)


@partial(jax.jit, static_argnames="shown")
def _raw_at(scenarios: Scenarios, estimate: Array | None, factor: Array, times: Array, shown: Shown) -> Array:
    """The same at many times, `[T, E]`."""
    return jax.vmap(lambda time: _raw_features(scenarios, estimate, factor, time, shown))(times)


def _fit(params: BessParams, shown: Shown, seed: int | None) -> BessParams:
    """Feature scales (root mean squares) and, with a seed for its draws, the price estimate: on training steps."""
    scenarios, starts, dt_h = params.scenarios, np.asarray(params.scenarios.starts), shown.dt_h
    times = starts[np.linspace(0, len(starts) - 1, min(FIT_SAMPLE, len(starts))).astype(int)]
    estimate = None
    if seed is not None:
        days = starts if scenarios.issued is None else np.unique(np.asarray(scenarios.issued)[row_of(starts, dt_h)])
        if scenarios.forecasts_eur_per_mwh is None:
            estimate = fit_price_estimate(scenarios, params.forecast_factor, days, dt_h, seed)
        else:
            estimate = fit_combination(scenarios, days, dt_h)
    raw = np.asarray(_raw_at(scenarios, estimate, params.forecast_factor, jnp.asarray(times), shown))
    window, position, sizes, named = round(WINDOW_H / dt_h), 0, [], {}
    for name in (n for n in shown.features if n in shown.outside):
        definition = shown.outside[name]
        block = raw[:, position : position + definition.size(window)]
        scale = max(_size(block), 1e-6) if definition.fitted else 1.0
        sizes.append(np.full(block.shape[1], scale))
        named[name] = scale
        position += block.shape[1]
    row = np.asarray(information_row(scenarios, jnp.asarray(times), dt_h))
    spread, mean = np.asarray(scenarios.spread_eur_per_mwh)[row], np.asarray(scenarios.mean_eur_per_mwh)[row]
    own = {
        "price_mean": _size(np.arcsinh(mean / spread)),
        "price_scale": _size(np.arcsinh(observation.SCALE_REFERENCE_EUR / spread)),
    }
    scales = {name: jnp.float32(value) for name, value in own.items()}
    scales["exogenous"] = jnp.asarray(np.concatenate(sizes) if sizes else np.zeros(0), jnp.float32)
    reserve = [named.get(name, 1.0) for name in ("reserve_up_prices", "reserve_down_prices")]
    return replace(
        params,
        estimate=estimate,
        scales=scales,
        level_scale=jnp.float32(named.get("price_level", 1.0)),
        reserve_scales=jnp.asarray(reserve, jnp.float32),
    )


def _size(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _tabulate(params: BessParams, series: Series, split: str, shown: Shown) -> BessParams:
    """Features of the outside world for every step of the split, computed once through `known`.

    They depend on the time alone: a price factor or shift changes neither (price − price) / spread nor ranks. Plain
    prices are tabulated only where there is neither.
    """
    blocks = series.splits[split]
    first, last = blocks[0][0], blocks[-1][1]
    if (last + 1 - first) * params.scales["exogenous"].size * 4 > TABLE_LIMIT_BYTES:
        return params
    table = _raw_at(params.scenarios, params.estimate, params.forecast_factor, jnp.arange(first, last + 1), shown)
    return replace(params, table=table / params.scales["exogenous"], table_first=jnp.int32(first))
