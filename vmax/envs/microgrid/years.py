"""Years of scenario data for the microgrid: generated from a seed, or read from the user's files, or both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from vmax.data.calendar import LocalTime, local_time
from vmax.envs.microgrid import profiles, sessions
from vmax.envs.microgrid.data_settings import SPLITS, DataConfig
from vmax.envs.microgrid.reader import FileYears, leap_day, read_years
from vmax.envs.microgrid.weeks import blocks_of
from vmax.errors import UserError

LEVELS = 2**31
"""In the place of a year's number: the stream of the years' levels."""
PV, MALL, CHARGERS, PEAK = range(4)
"""What random numbers are for: each has a stream of its own."""
BASES = (2, 3, 5, 7)
YEARS_OF_SPLITS = 3
"""From so many years of files on each split has years of its own."""


@dataclass(frozen=True, eq=False)
class Years:
    """Y years of T steps (8,760 h each), on the host; arrays are read-only.

    Attributes:
      utc: begin of each step, `[Y, T]` datetime64[s]. Generated years all have the dates of `calendar_year`.
      pv_kw: available PV at the AC side after the cap, mean over the step, `[Y, T]` float32.
      mall_kw: load besides the chargers, `[Y, T]` float32.
      carbon_kg_per_kwh: of the grid, `[Y, T]` float32.
      need_kwh: energy at the AC terminal wanted by the vehicle that plugs in at the begin of step t at socket s; 0:
        nobody comes. `[Y, T, S]` float16: half the memory, and less than 0.05 % off. Sockets stand by group.
      stay_steps: it is there in the steps t … t + stay − 1; no other comes meanwhile. `[Y, T, S]` uint8 or uint16.
      prices: energy price per kWh in the tariff's currency, `[Y, T]` float32, where a tariff file is given.
      pv_forecast_kw, mall_forecast_kw: of the day before, `[Y, T]` float32, where files are given.
      exogenous: other forecasts, as in their files, `[Y, T, X]` float32, where there are any.
      blocks: the stretches that are this split's, rows (year, first step, step behind the last), `[N, 3]`, where the
        splits share the years (`weeks.py`); else None.
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
    pv_forecast_kw: np.ndarray | None = None
    mall_forecast_kw: np.ndarray | None = None
    exogenous: np.ndarray | None = None
    blocks: np.ndarray | None = None

    @property
    def own(self) -> np.ndarray:
        """Which steps are this split's, bool `[Y, T]`."""
        if self.blocks is None:
            return np.ones(self.utc.shape, bool)
        own = np.zeros(self.utc.shape, bool)
        for year, first, stop in self.blocks:
            own[year, first:stop] = True
        return own


def make_years(config: DataConfig, split: str) -> Years:
    """The years of a split, made once per configuration (and state of its files).

    Splits and years have random numbers of their own; year k of a split is the same however many there are. With files
    the years are theirs: the last is the test, the one before it the validation, the others are for training; fewer
    than three are shared by weeks. Raises UserError, one line, for everything about files and configuration that is not
    right.
    """
    if not config.files.any_given:
        return _generated_years(config, split)
    return _file_years(config, _stamps(config))[0][split]


def data_notes(config: DataConfig) -> tuple[str, ...]:
    """What was done to the user's files, in words; nothing without them."""
    return _file_years(config, _stamps(config))[1] if config.files.any_given else ()


def clear_sky_kw(config: DataConfig) -> np.ndarray:
    """Output of the plant in a cloudless `calendar_year`, capped, kW, float32 `[T]`: no generated year exceeds it."""
    clear = profiles.plant_clear_sky_kw(config.pv, _begin(config.calendar_year, config.timezone), config.step_minutes)
    return (np.minimum(clear, profiles.cap_kw(config.pv)) * config.pv.share).astype(np.float32)


@lru_cache(maxsize=4)  # of 80 years and 128 sockets one takes 300 MB
def _generated_years(config: DataConfig, split: str) -> Years:
    utc = _begin(config.calendar_year, config.timezone) + _steps(config)
    names = tuple(f"{split} {number}" for number in range(config.years(split)))
    return _assembled(config, split, names, np.broadcast_to(utc, (len(names), len(utc))), {}, None)


@lru_cache(maxsize=2)
def _file_years(config: DataConfig, _: tuple[int, ...]) -> tuple[dict[str, Years], tuple[str, ...]]:
    """All splits of the user's files, and what was done to these; the second argument is when they were written."""
    done: list[str] = []
    series = {name: read_years(config, name, done) for name in config.files.series}
    found = sessions.read_sessions(config) if config.files.sessions is not None else None
    years = {name: of.years for name, of in series.items()}
    if found is not None and not years:
        years["sessions"] = sessions.session_years(config, found)
    (first, covered), *others = years.items()
    for name, of in others:
        if of != covered:
            raise UserError(
                f"env.data.files.{name}={config.files.path(name)}: has the years {_listed(of)}, but env.data.files."
                f"{first} has {_listed(covered)}; all files must have the same"
            )
    if found is not None:
        _check_sessions(config, found, covered)
        first_came, last_came = (np.datetime_as_string(moment) for moment in (found.arrival.min(), found.arrival.max()))
        done.append(f"{Path(found.file).name}: {len(found.arrival)} sessions from {first_came} to {last_came} UTC")
    generated = [name for name in ("pv", "mall", "sessions") if getattr(config.files, name) is None]
    if generated:
        done.append(f"generated, for no file is given: {', '.join(generated)}")
    made: dict[str, Years] = {}
    whole = {"train": slice(0, -2), "validation": slice(-2, -1), "test": slice(-1, None)}
    shared = len(covered) < YEARS_OF_SPLITS
    if shared:
        whole = dict.fromkeys(whole, slice(None))
        done.append(
            f"{_listed(covered)}: fewer than {YEARS_OF_SPLITS} years, so weeks are held out: six a year for validation "
            "and six for test, one of each month in turn; the rest is for training"
        )
    for split, rows in whole.items():
        part = {name: FileYears(of.years[rows], of.utc[rows], of.values[rows]) for name, of in series.items()}
        utc = next(iter(part.values())).utc if part else np.stack([_year_steps(config, y) for y in covered[rows]])
        made[split] = _assembled(config, split, tuple(map(str, covered[rows])), utc, part, found)
        if shared:
            blocks = blocks_of([local_time(steps, config.timezone) for steps in utc])[split]
            made[split] = replace(made[split], blocks=blocks)
        else:
            done.append(f"{split}: {_listed(covered[rows])}")
    return made, tuple(done)


def _check_sessions(config: DataConfig, found: sessions.FileSessions, years: tuple[int, ...]) -> None:
    came = local_time(np.sort(found.arrival), config.timezone).year
    empty = [year for year in years if not (came == year).any()]
    if empty:
        raise UserError(
            f"{found.file}: no session in {empty[0]}, a year of the other files ({_listed(years)}); all must have the "
            "same"
        )


def _listed(years: tuple[int, ...]) -> str:
    return ", ".join(map(str, years))


def _assembled(
    config: DataConfig,
    split: str,
    names: tuple[str, ...],
    utc: np.ndarray,
    series: dict[str, FileYears],
    found: sessions.FileSessions | None,
) -> Years:
    """The years at these steps `[Y, T]`: what `series` and `found` hold, and the rest generated."""
    if series or found is not None:
        local = [local_time(steps, config.timezone) for steps in utc]
    else:
        local = [local_time(utc[0], config.timezone)] * len(utc)  # all have the same calendar
    if found is None:
        need_kwh, stay_steps = generate_sessions(config, split, local)
    else:
        placed = [sessions.place_sessions(config, found, steps) for steps in utc]
        need_kwh, stay_steps = (np.stack([one[part] for one in placed]) for part in (0, 1))
    at_site = lambda of: (np.minimum(of.values, config.pv.ac_kw) * config.pv.share).astype(np.float32)  # noqa: E731
    pv_kw = at_site(series["pv"]) if "pv" in series else generate_pv(config, split, utc)
    exogenous = [of.values for name, of in series.items() if name.startswith("exogenous")]
    carbon = series["carbon"].values if "carbon" in series else np.full(utc.shape, config.carbon.kg_per_kwh)
    return read_only(
        Years(
            utc=utc,
            pv_kw=pv_kw,
            mall_kw=series["mall"].values.astype(np.float32)
            if "mall" in series
            else generate_mall(config, split, local),
            carbon_kg_per_kwh=carbon.astype(np.float32),
            need_kwh=need_kwh,
            stay_steps=stay_steps,
            prices=series["tariff"].values.astype(np.float32) if "tariff" in series else None,
            names=names,
            pv_forecast_kw=at_site(series["pv_forecast"]) if "pv_forecast" in series else None,
            mall_forecast_kw=series["mall_forecast"].values.astype(np.float32) if "mall_forecast" in series else None,
            exogenous=np.stack(exogenous, axis=-1).astype(np.float32) if exogenous else None,
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
    levels = _levels(config, split, len(utc), pv.year_spread, PV)
    output = np.empty(utc.shape, np.float32)
    for number, level in enumerate(levels):
        index = profiles.clearness(utc[number], config.step_minutes, pv.longitude, _seed(config, split, number, PV))
        output[number] = profiles.pv_year(clear_kw, index, level * pv.annual_kwh, pv, config.dt_h) * pv.share
    return output


def generate_mall(config: DataConfig, split: str, local: list[LocalTime]) -> np.ndarray:
    """The mall's load for the calendars of Y years, kW, float32 `[Y, T]`."""
    mall = config.mall
    levels = _levels(config, split, len(local), mall.year_spread, MALL)
    peaks_kw = mall.peak_kw * levels * _levels(config, split, len(local), profiles.PEAK_SPREAD, PEAK)
    load = np.empty((len(local), len(local[0].hour)), np.float32)
    for number, of in enumerate(local):
        seed = _seed(config, split, number, MALL)
        shape = profiles.mall_shape(of.hour, of.weekday, of.day_of_year, config.dt_h, seed)
        load[number] = profiles.mall_year(shape, levels[number] * mall.annual_kwh / profiles.HOURS, peaks_kw[number])
    return load


def generate_sessions(config: DataConfig, split: str, local: list[LocalTime]) -> tuple[np.ndarray, np.ndarray]:
    """`need_kwh` and `stay_steps` for the calendars of Y years, each `[Y, T, S]`."""
    chargers, minutes = config.chargers, config.step_minutes
    totals_kwh = chargers.annual_kwh * _levels(config, split, len(local), chargers.year_spread, CHARGERS)
    shape = (len(local), len(local[0].hour), chargers.sockets)
    need_kwh, stay_steps = np.empty(shape, sessions.NEED_TYPE), np.empty(shape, sessions.STAY_TYPE)
    for number, of in enumerate(local):
        seed = _seed(config, split, number, CHARGERS)
        year = sessions.sessions_year(of, chargers, totals_kwh[number], minutes, seed)
        need_kwh[number], stay_steps[number] = year
    return need_kwh, stay_steps


def _begin(year: int, timezone: str) -> np.datetime64:
    """Local midnight of New Year's Day as UTC, datetime64[s]."""
    return pd.Timestamp(year, 1, 1, tz=timezone).tz_convert("UTC").tz_localize(None).to_datetime64().astype("M8[s]")


def _steps(config: DataConfig) -> np.ndarray:
    return np.arange(profiles.DAYS * config.steps_per_day) * np.timedelta64(config.step_minutes * 60, "s")


def _year_steps(config: DataConfig, year: int) -> np.ndarray:
    """Begins of the steps of a local calendar year, the 29th of February left out, datetime64[s] `[T]`."""
    step = np.timedelta64(config.step_minutes * 60, "s")
    utc = np.arange(_begin(year, config.timezone), _begin(year + 1, config.timezone), step)
    return utc[~leap_day(local_time(utc, config.timezone))]


def _levels(config: DataConfig, split: str, years: int, spread: float, quantity: int) -> np.ndarray:
    return profiles.year_levels(years, spread, BASES[quantity], _seed(config, split, LEVELS, quantity))


def _seed(config: DataConfig, split: str, year: int, quantity: int) -> np.random.SeedSequence:
    return np.random.SeedSequence((config.seed, SPLITS.index(split), year)).spawn(len(BASES))[quantity]


def _stamps(config: DataConfig) -> tuple[int, ...]:
    """When the files were last written; of a folder each of its files."""
    files = config.files
    names = [*files.series, *(["sessions"] if files.sessions is not None else [])]
    paths = [Path(files.path(name)) for name in names]
    each = [inner for path in paths for inner in (sorted(path.glob("*.csv")) if path.is_dir() else [path])]
    return tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in each)
