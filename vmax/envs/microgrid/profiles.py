"""Seeded years of PV output and of the mall's load, each calibrated to the site's figures.

A year's total is drawn first (`year_levels`) and then met exactly, so that the mean over a few years is that of the
site and the spread between years is the configured one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from vmax.data.solar import SolarConfig, plane_irradiance
from vmax.data.trailing import ar1_path
from vmax.envs.microgrid.data_settings import PvConfig
from vmax.errors import UserError

HOURS = 8760.0
DAYS = 365
FINE_MINUTES = 15
"""The sun is looked at in the middle of such steps; a longer step has their mean."""
REFERENCE_YEARS = 16
REFERENCE_SEED = 20130
"""Of the weather on which the plant's scale is calibrated, whatever the user's seed."""

# PV: the clear-sky index of a day, and of its steps
DAILY_BETA = (3.4, 1.6)  # mean 0.68: humid tropics, most days half cloudy, few overcast or clear throughout
DAILY_RHO = 0.4  # weather stays
DRY_SEASON_SHIFT, DRY_SEASON_DAY = 0.25, 240  # standard deviations; late August
HOURLY_RHO = 0.6
HOURLY_SPREAD = 0.7  # × k (1-k): a half cloudy day varies most, a clear or an overcast one hardly
CONVECTION_H = (12.0, 16.0)  # solar hours over which afternoon clouds build up
CONVECTION_LOSS, CONVECTION_NOISE = 0.15, 0.5  # what they take, and how much more uneven they make it
CLEARNESS_RANGE = (0.03, 1.0)
EXPONENT_RANGE = (0.02, 20.0)

# Mall: share of the weekday's plateau at local hours (the profile is linear between them)
WEEKDAY = (
    (0, 6, 8, 10, 12, 15, 18, 20, 21.5, 23, 24),
    (0.36, 0.34, 0.45, 0.88, 0.98, 1.04, 1.0, 1.0, 0.85, 0.42, 0.36),
)
SATURDAY = ((0, 6, 8, 10, 12, 15, 18, 20, 22, 23, 24), (0.36, 0.34, 0.44, 0.88, 1.0, 1.08, 1.1, 1.1, 0.95, 0.48, 0.36))
SUNDAY = ((0, 7, 9, 11, 13, 16, 19, 20, 21, 22.5, 24), (0.36, 0.33, 0.4, 0.82, 0.96, 1.0, 0.98, 0.92, 0.75, 0.4, 0.35))
MALL_SEASON, MALL_SEASON_DAY = 0.03, 300  # share of the load; cooling, warmest in late October
MALL_DAILY_RHO, MALL_DAILY_SPREAD = 0.5, 0.05
MALL_HOURLY_RHO, MALL_HOURLY_SPREAD = 0.7, 0.05
SHARPNESS_RANGE = (0.05, 8.0)
PEAK_SPREAD = 0.03
"""Standard deviation of a year's highest step, as a share of what fits to its total."""


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where the function, of unlike signs at both ends, is 0, to 1e-12 of `high`; after Brent."""
    from scipy.optimize import root_scalar  # slow to import, as all of scipy: only who generates years pays for it

    return float(root_scalar(function, bracket=(low, high), xtol=1e-12 * high).root)


def year_levels(years: int, spread: float, base: int, seed: np.random.SeedSequence) -> np.ndarray:
    """Totals of the years as shares of the multi-year mean, `[years]`; the k-th does not depend on how many follow.

        level = exp(s z - s²/2),   z = ± Φ⁻¹(u),   u from a van der Corput sequence with a random shift

    Each u serves two years, with both signs of z: the mean over any even number of years is 1 up to terms in s². Other
    quantities take another `base`, so that their levels are not in step.
    """
    from scipy.special import ndtri

    shift = np.random.default_rng(seed).random()
    index, place = np.arange(years) // 2 + 1, 1.0 / base
    u = np.full(years, shift)
    while index.any():
        u += index % base * place
        index, place = index // base, place / base
    z = ndtri(np.clip(u % 1.0, 1e-3, 1.0 - 1e-3)) * np.where(np.arange(years) % 2, -1.0, 1.0)
    return np.exp(spread * z - spread**2 / 2.0)


def clear_sky_sunlight(utc: np.ndarray, step_minutes: int, pv: PvConfig) -> np.ndarray:
    """Irradiance on the plane of the plant under a clear sky, kW/m², mean of each step, float64 `[T]`."""
    parts = step_minutes // FINE_MINUTES
    middle = np.timedelta64(FINE_MINUTES * 30, "s") + np.arange(parts) * np.timedelta64(FINE_MINUTES, "m")
    when = (utc[:, None] + middle).ravel()
    site = SolarConfig(pv.latitude, pv.longitude, pv.tilt, pv.azimuth, 1.0, 0)
    return plane_irradiance(when, np.ones(len(when)), site).reshape(-1, parts).mean(axis=1) / 1000.0


def clearness(utc: np.ndarray, step_minutes: int, longitude: float, seed: np.random.SeedSequence) -> np.ndarray:
    """Clear-sky index of each step of a year, within `CLEARNESS_RANGE`, float64 `[T]`.

    A beta-distributed AR(1) over the days, drier in the dry season; an AR(1) over the steps around it; and clouds that
    build up in the afternoon.
    """
    from scipy.special import betaincinv, ndtr

    daily_seed, hourly_seed = seed.generate_state(8).reshape(2, 4).tolist()
    per_day, dt_h = 24 * 60 // step_minutes, step_minutes / 60.0
    season = DRY_SEASON_SHIFT * np.cos(2.0 * np.pi * (np.arange(DAYS) - DRY_SEASON_DAY) / DAYS)
    normal = ar1_path(DAYS, DAILY_RHO, daily_seed).astype(np.float64) + season
    daily = betaincinv(*DAILY_BETA, ndtr(normal)).repeat(per_day)
    seconds = (utc - utc.astype("datetime64[D]")).astype("timedelta64[s]").astype(np.int64)
    solar_hour = (seconds / 3600.0 + dt_h / 2.0 + longitude / 15.0) % 24.0
    built_up = np.interp(solar_hour, CONVECTION_H, (0.0, 1.0))
    noise = ar1_path(len(utc), HOURLY_RHO**dt_h, hourly_seed) * (1.0 + CONVECTION_NOISE * built_up)
    index = daily * (1.0 - CONVECTION_LOSS * built_up) + HOURLY_SPREAD * daily * (1.0 - daily) * noise
    return np.clip(index, *CLEARNESS_RANGE)


@lru_cache(maxsize=16)
def plant_clear_sky_kw(pv: PvConfig, utc_begin: np.datetime64, step_minutes: int) -> np.ndarray:
    """Uncapped output of the full plant in a cloudless year of 365 days from `utc_begin` on, kW, `[T]`.

    Scaled such that reference years of weather, capped, yield `annual_kwh` on average. Raises UserError for a yield
    that no weather of this site gives.
    """
    utc = utc_begin + np.arange(DAYS * 24 * 60 // step_minutes) * np.timedelta64(step_minutes, "m")
    sunlight = clear_sky_sunlight(utc, step_minutes, pv)
    seeds = np.random.SeedSequence(REFERENCE_SEED).spawn(REFERENCE_YEARS)
    light = sunlight * np.stack([clearness(utc, step_minutes, pv.longitude, seed) for seed in seeds])
    cap, hours = cap_kw(pv), step_minutes / 60.0

    def excess(scale: float) -> float:
        return float(np.minimum(scale * light, cap).sum(axis=1).mean()) * hours - pv.annual_kwh

    most = excess(20.0 * cap) + pv.annual_kwh
    if not pv.annual_kwh < most:
        raise UserError(
            f"env.data.pv.annual_kwh={pv.annual_kwh:g}: must be below {most:.0f}, which is reached with the plant at "
            f"its limit of {cap:g} kW nearly all day"
        )
    scaled = root(excess, 0.0, 20.0 * cap) * sunlight
    scaled.flags.writeable = False
    return scaled


def cap_kw(pv: PvConfig) -> float:
    """The most that the full plant can feed in, kW: the inverters' limit, or the modules' where that is less."""
    return min(pv.ac_kw, pv.capacity_kwp)


def pv_year(clear_kw: np.ndarray, index: np.ndarray, target_kwh: float, pv: PvConfig, dt_h: float) -> np.ndarray:
    """One year of the full plant, kW `[T]`: min(cap, clear sky × kᵞ) with γ such that the year's total is met.

    The weather, not the plant, makes a year good or bad: output never exceeds that of a clear sky. Raises UserError for
    a year that would need more than nearly clear skies.
    """
    cap, day = cap_kw(pv), np.flatnonzero(clear_kw > 0.0)
    light, log_index = clear_kw[day], np.log(index[day])

    def excess(exponent: float) -> float:
        return float(np.minimum(light * np.exp(exponent * log_index), cap).sum()) * dt_h - target_kwh

    if not excess(EXPONENT_RANGE[1]) < 0.0 < excess(EXPONENT_RANGE[0]):
        raise UserError(
            f"env.data.pv.annual_kwh={pv.annual_kwh:g}, env.data.pv.year_spread={pv.year_spread:g}: a year of "
            f"{target_kwh:.0f} kWh is beyond clear skies; lower one of them or raise env.data.pv.ac_kw={pv.ac_kw:g}"
        )
    exponent = root(excess, *EXPONENT_RANGE)
    output = np.zeros(len(clear_kw))
    output[day] = np.minimum(light * np.exp(exponent * log_index), cap)
    return output


def mall_shape(
    hour: np.ndarray, weekday: np.ndarray, day_of_year: np.ndarray, dt_h: float, seed: np.random.SeedSequence
) -> np.ndarray:
    """The mall's load of a year before calibration, share of a weekday's plateau, float64 `[T]`, above 0.

    Args: local clock at the begin of each step, weekday (0: Monday) and day of the year, each `[T]`.
    """
    daily_seed, hourly_seed = seed.generate_state(8).reshape(2, 4).tolist()
    middle = hour + dt_h / 2.0
    kinds = [np.interp(middle, *knots) for knots in (WEEKDAY, SATURDAY, SUNDAY)]
    profile = np.choose(np.clip(weekday - 4, 0, 2), kinds)
    season = 1.0 + MALL_SEASON * np.cos(2.0 * np.pi * (day_of_year - MALL_SEASON_DAY) / DAYS)
    daily = MALL_DAILY_SPREAD * ar1_path(DAYS, MALL_DAILY_RHO, daily_seed).repeat(len(hour) // DAYS)
    hourly = MALL_HOURLY_SPREAD * ar1_path(len(hour), MALL_HOURLY_RHO**dt_h, hourly_seed)
    return profile * season * np.exp(daily + hourly)


def mall_year(shape: np.ndarray, mean_kw: float, highest_kw: float) -> np.ndarray:
    """Load of that mean and that maximum, kW `[T]`: proportional to shapeᵖ, the more peaked the greater p.

    Raises UserError for a maximum that no such exponent gives.
    """
    log_shape = np.log(shape / shape.max())  # at most 0: the maximum of shapeᵖ is 1 for every p

    def excess(exponent: float) -> float:
        return mean_kw / float(np.exp(exponent * log_shape).mean()) - highest_kw

    if not excess(SHARPNESS_RANGE[0]) < 0.0 < excess(SHARPNESS_RANGE[1]):
        low, high = (excess(exponent) + highest_kw for exponent in SHARPNESS_RANGE)
        raise UserError(
            f"env.data.mall.peak_kw: a year of {mean_kw:.0f} kW on average (env.data.mall.annual_kwh) cannot reach "
            f"{highest_kw:.0f} kW; its maximum must be within ({low:.0f}, {high:.0f})"
        )
    exponent = root(excess, *SHARPNESS_RANGE)
    return highest_kw * np.exp(exponent * log_shape)
