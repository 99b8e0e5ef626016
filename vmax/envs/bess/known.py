"""What may be known at a step: the one door to the future, for observations and for every baseline."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.bess.reserve_market import KnownReserve, look_at_reserve
from vmax.envs.bess.scenarios import HISTORY_H, WINDOW_H, Scenarios, row_of

Array = jax.Array


@struct.dataclass
class Known:
    """Values of the coming steps as known or forecast now; index 0 is the step about to be taken.

    Attributes:
      price_eur_per_mwh: exact where published (`day_ahead`) or the raw forecast (`forecast`), `[W]`; 0: unknown.
      expected_price_eur_per_mwh: the best estimate, `[W]`: the same in `day_ahead`; in `forecast` the linear
        least-squares one from forecast, last error, trailing profile and past prices, fitted on the training split.
      mask: whether anything is known of a step, `[W]` bool.
      past_price_eur_per_mwh: actual prices of the last 24 hours, oldest first, `[H]`.
      last_error_eur_per_mwh: forecast minus actual price of the step before (0 in `day_ahead`).
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
    profile_eur_per_mwh: Array
    pv_mw: Array
    local_hour: Array
    mean_eur_per_mwh: Array
    spread_eur_per_mwh: Array
    reserve: KnownReserve | None = None


def forecast_errors(scenarios: Scenarios, factor: Array, time: Array, offset: Array, row: Array, window: int) -> Array:
    """Forecast errors of the step before `time` and of the window from it, EUR/MWh, `[W + 1]`.

    One draw per target step and episode: the episode's `offset` places it on one long stationary AR(1) path.
    """
    length = window + 1
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
    """What is known at `time`; `weights` `[W + H + 2, W]` of the price estimate, None where prices are published."""
    window, history = round(WINDOW_H / dt_h), round(HISTORY_H / dt_h)
    row = row_of(time, dt_h)
    ahead = lambda values: jax.lax.dynamic_slice(values, (row,), (window,))  # noqa: E731
    behind = lambda values: jax.lax.dynamic_slice(values, (row - history,), (history,))  # noqa: E731
    mask = time + jnp.arange(window) < scenarios.known_until[row]
    first_day = jnp.arange(window) * dt_h < 24
    profile = jnp.where(first_day, ahead(scenarios.profile_day1_eur_per_mwh), ahead(scenarios.profile_day2_eur_per_mwh))
    price, spread = ahead(scenarios.price_eur_per_mwh), scenarios.spread_eur_per_mwh[row]
    past, error = behind(scenarios.price_eur_per_mwh), jnp.zeros_like(spread)
    expected = price
    if weights is not None:
        errors = forecast_errors(scenarios, factor, time, offset, row, window)
        price, error = price + errors[1:], errors[0]
        past_profile = behind(scenarios.profile_day1_eur_per_mwh)
        x = regressors(jnp.where(mask, price, profile), error, past, past_profile, profile, spread)
        expected = profile + spread * (x @ weights)
    pv = ahead(scenarios.pv_profile_per_mw).at[0].set(scenarios.pv_per_mw[row])
    return Known(
        price_eur_per_mwh=jnp.where(mask, price, 0.0),
        expected_price_eur_per_mwh=jnp.where(mask, expected, 0.0),
        mask=mask,
        past_price_eur_per_mwh=past,
        last_error_eur_per_mwh=error,
        profile_eur_per_mwh=profile,
        pv_mw=pv * capacity_mw,
        local_hour=ahead(scenarios.local_hour),
        mean_eur_per_mwh=scenarios.mean_eur_per_mwh[row],
        spread_eur_per_mwh=spread,
        reserve=None if scenarios.reserve is None else look_at_reserve(scenarios.reserve, time, row, window, history),
    )


def fit_price_estimate(scenarios: Scenarios, factor: Array, times: np.ndarray, dt_h: float, seed: int) -> Array:
    """Weights of the linear price estimate by ridge regression on training steps, `[W + H + 2, W]`.

    Four error draws a step; targets are (price − profile) / spread. Ridge 1e-3 of the mean feature variance.
    """
    window, history = round(WINDOW_H / dt_h), round(HISTORY_H / dt_h)
    size = window + history + 2

    def sample(time: Array, offset: Array) -> tuple[Array, Array]:
        row = row_of(time, dt_h)
        zero = jnp.zeros((size, window))
        known = look(scenarios, zero, factor, time, offset, jnp.float32(0.0), dt_h)
        past_profile = jax.lax.dynamic_slice(scenarios.profile_day1_eur_per_mwh, (row - history,), (history,))
        actual = jax.lax.dynamic_slice(scenarios.price_eur_per_mwh, (row,), (window,))
        x = regressors(
            known.price_eur_per_mwh,
            known.last_error_eur_per_mwh,
            known.past_price_eur_per_mwh,
            past_profile,
            known.profile_eur_per_mwh,
            known.spread_eur_per_mwh,
        )
        return x, (actual - known.profile_eur_per_mwh) / known.spread_eur_per_mwh

    draws = np.random.default_rng(seed).integers(0, scenarios.error_path.shape[0] - window - 1, (4, len(times)))
    batched = jax.jit(jax.vmap(sample))
    gram, moment = np.zeros((size, size)), np.zeros((size, window))
    for offsets in draws:
        x, y = (np.asarray(a, np.float64) for a in batched(jnp.asarray(times), jnp.asarray(offsets, jnp.int32)))
        gram, moment = gram + x.T @ x, moment + x.T @ y
    ridge = 1e-3 * np.trace(gram) / len(gram)
    return jnp.asarray(np.linalg.solve(gram + ridge * np.eye(len(gram)), moment), jnp.float32)
