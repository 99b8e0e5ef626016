"""The user's own series: whole local years of PV, load, carbon intensity and prices from files, units checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from vmax.data.calendar import LocalTime, local_time
from vmax.data.grid import Rows, at_steps, check_not_ends, read_rows
from vmax.data.layout import settings_of
from vmax.data.reader import Table, column_names, numbers_of, read_numbers, read_table
from vmax.data.stamps import parse, to_utc
from vmax.envs.microgrid.data_settings import DataConfig, SiteFile, column_of, measured
from vmax.errors import UserError

DAYS = 365
TIME_COLUMNS = ("utc", "local", "time")
"""A stamp without an offset is UTC in the first, local in the others."""
SESSION_COLUMNS = ("arrival", "departure", "energy_kwh")
UNIT_OF_COLUMN: dict[str, dict[str, str | None]] = {
    "carbon": {"carbon_kg_per_kwh": None},
    "tariff": {"price_per_kwh": "per_kwh", "price_per_mwh": "per_mwh"},
    "exogenous": {"value": None},
}
"""Of quantities that have no powers and energies."""
NEAR = {4: 1.25, 2: 1.1}
"""A total is taken for a slip by the factor where it is this close to it, a ratio."""
THOUSAND = 200.0
"""From this factor on a total is in another unit."""
CAP_EXCESS, FORECAST_EXCESS = 1.02, 1.2
"""Output, and a forecast of it, above the inverters' limit by more is that of another plant, or in another unit."""
MOST_CARBON = 5.0
MOST_MEAN_PRICE = 5.0
"""Per kWh: a tariff whose mean is above it is one per MWh, or in a currency for which that has to be said."""
TO_KW = {"kW": 1.0, "W": 1e-3, "MW": 1e3, "kWh": 1.0, "Wh": 1e-3, "MWh": 1e3}
"""Powers, and energies of a step before they are divided by its hours."""
ENERGIES = ("kWh", "Wh", "MWh")
STANDBY_SHARE = 0.02
"""Of its highest output a plant may draw so much at night."""


@dataclass(frozen=True, eq=False)
class FileYears:
    """One quantity in whole local calendar years, the 29th of February left out.

    `years` `[Y]` are calendar years, `utc` `[Y, T]` the begins of their steps, `values` `[Y, T]` float64.
    """

    years: tuple[int, ...]
    utc: np.ndarray
    values: np.ndarray


def read_years(config: DataConfig, quantity: str, done: list[str]) -> FileYears:
    """The whole years of one quantity (`pv`, `mall` and forecasts of them: kW; `carbon`, `tariff`: per kWh) at the
    configured steps.

    Finer steps are averaged, energies turned into powers by the step; what was done to the file is added to `done`.
    Raises UserError, one line, for everything about the file that is not right.
    """
    file, key = config.files.file(quantity), f"env.data.files.{quantity}"
    time_name, name, unit = _columns(config, quantity, file)
    zone = file.read.timezone or file.timezone or config.files.timezone or config.timezone
    naive_time = file.naive_time or ("utc" if time_name == "utc" else "local")
    before = len(done)
    with settings_of(f"{key}={{path: {file.path}, …}}", key):
        names = {"time": time_name, "value": name} if file.read.begin is None else {"value": name}
        if file.read.period is not None:
            names["period"] = file.read.period
        table = read_table(file.path, names, file.read)
        rows_read = len(table.row)
        table, utc = to_utc(table, zone, naive_time)
        if file.stamps is None:
            check_not_ends(table, utc, zone)
        hold = file.missing_max_steps if file.missing == "hold" else 0
        rows = read_rows(
            table, utc, config.timezone, naive_time, file.stamps, config.step_minutes, hold, False, may_split=False
        )
        table, dt_h = rows.table, rows.minutes / 60.0
        if dt_h.max() > config.dt_h:
            minutes = round(dt_h.max() * 60)
            raise UserError(
                f"{table.file}: its steps of {minutes} minutes are longer than env.data.step_minutes="
                f"{config.step_minutes}; set env.data.step_minutes={minutes} or give a finer file"
            )
        if file.missing == "error":
            values, bridged = read_column(table, "value", 0.0 if measured(quantity) in ("mall", "carbon") else None), 0
        else:
            values, bridged = read_numbers(
                _without(rows), "value", rows.segment, file.missing, file.missing_max_steps, may_be_constant=True
            )
    if bridged:
        done.append(f"{name}: {bridged} missing values {'held' if file.missing == 'hold' else 'interpolated'}")
    if unit == "W_per_kW":
        values = values * config.pv.capacity_kwp / 1000.0
    values = values * (TO_KW.get(str(unit), 1.0) / (dt_h if unit in ENERGIES else 1.0))
    values = values / (1000.0 if unit == "per_mwh" else 1.0)
    if measured(quantity) == "pv":
        values = _without_standby(table, values, done)
    if measured(quantity) in ("pv", "mall", "carbon") and values.min() < 0.0:
        index = int(np.argmin(values))
        entry = table.columns["value"].iloc[index]
        raise UserError(f"{table.place(index)}: '{entry}' in column '{name}'; a number of at least 0 is needed")
    if quantity == "tariff":
        _check_price(config, table, values)
    if quantity == "carbon" and values.max() > MOST_CARBON:
        raise UserError(
            f"{table.place(int(np.argmax(values)))}: column '{name}' has {values.max():g} kg per kWh, more than any "
            f"grid; at most {MOST_CARBON:g} are allowed (is it in g per kWh, or kg per MWh? convert it)"
        )
    steps = at_steps(rows, {"value": values}, config.timezone, done)
    found = _whole_years(config, table.file, steps.utc, steps.values["value"])
    first, last = (np.datetime_as_string(moment, unit="m") for moment in steps.utc[[0, -1]])
    done.insert(
        before,
        f"{Path(table.file).name}: {rows_read} rows read, {quantity} from '{name}'{f' in {unit}' if unit else ''}; "
        f"from {first} to {last} UTC, of which the years {', '.join(map(str, found.years))} are whole",
    )
    if measured(quantity) in ("pv", "mall"):
        _check_total(config, quantity, table, unit, float(dt_h[0]), found)
    return found


def _without(rows: Rows) -> Table:
    """The table with no entry in the rows that the file leaves out."""
    values = rows.table.columns["value"].mask(pd.Series(rows.absent))
    return replace(rows.table, columns={**rows.table.columns, "value": values})


def _without_standby(table: Table, pv_kw: np.ndarray, done: list[str]) -> np.ndarray:
    """PV output with the little that inverters draw at night set to 0; more than that stays, to be refused."""
    below = pv_kw < 0.0
    if not below.any() or pv_kw.min() < -STANDBY_SHARE * pv_kw.max():
        return pv_kw
    done.append(f"{table.names['value']}: {below.sum()} values below 0, down to {pv_kw.min():g} kW, set to 0")
    return np.maximum(pv_kw, 0.0)


def _columns(config: DataConfig, quantity: str, file: SiteFile) -> tuple[str, str, str | None]:
    """Names of the time and of the value column, and the unit of the values (None: as the name says)."""
    fixed = UNIT_OF_COLUMN.get(quantity.partition("[")[0])
    by_unit = fixed or {f"{quantity}_kw": "kW", f"{quantity}_kwh": "kWh"}
    said = getattr(file.columns, column_of(quantity))
    unit = file.unit or getattr(config.files, f"{quantity}_unit", None)
    if said is not None and (file.columns.time is not None or file.read.begin is not None):
        if unit is None and not fixed:
            raise UserError(
                f"{file.path}: the unit of column '{said}' is not said; set unit: kW, kWh, W, Wh, MW or MWh (in "
                f"env.data.files.{quantity})"
            )
        return file.columns.time or "", said, unit
    present = header(file)
    allowed = tuple(fixed) if fixed else (*by_unit, quantity)
    if not present:  # reading the table says what is wrong with the file
        return TIME_COLUMNS[0], allowed[0], None
    times = [file.columns.time] if file.columns.time else [name for name in TIME_COLUMNS if name in present]
    names = [said] if said else [name for name in allowed if name in present]
    for what, found, choice in (("time", times, TIME_COLUMNS), ("value", names, allowed)):
        if len(found) != 1 and not (what == "time" and file.read.begin is not None):
            raise UserError(
                f"{file.path}: one {what} column is needed, named {' or '.join(choice)}; found: {', '.join(present)}"
            )
    unit = unit or by_unit.get(names[0])
    if unit is None and not fixed:
        raise UserError(
            f"{file.path}: column '{names[0]}' does not say its unit; name it {' or '.join(by_unit)}, or set "
            f"{_unit_setting(quantity)} to kW or kWh"
        )
    return times[0] if times else "", names[0], unit


def _check_price(config: DataConfig, table: Table, price_per_kwh: np.ndarray) -> None:
    """Raises UserError for prices that look like prices per MWh, unless their unit is said."""
    mean = float(np.abs(price_per_kwh).mean())
    said = config.files.tariff_unit or config.files.file("tariff").unit
    if mean > MOST_MEAN_PRICE and said is None:
        raise UserError(
            f"{table.file}: column '{table.names['value']}' has a mean |price| of {mean:g} per kWh; if it is per MWh "
            "set env.data.files.tariff_unit=per_mwh, if it is meant set per_kwh"
        )


def header(file: SiteFile) -> list[str]:
    """The names of a file's columns; none where it cannot be read."""
    try:
        return column_names(file.path, file.read)
    except (UserError, OSError, EOFError, ValueError):
        return []


def read_column(table: Table, role: str, at_least: float | None) -> np.ndarray:
    """A column as float64 `[T]`. Raises UserError for the first entry that is no finite number, or too low."""
    with settings_of(f"env.data.files={{path: {table.file}, …}}"):
        values = numbers_of(table, role)
    bad = ~np.isfinite(values)
    if at_least is not None:
        bad |= values < at_least
    if bad.any():
        index, name = int(np.argmax(bad)), table.names[role]
        entry, allowed = table.columns[role].iloc[index], "" if at_least is None else f" of at least {at_least:g}"
        found = f"no value in column '{name}'" if pd.isna(entry) else f"'{entry}' in column '{name}'"
        raise UserError(f"{table.place(index)}: {found}; a number{allowed} is needed")
    return values


def _whole_years(config: DataConfig, file: str, utc: np.ndarray, values: np.ndarray) -> FileYears:
    """The local years that the series holds from begin to end; what lies around them is left out."""
    local = local_time(utc, config.timezone)
    kept = np.flatnonzero(~leap_day(local))
    numbers, counts = np.unique(local.year[kept], return_counts=True)
    whole = [int(year) for year, count in zip(numbers, counts, strict=True) if count == DAYS * config.steps_per_day]
    check_years(file, whole, f"{local.date[0]} to {local.date[-1]}")
    rows = kept[np.isin(local.year[kept], whole)].reshape(len(whole), -1)
    return FileYears(tuple(whole), utc[rows], values[rows])


def leap_day(local: LocalTime) -> np.ndarray:
    """Which steps lie in a 29th of February, bool `[T]`."""
    return (local.month == 2) & (local.date.astype("M8[D]") - local.date.astype("M8[M]") == np.timedelta64(28, "D"))


def check_years(file: str, whole: list[int], found: str) -> None:
    """Raises UserError without a whole year."""
    if not whole:
        raise UserError(f"{file}: {found} holds no whole local calendar year; at least one is needed")


def _check_total(
    config: DataConfig, quantity: str, table: Table, unit: str | None, dt_h: float, found: FileYears
) -> None:
    """The unit contract: kW are not kWh, quarter hours are not hours, and output stays below the inverters' limit."""
    site = config.pv if measured(quantity) == "pv" else config.mall
    key, name = f"env.data.{measured(quantity)}", table.names["value"]
    total_kwh = float(found.values.sum(axis=1).mean()) * config.dt_h
    guess = _slip(total_kwh / site.annual_kwh, unit, dt_h, _unit_setting(quantity))
    if guess:
        raise UserError(
            f"{table.file}: column '{name}' in {unit} adds up to {total_kwh:.0f} kWh a year, "
            f"{total_kwh / site.annual_kwh:.3g} times {key}.annual_kwh={site.annual_kwh:.0f}; it looks like {guess}; "
            f"if it is meant set {key}.annual_kwh={total_kwh:.0f}"
        )
    most_kw = float(found.values.max())
    excess = CAP_EXCESS if quantity == "pv" else FORECAST_EXCESS
    if measured(quantity) == "pv" and most_kw > config.pv.ac_kw * excess:
        raise UserError(
            f"{table.file}: column '{name}' in {unit} reaches {most_kw:.6g} kW, above env.data.pv.ac_kw="
            f"{config.pv.ac_kw:g}; it looks like the output before the inverters, or another unit or plant; if it is "
            f"meant set env.data.pv.ac_kw={np.ceil(most_kw):.0f}"
        )


def _unit_setting(quantity: str) -> str:
    """The setting that says the unit of a quantity."""
    return f"env.data.files.{quantity}_unit=" if quantity in ("pv", "mall") else f"unit: (in env.data.files.{quantity})"


def _slip(ratio: float, unit: str | None, dt_h: float, key: str) -> str | None:
    """What a total that is `ratio` times the site's looks like; None where nothing is wrong.

    `ratio` is that of the values taken in `unit` at the file's step of `dt_h` hours.
    """
    factor = max(ratio, 1.0 / max(ratio, 1e-12))
    if factor >= THOUSAND:
        return f"a unit a thousand times too {'small (W or Wh)' if ratio > 1.0 else 'large (MW or MWh)'}; convert it"
    close = [number for number, tolerance in NEAR.items() if number / tolerance <= factor <= number * tolerance]
    if round(1.0 / dt_h) in close and (unit == "kW") == (ratio < 1.0):
        looks = f"energies of {round(dt_h * 60)} minutes in kWh" if unit == "kW" else "powers in kW"
        return f"{looks}: then set {key}{'kWh' if unit == 'kW' else 'kW'}"
    if 4 in close:
        looks = (
            "sums of four quarter-hour powers: divide" if ratio > 1.0 else "means of quarter-hour energies: multiply"
        )
        return f"{looks} them by 4"
    return None


def read_session_table(config: DataConfig, path: str, of_all: bool) -> Table:
    """A table of sessions with the roles time (the arrival), departure and energy; `of_all`: with socket, too, which is
    a column socket or charger. Raises UserError for columns that lack."""
    file = replace(config.files.file("sessions"), path=path)
    said = file.columns
    present = header(file)
    given = (said.arrival, said.departure, said.energy_kwh)
    names = {
        role: name or plain
        for role, name, plain in zip(("time", "departure", "energy"), given, SESSION_COLUMNS, strict=True)
    }
    if of_all and present:
        socket = said.charger or next((name for name in ("socket", "charger") if name in present), "socket or charger")
        names["socket"] = socket
    missing = [name for name in names.values() if name not in present]
    if present and missing:
        raise UserError(f"{path}: no column {missing[0]}; found: {', '.join(present)}")
    with settings_of(f"env.data.files.sessions={{path: {file.path}, …}}", "env.data.files.sessions"):
        return read_table(path, names, file.read)


def read_moments(table: Table, role: str, config: DataConfig, first: bool = False) -> np.ndarray:
    """A column of times as UTC, datetime64[s] `[N]`; without an offset they are local. Raises UserError.

    `first`: of an hour that the clock shows twice the first is taken, else the second.
    """
    file = config.files.file("sessions")
    column = replace(table, names={"time": table.names[role]}, columns={"time": table.columns[role]})
    with settings_of(f"env.data.files.sessions={{path: {file.path}, …}}", "env.data.files.sessions"):
        found = parse(column)
    stamps = found.clock
    if not found.has_offset and file.naive_time != "utc":
        zone = file.read.timezone or file.timezone or config.files.timezone or config.timezone
        local = stamps.tz_localize(zone, ambiguous=np.full(len(stamps), first), nonexistent="shift_forward")
        stamps = local.tz_convert("UTC").tz_localize(None)
    return stamps.to_numpy().astype("datetime64[s]")


def read_sockets(table: Table, sockets: int) -> np.ndarray:
    """The number of the socket of each session, int `[N]`: as written, or the place of the charger's name in order."""
    text, name = table.columns["socket"].astype("string").str.strip(), table.names["socket"]
    if text.isna().any():
        raise UserError(f"{table.place(int(np.argmax(text.isna())))}: no value in column '{name}'")
    if name != "socket":
        chargers = sorted(text.unique(), key=natural_order)
        check_sockets(table.file, len(chargers), sockets)
        return text.map({charger: number for number, charger in enumerate(chargers)}).to_numpy(np.int64)
    numbers = np.array(pd.to_numeric(text, errors="coerce"), np.float64)
    bad = ~np.isin(numbers, np.arange(sockets))
    if bad.any():
        index = int(np.argmax(bad))
        raise UserError(
            f"{table.place(index)}: '{text.iloc[index]}' in column 'socket'; whole numbers from 0 to {sockets - 1} are "
            "allowed (env.data.chargers.groups), or names in a column charger"
        )
    return numbers.astype(np.int64)


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts charger_2 before charger_10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def check_sockets(place: str, found: int, sockets: int) -> None:
    """Raises UserError for more chargers than sockets."""
    if found > sockets:
        raise UserError(
            f"{place}: {found} chargers, but env.data.chargers.groups has {sockets} sockets; add sockets there"
        )
