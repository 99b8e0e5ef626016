"""`reproduce`: the reference tables of the battery baselines, for the shipped Dutch prices.

The first table follows the methods of published comparisons, on raw prices with the storage program: shares of what
perfect foresight earns over a local calendar year from SOC 0.5 to SOC 0.5. The second runs the planner in the
environment on erroneous forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

import vmax
from vmax.commands.cli import hydra_main, only
from vmax.config import to_mapping
from vmax.conversion import convert
from vmax.data.splits import Years
from vmax.envs.battery import Site
from vmax.envs.bess.optimum import StorageProgram, perfect_foresight
from vmax.envs.bess.planners import MPC, Calibration, PerfectForesight, fit_calibration
from vmax.envs.rollout import rollout
from vmax.errors import UserError

KEYS = ("years", "factors")
DRAWS = 3
PLAN_H = 36
GATE_EUR_PER_MWH = 40.0
HALF_SOC = 0.5


@dataclass(frozen=True)
class Year:
    """Prices of a local year within the whole series: `price[first:last]`, hourly; local hour and day of each step."""

    price: np.ndarray
    hour: np.ndarray
    day: np.ndarray
    utc_day: np.ndarray
    first: int
    last: int


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "reproduce")


def run(composed: DictConfig) -> None:
    """One job of the command: prints the tables. Raises UserError."""
    mapping = only(to_mapping(composed), KEYS)
    years = convert(Years, mapping["years"], "years")
    factors = convert(tuple[float, ...], mapping["factors"], "factors")
    console = Console(width=None if Console().is_terminal else 120)
    if years:
        console.print(price_table(years))
    if factors:
        console.print(forecast_table(factors))


def price_table(years: Sequence[int]) -> Table:
    """Rules and planners on published prices, one row a local year. Raises UserError for a year without prices."""
    env = vmax.make_env("bess")
    local = env.series.local_year
    first, last = local[PLAN_H] + 1, local[-PLAN_H]
    for year in years:
        if not first <= year <= last:
            raise UserError(f"years={list(years)}: {year} is not there; allowed: {first} to {last}")
    rows = {year: shares(env, year) for year in years}
    methods = list(rows[years[0]])[2:]
    table = Table("year", "perfect foresight EUR", "cycles/day", *methods, title="NL day-ahead, share of the optimum")
    for year, (eur, cycles, *others) in ((year, row.values()) for year, row in rows.items()):
        table.add_row(str(year), f"{eur:,.0f}", f"{cycles:.2f}", *(f"{share:.4f}" for share in others))
    return table


def shares(env: Any, number: int) -> dict[str, float]:
    """Of one local year: profit of the optimum in EUR, its cycles per day, and the others' profits as shares of it."""
    site, series = host_site(env), env.series
    rows = np.flatnonzero(series.local_year == number)
    utc_day = series.utc.astype("datetime64[D]").astype(int)
    year = Year(series.values["price"], series.local_hour, series.local_day, utc_day, rows[0], rows[-1] + 1)
    price = year.price[year.first : year.last]
    best = perfect_foresight(site, price, 1.0, HALF_SOC, end_mwh=HALF_SOC * float(site.capacity_mwh))
    courses = {
        "hourly MPC": hourly_mpc(year, site),
        "daily LP": daily_plans(year, site, 0),
        "gated rule": half_day_rule(year, site, GATE_EUR_PER_MWH),
        "ungated": half_day_rule(year, site, 0.0),
        "LP yesterday": daily_plans(year, site, 1),
    }
    return {
        "optimum_eur": best.objective_eur,
        "cycles_per_day": float(best.discharge_mw.sum()) / usable_mwh(site) / (len(price) / 24),
        **{name: replayed_eur(course, price, site) / best.objective_eur for name, course in courses.items()},
    }


def forecast_table(factors: Sequence[float]) -> Table:
    """The planner on erroneous forecasts: raw, corrected by the last error, and shrunk as well; 2023 and 2024."""
    table = Table("factor", "raw", "corrected", "shrunk 0.65", "fitted", title="Capture 2023 / 2024 on forecasts")
    for factor in factors:
        env = vmax.make_env("bess", ["env.information=forecast", f"env.forecast.factor={factor}"])
        fitted = fit_calibration(env)
        planners = [MPC(), MPC(Calibration(fitted.persistence, 1.0)), MPC(Calibration(fitted.persistence, 0.65))]
        captures = [captured(env, [*planners, MPC(fitted)], split) for split in ("validation", "test")]
        table.add_row(str(factor), *(f"{a:.3f} / {b:.3f}" for a, b in zip(*captures, strict=True)))
    return table


def captured(env: Any, planners: list[MPC], split: str) -> list[float]:
    """Mean share of the optimum's profit over the error draws."""
    params = env.params(split)
    starts = env.evaluation_starts(params, split, DRAWS)
    values = []
    for policy in (PerfectForesight(), *planners):
        info = rollout(env, policy, params, starts).info
        values.append(sum(np.asarray(info[k], np.float64).sum() for k in ("profit_eur", "terminal_value_eur")))
    return [value / values[0] for value in values[1:]]


def host_site(env: Any) -> Site:
    """The numbers of the site as floats."""
    site = env.params("train").site
    return replace(site, **{name: np.float64(value) for name, value in site.numbers.items()})


def usable_mwh(site: Site) -> float:
    return float((site.soc_max - site.soc_min) * site.capacity_mwh)


def replayed_eur(power_mw: np.ndarray, price: np.ndarray, site: Site) -> float:
    """Profit of a course carried out as far as the battery can, after wear; energy above or below the start's is worth
    the mean price of the last day."""
    s = {name: float(value) for name, value in site.numbers.items()}
    stored, profit = HALF_SOC * s["capacity_mwh"], 0.0
    for request, p in zip(power_mw, price, strict=True):
        charge = min(max(-request, 0.0), max(s["soc_max"] * s["capacity_mwh"] - stored, 0.0) / s["eta_charge"])
        discharge = min(max(request, 0.0), max(stored - s["soc_min"] * s["capacity_mwh"], 0.0) * s["eta_discharge"])
        stored += charge * s["eta_charge"] - discharge / s["eta_discharge"]
        profit += (discharge - charge) * p - s["wear_eur_per_mwh"] * (discharge + charge)
    return profit + (stored - HALF_SOC * s["capacity_mwh"]) * float(np.mean(price[-24:]))


def hourly_mpc(year: Year, site: Site) -> np.ndarray:
    """36 h replanned every hour: the local day known, from 13:00 the next too, then the same hour of the last day."""
    program = StorageProgram(PLAN_H, 1.0, site)
    day_end = np.searchsorted(year.day, year.day, side="right")
    soc, power = HALF_SOC, np.zeros(year.last - year.first)
    for t in range(year.first, year.last):
        known = day_end[t] if year.hour[t] < 13 else day_end[min(day_end[t], len(year.price) - 1)]
        steps = t + np.arange(PLAN_H)
        steps -= 24 * np.maximum(-(-(steps - known + 1) // 24), 0)
        window = year.price[steps]
        plan = program.solve(window, soc, float(window.mean()))
        power[t - year.first] = plan.power_mw[0]
        soc = float(plan.stored_mwh[0] / site.capacity_mwh)
    return power


def daily_plans(year: Year, site: Site, days_back: int) -> np.ndarray:
    """One plan per UTC day on the prices of `days_back` days before, SOC 0.5 at both ends."""
    power = np.zeros(len(year.price))
    program = StorageProgram(24, 1.0, site, end_mwh=HALF_SOC * float(site.capacity_mwh))
    for day in np.unique(year.utc_day[year.first : year.last]):
        steps = np.flatnonzero(year.utc_day == day)
        if len(steps) == 24:
            power[steps] = program.solve(year.price[steps - 24 * days_back], HALF_SOC).power_mw
    return power[year.first : year.last]


def half_day_rule(year: Year, site: Site, gate: float) -> np.ndarray:
    """Per local half-day the 2 cheapest hours before the 2 dearest, full power, above a mean spread of `gate`."""
    power = np.zeros(year.last - year.first)
    half = year.day[year.first : year.last] * 2 + (year.hour[year.first : year.last] >= 12)
    for number in np.unique(half):
        steps = np.flatnonzero(half == number)
        price = year.price[year.first + steps]
        dear = np.argsort(-price, kind="stable")[:2]
        cheap = np.argsort(price[: dear.min()], kind="stable")[:2]
        if len(cheap) and price[dear].mean() - price[cheap].mean() > gate:
            power[steps[cheap]], power[steps[dear]] = -float(site.power_mw), float(site.power_mw)
    return power
