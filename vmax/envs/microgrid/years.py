"""Years of scenario data for the microgrid: generated from a seed, or read from the user's files, or both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from vmax.data.calendar import LocalTime, local_time
from vmax.envs.microgrid import profiles, sessions
from vmax.envs.microgrid.data_settings import SPLITS, DataConfig, MallConfig

LEVELS = 2**31
"""In the place of a year's number: the stream of the years' levels."""
PV_BASE, MALL_BASE, CHARGERS_BASE = 2, 3, 5


@dataclass(frozen=True, eq=False)
class Years:
    """Y years of T steps (8,760 h each), on the host; arrays are read-only.

    Attributes:
      utc: begin of each step, `[Y, T]` datetime64[s]. Generated years all have the dates of `calendar_year`.
      pv_kw: available PV at the AC side after the cap, mean over the step, `[Y, T]` float32.
      mall_kw: load besides the chargers, `[Y, T]` float32.
      carbon_kg_per_kwh: of the grid, `[Y, T]` float32.
      need_kwh: energy at the AC terminal that is wanted by the vehicle that plugs in at the begin of step t at socket s;
        0: nobody comes. `[Y, T, S]` float16. Sockets stand by group.
      stay_steps: it is there in the steps t … t + stay − 1; no other comes meanwhile. `[Y, T, S]` uint8 or uint16.
      prices: energy price per kWh in the tariff's currency, `[Y, T]` float32, where a tariff file is given.
      names: "test 0", or the calendar year for files.
    """

    utc: np.ndarray
    pv_kw: np.ndarray
    mall_kw: np.ndarray
    carbon_kg_per_kwh: np.ndarray
    need_kwh: np.ndarray
    stay_steps: np.ndarray
    prices: np.ndarray | None
    names: tuple[str, ...]


def make_years(config: DataConfig, split: str) -> Years:
    """The years of a split, made once per configuration.

    Splits and years have random numbers of their own; year k of a split is the same however many there are. Raises
    UserError.
    """
    return _generated_years(config, split)


def clear_sky_kw(config: DataConfig) -> np.ndarray:
    """Output of the plant in a cloudless `calendar_year`, capped, kW, float32 `[T]`: no generated year exceeds it."""
    clear = profiles.plant_clear_sky_kw(config.pv, _begin(config.calendar_year, config.timezone), config.step_minutes)
    return (np.minimum(clear, profiles.cap_kw(config.pv)) * config.pv.share).astype(np.float32)


@lru_cache(maxsize=8)
def _generated_years(config: DataConfig, split: str) -> Years:
    utc = _begin(config.calendar_year, config.timezone) + _steps(config)
    names = tuple(f"{split} {number}" for number in range(config.years(split)))
    local = local_time(utc, config.timezone)
    locals_ = [local] * len(names)
    utc = np.broadcast_to(utc, (len(names), len(utc)))
    need_kwh, stay_steps = generate_sessions(config, split, locals_)
    return read_only(
        Years(
            utc=utc,
            pv_kw=generate_pv(config, split, utc),
            mall_kw=generate_mall(config, split, locals_),
            carbon_kg_per_kwh=np.full(utc.shape, config.carbon.kg_per_kwh, np.float32),
            need_kwh=need_kwh,
            stay_steps=stay_steps,
            prices=None,
            names=names,
        )
    )


def read_only(years: Years) -> Years:
    for array in vars(years).values():
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return years


def generate_pv(config: DataConfig, split: str, utc: np.ndarray) -> np.ndarray:
    """PV output at the steps `[Y, T]`, kW, float32. The sun is that of `calendar_year`, whatever the dates."""
    pv = config.pv
    clear_kw = profiles.plant_clear_sky_kw(pv, _begin(config.calendar_year, config.timezone), config.step_minutes)
    levels = profiles.year_levels(len(utc), pv.year_spread, PV_BASE, _level_seed(config, split, 0))
    output = np.empty(utc.shape, np.float32)
    for number, level in enumerate(levels):
        index = profiles.clearness(utc[number], config.step_minutes, pv.longitude, _seed(config, split, number, 0))
        output[number] = profiles.pv_year(clear_kw, index, level * pv.annual_kwh, pv, config.dt_h) * pv.share
    return output


def generate_mall(config: DataConfig, split: str, local: list[LocalTime]) -> np.ndarray:
    """The mall's load for the calendars of Y years, kW, float32 `[Y, T]`."""
    mall = config.mall
    sharpness = _mall_sharpness(mall, config.step_minutes)
    levels = profiles.year_levels(len(local), mall.year_spread, MALL_BASE, _level_seed(config, split, 1))
    mean_kw = levels * mall.annual_kwh / profiles.HOURS
    shapes = [
        profiles.mall_shape(of.hour, of.weekday, of.day_of_year, config.dt_h, _seed(config, split, number, 1))
        for number, of in enumerate(local)
    ]
    pairs = zip(shapes, mean_kw, strict=True)
    return np.stack([profiles.mall_year(shape, sharpness, mean) for shape, mean in pairs]).astype(np.float32)


@lru_cache(maxsize=16)
def _mall_sharpness(mall: MallConfig, step_minutes: int) -> float:
    """As `profiles.mall_sharpness` on reference years of their own, the years' levels included."""
    dt_h = step_minutes / 60.0
    step = np.arange(profiles.DAYS * 24 * 60 // step_minutes)
    day = (step * dt_h // 24.0).astype(int)
    seeds = np.random.SeedSequence(profiles.REFERENCE_SEED + 1).spawn(profiles.REFERENCE_YEARS)
    shapes = [profiles.mall_shape(step * dt_h % 24.0, day % 7, day + 1, dt_h, seed) for seed in seeds]
    return profiles.mall_sharpness(np.stack(shapes), mall)


def generate_sessions(config: DataConfig, split: str, local: list[LocalTime]) -> tuple[np.ndarray, np.ndarray]:
    """`need_kwh` and `stay_steps` for the calendars of Y years, each `[Y, T, S]`."""
    chargers = config.chargers
    levels = profiles.year_levels(len(local), chargers.year_spread, CHARGERS_BASE, _level_seed(config, split, 2))
    shape = (len(local), len(local[0].hour), chargers.sockets)
    need_kwh = np.empty(shape, sessions.NEED_TYPE)
    stay_steps = np.empty(shape, sessions.stay_type(config.step_minutes))
    for number, of in enumerate(local):
        need_kwh[number], stay_steps[number] = sessions.sessions_year(
            of.hour,
            of.weekday,
            chargers,
            levels[number] * chargers.annual_kwh,
            config.step_minutes,
            _seed(config, split, number, 2),
        )
    return need_kwh, stay_steps


def _begin(year: int, timezone: str) -> np.datetime64:
    """Local midnight of New Year's Day as UTC, datetime64[s]."""
    return pd.Timestamp(year, 1, 1, tz=timezone).tz_convert("UTC").tz_localize(None).to_datetime64().astype("M8[s]")


def _steps(config: DataConfig) -> np.ndarray:
    return np.arange(profiles.DAYS * config.steps_per_day) * np.timedelta64(config.step_minutes * 60, "s")


def _seed(config: DataConfig, split: str, year: int, quantity: int) -> np.random.SeedSequence:
    return np.random.SeedSequence((config.seed, SPLITS.index(split), year)).spawn(quantity + 1)[quantity]


def _level_seed(config: DataConfig, split: str, quantity: int) -> np.random.SeedSequence:
    return _seed(config, split, LEVELS, quantity)
