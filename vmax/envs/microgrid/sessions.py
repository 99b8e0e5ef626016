"""Seeded charging sessions: who plugs in at which socket when, for how long, and how much energy is wanted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vmax.envs.microgrid.data_settings import ChargersConfig
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


def socket_power_kw(chargers: ChargersConfig) -> np.ndarray:
    """Rated power of each socket, kW, `[S]`; sockets stand by group."""
    return np.repeat([group.power_kw for group in chargers.groups], [group.sockets for group in chargers.groups])


def stay_type(step_minutes: int) -> type[np.unsignedinteger]:
    """Holds a day of such steps."""
    return np.uint8 if 24 * 60 // step_minutes <= 255 else np.uint16


def arrivals(
    hour: np.ndarray,
    weekday: np.ndarray,
    chargers: ChargersConfig,
    rate_per_h: float,
    dt_h: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Stays in steps and the share of what the socket can deliver that is wanted, each `[DAYS, per day, S]`.

    At each step of the day a vehicle comes to a free socket with probability 1 − exp(−rate·Δt); 0 where none comes.

    Args: local clock and weekday of each step, `[DAYS · per day]`.
    """
    per_day, sockets = len(hour) // DAYS, chargers.sockets
    clock = hour.reshape(DAYS, per_day)
    opens, closes = chargers.open_h
    peak = (clock >= chargers.peak_h[0]) & (clock < chargers.peak_h[1])
    day_rate = WEEKDAY_RATE[weekday.reshape(DAYS, per_day)] * np.exp(DAILY_SPREAD * rng.standard_normal((DAYS, 1)))
    rate = rate_per_h * np.where(peak, PEAK_RATE, 1.0) * day_rate * ((clock >= opens) & (clock < closes))
    chance = -np.expm1(-rate * dt_h)
    left = np.floor((closes + AFTER_CLOSING_H - clock) / dt_h + 1e-9).astype(np.int64)  # steps until all must be gone
    shortest, longest = (max(1, round(hours / dt_h)) for hours in chargers.stay_h)
    stay = np.zeros((DAYS, per_day, sockets), np.int16)
    share = np.zeros((DAYS, per_day, sockets), np.float32)
    free_from = np.zeros((DAYS, sockets), np.int64)
    for step in np.flatnonzero(chance.any(axis=0)):  # of a day; a handful, for all days and sockets at once
        day, socket = np.nonzero((rng.random((DAYS, sockets)) < chance[:, [step]]) & (free_from <= step))
        length = np.minimum(rng.integers(shortest, longest, len(day), endpoint=True), left[day, step])
        stay[day, step, socket] = length
        share[day, step, socket] = rng.uniform(*NEED_RANGE, len(day))
        free_from[day, socket] = step + length
    return stay, share


def scale_needs(full_kwh: np.ndarray, share: np.ndarray, target_kwh: float) -> np.ndarray | None:
    """Energy wanted by each session, kWh `[N]`: min(f · share, MOST_NEED) of `full_kwh`, f such that the sum is met.

    None where even sessions that all want the most do not add up to it.
    """
    from scipy.optimize import brentq

    def wanted(factor: float) -> np.ndarray:
        return np.minimum(factor * share, MOST_NEED) * full_kwh

    highest = MOST_NEED / NEED_RANGE[0]
    if wanted(highest).sum() <= target_kwh:
        return None
    return wanted(float(brentq(lambda factor: wanted(factor).sum() - target_kwh, 0.0, highest, xtol=1e-9)))


@lru_cache(maxsize=16)
def arrival_rate_per_h(chargers: ChargersConfig, step_minutes: int) -> float:
    """The rate at which the usual need per session gives `annual_kwh`, by bisection on a year of reference sessions.

    Raises UserError for an energy that the sockets cannot deliver.
    """
    dt_h = step_minutes / 60.0
    step = np.arange(DAYS * 24 * 60 // step_minutes)
    hour, weekday = step * dt_h % 24.0, (step * dt_h // 24.0).astype(int) % 7
    power_kw = socket_power_kw(chargers)

    def usual_kwh(rate_per_h: float) -> float:
        rng = np.random.default_rng(REFERENCE_SEED)
        stay, _ = arrivals(hour, weekday, chargers, rate_per_h, dt_h, rng)
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
    hour: np.ndarray,
    weekday: np.ndarray,
    chargers: ChargersConfig,
    target_kwh: float,
    step_minutes: int,
    seed: np.random.SeedSequence,
) -> tuple[np.ndarray, np.ndarray]:
    """One year of sessions: energy wanted in kWh, float16, and the stay in steps, uint8 or uint16, each `[T, S]`.

    Both stand at the step in which the vehicle plugs in and are 0 elsewhere. Raises UserError for a year's total that
    its sessions cannot take.
    """
    dt_h, power_kw = step_minutes / 60.0, socket_power_kw(chargers)
    rng = np.random.default_rng(seed)
    stay, share = arrivals(hour, weekday, chargers, arrival_rate_per_h(chargers, step_minutes), dt_h, rng)
    stay, share = stay.reshape(len(hour), -1), share.reshape(len(hour), -1)
    step, socket = np.nonzero(stay)
    wanted = scale_needs(stay[step, socket] * power_kw[socket] * dt_h, share[step, socket], target_kwh)
    if wanted is None:
        raise UserError(
            f"env.data.chargers.annual_kwh={chargers.annual_kwh:g}, env.data.chargers.year_spread="
            f"{chargers.year_spread:g}: a year of {target_kwh:.0f} kWh is more than its sessions can take; lower one"
        )
    need_kwh = np.zeros(stay.shape, NEED_TYPE)
    need_kwh[step, socket] = wanted
    return need_kwh, stay.astype(stay_type(step_minutes))


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
