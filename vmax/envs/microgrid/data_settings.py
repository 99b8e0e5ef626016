"""What the config says of the scenario data of `microgrid`: the site's figures, and the user's files."""

from __future__ import annotations

from calendar import isleap
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from vmax.conversion import DataFile, InputFile, build, unknown_key
from vmax.data.calendar import check_timezone
from vmax.data.layout import PLAIN, FormatFile, ReadConfig, check_feature_name, filled, preset_value
from vmax.data.solar import check_place
from vmax.errors import UserError

FORECASTS = ("pv_forecast", "mall_forecast")
SERIES = ("pv", "mall", "carbon", "tariff", *FORECASTS)
"""Quantities of which a file has a value for each step."""
SPLITS = ("train", "validation", "test")
MOST_SPREAD = 0.2
LATEST_CLOSING_H = 23.0
SEEDS = 2**31
SessionFiles = Annotated[str, "the path of a file or folder", InputFile(within="*.csv")]


@dataclass(frozen=True)
class PvConfig:
    """The plant: `annual_kwh` is the multi-year mean at the AC side, after the cap of `ac_kw`.

    `share` scales capacity, cap and total (and the output read from a file). `year_spread` is the standard deviation of
    a year's total, as a share of it. Degrees north and east; tilt from the horizontal; azimuth 180 is south.
    """

    capacity_kwp: float
    ac_kw: float
    annual_kwh: float
    share: float
    year_spread: float
    latitude: float
    longitude: float
    tilt: float
    azimuth: float

    def __post_init__(self) -> None:
        _positive("env.data.pv", capacity_kwp=self.capacity_kwp, ac_kw=self.ac_kw, annual_kwh=self.annual_kwh)
        _positive("env.data.pv", share=self.share)
        _within("env.data.pv.year_spread", self.year_spread, 0.0, MOST_SPREAD)
        _within("env.data.pv.latitude", self.latitude, -90.0, 90.0)
        _within("env.data.pv.longitude", self.longitude, -180.0, 180.0)
        _within("env.data.pv.tilt", self.tilt, 0.0, 90.0)
        _within("env.data.pv.azimuth", self.azimuth, 0.0, 360.0)


@dataclass(frozen=True)
class MallConfig:
    """The load besides the chargers: mean energy of a year, and the mean over the years of the year's highest step."""

    annual_kwh: float
    peak_kw: float
    year_spread: float

    def __post_init__(self) -> None:
        _positive("env.data.mall", annual_kwh=self.annual_kwh, peak_kw=self.peak_kw)
        _within("env.data.mall.year_spread", self.year_spread, 0.0, MOST_SPREAD)


@dataclass(frozen=True)
class GroupConfig:
    """Chargers of one kind: `sockets` of `power_kw` each, `limit_kw` for all of them together."""

    name: str
    sockets: int
    power_kw: float
    limit_kw: float

    def __post_init__(self) -> None:
        if self.sockets < 1:
            raise UserError(f"env.data.chargers.groups: '{self.name}' has sockets={self.sockets}; must be at least 1")
        _positive(f"env.data.chargers.groups: '{self.name}' has ", power_kw=self.power_kw, limit_kw=self.limit_kw)


@dataclass(frozen=True)
class ChargersConfig:
    """The charger groups and how they are used; `annual_kwh` is the multi-year mean of the energy wanted.

    Sessions begin within the local hours `open_h`, most often within `peak_h`, and last `stay_h`; the last vehicles are
    gone an hour after closing.
    """

    groups: tuple[GroupConfig, ...]
    limit_kw: float
    annual_kwh: float
    open_h: tuple[float, float]
    peak_h: tuple[float, float]
    stay_h: tuple[float, float]
    year_spread: float

    @property
    def sockets(self) -> int:
        return sum(group.sockets for group in self.groups)

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if not names or len(set(names)) < len(names):
            raise UserError(f"env.data.chargers.groups: names {names}; at least one group is needed, each name once")
        _positive("env.data.chargers", limit_kw=self.limit_kw, annual_kwh=self.annual_kwh)
        _within("env.data.chargers.year_spread", self.year_spread, 0.0, MOST_SPREAD)
        opens, closes = self.open_h
        if not 0.0 <= opens < closes <= LATEST_CLOSING_H:
            raise UserError(
                f"env.data.chargers.open_h={list(self.open_h)}: hours [first, last] within [0, {LATEST_CLOSING_H:g}] "
                "are needed, the first below the last"
            )
        if not opens <= self.peak_h[0] < self.peak_h[1] <= closes:
            raise UserError(
                f"env.data.chargers.peak_h={list(self.peak_h)}: must lie within env.data.chargers.open_h="
                f"{list(self.open_h)}, the first hour below the last"
            )
        if not 0.25 <= self.stay_h[0] <= self.stay_h[1] <= 24.0:
            raise UserError(
                f"env.data.chargers.stay_h={list(self.stay_h)}: hours [shortest, longest] within [0.25, 24] are needed"
            )


@dataclass(frozen=True)
class CarbonConfig:
    """What a kWh from the grid emits, where no file says so by the step."""

    kg_per_kwh: float

    def __post_init__(self) -> None:
        _within("env.data.carbon.kg_per_kwh", self.kg_per_kwh, 0.0, 5.0)


@dataclass(frozen=True)
class FileColumns:
    """Names of the columns of a file: the time and the value of a series (`value`: of an exogenous one); arrival,
    departure, energy and charger of sessions. None: the names of plain files."""

    time: str | None
    pv: str | None
    load: str | None
    carbon: str | None
    tariff: str | None
    value: str | None
    arrival: str | None
    departure: str | None
    energy_kwh: str | None
    charger: str | None


@dataclass(frozen=True)
class SiteFile:
    """One file of the site and how it is read.

    `format`: the preset that says what is null here (`vmax.data.layout`). `unit`: of the values; W_per_kW: of the
    plant's modules; None: the name of the column says it. `timezone`, `naive_time`: of stamps without an offset; None:
    that of the data, and local unless the column is named `utc`.
    """

    path: DataFile
    format: FormatFile
    columns: FileColumns
    read: ReadConfig
    unit: Literal["kW", "kWh", "W", "Wh", "MW", "MWh", "W_per_kW", "per_kwh", "per_mwh"] | None
    timezone: str | None
    naive_time: Literal["utc", "local"] | None
    stamps: Literal["begin", "end"] | None
    missing: Literal["error", "interpolate", "hold"]
    missing_max_steps: int

    @staticmethod
    def filled(section: Mapping[str, Any], key: str) -> dict[str, Any]:
        """The file with what is left out in the mapping: by its format, then as plain files have it."""
        names = [field.name for field in fields(SiteFile)]
        for name in section:
            if name not in names:
                raise unknown_key(f"{key}.{name}", [f"{key}.{one}" for one in names])
        whole: dict[str, Any] = {name: section.get(name) for name in names}
        for group, of in (("columns", FileColumns), ("read", ReadConfig)):
            own = section.get(group)
            whole[group] = {field.name: None for field in fields(of)} | dict(own if isinstance(own, Mapping) else {})
        whole["format"] = section.get("format") or PLAIN
        whole["missing_max_steps"] = section.get("missing_max_steps") or 3
        if whole["unit"] is None:
            name = column_of(key.rpartition(".")[2])
            whole["unit"] = preset_value(whole["format"], f"{name}_unit", key)
        return filled(whole, key, ("columns.price", "currency", "step_minutes"), ("columns.time", "timezone"))


def measured(quantity: str) -> str:
    """The quantity that a forecast is one of: `pv` of `pv_forecast`; others stay."""
    return quantity.removesuffix("_forecast")


def column_of(quantity: str) -> str:
    """The name in `FileColumns` of the values of a quantity."""
    return {"mall": "load"}.get(measured(quantity), "value" if "[" in quantity else measured(quantity))


@dataclass(frozen=True)
class ExogenousFile:
    """Another forecast, such as of the temperature: features of this name."""

    name: str
    file: DataFile | SiteFile

    def __post_init__(self) -> None:
        check_feature_name(self.name, "env.data.files.exogenous")


@dataclass(frozen=True)
class FilesConfig:
    """The user's own series; None: generated (PV, mall, sessions), constant (carbon), or the configured tariff.

    Each is a path, or a path with how the file is read (`SiteFile`). `pv_forecast`, `mall_forecast` and `exogenous` are
    forecasts as issued the day before, those of a day known from the local hour `forecast_hour` of the day before on.
    `timezone`: of stamps without an offset in columns other than `utc`; None: that of the data. `pv_unit`, `mall_unit`,
    `tariff_unit`: what the column holds, whatever its name says; None: the name says it.
    """

    pv: DataFile | SiteFile | None
    mall: DataFile | SiteFile | None
    sessions: SessionFiles | SiteFile | None
    carbon: DataFile | SiteFile | None
    tariff: DataFile | SiteFile | None
    pv_forecast: DataFile | SiteFile | None
    mall_forecast: DataFile | SiteFile | None
    exogenous: tuple[ExogenousFile, ...]
    forecast_hour: int
    timezone: str | None
    pv_unit: Literal["kW", "kWh"] | None
    mall_unit: Literal["kW", "kWh"] | None
    tariff_unit: Literal["per_kwh", "per_mwh"] | None

    @property
    def any_given(self) -> bool:
        return any(self.path_of(name) is not None for name in (*SERIES, "sessions")) or bool(self.exogenous)

    @property
    def series(self) -> tuple[str, ...]:
        """The quantities that a file is given of, but for sessions; exogenous ones by number."""
        given = [name for name in SERIES if self.path_of(name) is not None]
        return (*given, *(f"exogenous[{number}]" for number in range(len(self.exogenous))))

    def _given(self, quantity: str) -> str | SiteFile | None:
        name, _, number = quantity.partition("[")
        return self.exogenous[int(number[:-1])].file if number else getattr(self, name)

    def file(self, quantity: str) -> SiteFile:
        """How the file of a quantity is read."""
        given = self._given(quantity)
        return given if isinstance(given, SiteFile) else build(SiteFile, {"path": given}, f"env.data.files.{quantity}")

    def path_of(self, quantity: str) -> str | None:
        """Where the file of a quantity is; None without one."""
        given = self._given(quantity)
        return given.path if isinstance(given, SiteFile) else given

    def path(self, quantity: str) -> str:
        """Where the file of a quantity is, that is given."""
        return str(self.path_of(quantity))

    def __post_init__(self) -> None:
        if self.timezone is not None:
            check_timezone(self.timezone, "env.data.files.timezone")
        if not 0 <= self.forecast_hour <= 23:
            raise UserError(f"env.data.files.forecast_hour={self.forecast_hour}: must be from 0 to 23")
        for name in FORECASTS:
            if self.path_of(name) is not None and self.path_of(measured(name)) is None:
                raise UserError(
                    f"env.data.files.{name}={self.path_of(name)}: nobody forecasts what is generated; set "
                    f"env.data.files.{measured(name)}= too, or null"
                )
        names = [one.name for one in self.exogenous]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise UserError(f"env.data.files.exogenous: '{double}' stands there twice")


@dataclass(frozen=True)
class DataConfig:
    """All of the scenario data. Generated years have the dates of `calendar_year` in `timezone`."""

    seed: int
    step_minutes: Literal[15, 30, 60]
    calendar_year: int
    timezone: str
    train_years: int
    validation_years: int
    test_years: int
    pv: PvConfig
    mall: MallConfig
    chargers: ChargersConfig
    carbon: CarbonConfig
    files: FilesConfig

    @property
    def dt_h(self) -> float:
        return self.step_minutes / 60.0

    @property
    def steps_per_day(self) -> int:
        return 24 * 60 // self.step_minutes

    def years(self, split: str) -> int:
        """How many years of a split are generated."""
        return {"train": self.train_years, "validation": self.validation_years, "test": self.test_years}[split]

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"env.data.seed={self.seed}: must be from 0 to {SEEDS - 1}")
        if self.step_minutes not in (15, 30, 60):
            raise UserError(f"env.data.step_minutes={self.step_minutes}: must be 15, 30 or 60")
        if not 1971 <= self.calendar_year <= 2200 or isleap(self.calendar_year):
            raise UserError(
                f"env.data.calendar_year={self.calendar_year}: must be a year of 365 days from 1971 to 2200"
            )
        check_timezone(self.timezone)
        check_place("env.data.pv", self.pv.latitude, self.pv.longitude, self.timezone)
        for split in SPLITS:
            if self.years(split) < 1:
                raise UserError(f"env.data.{split}_years={self.years(split)}: must be at least 1")
        if self.chargers.stay_h[0] < self.dt_h:
            raise UserError(
                f"env.data.chargers.stay_h={list(self.chargers.stay_h)}: the shortest stay must be at least a step of "
                f"env.data.step_minutes={self.step_minutes}"
            )


def _positive(section: str, **values: float) -> None:
    for name, value in values.items():
        if not 0.0 < value < float("inf"):
            raise UserError(f"{section}{'' if section.endswith(' ') else '.'}{name}={value}: must be above 0")


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{key}={value}: must be within [{low:g}, {high:g}]")
