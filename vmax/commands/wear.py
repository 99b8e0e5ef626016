"""`wear`: what the models of wear say of one and the same dispatch, their curves, what pricing wear does to a plan, and
how near plans come to the optimum.

The dispatch is the linear program's plan with every price known and wear at `battery.wear_eur_per_mwh`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import jax.numpy as jnp
import numpy as np
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

import vmax
from vmax.commands.cli import hydra_main, only
from vmax.commands.wear_optimum import HEADER as OPTIMUM_HEADER
from vmax.commands.wear_optimum import optimum_rows, optimum_table
from vmax.config import to_mapping
from vmax.conversion import convert
from vmax.envs import battery
from vmax.envs.bess import depth_stress, plots
from vmax.envs.bess.degradation import CardoMiotaLinear, Throughput, WearNumbers, cycle_cost_eur_per_mwh
from vmax.envs.bess.degradation_config import DegradationConfig
from vmax.envs.bess.planners import PerfectForesight
from vmax.envs.rollout import rollout
from vmax.errors import UserError
from vmax.files import write_csv
from vmax.plotting import canvas, save

KEYS = ("split", "days", "overrides")
MODELS: tuple[str, ...] = get_args(get_type_hints(DegradationConfig)["model"])
HEADER = ("model", "wear_eur", "eur_per_mwh", "soh_loss_percent", "years_to_end_of_life", "wear_overflows")
USED_SOH = 0.93
"""For a second row of `xu`: cells whose early film has formed."""
YEAR_H = 8760.0


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "wear")


def run(composed: DictConfig) -> None:
    """One job of the command: prints the table, writes it and the figures. Raises UserError."""
    mapping = only(to_mapping(composed), KEYS)
    split = convert(Literal["train", "validation", "test"], mapping["split"], "split")
    days = convert(int | None, mapping["days"], "days")
    overrides = convert(tuple[str, ...], mapping["overrides"], "overrides")
    if days is not None and days < 7:
        raise UserError(f"days={days}: must be at least 7, or null for all")
    folder = Path(HydraConfig.get().runtime.output_dir)
    case = Case.of(split, days, overrides)
    dispatch = case.plan()
    rows = [one_dispatch(case.under(model, soh), dispatch) for model, soh in _variants(case.env)]
    currency = case.env.series.currency
    console = Console(width=None if Console().is_terminal else 120)
    console.print(wear_table(rows, currency))
    write_csv(folder / "wear.csv", HEADER, rows)
    near = optimum_rows(case, USED_SOH)
    console.print(optimum_table(near, currency))
    write_csv(folder / "wear_optimum.csv", OPTIMUM_HEADER, near)
    save(curves(case.env.config.degradation), folder / "wear_curves.png")
    figure, earned = priced_or_not(case)
    save(figure, folder / "wear_priced.png")
    told = ", ".join(f"{name} {eur:,.0f}" for name, eur in earned.items())
    print(f"profit under depth buckets, {currency}: {told}")
    print(f"{folder}: wear.csv, wear_optimum.csv, wear_curves.png, wear_priced.png")


@dataclass(frozen=True)
class Case:
    """The battery on the lanes of a split, under one model of wear."""

    env: Any
    params: Any
    starts: Any

    @classmethod
    def of(cls, split: str, days: int | None, overrides: Sequence[str]) -> Case:
        """With wear as a price on throughput."""
        env = vmax.make_env("bess", [*overrides, "env.degradation.model=throughput"])
        params = env.params(split)
        return cls(env, params, env.evaluation_starts(params, split, 1, days))

    def under(self, model: Any, soh: float) -> Case:
        """The same under another model, from a state of health; prices and all that is fitted to them are shared."""
        config = replace(self.env.config.degradation, model=model, start_soh=soh)
        env = type(self.env)(replace(self.env.config, degradation=config))
        return Case(env, replace(self.params, wear=WearNumbers.of(config)), self.starts)

    def plan(self, wear_eur_per_mwh: float | None = None) -> Any:
        """The plan with perfect foresight; with another price of throughput."""
        params = self.params
        if wear_eur_per_mwh is not None:
            price = jnp.full_like(params.site.wear_eur_per_mwh, wear_eur_per_mwh)
            params = replace(params, site=replace(params.site, wear_eur_per_mwh=price))
        return PerfectForesight().course(self.env, params, self.starts)

    def timeseries(self, name: str, course: Any) -> pd.DataFrame:
        """What a course does here, by step."""
        return self.env.assessment.timeseries(name, rollout(self.env, course, self.params, self.starts))


def _variants(env: Any) -> list[tuple[str, float]]:
    """Models and the state of health that each begins with."""
    soh = env.config.degradation.start_soh
    return [*((model, soh) for model in MODELS), *([("xu", USED_SOH)] if soh > USED_SOH else [])]


def one_dispatch(case: Case, dispatch: Any) -> list[Any]:
    """What a model says of the dispatch: a row of `HEADER`."""
    env, config = case.env, case.env.config.degradation
    model, soh = config.model, config.start_soh
    table = case.timeseries(model, dispatch)
    figures = env.assessment.key_figures(table, case.params, case.starts)
    moved_mwh = float((table["charge_mw"] + table["discharge_mw"]).to_numpy().sum()) * env.dt_h
    years = len(table) * env.dt_h / YEAR_H
    left = config.end_of_life_loss - (1.0 - soh)
    loss = figures["soh_loss"]
    return [
        model if soh == 1.0 else f"{model}, from SOH {soh:g}",
        figures["wear_cost_eur"],
        figures["wear_cost_eur"] / moved_mwh,
        100.0 * loss,
        left / (loss / years),
        figures.get("wear_overflows", 0),
    ]


def wear_table(rows: Sequence[Sequence[Any]], currency: str) -> Table:
    """The rows for the terminal."""
    heads = ("model", f"wear {currency}", f"{currency}/MWh", "ΔSOH %", "years at that rate", "overflows")
    table = Table(*heads, title="One dispatch, several models of wear", title_justify="left")
    for model, cost, per_mwh, loss, years, overflows in rows:
        table.add_row(model, f"{cost:,.0f}", f"{per_mwh:.1f}", f"{loss:.2f}", f"{years:.1f}", str(overflows))
    return table


# --- figures --------------------------------------------------------------------------------------------------------


def curves(config: DegradationConfig) -> Figure:
    """Cost of one cycle by its depth under each model, per MWh moved; and the life that one cycle a day leaves to Xu et
    al."""
    depth = np.linspace(0.01, 1.0, 200)
    with canvas(9, 3.6, ncols=2) as (figure, (cost, life)):
        for model in MODELS:
            cost.plot(100 * depth, _cycle_eur_per_mwh(config, model, depth), label=model, linewidth=1.7)
        cost.set(
            title="Wear of one cycle, EUR per MWh moved",
            xlabel="depth, % of capacity",
            ylim=(0, 1.4 * cost.get_ylim()[1]),
        )
        cost.legend(ncols=2, loc="upper left")
        for temperature_c, colour in ((15.0, "#64b5f6"), (25.0, "#1565c0"), (35.0, "#d81b60")):
            years = [_years_of_xu(config, d, temperature_c) for d in depth]
            life.plot(100 * depth, years, label=f"{temperature_c:g} °C", color=colour, linewidth=1.7)
        share = 100 * (1 - config.end_of_life_loss)
        life.set(title=f"xu: years to {share:g} %, one cycle a day", xlabel="depth, % of capacity", ylim=(0, None))
        life.legend()
    return figure


def _cycle_eur_per_mwh(config: DegradationConfig, model: str, depth: np.ndarray) -> np.ndarray:
    """Cost of a cycle of each depth around a charge of 0.5, per MWh in and out of the cells; `xu` without film and
    time."""
    chosen = replace(config, model=model)  # pyright: ignore[reportArgumentType]
    numbers, replacement = WearNumbers.of(chosen), config.replacement_eur_per_mwh
    own = {name: np.asarray(value, np.float64) for name, value in numbers.model.items()}
    if model == "cardo_miota":
        stress = depth_stress.bucket_stress(depth, own["depth_limits"], own["stress"])
        return stress * float(cycle_cost_eur_per_mwh(numbers)) / 2.0
    if model == "rainflow":
        return replacement * depth_stress.power_law(depth, own["life_share_per_cycle"], own["exponent"]) / (2 * depth)
    if model == "xu":
        stress = depth_stress.xu_cycle(own, depth, np.float64(0.5), np.float64(config.temperature_c))
        return replacement * (1.0 - own["film_share"]) * stress / config.end_of_life_loss / (2 * depth)
    env = vmax.make_env("bess").config
    site = battery.Site.of(env.battery, env.plant)
    price = (Throughput() if model == "throughput" else CardoMiotaLinear()).price_eur_per_mwh(numbers, site)
    return np.full_like(depth, float(price))


def _years_of_xu(config: DegradationConfig, depth: float, temperature_c: float) -> float:
    """Years until the end of life at one cycle of this depth a day around a charge of 0.5, new cells."""
    k, temperature = vars(config.xu), np.float64(temperature_c)
    days = np.arange(0.0, 40 * 365)
    a_day = depth_stress.xu_cycle(k, np.float64(depth), np.float64(0.5), temperature)
    a_day += depth_stress.xu_calendar(k, np.float64(24.0), np.float64(0.5), temperature)
    return float(np.interp(config.end_of_life_loss, depth_stress.xu_life(k, days * a_day), days) / 365)


def priced_or_not(case: Case) -> tuple[Figure, Mapping[str, float]]:
    """The same week planned with wear ignored and with the wear of depth buckets priced, both paying the latter; and
    the profit of the whole split."""
    buckets = case.under("cardo_miota", case.env.config.degradation.start_soh)
    courses = {"wear ignored": case.plan(0.0), "wear priced": buckets.plan()}
    tables = {name: buckets.timeseries(name, course) for name, course in courses.items()}
    series = case.env.series
    figure = plots.week(pd.concat(tables.values()), list(tables), series.timezone, series.currency)
    return figure, {name: float(table["profit_eur"].to_numpy().sum()) for name, table in tables.items()}
