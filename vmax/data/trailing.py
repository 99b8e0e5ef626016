"""Causal statistics of a series: what is said of step t uses data before t alone, and of t's own segment alone.

At the start of a segment the windows hold what is there; before any data they give `default`.
All are vectorised NumPy; `segment` `[T]` is the number of the gap-free segment of each step, ascending.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_WHOLE_DAY_SHARE = 0.95  # of the usual number of steps: admits the 23 hours of the day on which summer time starts


def trailing_mean(values: np.ndarray, steps: int, segment: np.ndarray, default: float) -> np.ndarray:
    """Mean of the `steps` values before t, t excluded, float64 `[T]`."""
    now = np.arange(len(values))
    first = np.maximum(now - steps, np.searchsorted(segment, segment))
    return _window_means(values, first, now, default)


def daily_spread(
    series_values: np.ndarray,
    local_day: np.ndarray,
    segment: np.ndarray,
    days: int = 28,
    floor: float = 2.0,
    *,
    default: float,
) -> np.ndarray:
    """Mean over the `days` local days before t's of the (population) standard deviation within the day, float64 `[T]`.

    Only days that are complete within the segment count (one that lacks an hour is complete); the result, `default`
    included, is at least `floor`. `local_day` `[T]` is ascending.
    """
    new_day = np.concatenate([[True], (np.diff(local_day) != 0) | (np.diff(segment) != 0)])
    start = np.flatnonzero(new_day)
    count = np.diff(np.append(start, len(series_values)))
    day = np.cumsum(new_day) - 1
    mean = np.add.reduceat(series_values, start) / count
    deviation = np.sqrt(np.add.reduceat((series_values - mean[day]) ** 2, start) / count)
    # Only the first and the last day of a segment can be cut; the last is before no other. Lengths are no secret.
    whole = count >= _WHOLE_DAY_SHARE * np.bincount(count).argmax()
    day_segment = segment[start]
    first_day = np.searchsorted(day_segment, day_segment)
    first_day = first_day + ~whole[first_day]
    this_day = np.arange(len(start))
    spread = _window_means(deviation, np.maximum(this_day - days, np.minimum(first_day, this_day)), this_day, default)
    return np.maximum(spread, floor)[day]


def same_hour_mean(
    values: np.ndarray,
    steps_per_day: int,
    first_lag_days: int,
    days: int = 14,
    *,
    segment: np.ndarray,
    default: float,
) -> np.ndarray:
    """Mean of the values 24 h × j before t, j = `first_lag_days`, …, `first_lag_days + days - 1`, float64 `[T]`.

    With `first_lag_days` at least 1; a forecast made k days ahead of its target needs k + 1.
    """
    total, count = np.zeros(len(values)), np.zeros(len(values))
    for lag in steps_per_day * np.arange(first_lag_days, first_lag_days + days):
        same = segment[lag:] == segment[: len(values) - lag] if lag < len(values) else np.zeros(0, bool)
        total[lag:] += np.where(same, values[: len(same)], 0.0)
        count[lag:] += same
    return np.where(count > 0, total / np.maximum(count, 1.0), default)


def ar1_path(length: int, rho: float, seed: int | Sequence[int]) -> np.ndarray:
    """A stationary first-order autoregression of unit variance, float32 `[length]`.

        x_0 ~ N(0, 1),   x_t = ρ x_{t-1} + √(1-ρ²) ε_t

    Raises ValueError unless |ρ| < 1.
    """
    from scipy.signal import lfilter  # a second to import: only who draws a path pays for it

    if not abs(rho) < 1.0:
        raise ValueError(f"rho={rho}: must be within (-1, 1)")
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(length)
    noise[1:] *= np.sqrt(1.0 - rho**2)
    return np.asarray(lfilter([1.0], [1.0, -rho], noise), np.float32)


def _window_means(values: np.ndarray, first: np.ndarray, stop: np.ndarray, default: float) -> np.ndarray:
    """Mean of `values[first:stop]` for each pair; `default` for an empty window."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    count = stop - first
    return np.where(count > 0, (sums[stop] - sums[first]) / np.maximum(count, 1), default)
