"""Small battery environments for tests: made-up prices in a file, UTC days, split 70/15/15 %."""

from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd

import vmax


def wavy_prices(days: int = 60, seed: int = 3) -> pd.DataFrame:
    """Hourly prices with two waves a day, wild and calm days, and noise, from 1 January 2023."""
    utc = pd.date_range("2023-01-01", periods=24 * days, freq="h")
    noise = np.random.default_rng(seed).standard_normal(len(utc))
    hour = np.arange(len(utc))
    height = 30 + 25 * np.sin(2 * np.pi * (hour // 24) / 9)
    price = 60 + height * np.sin(2 * np.pi * (hour - 6) / 12) + 5 * noise
    return pd.DataFrame({"utc": utc, "price_eur_per_mwh": price.round(2)})


def bess_on(prices: pd.DataFrame, *overrides: str, env: str = "bess") -> Any:
    """The battery environment on these prices."""
    path = Path(mkdtemp(prefix="vmax-test-")) / "prices.csv"
    prices.to_csv(path, index=False)
    settings = (f"env.data.path={path}", "env.data.timezone=UTC", "env.data.naive_time=utc", "env.episode.days=1")
    return vmax.make_env(env, [*settings, *overrides])


PROVIDED = (
    "env.information=provided",
    "env.data.columns.forecast=[good,poor]",
    "env.data.columns.exogenous={wind: wind_mw}",
)
"""What reads the forecasts of `with_forecasts`."""


def with_forecasts(days: int = 60) -> pd.DataFrame:
    """Wavy prices with two forecasts of them, the second with thrice the errors and 4 EUR/MWh too low, and one of wind
    that tells something of what both of them miss."""
    prices, draw = wavy_prices(days), np.random.default_rng(5)
    actual, missed = prices["price_eur_per_mwh"], draw.normal(0.0, 6.0, len(prices))
    forecasts = {
        "good": actual - missed + draw.normal(0.0, 4.0, len(prices)),
        "poor": actual - missed + draw.normal(-4.0, 12.0, len(prices)),
        "wind_mw": 500.0 - 20.0 * missed + draw.normal(0.0, 60.0, len(prices)),
    }
    return prices.assign(**{name: values.round(2) for name, values in forecasts.items()})


@lru_cache(maxsize=1)
def small_bess() -> Any:
    """The battery on 60 days of wavy prices, day-ahead information; the same one for all tests of a process."""
    return bess_on(wavy_prices())
