"""A linear combination of the data's own forecasts: a price estimate, fitted on the training split.

What is estimated is how the actual price departs from the mean of the forecasts, in units of the trailing spread, for
each local hour by itself. A plan lives on differences within its window, so the window's mean is taken out of both
sides: the level of the estimate is that of the forecasts. Ridge regression shrinks the correction to none; its penalty
is chosen by cross-validation over stretches of the training split that follow each other.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.bess.scenarios import HISTORY_H, Scenarios, row_of, span_steps

Array = jax.Array

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Penalties that are tried, share of the mean variance of the regressors."""
PARTS = 6
"""So many stretches of the training split are left out one after the other."""
FIT_TIMES = 20_000


def regressors(scenarios: Scenarios, origin: Array, span: int, dt_h: float) -> Array:
    """What is known at `origin` of the `span` steps from it on, in units of the trailing spread, `[S, K]`; 0 where no
    forecast reaches.

    Less the mean of the forecasts over all steps that they reach: each forecast, their mean in the step before and in
    the step after, the last known price of the same clock hour, its mean of 14 days; then the other forecasts of the
    data, and 1.
    """
    history, row = round(HISTORY_H / dt_h), row_of(origin, dt_h)
    ahead = lambda values: jax.lax.dynamic_slice_in_dim(values, row, span)  # noqa: E731
    assert scenarios.forecasts_eur_per_mwh is not None and scenarios.quoted_eur_per_mwh is not None
    spread, step = scenarios.spread_eur_per_mwh[row], jnp.arange(span)
    told = origin + step < scenarios.known_until[row]
    mean, last = ahead(scenarios.quoted_eur_per_mwh), jnp.maximum(told.sum() - 1, 0)
    yesterday = jax.lax.dynamic_slice_in_dim(scenarios.price_eur_per_mwh, row - history, history)
    prices = [
        ahead(scenarios.forecasts_eur_per_mwh),
        mean[jnp.maximum(step - 1, 0)][:, None],
        mean[jnp.minimum(step + 1, last)][:, None],
        yesterday[step % history][:, None],
        ahead(scenarios.profile_day1_eur_per_mwh)[step % history][:, None],
    ]
    relative = (jnp.concatenate(prices, axis=1) - _mean(mean, told)) / spread
    others = [] if scenarios.exogenous is None else [ahead(scenarios.exogenous)]
    return jnp.where(told[:, None], jnp.concatenate([relative, *others, jnp.ones((span, 1))], axis=1), 0.0)


def combined(scenarios: Scenarios, weights: Array, origin: Array, span: int, dt_h: float) -> Array:
    """The estimate for the steps from `origin` on, EUR/MWh, `[S]`; `weights` `[24 / dt_h, K]`."""
    assert scenarios.quoted_eur_per_mwh is not None
    row = row_of(origin, dt_h)
    x = regressors(scenarios, origin, span, dt_h)
    of_hour = weights[_hour(scenarios, row, span, dt_h)]
    mean = jax.lax.dynamic_slice_in_dim(scenarios.quoted_eur_per_mwh, row, span)
    return mean + scenarios.spread_eur_per_mwh[row] * jnp.sum(x * of_hour, axis=1)


def fit_combination(scenarios: Scenarios, times: np.ndarray, dt_h: float) -> Array:
    """Weights `[24 / dt_h, K]`, fitted on training steps `times` (in an auction beginnings of days).

    A window counts as far as its forecasts reach.
    """
    span, hours = span_steps(scenarios, dt_h), round(24 / dt_h)

    def sample(time: Array) -> tuple[Array, Array, Array, Array]:
        row = row_of(time, dt_h)
        ahead = lambda values: jax.lax.dynamic_slice_in_dim(values, row, span)  # noqa: E731
        assert scenarios.quoted_eur_per_mwh is not None
        told = time + jnp.arange(span) < scenarios.known_until[row]
        target = ahead(scenarios.price_eur_per_mwh) - ahead(scenarios.quoted_eur_per_mwh)
        target = (target - _mean(target, told)) / scenarios.spread_eur_per_mwh[row]
        return regressors(scenarios, time, span, dt_h), target, told, _hour(scenarios, row, span, dt_h)

    times = times[np.linspace(0, len(times) - 1, min(FIT_TIMES, len(times))).astype(int)]
    batched = jax.jit(jax.vmap(sample))
    grams, moments, squares = [], [], []
    for part in np.array_split(times, PARTS):
        x, y, told, hour = (np.asarray(a) for a in batched(jnp.asarray(part, jnp.int32)))
        x, y = x[told].astype(np.float64), y[told].astype(np.float64)
        rows = [hour[told] == h for h in range(hours)]
        grams.append(np.stack([x[r].T @ x[r] for r in rows]))
        moments.append(np.stack([x[r].T @ y[r] for r in rows]))
        squares.append(np.array([y[r] @ y[r] for r in rows]))
    gram, moment = np.sum(grams, axis=0), np.sum(moments, axis=0)

    def error(ridge: float) -> float:
        total = 0.0
        for g, m, s in zip(grams, moments, squares, strict=True):
            w = _solve(gram - g, moment - m, ridge)
            total += float(np.sum(s - 2.0 * np.einsum("hk,hk->h", w, m) + np.einsum("hk,hkl,hl->h", w, g, w)))
        return total

    return jnp.asarray(_solve(gram, moment, min(RIDGES, key=error)), jnp.float32)


def _solve(gram: np.ndarray, moment: np.ndarray, ridge: float) -> np.ndarray:
    """Weights by hour, `[H, K]`."""
    size = gram.shape[-1]
    penalty = ridge * np.trace(gram, axis1=1, axis2=2) / size
    return np.linalg.solve(gram + np.maximum(penalty, 1e-9)[:, None, None] * np.eye(size), moment[..., None])[..., 0]


def _mean(values: Array, told: Array) -> Array:
    """The mean over the steps that forecasts reach."""
    return jnp.sum(values, where=told) / jnp.maximum(told.sum(), 1)


def _hour(scenarios: Scenarios, row: Array, span: int, dt_h: float) -> Array:
    """The step of the local day of the steps from a row on, `[S]`."""
    hour = jax.lax.dynamic_slice_in_dim(scenarios.local_hour, row, span)
    return jnp.clip(jnp.round(hour / dt_h), 0, round(24 / dt_h) - 1).astype(jnp.int32)
