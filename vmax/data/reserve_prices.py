"""A seeded generator of reserve capacity prices, calibrated on the aFRR capacity prices of one Nordic bidding zone.

A normal score z of each direction is the sum of an hour-of-day shape, the score of the day-ahead price and two
first-order autoregressions, one slow (weeks, common to both directions to a degree) and one fast (hours):

    z_t = m[hour] + b·score(price_t) + σ·(√a·S_t + √(1−a)·F_t),      price of capacity = Q(Φ(z_t))

Q is the marginal distribution, from its zeros to its tail. The constants were fitted on DK1, 1 October 2024 to 8 May
2025 (5,183 hours): Q are sample quantiles; m and b least squares of the normal scores of the capacity price on clock
hour and the score of the day-ahead price (its rank within the local year); σ, a and the time constants follow from the
residuals' standard deviation and their autocorrelation at 1, 24 and 168 hours (upward 0.91, 0.58, 0.38; downward 0.95,
0.78, 0.69), the common part from their correlation (0.43). The series itself is not shipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmax.data.calendar import LocalTime, local_time
from vmax.data.trailing import ar1_path

PROBABILITIES = (
    0.0, 0.0066, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.9955, 0.998, 0.999, 1.0,
)  # fmt: skip
SLOW_H = (700.0, 2500.0)
"""Time constants of what is slow in common and of what is slow downward alone, hours."""
COMMON = 0.64
"""Correlation of the slow parts of the two directions."""


@dataclass(frozen=True)
class Direction:
    """Constants of one direction: quantiles in EUR per MW and hour at `PROBABILITIES`, hour-of-day shape `hour` [24]
    and weight `price` in normal scores, and of what remains its standard deviation `rest`, the `slow` share of its
    variance and the correlation `fast` of its fast part over one hour."""

    quantiles: tuple[float, ...]
    hour: tuple[float, ...]
    price: float
    rest: float
    slow: float
    fast: float


UP = Direction(
    quantiles=(
        0.0, 0.0, 1.21, 4.02, 5.4, 13.4, 21.31, 33.38, 46.76, 59.27,
        71.34, 88.25, 111.14, 132.8, 155.43, 173.49, 199.13, 230.38, 253.8, 290.72,
    ),
    hour=(
        -0.10, -0.09, -0.09, -0.07, -0.06, -0.12, -0.04, -0.05, -0.05, 0.00, -0.02, -0.03,
        -0.02, -0.02, -0.02, -0.05, 0.05, 0.20, 0.19, 0.16, 0.11, 0.04, 0.02, 0.06,
    ),
    price=0.683,
    rest=0.70,
    slow=0.58,
    fast=0.79,
)  # fmt: skip
DOWN = Direction(
    quantiles=(
        0.0, 0.0, 0.4, 0.47, 0.54, 0.54, 0.67, 0.67, 1.25, 1.48,
        2.15, 4.02, 7.11, 8.72, 12.28, 14.07, 14.08, 881.37, 960.48, 1055.67,
    ),
    hour=(
        -0.10, -0.06, -0.05, -0.04, -0.06, -0.03, -0.05, -0.06, -0.04, -0.01, 0.08, 0.15,
        0.22, 0.20, 0.22, 0.16, 0.05, -0.05, -0.08, -0.07, -0.07, -0.07, -0.08, -0.06,
    ),
    price=-0.064,
    rest=0.98,
    slow=0.77,
    fast=0.80,
)  # fmt: skip


def generate_reserve_prices(
    utc: np.ndarray, timezone: str, price: np.ndarray, dt_h: float, level: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Upward and downward capacity prices, EUR per MW and hour, float64 `[T]` each, at least 0.

    Args:
      utc: step starts, datetime64[s] `[T]`, gaps allowed.
      price: day-ahead price of each step, `[T]`; only its rank within the local year counts.
      level: factor on the prices.
    """
    local = local_time(utc, timezone)
    score = _score_within_year(price, local.year)
    place = (utc - utc[0]) // np.timedelta64(round(dt_h * 3600), "s")

    def path(per_hour: float, which: int) -> np.ndarray:
        return ar1_path(int(place[-1]) + 1, per_hour**dt_h, (seed, which))[place]

    first, second = (path(np.exp(-1.0 / hours), which) for which, hours in enumerate(SLOW_H))
    up = _prices(UP, local, score, first, path(UP.fast, 2))
    down = _prices(DOWN, local, score, COMMON * first + np.sqrt(1.0 - COMMON**2) * second, path(DOWN.fast, 3))
    return level * up, level * down


def _prices(
    direction: Direction, local: LocalTime, score: np.ndarray, slow: np.ndarray, fast: np.ndarray
) -> np.ndarray:
    """Prices of one direction `[T]` from its normal scores."""
    from scipy.special import ndtr  # slow to import: only who generates prices pays for it

    rest = np.sqrt(direction.slow) * slow + np.sqrt(1.0 - direction.slow) * fast
    z = np.asarray(direction.hour)[local.hour.astype(int)] + direction.price * score + direction.rest * rest
    return np.interp(ndtr(z), PROBABILITIES, direction.quantiles)


def _score_within_year(values: np.ndarray, year: np.ndarray) -> np.ndarray:
    """Normal score of each value's rank within its local year, `[T]`."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    score = np.empty(len(values))
    for one in np.unique(year):
        inside = year == one
        score[inside] = ndtri((rankdata(values[inside]) - 0.5) / inside.sum())
    return score
