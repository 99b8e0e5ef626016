"""A price series with its local calendar and its splits: what every environment of the energy market reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from vmax.conversion import DataFile
from vmax.data import splits as split_rules
from vmax.data.calendar import check_timezone, local_time, read_steps, read_times
from vmax.data.reader import read_numbers, read_table
from vmax.data.units import CAPACITIES, check_alike, power_factor, price_factor
from vmax.errors import UserError

SHIPPED = Path(__file__).parent / "shipped" / "nl_dayahead_2015_2024.csv.gz"
"""Dutch day-ahead prices, hourly, 2015-2024 (see NOTICE)."""
SHIPPED_DATES = {
    "train": ("2019-01-01", "2022-12-31"),
    "validation": ("2023-01-01", "2023-12-31"),
    "test": ("2024-01-01", "2024-12-31"),
}
MEAN_PRICE_RANGE = (1.0, 5000.0)
"""A mean |price| per MWh outside of it is a slip of the unit, for example per kWh."""
STANDBY_SHARE = 0.02
"""Of its highest output a plant may draw so much at night."""


@dataclass(frozen=True)
class ColumnsConfig:
    """Names of the columns in the file: the step's start, the price per MWh and, or None, the PV output in MW and the
    imbalance price per MWh, and the prices of upward and downward reserve capacity per MW and hour."""

    time: str
    price: str
    pv: str | None
    imbalance: str | None
    reserve_up: str | None
    reserve_down: str | None


@dataclass(frozen=True)
class DataConfig:
    """Where the series comes from and how it is read.

    `path` None is the shipped series. Units are those of the columns: `eur_per_mwh` (any currency), `ct_per_kwh` and
    the like; None: per MWh, reserve per MW and hour, PV in MW, and a column whose name says otherwise is an error.
    `price_scale_ok`: prices beyond `MEAN_PRICE_RANGE` are meant. `missing_codes`: numbers that stand for a missing
    value; None: those of `vmax.data.units.CODES` are an error. `step_minutes` cuts the file's steps into shorter ones
    of the same values. `timezone` is the market's: days and years of splits are local there. `naive_time` tells how
    stamps without an offset are read.
    Splits are (first, last) local days; None for all three is automatic: fixed years for the shipped series, 70/15/15 %
    in time order for another file.
    """

    path: DataFile | None
    columns: ColumnsConfig
    price_unit: str | None
    imbalance_unit: str | None
    reserve_unit: str | None
    pv_unit: Literal["MW", "kW", "W", "per_unit"] | None
    price_scale_ok: bool
    missing_codes: tuple[float, ...] | None
    step_minutes: Literal[15, 30, 60] | None
    timezone: str
    naive_time: Literal["utc", "local"]
    currency: str
    missing: Literal["error", "interpolate"]
    missing_max_steps: int
    gaps: Literal["error", "segments"]
    train: split_rules.Days | None
    validation: split_rules.Days | None
    test: split_rules.Days | None


@dataclass(frozen=True, eq=False)
class Series:
    """A checked series of T steps of `dt_h` hours; its arrays are read-only.

    `utc` (datetime64[s]) are the starts of the steps, ascending, with gaps only between segments. `values` holds
    `price` (currency per MWh) and, if mapped, `pv` (MW), `reserve_up` and `reserve_down` (currency per MW and hour),
    float64. `local_hour` is the local clock with its fraction,
    `local_day` counts local calendar days from the first. `splits` maps train, validation and test to gap-free blocks
    `[start, stop)`. `dropped_blocks` counts blocks left out of the splits because they are shorter than a day,
    `bridged_values` the values that were interpolated. `pv_unit` is what was said of `pv`; with `per_unit` it is a
    share of the plant. `done` says in words what was done to the values of the file.
    """

    utc: np.ndarray
    values: Mapping[str, np.ndarray]
    segment: np.ndarray
    dt_h: float
    local_hour: np.ndarray
    local_day: np.ndarray
    local_weekday: np.ndarray
    local_month: np.ndarray
    local_year: np.ndarray
    day_of_year: np.ndarray
    splits: Mapping[str, tuple[tuple[int, int], ...]]
    currency: str
    timezone: str
    source: str
    pv_unit: str | None
    dropped_blocks: int
    bridged_values: int
    done: tuple[str, ...]

    @property
    def steps_per_day(self) -> int:
        return round(24 / self.dt_h)


def load_series(config: DataConfig) -> Series:
    """The series of a configuration, read, checked and split; read again only if the file has changed.

    Raises UserError, one line, for everything about the file or the configuration that is not right.
    """
    path = Path(config.path) if config.path is not None else SHIPPED
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return _load(config, stamp)


@lru_cache(maxsize=8)
def _load(config: DataConfig, file_stamp: int) -> Series:
    _check_settings(config)
    names = {"time": config.columns.time, "price": config.columns.price}
    optional = {role: getattr(config.columns, role) for role in ("pv", "imbalance", "reserve_up", "reserve_down")}
    names |= {role: name for role, name in optional.items() if name is not None}
    table = read_table(config.path if config.path is not None else str(SHIPPED), names)
    table, utc = read_times(table, config.timezone, config.naive_time)
    dt_h, segment = read_steps(table, utc, config.timezone, config.naive_time, config.gaps == "segments")
    bridge = (config.missing == "interpolate", config.missing_max_steps, config.missing_codes)
    read = {role: read_numbers(table, role, segment, *bridge) for role in names if role != "time"}
    done = [f"{names[role]}: {count} missing values interpolated" for role, (_, count) in read.items() if count]
    values = _in_our_units(table.file, names, {role: column for role, (column, _) in read.items()}, config, done)
    dt_h, utc, segment, values = _refine(table.file, config.step_minutes, dt_h, utc, segment, values)
    local = local_time(utc, config.timezone)
    given = {name: getattr(config, name) for name in split_rules.SPLITS}
    if config.path is None and not any(given.values()):
        given = SHIPPED_DATES
    dates = split_rules.split_dates(table.file, given, local.date)
    blocks, dropped = split_rules.split_blocks(table.file, dates, local.date, segment, round(24 / dt_h))
    arrays = (utc, segment, *values.values(), local.hour, local.day, local.weekday, local.month, local.year)
    for array in (*arrays, local.day_of_year):
        array.flags.writeable = False
    return Series(
        utc=utc,
        values=MappingProxyType(values),
        segment=segment,
        dt_h=dt_h,
        local_hour=local.hour,
        local_day=local.day,
        local_weekday=local.weekday,
        local_month=local.month,
        local_year=local.year,
        day_of_year=local.day_of_year,
        splits=MappingProxyType(blocks),
        currency=config.currency,
        timezone=config.timezone,
        source=config.path or SHIPPED.name,
        dropped_blocks=dropped,
        pv_unit=config.pv_unit,
        bridged_values=sum(count for _, count in read.values()),
        done=tuple(done),
    )


def _refine(
    file: str,
    step_minutes: int | None,
    dt_h: float,
    utc: np.ndarray,
    segment: np.ndarray,
    values: dict[str, np.ndarray],
) -> tuple[float, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The series on shorter steps, each value repeated; as it is without `step_minutes`. Raises UserError."""
    if step_minutes is None:
        return dt_h, utc, segment, values
    minutes = round(dt_h * 60)
    if minutes % step_minutes:
        raise UserError(f"env.data.step_minutes={step_minutes}: the steps of {file} have {minutes} minutes already")
    parts = minutes // step_minutes
    offset = np.arange(parts) * np.timedelta64(step_minutes * 60, "s")
    utc = (utc[:, None] + offset).ravel()
    return step_minutes / 60.0, utc, segment.repeat(parts), {role: v.repeat(parts) for role, v in values.items()}


def check_split_lengths(series: Series, episode_days: int) -> None:
    """Raises UserError for a split that holds fewer than two episodes."""
    split_rules.check_split_lengths(series.source, series.splits, series.steps_per_day, episode_days)


def _check_settings(config: DataConfig) -> None:
    check_timezone(config.timezone)
    if config.missing_max_steps < 1:
        raise UserError(f"env.data.missing_max_steps={config.missing_max_steps}: must be at least 1")


def _in_our_units(
    file: str, names: Mapping[str, str], values: dict[str, np.ndarray], config: DataConfig, done: list[str]
) -> dict[str, np.ndarray]:
    """The values per MWh, per MW and hour, and in MW; what was changed is added to `done`. Raises UserError for values
    that cannot be in the unit that they are said to be in."""
    factors = {"price": price_factor(file, names["price"], config.price_unit, "env.data.price_unit")}
    if "imbalance" in names:
        factors["imbalance"] = price_factor(file, names["imbalance"], config.imbalance_unit, "env.data.imbalance_unit")
    for role in ("reserve_up", "reserve_down"):
        if role in names:
            factors[role] = price_factor(file, names[role], config.reserve_unit, "env.data.reserve_unit", CAPACITIES)
    if "pv" in names:
        factors["pv"] = power_factor(file, names["pv"], config.pv_unit, "env.data.pv_unit")
    done += [f"{names[role]}: times {factor:g}, the unit" for role, factor in factors.items() if factor != 1.0]
    values = {role: column * factors[role] if factors[role] != 1.0 else column for role, column in values.items()}
    _check_prices(file, names, values, config)
    if "pv" in values:
        values["pv"] = _without_standby(file, names["pv"], values["pv"], done)
    return values


def _check_prices(file: str, names: Mapping[str, str], values: Mapping[str, np.ndarray], config: DataConfig) -> None:
    mean, (low, high) = float(np.abs(values["price"]).mean()), MEAN_PRICE_RANGE
    if not low <= mean <= high and not config.price_scale_ok:
        unit = "env.data.price_unit=eur_per_kwh if they are per kWh (ct_per_kwh if in hundredths)"
        mend = f"set {unit}" if mean < low else "set env.data.price_scale_ok=true if the currency has such prices"
        raise UserError(
            f"{file}: column '{names['price']}' has a mean |price| of {mean:g}, outside of {low:g} to {high:g} per "
            f"MWh; {mend}, or env.data.columns.price= to another column"
        )
    if "imbalance" in values and config.imbalance_unit is None:
        both = (names["imbalance"], names["price"])
        check_alike(file, both, values["imbalance"], values["price"], "env.data.imbalance_unit")
    for role in ("reserve_up", "reserve_down"):
        if role in values and values[role].min() < 0.0:
            raise UserError(
                f"{file}: column '{names[role]}' falls to {values[role].min():g} per MW and hour; reserve prices must "
                f"be at least 0: set env.data.columns.{role}= to another column, or null"
            )


def _without_standby(file: str, name: str, pv: np.ndarray, done: list[str]) -> np.ndarray:
    """PV output with the little that inverters draw at night set to 0. Raises UserError for more than that."""
    below = pv < 0.0
    if pv.min() < -STANDBY_SHARE * pv.max():
        raise UserError(
            f"{file}: column '{name}' falls to {pv.min():g} MW; PV output must be at least 0, but for the little that "
            "inverters draw: set env.data.columns.pv= to another column, or null"
        )
    if below.any():
        done.append(f"{name}: {below.sum()} values below 0, down to {pv.min():g} MW, set to 0")
    return np.maximum(pv, 0.0)
