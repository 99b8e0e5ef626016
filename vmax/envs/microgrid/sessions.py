"""Charging sessions: who plugs in at which socket when, for how long, and wants how much; generated or from files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from vmax.data.calendar import LocalTime, local_time
from vmax.data.reader import Table
from vmax.envs.microgrid.data_settings import ChargersConfig, DataConfig
from vmax.envs.microgrid.profiles import root
from vmax.envs.microgrid.reader import (
    SESSION_COLUMNS,
    check_sockets,
    check_years,
    natural_order,
    read_column,
    read_moments,
    read_session_table,
    read_sockets,
)
from vmax.errors import UserError

DAYS = 365
MOST_NEED = 0.95
"""Of what the socket can deliver during the stay: every vehicle can be served if it is charged without delay."""
USUAL_NEED, NEED_RANGE = 0.6, (0.3, 0.9)
"""Shares of what the socket can deliver that are drawn uniformly; they are then scaled to meet the year's total."""
PEAK_RATE = 1.5
"""How many times likelier a vehicle arrives at a free socket in the evening peak."""
WEEKDAY_RATE = np.array([1.0, 1.0, 1.0, 1.0, 1.05, 1.1, 0.9])
DAILY_SPREAD = 0.08
MOST_RATE_PER_H = 20.0
REFERENCE_SEED = 20131
AFTER_CLOSING_H = 1.0
NEED_TYPE = np.float16
"""Half the memory of float32 (80 hourly years of 128 sockets: 180 MB) for errors below 0.05 % of a session's energy."""
STAY_TYPE = np.uint8
"""Holds a day of 25 hours in quarter hours: nobody stays longer in what is generated."""


def socket_power_kw(chargers: ChargersConfig) -> np.ndarray:
    """Rated power of each socket, kW, `[S]`; sockets stand by group."""
    return np.repeat([group.power_kw for group in chargers.groups], [group.sockets for group in chargers.groups])


def arrivals(
    weekday: np.ndarray, chargers: ChargersConfig, rate_per_h: float, dt_h: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Stays in steps and the share of what the socket can deliver that is wanted, each `[DAYS, per day, S]`.

    At each step of the day a vehicle comes to a free socket with probability 1 − exp(−rate·Δt); 0 where none comes.

    Args: weekday of each day, `[DAYS]`; days have 24 hours.
    """
    clock, sockets = np.arange(round(24 / dt_h)) * dt_h, chargers.sockets
    opens, closes = chargers.open_h
    peak = (clock >= chargers.peak_h[0]) & (clock < chargers.peak_h[1])
    rate = rate_per_h * np.where(peak, PEAK_RATE, 1.0) * ((clock >= opens) & (clock < closes))
    day_rate = WEEKDAY_RATE[weekday] * np.exp(DAILY_SPREAD * rng.standard_normal(DAYS))
    chance = -np.expm1(-day_rate[:, None] * rate * dt_h)
    left = np.floor((closes + AFTER_CLOSING_H - clock) / dt_h + 1e-9).astype(np.int64)  # steps until all must be gone
    shortest, longest = (max(1, round(hours / dt_h)) for hours in chargers.stay_h)
    stay = np.zeros((DAYS, len(clock), sockets), np.int16)
    share = np.zeros((DAYS, len(clock), sockets), np.float32)
    free_from = np.zeros((DAYS, sockets), np.int64)
    for step in np.flatnonzero(rate):  # of a day; a handful, for all days and sockets at once
        day, socket = np.nonzero((rng.random((DAYS, sockets)) < chance[:, [step]]) & (free_from <= step))
        length = np.minimum(rng.integers(shortest, longest, len(day), endpoint=True), left[step])
        stay[day, step, socket] = length
        share[day, step, socket] = rng.uniform(*NEED_RANGE, len(day))
        free_from[day, socket] = step + length
    return stay, share


def scale_needs(full_kwh: np.ndarray, share: np.ndarray, target_kwh: float) -> np.ndarray | None:
    """Energy wanted by each session, kWh `[N]`: min(f · share, MOST_NEED) of `full_kwh`, f such that the sum is met.

    None where even sessions that all want the most do not add up to it.
    """

    def wanted(factor: float) -> np.ndarray:
        return np.minimum(factor * share, MOST_NEED) * full_kwh

    highest = MOST_NEED / NEED_RANGE[0]
    if wanted(highest).sum() <= target_kwh:
        return None
    return wanted(root(lambda factor: wanted(factor).sum() - target_kwh, 0.0, highest))


@lru_cache(maxsize=16)
def arrival_rate_per_h(chargers: ChargersConfig, step_minutes: int) -> float:
    """The rate at which the usual need per session gives `annual_kwh`, by bisection on a year of reference sessions.

    Raises UserError for an energy that the sockets cannot deliver.
    """
    dt_h = step_minutes / 60.0
    power_kw = socket_power_kw(chargers)

    def usual_kwh(rate_per_h: float) -> float:
        rng = np.random.default_rng(REFERENCE_SEED)
        stay, _ = arrivals(np.arange(DAYS) % 7, chargers, rate_per_h, dt_h, rng)
        return float(stay.sum(axis=(0, 1)) @ power_kw) * dt_h * USUAL_NEED

    low, high = 0.0, MOST_RATE_PER_H
    most = usual_kwh(high)
    if not chargers.annual_kwh < most:
        raise UserError(
            f"env.data.chargers.annual_kwh={chargers.annual_kwh:g}: must be below {most:.0f}, which all sockets "
            "deliver when they are nearly always taken while open"
        )
    for _ in range(16):
        middle = (low + high) / 2.0
        low, high = (middle, high) if usual_kwh(middle) < chargers.annual_kwh else (low, middle)
    return high


def sessions_year(
    local: LocalTime, chargers: ChargersConfig, target_kwh: float, step_minutes: int, seed: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray]:
    """One year of sessions: energy wanted in kWh, float16, and the stay in steps, uint8, each `[T, S]`.

    Both stand at the step in which the vehicle plugs in and are 0 elsewhere. Raises UserError for a year's total that
    its sessions cannot take.
    """
    dt_h, power_kw = step_minutes / 60.0, socket_power_kw(chargers)
    _, first, of_day = np.unique(local.date, return_index=True, return_inverse=True)
    rate = arrival_rate_per_h(chargers, step_minutes)
    stay, share = arrivals(local.weekday[first], chargers, rate, dt_h, np.random.default_rng(seed))
    day, slot, socket = np.nonzero(stay)
    # From times of days of 24 h to steps: an hour that the clock skips is no step, one that it repeats is the first.
    time_h = np.maximum.accumulate(of_day * 24.0 + local.hour)
    begin_h = day * 24.0 + slot * dt_h
    step, end = (
        np.searchsorted(time_h, when - dt_h / 2.0) for when in (begin_h, begin_h + stay[day, slot, socket] * dt_h)
    )
    there, full_kwh = end > step, (end - step) * power_kw[socket] * dt_h
    step, end, socket, full_kwh = step[there], end[there], socket[there], full_kwh[there]
    wanted = scale_needs(full_kwh, share[stay > 0][there], target_kwh)
    if wanted is None:
        raise UserError(
            f"env.data.chargers.annual_kwh={chargers.annual_kwh:g}, env.data.chargers.year_spread="
            f"{chargers.year_spread:g}: a year of {target_kwh:.0f} kWh is more than its sessions can take; lower one"
        )
    need_kwh = np.zeros((len(time_h), chargers.sockets), NEED_TYPE)
    stay_steps = np.zeros(need_kwh.shape, STAY_TYPE)
    need_kwh[step, socket], stay_steps[step, socket] = wanted, end - step
    return need_kwh, stay_steps


def served_on_arrival_kwh(
    need_kwh: np.ndarray, stay_steps: np.ndarray, chargers: ChargersConfig, dt_h: float
) -> np.ndarray:
    """What charging on arrival delivers to each socket in each step, kWh `[T, S]`, within the limits.

    Every vehicle takes all that it can; where a limit binds, all are cut by the same factor: a group's first, then that
    of all groups.
    """
    power_kwh = socket_power_kw(chargers) * dt_h
    group = np.repeat(np.arange(len(chargers.groups)), [g.sockets for g in chargers.groups])
    limit_kwh = np.array([g.limit_kw for g in chargers.groups]) * dt_h
    missing, left = np.zeros(len(power_kwh)), np.zeros(len(power_kwh), np.int64)
    served = np.zeros(need_kwh.shape)
    for step in range(len(need_kwh)):
        comes = stay_steps[step] > 0
        missing = np.where(comes, need_kwh[step].astype(np.float64), np.where(left > 0, missing, 0.0))
        left = np.where(comes, stay_steps[step], left)
        wish = np.minimum(missing, power_kwh)
        of_group = np.bincount(group, wish, minlength=len(limit_kwh))
        wish = wish * np.minimum(1.0, limit_kwh / np.maximum(of_group, 1e-12))[group]
        wish = wish * min(1.0, chargers.limit_kw * dt_h / max(wish.sum(), 1e-12))
        served[step], missing, left = wish, missing - wish, left - 1
    return served


NEED_EXCESS = 1.001
"""How much more than power × stay a file may say, for its rounding."""
EDGE_DAYS = 31
"""A file's first and last year count as whole if somebody came in their first and last so many days."""


@dataclass(frozen=True, eq=False)
class FileSessions:
    """Sessions of a file, sorted by socket and arrival, each `[N]`: the socket's number, UTC and kWh."""

    file: str
    socket: np.ndarray
    arrival: np.ndarray
    departure: np.ndarray
    energy_kwh: np.ndarray


def read_sessions(config: DataConfig) -> FileSessions:
    """The sessions of a table, or of a folder with one CSV per charger. Sessions of 0 kWh are left out.

    The table's column `socket` has numbers from 0, its column `charger` names; those and the names of the files are
    sorted, numbers in them by size, and stand for the sockets in that order. Raises UserError, one line, for everything
    that is not right.
    """
    path = Path(config.files.path("sessions"))
    if not path.exists():
        raise UserError(f"{path}: no such file or folder (looked in {Path.cwd()}); set env.data.files.sessions=PATH")
    if path.is_dir():
        files = sorted((str(file) for file in path.glob("*.csv")), key=natural_order)
        if not files:
            columns = ", ".join(SESSION_COLUMNS)
            raise UserError(f"{path}: holds no *.csv; one per charger is needed, with the columns {columns}")
        check_sockets(str(path), len(files), config.chargers.sockets)
        parts = [_read_part(config, file, number) for number, file in enumerate(files)]
    else:
        parts = [_read_part(config, str(path), None)]
    socket, arrival, departure, energy_kwh = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("socket", "arrival", "departure", "energy_kwh")
    )
    if not len(socket):
        raise UserError(f"{path}: no session with an energy_kwh above 0")
    return FileSessions(str(path), socket, arrival, departure, energy_kwh)


def _read_part(config: DataConfig, file: str, number: int | None) -> FileSessions:
    """The sessions of one file, checked; of socket `number`, or with a column that tells sockets apart."""
    table = read_session_table(config, file, number is None)
    arrival, departure = read_moments(table, "time", config), read_moments(table, "departure", config)
    # from the first to the second time that the clock shows an hour
    earlier = read_moments(table, "time", config, first=True)
    arrival = np.where((departure <= arrival) & (earlier < departure), earlier, arrival)
    energy_kwh = read_column(table, "energy", at_least=0.0)
    socket = read_sockets(table, config.chargers.sockets) if number is None else np.full(len(arrival), number)
    _check_each(table, socket, arrival, departure, energy_kwh, config.chargers)
    order = np.lexsort((arrival, socket))
    _check_overlaps(table, socket, arrival, departure, order)
    order = order[energy_kwh[order] > 0.0]
    return FileSessions(file, socket[order], arrival[order], departure[order], energy_kwh[order])


def _check_each(
    table: Table,
    socket: np.ndarray,
    arrival: np.ndarray,
    departure: np.ndarray,
    energy_kwh: np.ndarray,
    chargers: ChargersConfig,
) -> None:
    backwards = departure <= arrival
    if backwards.any():
        index = int(np.argmax(backwards))
        raise UserError(
            f"{table.place(index)}: departure {table.columns['departure'].iloc[index]} is not after the arrival"
        )
    power_kw, stay_h = socket_power_kw(chargers)[socket], (departure - arrival).astype(np.int64) / 3600.0
    much = energy_kwh > power_kw * stay_h * NEED_EXCESS
    if much.any():
        index = int(np.argmax(much))
        raise UserError(
            f"{table.place(index)}: energy_kwh {energy_kwh[index]:g} is more than socket {socket[index]} of "
            f"{power_kw[index]:g} kW delivers in {stay_h[index]:.3g} h, {power_kw[index] * stay_h[index]:.4g} kWh; "
            "raise power_kw in env.data.chargers.groups or mend the row (Wh?)"
        )


def _check_overlaps(
    table: Table, socket: np.ndarray, arrival: np.ndarray, departure: np.ndarray, order: np.ndarray
) -> None:
    before, after = order[:-1], order[1:]
    clash = (socket[before] == socket[after]) & (arrival[after] < departure[before])
    if clash.any():
        first, second = before[np.argmax(clash)], after[np.argmax(clash)]
        raise UserError(
            f"{table.place(int(second))}: arrives at socket {socket[second]} while the vehicle of row "
            f"{table.row[first]} is there until {table.columns['departure'].iloc[first]}; one at a time"
        )


def session_years(config: DataConfig, found: FileSessions) -> tuple[int, ...]:
    """The whole local calendar years that the sessions cover. Raises UserError without one."""
    local = local_time(np.sort(found.arrival), config.timezone)
    first, last = int(local.year[0]), int(local.year[-1])
    if local.day_of_year[0] > EDGE_DAYS:
        first += 1
    if local.day_of_year[-1] <= DAYS - EDGE_DAYS:
        last -= 1
    years = [year for year in range(first, last + 1) if (local.year == year).any()]
    check_years(found.file, years, f"sessions from {local.date[0]} to {local.date[-1]}")
    return tuple(years)


def place_sessions(config: DataConfig, found: FileSessions, utc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`need_kwh` `[T, S]` float16 and `stay_steps` `[T, S]` of one year whose steps begin at `utc` `[T]`.

    Arrivals and departures are rounded to steps. A stay is lengthened where its energy would no longer fit, and who
    comes next is then moved by so much: no energy is lost. Where the steps stop or leave out a day, all leave.
    """
    step, dt_h, chargers = np.timedelta64(config.step_minutes * 60, "s"), config.dt_h, config.chargers
    stretch_end = np.append(np.flatnonzero(np.diff(utc) != step) + 1, len(utc))
    inside = (found.arrival >= utc[0] - step // 2) & (found.arrival < utc[-1] + step // 2)
    socket, energy_kwh = found.socket[inside], found.energy_kwh[inside]
    arrives, leaves = (
        np.rint((when[inside] - utc[0]) / step).astype(np.int64) for when in (found.arrival, found.departure)
    )
    power_kwh = socket_power_kw(chargers)[socket] * dt_h
    least = np.maximum(np.ceil(energy_kwh / (NEED_EXCESS * power_kwh)).astype(np.int64), 1)
    arrives, leaves = _queue(socket, arrives, leaves, least)
    row = np.searchsorted(utc, utc[0] + arrives * step)
    kept = (row < len(utc)) & (utc[np.minimum(row, len(utc) - 1)] == utc[0] + arrives * step)
    row, socket, stay = row[kept], socket[kept], (leaves - arrives)[kept]
    stay = np.minimum(stay, stretch_end[np.searchsorted(stretch_end, row, side="right")] - row)
    need_kwh = np.zeros((len(utc), chargers.sockets), NEED_TYPE)
    stay_steps = np.zeros(need_kwh.shape, np.uint16 if stay.max(initial=0) > 255 else STAY_TYPE)
    need_kwh[row, socket] = np.minimum(energy_kwh[kept], power_kwh[kept] * stay)
    stay_steps[row, socket] = stay
    return need_kwh, stay_steps


def _queue(
    socket: np.ndarray, arrives: np.ndarray, leaves: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of each stay in steps, one after the other at each socket, at least so long as its energy takes.

        leaves_i = max(leaves_i, arrives_i + least_i, leaves_{i-1} + least_i)

    unrolled as a running maximum of what is left when the sum of the leasts so far is taken away. Sorted by socket.
    """
    far = int(leaves.max(initial=0) + least.sum() + 1)  # so far apart that one socket does not delay the next
    total = np.cumsum(least)
    own = np.maximum(leaves, arrives + least) + socket * far
    ends = np.maximum.accumulate(own - total) + total - socket * far
    before = np.concatenate([[-far], ends[:-1]])
    same = np.concatenate([[False], np.diff(socket) == 0])
    return np.where(same, np.maximum(arrives, before), arrives), ends
