"""A seeded generator of photovoltaic output: solar geometry, clear sky, stochastic clearness, calibrated yield."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd

from vmax.data.trailing import ar1_path
from vmax.errors import UserError

HOURS_PER_YEAR = 8766.0
DAILY_BETA = (1.5, 0.9)  # clear-sky index of a day: mean 0.62, most often dull or clear, as at middle latitudes
DAILY_RHO = 0.4  # weather stays
HOURLY_RHO = 0.6
HOURLY_SPREAD = 0.7  # × k (1-k): a half cloudy day varies most, a clear or an overcast one hardly
CLEARNESS_RANGE = (0.03, 1.0)
MAX_SCALE = 20.0


MOST_HOURS_OFF, MOST_DEGREES_OFF = 2.5, 10.0
"""How far the solar noon of a place may be from that of its zone, and how far a place may be beyond the equator."""


def check_place(section: str, latitude: float, longitude: float, timezone: str) -> None:
    """Raises UserError where a place cannot be in a time zone: its sun would shine at the wrong hour or season.

    `section` is where both stand in the configuration. Summer time does not count.
    """
    whole_year = pd.date_range("2024-01-01", periods=366, tz="UTC").tz_convert(timezone)
    offset_h = min(time.utcoffset().total_seconds() for time in whole_year) / 3600.0
    off_h = (offset_h - longitude / 15.0 + 12.0) % 24.0 - 12.0
    mend = f"set {section}.latitude= and {section}.longitude= to the plant's, or env.data.timezone= to its zone"
    if abs(off_h) > MOST_HOURS_OFF:
        noon = round(60 * (12.0 + off_h)) % 1440
        raise UserError(
            f"{section}.longitude={longitude:g}: is not in env.data.timezone={timezone}, where its sun would be "
            f"highest at {noon // 60:02d}:{noon % 60:02d}; {mend}"
        )
    of_zone = _latitude_of(timezone)
    if of_zone is not None and of_zone * latitude < 0.0 and abs(latitude) > MOST_DEGREES_OFF:
        raise UserError(
            f"{section}.latitude={latitude:g}: is not in env.data.timezone={timezone}, which is "
            f"{'south' if of_zone < 0 else 'north'} of the equator (its summer would be in winter); {mend}"
        )


@cache
def _latitude_of(timezone: str) -> float | None:
    """Degrees north of the place that a zone is named after; None for a zone without one, such as UTC."""
    table = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if not line.startswith("#"))
    place = next((row[1] for row in rows if row[2] == timezone), None)  # ±DDMM±DDDMM, or with seconds
    return None if place is None else float(f"{place[:3]}.{int(place[3:5]) * 100 // 60:02d}")


@dataclass(frozen=True)
class SolarConfig:
    """Site and plane of the plant: degrees north and east, tilt from the horizontal, azimuth (180 is south).

    `yearly_yield_mwh_per_mw` is the mean output of a year per MW of installed AC capacity.
    """

    latitude: float
    longitude: float
    tilt_deg: float
    azimuth_deg: float
    yearly_yield_mwh_per_mw: float
    seed: int

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"env.solar.seed={self.seed}: must be at least 0")


def generate_pv(utc: np.ndarray, dt_h: float, config: SolarConfig) -> np.ndarray:
    """AC output per MW of installed capacity, within [0, 1], zero at night, float64 `[T]`.

    Whole calendar years around the series are generated and scaled such that their mean yearly yield, the clip at
    the inverter included, is the configured one; the series' own steps are then cut out.

    Args:
      utc: step starts, datetime64[s] `[T]`, on a grid of `dt_h` hours, gaps allowed.

    Raises UserError for a yield that no plant at this place can have.
    """
    step = np.timedelta64(round(dt_h * 3600), "s")
    year = utc[0].astype("datetime64[Y]")
    start = year + (utc[0] - year) % step
    stop = utc[-1].astype("datetime64[Y]") + 1
    grid = np.arange(start, stop, step)
    sunlight = plane_irradiance(grid + step // 2, _clearness(grid, dt_h, config), config) / 1000.0
    scale = _scale(sunlight, config.yearly_yield_mwh_per_mw)
    return np.minimum(scale * sunlight, 1.0)[(utc - grid[0]) // step]


def _clearness(grid: np.ndarray, dt_h: float, config: SolarConfig) -> np.ndarray:
    """Clear-sky index of each step `[T]`: a beta-distributed AR(1) over the solar days plus an AR(1) over the steps."""
    from scipy.special import betaincinv, ndtr  # slow to import, as pvlib below: only who generates PV pays for it

    hours = grid.astype("datetime64[s]").astype(np.int64) / 3600.0
    day = np.floor(hours / 24.0 + config.longitude / 360.0).astype(int)  # changes at solar midnight
    day -= day[0]
    daily = betaincinv(*DAILY_BETA, ndtr(ar1_path(day[-1] + 1, DAILY_RHO, (config.seed, 0)).astype(np.float64)))[day]
    noise = ar1_path(len(grid), HOURLY_RHO**dt_h, (config.seed, 1))
    return np.clip(daily + HOURLY_SPREAD * daily * (1.0 - daily) * noise, *CLEARNESS_RANGE)


def plane_irradiance(when: np.ndarray, clearness: np.ndarray, config: SolarConfig) -> np.ndarray:
    """Irradiance on the tilted plane, W/m² `[T]`: Haurwitz' clear sky × clearness, split after Erbs, isotropic diffuse.

    Source: Haurwitz (1945); Erbs, Klein & Duffie (1982); as implemented in pvlib.
    """
    from pvlib import clearsky, irradiance, solarposition  # slow to import, as scipy.special above

    times = pd.DatetimeIndex(when, tz="UTC")
    sun = solarposition.get_solarposition(times, config.latitude, config.longitude)
    zenith, azimuth = sun["apparent_zenith"], sun["azimuth"]
    ghi = clearsky.haurwitz(zenith)["ghi"] * clearness
    beam = irradiance.erbs(ghi, zenith, times)
    total = irradiance.get_total_irradiance(
        config.tilt_deg, config.azimuth_deg, zenith, azimuth, beam["dni"], ghi, beam["dhi"], model="isotropic"
    )
    return np.where(ghi > 0.0, np.nan_to_num(np.asarray(total["poa_global"], np.float64)), 0.0)


def _scale(sunlight: np.ndarray, yearly_yield_mwh_per_mw: float) -> float:
    """Output per kW/m² at which the clipped output reaches the yearly yield, by bisection (the yield grows with it)."""

    def yield_at(scale: float) -> float:
        return float(np.minimum(scale * sunlight, 1.0).mean()) * HOURS_PER_YEAR

    low, high = 0.0, MAX_SCALE
    if not 0.0 < yearly_yield_mwh_per_mw < yield_at(high):
        raise UserError(
            f"env.solar.yearly_yield_mwh_per_mw={yearly_yield_mwh_per_mw:g}: must be above 0 and below "
            f"{yield_at(high):.0f}, which is reached with the inverter at its limit nearly all day"
        )
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if yield_at(middle) < yearly_yield_mwh_per_mw else (low, middle)
    return high
