"""The market's local clock and calendar for UTC step starts."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from vmax.errors import UserError


@dataclass(frozen=True, eq=False)
class LocalTime:
    """Local clock and calendar of each step start, each `[T]`; `day` counts local calendar days from the first."""

    hour: np.ndarray
    day: np.ndarray
    date: np.ndarray  # datetime64[D]
    weekday: np.ndarray
    month: np.ndarray
    year: np.ndarray
    day_of_year: np.ndarray


def check_timezone(timezone: str, key: str = "env.data.timezone") -> None:
    """Raises UserError for a name that the IANA data base does not have."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f"{key}={timezone}: unknown; an IANA name such as Europe/Amsterdam is needed") from error


def local_time(utc: np.ndarray, timezone: str) -> LocalTime:
    """The local clock and calendar for UTC step starts (datetime64[s] `[T]`)."""
    local = pd.DatetimeIndex(utc, tz="UTC").tz_convert(timezone).tz_localize(None)
    date = local.to_numpy().astype("datetime64[D]")
    seconds = (local.to_numpy() - date).astype("timedelta64[s]").astype(np.int64)
    return LocalTime(
        hour=seconds / 3600.0,
        day=(date - date[0]).astype(np.int32),
        date=date,
        weekday=local.day_of_week.to_numpy().astype(np.int32),
        month=local.month.to_numpy().astype(np.int32),
        year=local.year.to_numpy().astype(np.int32),
        day_of_year=local.day_of_year.to_numpy().astype(np.int32),
    )
