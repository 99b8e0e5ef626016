"""A price series with its local calendar and its splits: what every environment of the energy market reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from vmax.conversion import DataFile, unknown_key
from vmax.data import splits as split_rules
from vmax.data.calendar import check_timezone, local_time
from vmax.data.grid import Steps, at_steps, check_not_ends, read_rows
from vmax.data.layout import PLAIN, FormatFile, ReadConfig, check_feature_name, filled, settings_of
from vmax.data.reader import Table, read_numbers, read_table
from vmax.data.stamps import to_utc
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


ROLES = ("price", "pv", "imbalance", "reserve_up", "reserve_down")
"""What a column may be, besides a forecast."""
PRICES = ("price", "imbalance")


@dataclass(frozen=True)
class ColumnsConfig:
    """Names of the columns in a file: the time of a step and, or None, the price per MWh, the PV output in MW, the
    imbalance price per MWh, and the prices of upward and downward reserve capacity per MW and hour.

    `forecast`: of forecasts of the price, in its unit, as they were issued the day before. `exogenous`: pairs of a
    name and the column of another forecast issued the day before, such as load, wind or sun, in any unit.
    """

    time: str
    price: str | None
    pv: str | None
    imbalance: str | None
    reserve_up: str | None
    reserve_down: str | None
    forecast: tuple[str, ...] | None
    exogenous: tuple[tuple[str, str], ...] | None

    def __post_init__(self) -> None:
        for name, _ in self.exogenous or ():
            check_feature_name(name, "env.data.columns.exogenous")

    @property
    def mapped(self) -> dict[str, str]:
        """The columns of values, by role; those of forecasts are `forecast[0]`, `exogenous.load` and the like."""
        found = {role: name for role in ROLES if (name := getattr(self, role)) is not None}
        found |= {f"forecast[{number}]": name for number, name in enumerate(self.forecast or ())}
        return found | {f"exogenous.{name}": column for name, column in self.exogenous or ()}


@dataclass(frozen=True)
class FileConfig:
    """One file and how it is read.

    `format`: the preset that says what is null here (`vmax.data.layout`). Units are those of the columns:
    `eur_per_mwh` (any currency), `ct_per_kwh` and the like; None: per MWh, reserve per MW and hour, PV in MW, and a
    column whose name says otherwise is an error. `missing_codes`: numbers that stand for a missing value; None: those
    of `vmax.data.units.CODES` are an error. `missing=hold`: what is left out or empty has the value before it.
    `naive_time` tells how stamps without an offset are read, `timezone` is the clock of the local ones, and `stamps`
    whether they are the begins or the ends of steps.
    """

    path: DataFile | None
    format: FormatFile
    columns: ColumnsConfig
    read: ReadConfig
    price_unit: str | None
    imbalance_unit: str | None
    reserve_unit: str | None
    pv_unit: Literal["MW", "kW", "W", "per_unit", "W_per_kW"] | None
    missing_codes: tuple[float, ...] | None
    timezone: str
    naive_time: Literal["utc", "local"] | None
    stamps: Literal["begin", "end"] | None
    missing: Literal["error", "interpolate", "hold"]
    missing_max_steps: int

    def __post_init__(self) -> None:
        check_timezone(self.timezone)
        if self.read.timezone is not None:
            check_timezone(self.read.timezone, "env.data.read.timezone")
        if self.missing_max_steps < 1:
            raise UserError(f"env.data.missing_max_steps={self.missing_max_steps}: must be at least 1")


@dataclass(frozen=True)
class DataConfig(FileConfig):
    """Where the series comes from and how it is read.

    `path` None is the shipped series; `more` are files with further columns of the same times. `price_scale_ok`: prices
    beyond `MEAN_PRICE_RANGE` are meant; `repeats_ok`: prices that stay the same for more than a day are. `step_minutes`
    are the steps that the file's become: longer ones are cut, shorter ones averaged. `timezone` is the market's: days
    and years of splits are local there.
    Splits are (first, last) local days; None for all three is automatic: fixed years for the shipped series, 70/15/15 %
    in time order for another file.
    """

    more: tuple[FileConfig, ...]
    price_scale_ok: bool
    repeats_ok: bool
    step_minutes: Literal[15, 30, 60] | None
    currency: str
    gaps: Literal["error", "segments"]
    train: split_rules.Days | None
    validation: split_rules.Days | None
    test: split_rules.Days | None

    @staticmethod
    def filled(section: Mapping[str, Any], key: str) -> dict[str, Any]:
        """What is set, with each null that the format says taken from there; see `vmax.data.layout.filled`."""
        found = filled(section, key)
        if isinstance(found.get("more"), list):
            found["more"] = [_filled_more(item, found, f"{key}.more[{i}]") for i, item in enumerate(found["more"])]
        return found

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.columns.price is None:
            raise UserError("env.data.columns.price=null: must be the name of a column")
        taken = dict.fromkeys(self.columns.mapped, "env.data.columns")
        for number, item in enumerate(self.more):
            key = f"env.data.more[{number}]"
            if item.path is None:
                raise UserError(f"{key}.path=null: must be the path of a file")
            if not item.columns.mapped:
                raise UserError(
                    f"{key}.columns: none is named; allowed: {', '.join((*ROLES[1:], 'forecast', 'exogenous'))}"
                )
            for role in item.columns.mapped:
                if role in taken:
                    name = role.partition("[")[0]
                    raise UserError(f"{key}.columns.{name}: stands in {taken[role]} already")
                taken[role] = f"{key}.columns"

    @property
    def mapped(self) -> dict[str, str]:
        """The columns of values of all files, by role."""
        found = dict(self.columns.mapped)
        for item in self.more:
            found |= item.columns.mapped
        return found

    @property
    def forecasts(self) -> int:
        """How many forecasts of the price there are."""
        return sum(role.startswith("forecast[") for role in self.mapped)

    @property
    def exogenous(self) -> tuple[str, ...]:
        """Names of the other forecasts."""
        return tuple(role.removeprefix("exogenous.") for role in self.mapped if role.startswith("exogenous."))


def _filled_more(item: Any, main: Mapping[str, Any], key: str) -> Any:
    """A further file with what it leaves out: by its format, and the zone, where that says none, of the main file."""
    if not isinstance(item, Mapping):
        return item
    names = [field.name for field in fields(FileConfig)]
    for name in item:
        if name not in names:
            raise unknown_key(f"{key}.{name}", [f"{key}.{one}" for one in names])
    whole: dict[str, Any] = {name: item.get(name) for name in names}
    for group, of in (("columns", ColumnsConfig), ("read", ReadConfig)):
        own = item.get(group)
        whole[group] = {field.name: None for field in fields(of)} | dict(own if isinstance(own, Mapping) else {})
    whole["format"] = item.get("format") or PLAIN
    whole["missing_max_steps"] = item.get("missing_max_steps") or main.get("missing_max_steps")
    found = filled(whole, key, ("columns.price", "currency", "step_minutes"), ("timezone",))
    return {**found, "timezone": found["timezone"] or main.get("timezone")}


@dataclass(frozen=True, eq=False)
class Series:
    """A checked series of T steps of `dt_h` hours; its arrays are read-only.

    `utc` (datetime64[s]) are the starts of the steps, ascending, with gaps only between segments. `values` holds
    `price` (currency per MWh) and, if mapped, `pv` (MW), `reserve_up` and `reserve_down` (currency per MW and hour),
    `forecast[0]`, … (currency per MWh) and `exogenous.NAME` (as in the file), float64.
    `local_hour` is the local clock with its fraction, `local_day` counts local calendar days from the first. `splits`
    maps train, validation and test to gap-free blocks `[start, stop)`. `dropped_blocks` counts blocks left out of the
    splits because they are shorter than a day, `bridged_values` the values that were interpolated. `pv_unit` is what
    was said of `pv`; with `per_unit` it is a share of the plant. `done` says in words what was done to the values.
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

    def forecasts(self, prefix: str) -> np.ndarray | None:
        """The forecasts whose role begins with `forecast[` or `exogenous.`, `[T, N]`; None where there are none."""
        found = [values for role, values in self.values.items() if role.startswith(prefix)]
        return np.stack(found, axis=1) if found else None


def load_series(config: DataConfig) -> Series:
    """The series of a configuration, read, checked and split; read again only if a file has changed.

    Raises UserError, one line, for everything about the files or the configuration that is not right.
    """
    paths = [Path(config.path) if config.path is not None else SHIPPED, *(Path(str(item.path)) for item in config.more)]
    each = [part for path in paths for part in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return _load(config, tuple((str(part), part.stat().st_mtime_ns) for part in each if part.is_file()))


@lru_cache(maxsize=8)
def _load(config: DataConfig, files: tuple[tuple[str, int], ...]) -> Series:
    done: list[str] = []
    main = config if config.path is not None else replace(config, path=str(SHIPPED))
    steps = _read(main, config.step_minutes, config.gaps == "segments", done)
    for number, item in enumerate(config.more):
        with settings_of(f"env.data.more[{number}]"):
            more = _read(item, steps.steps.minutes, config.gaps == "segments", done)
        steps = _joined(steps, more, config, done)
    file, values = steps.file, steps.steps.values
    _check_prices(file, config.mapped, values, config)
    dt_h, utc, segment = steps.steps.minutes / 60.0, steps.steps.utc, steps.steps.segment
    local = local_time(utc, config.timezone)
    given = {name: getattr(config, name) for name in split_rules.SPLITS}
    if config.path is None and not any(given.values()):
        given = SHIPPED_DATES
    pv_unit = next((one.pv_unit for one in (config, *config.more) if one.columns.pv is not None), None)
    dates = split_rules.split_dates(file, given, local.date)
    blocks, dropped = split_rules.split_blocks(file, dates, local.date, segment, round(24 / dt_h))
    _check_repeats(file, config, values, utc, blocks, round(24 / dt_h), done)
    done.append(f"prices in {config.currency}/MWh, days of {config.timezone}")
    if dropped.blocks:
        done.append(
            f"{dropped.blocks} gap-free stretches shorter than a day left out of the splits ({dropped.steps} steps)"
        )
    arrays = (utc, segment, *values.values(), local.hour, local.day, local.weekday, local.month, local.year)
    for array in (*arrays, local.day_of_year):
        array.flags.writeable = False
    return Series(
        utc=utc,
        values=MappingProxyType(dict(values)),
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
        dropped_blocks=dropped.blocks,
        pv_unit={"W_per_kW": "per_unit"}.get(str(pv_unit), pv_unit),
        bridged_values=steps.bridged,
        done=tuple(done),
    )


@dataclass(frozen=True, eq=False)
class _Read:
    """A file's values at steps of one length, and how many of them were bridged."""

    file: str
    steps: Steps
    bridged: int


def _read(config: FileConfig, step_minutes: int | None, allow_gaps: bool, done: list[str]) -> _Read:
    """The columns of one file in our units; what was done to them is added to `done`. Raises UserError."""
    before = len(done)
    names = {"time": config.columns.time, **config.columns.mapped}
    if config.read.begin is not None:
        del names["time"]
    if config.read.period is not None:
        names["period"] = config.read.period
    table = read_table(str(config.path), names, config.read)
    rows_read = len(table.row)
    table, utc = to_utc(table, config.read.timezone or config.timezone, config.naive_time)
    if config.stamps is None:
        check_not_ends(table, utc, config.timezone)
    table, utc = _without_empty_ends(table, utc, config, done)
    hold = config.missing_max_steps if config.missing == "hold" else 0
    rows = read_rows(table, utc, config.timezone, config.naive_time, config.stamps, step_minutes, hold, allow_gaps)
    if rows.gaps[0]:
        done.append(f"{rows.gaps[0]} gaps of {rows.gaps[1]} rows in all: the series is split there")
    roles = list(config.columns.mapped)
    read = {role: _numbers(rows.table, role, rows.segment, rows.absent, config) for role in roles}
    if rows.held:
        done.append(f"{rows.held} rows that the file leaves out have the values of the row before (hold)")
    way = "that of the row before (hold)" if config.missing == "hold" else "interpolated"
    done += [f"{table.names[role]}: {count} missing values {way}" for role, (_, count) in read.items() if count]
    values = _in_our_units(table.file, table.names, {role: column for role, (column, _) in read.items()}, config, done)
    steps = at_steps(rows, values, config.timezone, done)
    first, last = (np.datetime_as_string(moment, unit="m") for moment in steps.utc[[0, -1]])
    columns = ", ".join(f"{role} from '{table.names[role]}'" for role in roles)
    done.insert(
        before,
        f"{Path(table.file).name}: {rows_read} rows read, {columns}; {len(steps.utc)} steps of {steps.minutes} minutes "
        f"from {first} to {last} UTC",
    )
    return _Read(table.file, steps, sum(count for _, count in read.values()) + rows.held * len(roles))


def _numbers(
    table: Table, role: str, segment: np.ndarray, absent: np.ndarray, config: FileConfig
) -> tuple[np.ndarray, int]:
    """A column with its missing values bridged, and how many of them stand in the file."""
    if absent.any():
        column = table.columns[role].mask(pd.Series(absent))
        table = replace(table, columns={**table.columns, role: column})
    values, count = read_numbers(table, role, segment, config.missing, config.missing_max_steps, config.missing_codes)
    return values, count - int(absent.sum())


def _without_empty_ends(table: Table, utc: np.ndarray, config: FileConfig, done: list[str]) -> tuple[Table, np.ndarray]:
    """Without the rows before the first and after the last that has all values: what is missing there is not bridged,
    but for what `hold` may. Raises UserError where no row has all values."""
    given = np.logical_and.reduce([~table.columns[role].isna().to_numpy() for role in config.columns.mapped])
    full = np.flatnonzero(given)
    if not full.size:
        raise UserError(f"{table.file}: no row has a value in all of {', '.join(config.columns.mapped.values())}")
    first, last = int(full[0]), int(full[-1])
    if config.missing == "hold":
        last = min(last + config.missing_max_steps, len(given) - 1)
    for rows, where in ((first, "first"), (len(given) - 1 - last, "last")):
        if rows:
            done.append(f"the {where} {rows} rows lack values: cut off")
    kept = np.zeros(len(given), bool)
    kept[first : last + 1] = True
    return table.keep(kept), utc[kept]


def _joined(main: _Read, more: _Read, config: DataConfig, done: list[str]) -> _Read:
    """The steps that both files have. Raises UserError where the second lacks some within the first."""
    steps, other = main.steps, more.steps
    both = np.isin(steps.utc, other.utc)
    if not both.any():
        raise UserError(
            f"{more.file}: has {np.datetime_as_string(other.utc[0], unit='m')} to "
            f"{np.datetime_as_string(other.utc[-1], unit='m')} UTC, no step of {main.file}"
        )
    found = np.flatnonzero(both)
    inside = ~both[found[0] : found[-1] + 1]
    if inside.any() and config.gaps != "segments":
        where = np.datetime_as_string(steps.utc[found[0] + int(np.argmax(inside))], unit="m")
        raise UserError(
            f"{more.file}: no value at {where} UTC, a step of {main.file}, the first of {inside.sum()}; fill them in "
            "or set env.data.gaps=segments"
        )
    if not both.all():
        done.append(f"{(~both).sum()} steps of {main.file} that {more.file} has not left out")
    utc = steps.utc[both]
    at = np.searchsorted(other.utc, utc)
    values = {role: column[both] for role, column in steps.values.items()}
    values |= {role: column[at] for role, column in other.values.items()}
    gap = np.diff(utc) > np.timedelta64(steps.minutes, "m")
    segment = np.concatenate([[0], np.cumsum(gap | (np.diff(steps.segment[both]) != 0))]).astype(np.int32)
    return _Read(main.file, Steps(steps.minutes, utc, segment, values), main.bridged + more.bridged)


def _check_repeats(
    file: str,
    config: DataConfig,
    values: Mapping[str, np.ndarray],
    utc: np.ndarray,
    blocks: Mapping[str, split_rules.Blocks],
    steps_per_day: int,
    done: list[str],
) -> None:
    """Raises UserError for prices of one value for more than a day in validation or test, unless it is allowed: prices
    that are not published yet stand so in files. Elsewhere it is said."""
    for role in PRICES:
        for split, parts in blocks.items() if role in values else ():
            for first, stop in parts:
                part = values[role][first:stop]
                edges = np.flatnonzero(np.concatenate([[True], np.diff(part) != 0, [True]]))
                longest = int(np.argmax(np.diff(edges)))
                begin, steps = edges[longest], int(np.diff(edges)[longest])
                if steps <= steps_per_day:
                    continue
                where = np.datetime_as_string(utc[first + begin], unit="m")
                found = (
                    f"column '{config.mapped[role]}' is {part[begin]:g} for {steps} steps in a row from {where} UTC on"
                )
                if split == "train" or config.repeats_ok:
                    done.append(f"{found} ({split})")
                    continue
                raise UserError(
                    f"{file}: {found}, in the {split} split (not published yet?); delete these rows, or set "
                    "env.data.repeats_ok=true if it is meant"
                )


def check_split_lengths(series: Series, episode_days: int) -> None:
    """Raises UserError for a split that holds fewer than two episodes."""
    split_rules.check_split_lengths(series.source, series.splits, series.steps_per_day, episode_days)


def _in_our_units(
    file: str, names: Mapping[str, str], values: dict[str, np.ndarray], config: FileConfig, done: list[str]
) -> dict[str, np.ndarray]:
    """The values per MWh, per MW and hour, and in MW; what was changed is added to `done`. Raises UserError for values
    that cannot be in the unit that they are said to be in."""
    factors = {}
    if "price" in names:
        factors["price"] = price_factor(file, names["price"], config.price_unit, "env.data.price_unit")
    for role in names:
        if role.startswith("forecast["):
            factors[role] = price_factor(file, names[role], config.price_unit, "env.data.price_unit")
    if "imbalance" in names:
        factors["imbalance"] = price_factor(file, names["imbalance"], config.imbalance_unit, "env.data.imbalance_unit")
    for role in ("reserve_up", "reserve_down"):
        if role in names:
            factors[role] = price_factor(file, names[role], config.reserve_unit, "env.data.reserve_unit", CAPACITIES)
    if "pv" in names:
        factors["pv"] = power_factor(file, names["pv"], config.pv_unit, "env.data.pv_unit")
    done += [f"{names[role]}: times {factor:g}, the unit" for role, factor in factors.items() if factor != 1.0]
    values = {role: column * factors.get(role, 1.0) for role, column in values.items()}
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
    said = next((one.imbalance_unit for one in (config, *config.more) if one.columns.imbalance is not None), None)
    if "imbalance" in values and said is None:
        both = (names["imbalance"], names["price"])
        check_alike(file, both, values["imbalance"], values["price"], "env.data.imbalance_unit")
    for role in (role for role in values if role.startswith("forecast[")):
        check_alike(file, (names[role], names["price"]), values[role], values["price"], "env.data.price_unit")
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
