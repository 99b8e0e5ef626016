"""What share of the expected PV the coming hours bring, from how the last ones differed: linear, by hour of the day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LAST_H = (24, 8, 3)
"""The last hours, the present step included, whose PV is compared with what was expected of them."""
AHEAD_H = (3, 10, 36)
"""The coming hours, up to each of these, have a share of their own."""
RATIO_RANGE = (0.1, 3.0)
SHARE_RANGE = (0.0, 3.0)
RIDGE = 1e-3
"""Of the mean square of what is regressed on: keeps apart what nearly coincides."""


@dataclass(frozen=True)
class Weather:
    """Fitted on the training years: the expected share is 1 + slopes · (1, ratios of `LAST_H` minus 1).

    Attributes:
      slopes: by step of the day and stretch of `AHEAD_H`, `[steps per day, 3, 4]`; 0 where no sun is expected.
    """

    slopes: np.ndarray

    def shares(self, actual: np.ndarray, expected: np.ndarray, step_of_day: np.ndarray, dt_h: float) -> np.ndarray:
        """The share expected of each stretch at every step, `[Y, T, 3]`, from PV `[Y, T]` and its expectation `[T]`."""
        seen = _seen(actual, expected, dt_h)
        return np.clip(1.0 + np.einsum("ytk,tbk->ytb", seen, self.slopes[step_of_day]), *SHARE_RANGE)


def fit_weather(
    actual: np.ndarray, expected: np.ndarray, step_of_day: np.ndarray, dt_h: float, own: np.ndarray
) -> Weather:
    """Least squares over the training years' PV `[Y, T]`, each sample weighted by the expected energy; those count
    whose coming hours are all `own`."""
    seen, per_day = _seen(actual, expected, dt_h), int(step_of_day.max()) + 1
    slopes = np.zeros((per_day, len(AHEAD_H), seen.shape[-1]))
    furthest = round(AHEAD_H[-1] / dt_h)
    inside = np.arange(len(expected)) < len(expected) - furthest
    counts = _ahead(own.astype(np.float64), 0, furthest) == furthest
    for stretch, hours in enumerate(zip((0, *AHEAD_H), AHEAD_H, strict=False)):
        first, last = (round(hour / dt_h) for hour in hours)
        brought, energy = _ahead(actual, first, last), _ahead(expected[None], first, last)[0]
        known = inside & (energy > 1e-3 * energy.max())
        for step in range(per_day):
            rows = np.flatnonzero(known & (step_of_day == step))
            if rows.size:
                share = brought[:, rows] / energy[rows]
                slopes[step, stretch] = _least_squares(seen[:, rows], share - 1.0, energy[rows] * counts[:, rows])
    return Weather(slopes)


def stretch_of(steps: int, dt_h: float) -> np.ndarray:
    """Which stretch of `AHEAD_H` each of the next steps lies in, `[steps]`; the present one in the first."""
    return np.minimum(np.searchsorted(AHEAD_H, np.arange(steps) * dt_h), len(AHEAD_H) - 1)


def trailing_ratio(actual: np.ndarray, expected: np.ndarray, steps: int) -> np.ndarray:
    """Sum of the last steps, the present one included, over their expectation, `[Y, T]`; 1 where that is nothing."""

    def trailing(values: np.ndarray) -> np.ndarray:
        summed = np.cumsum(np.asarray(values, np.float64), axis=1)
        summed[:, steps:] = summed[:, steps:] - summed[:, :-steps]
        return summed

    total = trailing(expected)
    known = total > 1e-3 * total.max()
    return np.where(known, np.clip(trailing(actual) / np.where(known, total, 1.0), *RATIO_RANGE), 1.0)


def last_ratios(actual: np.ndarray, expected: np.ndarray, dt_h: float) -> np.ndarray:
    """The ratios of the last hours `LAST_H` to what was expected of them, `[Y, T, 3]`; `expected` is `[T]`."""
    along = np.broadcast_to(expected, actual.shape)
    return np.stack([trailing_ratio(actual, along, round(hours / dt_h)) for hours in LAST_H], axis=-1)


def _seen(actual: np.ndarray, expected: np.ndarray, dt_h: float) -> np.ndarray:
    """1 and the ratios of the last hours minus 1, `[Y, T, 4]`."""
    return np.concatenate([np.ones((*actual.shape, 1)), last_ratios(actual, expected, dt_h) - 1.0], axis=-1)


def _ahead(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """Sums over the steps after `first` steps from now, up to `last`, `[Y, T]`; beyond the end there is nothing."""
    length = values.shape[1]
    summed = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1, dtype=np.float64)], axis=1)
    at = lambda ahead: summed[:, np.minimum(np.arange(length) + 1 + ahead, length)]  # noqa: E731
    return at(last) - at(first)


def _least_squares(seen: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Slopes `[K]` for samples `[Y, R, K]`, targets `[Y, R]` and weights `[Y, R]`."""
    weighted = seen * weight[..., None]
    square = np.einsum("yrk,yrl->kl", weighted, seen)
    square += RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    return np.linalg.solve(square, np.einsum("yrk,yr->k", weighted, target))
