"""What may be known at a step: the one door to the future, for observations and for every baseline."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.bess.combination import combined
from vmax.envs.bess.reserve_market import KnownReserve, look_at_reserve
from vmax.envs.bess.scenarios import HISTORY_H, WINDOW_H, Scenarios, row_of, span_steps

Array = jax.Array

FIT_ROWS = 40_000
"""So many samples at least are drawn for the price estimate."""


@struct.dataclass
class Known:
    """Values of the coming steps as known or forecast now; index 0 is the step about to be taken.

    Attributes:
      price_eur_per_mwh: exact where published (`day_ahead`) or the raw forecast (`forecast`), `[W]`; 0: unknown.
      expected_price_eur_per_mwh: the best estimate, `[W]`: the same in `day_ahead`; in `forecast` the linear
        least-squares one from forecast, last error, trailing profile and past prices, fitted on the training split.
      mask: whether anything is known of a step, `[W]` bool.
      forecasts_eur_per_mwh: the data's own forecasts, whose mean is the raw forecast, `[F, W]`, 0 where unknown; None
        without such.
      exogenous: its other forecasts in standard deviations from their mean, `[X, W]`, 0 where unknown; None without.
      past_price_eur_per_mwh: prices of the last 24 hours, oldest first, `[H]`: actual ones; in an auction the forecasts
        of those hours of the local day that come before this one.
      last_error_eur_per_mwh: forecast minus actual price of the last step whose price is known (0 in `day_ahead`).
      error_age: how many steps that one lies back: 1 but in an auction, where all hours of a day are sold on what was
        known before it.
      profile_eur_per_mwh: trailing 14-day mean price at the same clock hour, `[W]`.
      pv_mw: PV now (measured) and expected (trailing 7-day mean at the same hour), `[W]`.
      local_hour: of each step, `[W]`.
      mean_eur_per_mwh: trailing 168-hour mean price. spread_eur_per_mwh: trailing 28-day mean of the within-day sd.
      reserve: what is known of the reserve market; None where no reserve is sold.
    """

    price_eur_per_mwh: Array
    expected_price_eur_per_mwh: Array
    mask: Array
    past_price_eur_per_mwh: Array
    last_error_eur_per_mwh: Array
    error_age: Array
    profile_eur_per_mwh: Array
    pv_mw: Array
    local_hour: Array
    mean_eur_per_mwh: Array
    spread_eur_per_mwh: Array
    reserve: KnownReserve | None = None
    forecasts_eur_per_mwh: Array | None = None
    exogenous: Array | None = None


def forecast_errors(scenarios: Scenarios, factor: Array, time: Array, offset: Array, row: Array, window: int) -> Array:
    """Forecast errors of the step before `time` and of the window from it, EUR/MWh, `[W + 1]`.

    One draw per target step and episode: the episode's `offset` places it on one long stationary AR(1) path. Where
    another price is quoted beforehand (`market=imbalance`), or the data has forecasts, these errors are those of the
    data.
    """
    length = window + 1
    if scenarios.quoted_eur_per_mwh is not None:
        error = scenarios.quoted_eur_per_mwh - scenarios.price_eur_per_mwh
        return jax.lax.dynamic_slice(error, (row - 1,), (length,))
    start = (time - 1 + offset) % (scenarios.error_path.shape[0] - length)
    unit = jax.lax.dynamic_slice(scenarios.error_path, (start,), (length,))
    return factor * unit * jax.lax.dynamic_slice(scenarios.spread_eur_per_mwh, (row - 1,), (length,))


def regressors(raw: Array, error: Array, past: Array, past_profile: Array, profile: Array, spread: Array) -> Array:
    """Inputs of the linear price estimate in units of the trailing spread, `[W + 1 + H + 1]`."""
    return jnp.concatenate(
        [(raw - profile) / spread, error[None] / spread, (past - past_profile) / spread, jnp.ones(1)]
    )


def look(
    scenarios: Scenarios,
    weights: Array | None,
    factor: Array,
    time: Array,
    offset: Array,
    capacity_mw: Array,
    dt_h: float,
) -> Known:
    """What is known at `time`; `weights` `[S + H + 2, S]` of the price estimate, None where prices are published.

    S are the steps from the information on: W, and in an auction a day more. There all is looked up at the beginning of
    the local day, before which the day was sold, and cut to the window from `time` on.
    """
    window, history, span = round(WINDOW_H / dt_h), round(HISTORY_H / dt_h), span_steps(scenarios, dt_h)
    row = row_of(time, dt_h)
    origin = time if scenarios.issued is None else scenarios.issued[row]
    lag, source = time - origin, row_of(origin, dt_h)
    ahead = lambda values: jax.lax.dynamic_slice(values, (source,), (span,))  # noqa: E731
    behind = lambda values: jax.lax.dynamic_slice(values, (source - history,), (history,))  # noqa: E731
    mask = time + jnp.arange(window) < scenarios.known_until[source]
    profile = profile_ahead(scenarios, source, dt_h)
    price, spread = ahead(scenarios.price_eur_per_mwh), scenarios.spread_eur_per_mwh[source]
    past, error = behind(scenarios.price_eur_per_mwh), jnp.zeros_like(spread)
    expected = price
    if weights is not None:
        errors = forecast_errors(scenarios, factor, origin, offset, source, span)
        price, error = price + errors[1:], errors[0]
        past_profile = behind(scenarios.profile_day1_eur_per_mwh)
        told = origin + jnp.arange(span) < scenarios.known_until[source]
        if scenarios.forecasts_eur_per_mwh is not None:
            expected = combined(scenarios, weights, origin, span, dt_h)
        else:
            quoted = jnp.where(told, price, profile)
            x = regressors(quoted, error, past, past_profile, profile, spread)
            expected = profile + spread * (x @ weights)
    pv = ahead(scenarios.pv_profile_per_mw)
    if scenarios.issued is None:
        pv = pv.at[0].set(scenarios.pv_per_mw[row])  # measured
    else:
        past = jax.lax.dynamic_slice(jnp.concatenate([past, price]), (lag,), (history,))
        price, expected, profile, pv = (
            jax.lax.dynamic_slice(values, (lag,), (window,)) for values in (price, expected, profile, pv)
        )
    return Known(
        price_eur_per_mwh=jnp.where(mask, price, 0.0),
        expected_price_eur_per_mwh=jnp.where(mask, expected, 0.0),
        mask=mask,
        past_price_eur_per_mwh=past,
        last_error_eur_per_mwh=error,
        error_age=lag + 1,
        profile_eur_per_mwh=profile,
        pv_mw=pv * capacity_mw,
        local_hour=jax.lax.dynamic_slice(scenarios.local_hour, (row,), (window,)),
        mean_eur_per_mwh=scenarios.mean_eur_per_mwh[source],
        spread_eur_per_mwh=spread,
        reserve=None if scenarios.reserve is None else look_at_reserve(scenarios.reserve, time, row, window, history),
        forecasts_eur_per_mwh=_coming(scenarios.forecasts_eur_per_mwh, row, mask),
        exogenous=_coming(scenarios.exogenous, row, time + jnp.arange(window) < _until(scenarios, source)),
    )


def _coming(values: Array | None, row: Array, mask: Array) -> Array | None:
    """Forecasts `[R, N]` for the steps from `row` on, 0 where the mask `[W]` is false, `[N, W]`."""
    if values is None:
        return None
    return jnp.where(mask, jax.lax.dynamic_slice_in_dim(values, row, mask.shape[0]).T, 0.0)


def _until(scenarios: Scenarios, row: Array) -> Array:
    """The step from which on the other forecasts are not known at a row."""
    return jnp.int32(0) if scenarios.exogenous_until is None else scenarios.exogenous_until[row]


def profile_ahead(scenarios: Scenarios, row: Array, dt_h: float) -> Array:
    """Trailing mean price at the same clock hour for the steps from `row` on, made of prices before it, `[S]`."""
    span = span_steps(scenarios, dt_h)
    ahead = lambda values: jax.lax.dynamic_slice(values, (row,), (span,))  # noqa: E731
    day = jnp.arange(span) * dt_h // 24
    first, second = ahead(scenarios.profile_day1_eur_per_mwh), ahead(scenarios.profile_day2_eur_per_mwh)
    profile = jnp.where(day < 1, first, second)
    if scenarios.profile_day3_eur_per_mwh is None:
        return profile
    return jnp.where(day < 2, profile, ahead(scenarios.profile_day3_eur_per_mwh))


def block_prices(known: Known, block_h: int, dt_h: float) -> tuple[Array, Array]:
    """Prices of the local block of hours (half-day, day) that contains this step, and this step's place in it.

    What has passed is read from the actual prices, the rest from the known window; +inf marks unknown steps. The place
    follows the local clock, so on the two days of a clock change the block is off by one hour.

    Returns: `(price [block_h / dt_h], place [])`.
    """
    size, past = round(block_h / dt_h), known.past_price_eur_per_mwh.shape[0]
    place = jnp.round((known.local_hour[0] % block_h) / dt_h).astype(jnp.int32)
    future = jnp.where(known.mask, known.price_eur_per_mwh, jnp.inf)
    everything = jnp.concatenate([known.past_price_eur_per_mwh, future])
    return jax.lax.dynamic_slice(everything, (past - place,), (size,)), place


def fit_price_estimate(scenarios: Scenarios, factor: Array, times: np.ndarray, dt_h: float, seed: int) -> Array:
    """Weights of the linear price estimate by ridge regression on training steps `times`, `[S + H + 2, S]`.

    Four error draws a step, more where the steps are few; targets are (price − profile) / spread. Ridge 1e-3 of the
    mean feature variance. In an auction `times` are the beginnings of days.
    """
    history, span = round(HISTORY_H / dt_h), span_steps(scenarios, dt_h)
    size = span + history + 2

    def sample(time: Array, offset: Array) -> tuple[Array, Array]:
        row = row_of(time, dt_h)
        ahead = lambda values: jax.lax.dynamic_slice(values, (row,), (span,))  # noqa: E731
        behind = lambda values: jax.lax.dynamic_slice(values, (row - history,), (history,))  # noqa: E731
        actual, spread = ahead(scenarios.price_eur_per_mwh), scenarios.spread_eur_per_mwh[row]
        profile = profile_ahead(scenarios, row, dt_h)
        errors = forecast_errors(scenarios, factor, time, offset, row, span)
        quoted = time + jnp.arange(span) < scenarios.known_until[row]
        x = regressors(
            jnp.where(quoted, actual + errors[1:], profile),
            errors[0],
            behind(scenarios.price_eur_per_mwh),
            behind(scenarios.profile_day1_eur_per_mwh),
            profile,
            spread,
        )
        return x, (actual - profile) / spread

    draws = max(4, -(-FIT_ROWS // len(times)))
    paths = np.random.default_rng(seed).integers(0, scenarios.error_path.shape[0] - span - 1, (draws, len(times)))
    batched = jax.jit(jax.vmap(sample))
    gram, moment = np.zeros((size, size)), np.zeros((size, span))
    for offsets in paths:
        x, y = (np.asarray(a, np.float64) for a in batched(jnp.asarray(times), jnp.asarray(offsets, jnp.int32)))
        gram, moment = gram + x.T @ x, moment + x.T @ y
    ridge = 1e-3 * np.trace(gram) / len(gram)
    return jnp.asarray(np.linalg.solve(gram + ridge * np.eye(len(gram)), moment), jnp.float32)
