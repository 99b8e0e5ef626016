"""The user's own series: whole local years of PV, load, carbon intensity and prices from files, units checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vmax.data.calendar import LocalTime, _parse, local_time, read_steps, read_times
from vmax.data.reader import Table, read_table
from vmax.envs.microgrid.data_settings import DataConfig, in_words_of_here
from vmax.errors import UserError

DAYS = 365
TIME_COLUMNS = ("utc", "local", "time")
"""A stamp without an offset is UTC in the first, local in the others."""
SESSION_COLUMNS = ("arrival", "departure", "energy_kwh")
UNIT_OF_COLUMN: dict[str, dict[str, str | None]] = {
    "carbon": {"carbon_kg_per_kwh": None},
    "tariff": {"price_per_kwh": "per_kwh", "price_per_mwh": "per_mwh"},
}
"""Of quantities that have no powers and energies."""
LEAST_YEARS = 3
NEAR = {4: 1.25, 2: 1.1}
"""A total is taken for a slip by the factor where it is this close to it, a ratio."""
THOUSAND = 200.0
"""From this factor on a total is in another unit."""
CAP_EXCESS = 1.02
MOST_CARBON = 5.0
MOST_MEAN_PRICE = 5.0
"""Per kWh: a tariff whose mean is above it is one per MWh, or in a currency for which that has to be said."""
FIXED_WORDS = {
    "set env.data.gaps=segments to split the series there": "fill them in",
    "set env.data.naive_time=local if": "name the time column 'local' if",
    "set env.data.naive_time=utc, or env.data.timezone= to": "set env.data.files.timezone= to",
    ", or set env.data.columns.time= to another column": "",
    "; set env.data.columns.time= to another": "; write them as 2024-01-31 23:00",
}


@dataclass(frozen=True, eq=False)
class FileYears:
    """One quantity in whole local calendar years, the 29th of February left out.

    `years` `[Y]` are calendar years, `utc` `[Y, T]` the begins of their steps, `values` `[Y, T]` float64.
    """

    years: tuple[int, ...]
    utc: np.ndarray
    values: np.ndarray


def words_for(key: str) -> dict[str, str]:
    """What the errors of `vmax.data` are to say of a file that stands at this key of the configuration."""
    return {**FIXED_WORDS, "env.data.path must": f"{key} must", "set env.data.path=FILE": f"set {key}=FILE"}


def read_years(config: DataConfig, quantity: str) -> FileYears:
    """The whole years of one quantity (`pv`, `mall`: kW; `carbon`, `tariff`: per kWh) at the configured steps.

    Finer steps are averaged, energies turned into powers by the step. Raises UserError, one line, for everything about
    the file that is not right.
    """
    path, key = getattr(config.files, quantity), f"env.data.files.{quantity}"
    time_name, name, unit = _columns(config, quantity, path)
    zone = config.files.timezone or config.timezone
    with in_words_of_here(words_for(key)):
        table = read_table(path, {"time": time_name, "value": name})
        naive_time = "utc" if time_name == "utc" else "local"
        table, utc = read_times(table, zone, naive_time)
        dt_h, _ = read_steps(table, utc, config.timezone, naive_time, allow_gaps=False)
    values = read_column(table, "value", at_least=None if quantity == "tariff" else 0.0)
    values = values / {"kWh": dt_h, "per_mwh": 1000.0}.get(str(unit), 1.0)
    if quantity == "tariff":
        _check_price(config, table, values)
    if quantity == "carbon" and values.max() > MOST_CARBON:
        raise UserError(
            f"{table.place(int(np.argmax(values)))}: column '{name}' has {values.max():g} kg per kWh, more than any "
            f"grid; at most {MOST_CARBON:g} are allowed (is it in g per kWh, or kg per MWh? convert it)"
        )
    found = _at_steps(config, table.file, _whole_years(config, table.file, utc, values, dt_h), dt_h)
    if quantity in ("pv", "mall"):
        _check_total(config, quantity, table, unit, dt_h, found)
    return found


def _columns(config: DataConfig, quantity: str, path: str) -> tuple[str, str, str | None]:
    """Names of the time and of the value column, and the unit of the values (None: as the name says)."""
    present = header(path)
    fixed = UNIT_OF_COLUMN.get(quantity)
    by_unit = fixed or {f"{quantity}_kw": "kW", f"{quantity}_kwh": "kWh"}
    allowed = tuple(fixed) if fixed else (*by_unit, quantity)
    if not present:  # reading the table says what is wrong with the file
        return TIME_COLUMNS[0], allowed[0], None
    times = [name for name in TIME_COLUMNS if name in present]
    names = [name for name in allowed if name in present]
    for what, found, choice in (("time", times, TIME_COLUMNS), ("value", names, allowed)):
        if len(found) != 1:
            raise UserError(
                f"{path}: one {what} column is needed, named {' or '.join(choice)}; found: {', '.join(present)}"
            )
    unit = getattr(config.files, f"{quantity}_unit", None) or by_unit.get(names[0])
    if unit is None and not fixed:
        raise UserError(
            f"{path}: column '{names[0]}' does not say its unit; name it {' or '.join(by_unit)}, or set "
            f"env.data.files.{quantity}_unit= to kW or kWh"
        )
    return times[0], names[0], unit


def _check_price(config: DataConfig, table: Table, price_per_kwh: np.ndarray) -> None:
    """Raises UserError for prices that look like prices per MWh, unless their unit is said."""
    mean = float(np.abs(price_per_kwh).mean())
    if mean > MOST_MEAN_PRICE and config.files.tariff_unit is None:
        raise UserError(
            f"{table.file}: column '{table.names['value']}' has a mean |price| of {mean:g} per kWh; if it is per MWh "
            "set env.data.files.tariff_unit=per_mwh, if it is meant set per_kwh"
        )


def header(path: str) -> list[str]:
    """The names of a file's columns; none where it cannot be read."""
    try:
        if path.lower().endswith(".parquet"):
            frame = pd.read_parquet(path)
            frame = frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
        else:
            frame = pd.read_csv(path, dtype=str, encoding="utf-8-sig", nrows=0)
        return [str(name) for name in frame.columns]
    except (OSError, EOFError, ValueError):
        return []


def read_column(table: Table, role: str, at_least: float | None) -> np.ndarray:
    """A column as float64 `[T]`. Raises UserError for the first entry that is no finite number, or too low."""
    values = np.array(pd.to_numeric(table.columns[role], errors="coerce"), np.float64)
    bad = ~np.isfinite(values)
    if at_least is not None:
        bad |= values < at_least
    if bad.any():
        index, name = int(np.argmax(bad)), table.names[role]
        entry, allowed = table.columns[role].iloc[index], "" if at_least is None else f" of at least {at_least:g}"
        found = f"no value in column '{name}'" if pd.isna(entry) else f"'{entry}' in column '{name}'"
        raise UserError(f"{table.place(index)}: {found}; a number{allowed} is needed")
    return values


def _at_steps(config: DataConfig, file: str, found: FileYears, dt_h: float) -> FileYears:
    """The years at the configured steps: means over the finer ones of the file."""
    minutes = round(dt_h * 60)
    if minutes > config.step_minutes:
        raise UserError(
            f"{file}: its steps of {minutes} minutes are longer than env.data.step_minutes={config.step_minutes}; set "
            f"env.data.step_minutes={minutes} or give a finer file"
        )
    parts = config.step_minutes // minutes
    values = found.values.reshape(len(found.years), -1, parts).mean(axis=2)
    return FileYears(found.years, found.utc[:, ::parts], values)


def _whole_years(config: DataConfig, file: str, utc: np.ndarray, values: np.ndarray, dt_h: float) -> FileYears:
    """The local years that the series holds from begin to end; what lies around them is left out."""
    local = local_time(utc, config.timezone)
    kept = np.flatnonzero(~leap_day(local))
    numbers, counts = np.unique(local.year[kept], return_counts=True)
    whole = [int(year) for year, count in zip(numbers, counts, strict=True) if count == round(DAYS * 24 / dt_h)]
    check_years(file, whole, f"{local.date[0]} to {local.date[-1]}")
    rows = kept[np.isin(local.year[kept], whole)].reshape(len(whole), -1)
    return FileYears(tuple(whole), utc[rows], values[rows])


def leap_day(local: LocalTime) -> np.ndarray:
    """Which steps lie in a 29th of February, bool `[T]`."""
    return (local.month == 2) & (local.date.astype("M8[D]") - local.date.astype("M8[M]") == np.timedelta64(28, "D"))


def check_years(file: str, whole: list[int], found: str) -> None:
    """Raises UserError where the whole years do not suffice for a split into train, validation and test."""
    if len(whole) < LEAST_YEARS:
        raise UserError(
            f"{file}: {found} holds {len(whole)} whole local calendar years; at least {LEAST_YEARS} are needed (the "
            "last is the test, the one before it the validation, the others are for training)"
        )


def _check_total(
    config: DataConfig, quantity: str, table: Table, unit: str | None, dt_h: float, found: FileYears
) -> None:
    """The unit contract: kW are not kWh, quarter hours are not hours, and output stays below the inverters' limit."""
    site = config.pv if quantity == "pv" else config.mall
    key, name = f"env.data.{quantity}", table.names["value"]
    total_kwh = float(found.values.sum(axis=1).mean()) * config.dt_h
    guess = _slip(total_kwh / site.annual_kwh, unit, dt_h, f"env.data.files.{quantity}_unit")
    if guess:
        raise UserError(
            f"{table.file}: column '{name}' in {unit} adds up to {total_kwh:.0f} kWh a year, "
            f"{total_kwh / site.annual_kwh:.3g} times {key}.annual_kwh={site.annual_kwh:.0f}; it looks like {guess}; "
            f"if it is meant set {key}.annual_kwh={total_kwh:.0f}"
        )
    most_kw = float(found.values.max())
    if quantity == "pv" and most_kw > config.pv.ac_kw * CAP_EXCESS:
        raise UserError(
            f"{table.file}: column '{name}' in {unit} reaches {most_kw:.6g} kW, above env.data.pv.ac_kw="
            f"{config.pv.ac_kw:g}; it looks like the output before the inverters, or another unit or plant; if it is "
            f"meant set env.data.pv.ac_kw={np.ceil(most_kw):.0f}"
        )


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
        return f"{looks}: then set {key}={'kWh' if unit == 'kW' else 'kW'}"
    if 4 in close:
        looks = (
            "sums of four quarter-hour powers: divide" if ratio > 1.0 else "means of quarter-hour energies: multiply"
        )
        return f"{looks} them by 4"
    return None


def read_session_table(config: DataConfig, file: str, of_all: bool) -> Table:
    """A table of sessions with the roles time (the arrival), departure and energy; `of_all`: with socket, too, which is
    a column socket or charger. Raises UserError for columns that lack."""
    present = header(file)
    names: dict[str, str] = dict(zip(("time", "departure", "energy"), SESSION_COLUMNS, strict=True))
    if of_all and present:
        names["socket"] = next((name for name in ("socket", "charger") if name in present), "socket or charger")
    missing = [name for name in names.values() if name not in present]
    if present and missing:
        raise UserError(f"{file}: no column {missing[0]}; found: {', '.join(present)}")
    with in_words_of_here(words_for("env.data.files.sessions")):
        return read_table(file, names)


def read_moments(table: Table, role: str, config: DataConfig) -> np.ndarray:
    """A column of times as UTC, datetime64[s] `[N]`; without an offset they are local. Raises UserError."""
    column = replace(table, names={"time": table.names[role]}, columns={"time": table.columns[role]})
    with in_words_of_here(FIXED_WORDS):
        stamps, has_offset = _parse(column)
    if not has_offset:
        # of an hour that occurs twice the second is taken
        second = np.zeros(len(stamps), bool)
        zone = config.files.timezone or config.timezone
        local = stamps.tz_localize(zone, ambiguous=second, nonexistent="shift_forward")
        stamps = local.tz_convert("UTC").tz_localize(None)
    return stamps.to_numpy().astype("datetime64[s]")


def read_sockets(table: Table, sockets: int) -> np.ndarray:
    """The number of the socket of each session, int `[N]`: as written, or the place of the charger's name in order."""
    text, name = table.columns["socket"].astype("string").str.strip(), table.names["socket"]
    if text.isna().any():
        raise UserError(f"{table.place(int(np.argmax(text.isna())))}: no value in column '{name}'")
    if name == "charger":
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
