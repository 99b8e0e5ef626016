"""How a microgrid's policies are judged: over whole years, beside rules, plans and the optimum on the same data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.data.calendar import local_time
from vmax.data.days import DayGroups, season_groups
from vmax.envs.microgrid import kpis, plots
from vmax.envs.microgrid.planners import MPC, PerfectForesight
from vmax.envs.microgrid.rules import Greedy, Level, NoControl, PriorityRules
from vmax.envs.microgrid.settings import TERMS
from vmax.envs.microgrid.state import Start
from vmax.envs.microgrid.tuning import tuned_rules
from vmax.envs.microgrid.years import make_years
from vmax.envs.rollout import Column, Record

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid

NOTHING = "no_control"
START_SHARE = 0.5
"""Of the usable capacity: what a year starts with."""
QUARTILES = ("q1", "q2", "q3", "q4")
SUMMED = ("term_co2", "term_solar", "term_cost", "term_ev", "term_grid", "energy_cost", "demand_cost", "wear_cost",
          "co2_kg", "ev_unmet_kwh", "ev_wanted_kwh")  # fmt: skip


@dataclass(frozen=True)
class MicrogridAssessment:
    """Evaluation of `microgrid` (the protocol is `vmax.evaluation.evaluate.Assessment`): a lane for each year, or for
    each held-out week where the splits share the years."""

    env: Microgrid

    in_money: ClassVar[bool] = False
    fronted: ClassVar[tuple[str, ...]] = ("co2_kg", "cost")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("objective", "objective", 3),
        Column("CO2 t", "co2_t", 1),
        Column("cost {currency}", "cost", 0),
        Column("demand", "demand_cost", 0),
        Column("EV served", "ev_service", 4),
        Column("peak kW", "peak_import_kw", 0),
        Column("{share}", "capture", 3),
        Column("95 % CI", "ci95.capture", 3),
    )
    rules: ClassVar[Mapping[str, str]] = {
        "objective": "weighted sum of the objectives, each over that of no_control on the same data; lower is better; "
        "EV energy that is missing at departure counts as if bought at the dearest and dirtiest hour, demand charge "
        "included, and as a share of what is wanted",
        "profit_eur": "minus the cost, in the currency",
        "cost": "energy, demand charges and wear less what is fed in; of a mean year, as all sums",
        "co2_kg": "emitted by what is imported",
        "co2_avoided_kg": "co2_kg of no_control minus that of the policy",
        "uplift_eur": "weighted objectives of no_control minus those of the policy, in units of no_control's mean step "
        "on the training years; the energy left at the end counts at what it saves",
        "capture": "uplift_eur / uplift_eur of perfect_foresight",
        "cycles_per_day": "AC energy discharged / usable capacity / days",
    }

    def starts(self, params: Any, split: str, error_draws: int, days: int | None = None) -> Start:
        """The years of a split, or its stretches where it shares them, or the first days of each."""
        low, high = params.battery.soc_min, params.battery.soc_max
        soc = low + START_SHARE * (high - low)
        if params.data.blocks is not None:
            year, first, stop = params.data.blocks.T
            most = stop if days is None else jnp.minimum(stop, first + days * self.env.steps_per_day)
            return Start(year=year, time=first, end=most, soc=jnp.full(len(year), soc))
        count = params.data.pv_kw.shape[0]
        begins = jnp.append(params.data.day_begins, jnp.full((count, 1), self.env.year_steps, jnp.int32), axis=1)
        return Start(
            year=jnp.arange(count, dtype=jnp.int32),
            time=jnp.zeros(count, jnp.int32),
            end=begins[:, -1 if days is None else min(days, begins.shape[1] - 1)],
            soc=jnp.full(count, soc),
        )

    def day_starts(self, params: Any, starts: Any) -> np.ndarray:
        """Which steps `[T, L]` of rollouts from `starts` are the first of a local day."""
        begins, longest = np.asarray(params.data.day_begins), int(np.max(np.asarray(starts.end - starts.time)))
        steps = np.asarray(starts.time)[None, :] + np.arange(longest)[:, None]
        return np.stack([np.isin(steps[:, lane], begins[year]) for lane, year in enumerate(starts.year)], axis=1)

    @property
    def lanes(self) -> str:
        """What a lane is."""
        return "years" if self.env.lanes_a_year == 1.0 else "weeks"

    def baselines(self) -> dict[str, Any]:
        """All policies to compare with, by name; the tuned ones tuned."""
        return _baselines(self.env)

    def settings(self) -> dict[str, Any]:
        """What was tuned, and on what."""
        mpc = self.env.config.mpc
        return {
            "chosen_on": "training years, by the objective",
            **tuned_rules(self.env),
            "mpc": {"pv_factor": mpc.pv_factor, "end_factor": mpc.end_factor, "forecast": mpc.forecast},
        }

    def timeseries(self, name: str, record: Record) -> pd.DataFrame:
        """The steps of a rollout as rows."""
        return kpis.timeseries(name, record.info, record.steps, self.env.config.reward.scale)

    def key_figures(self, table: pd.DataFrame, params: Any, starts: Any) -> dict[str, Any]:
        """Figures of one policy from its rows."""
        valued = params.valued
        worst = (float(valued.dearest_per_kwh), float(valued.dirtiest_kg_per_kwh))
        worth = float(valued.price_mean * params.battery.eta_discharge)
        found = kpis.key_figures(table, self.env.config, self.env.dt_h, worst, worth, self.env.lanes_a_year)
        return {**found, "co2_t": found["co2_kg"] / 1000.0}

    def complete(self, figures: dict[str, dict[str, Any]]) -> None:
        """Adds the objective, and what is avoided beside no control."""
        nothing, weights = figures[NOTHING], self.env.config.reward.vector
        for values in figures.values():
            each = self._objectives(values, nothing)
            values["objectives"] = dict(zip(TERMS, each, strict=True))
            values["objective"] = float(np.dot(weights, each))
            values["co2_avoided_kg"] = nothing["co2_kg"] - values["co2_kg"]

    def _objectives(self, values: Mapping[str, Any], nothing: Mapping[str, Any]) -> np.ndarray:
        """The objectives of a policy in the order of `TERMS`, each over that of no control, `[5]`."""
        ratio = lambda key: values[key] / nothing[key] if nothing[key] > 0 else 0.0  # noqa: E731
        unmet = values["ev_unmet_kwh"] / max(nothing["ev_wanted_kwh"], 1e-9)
        grid = 0.5 * ratio("monthly_peak_kw") + 0.5 * ratio("ramping_kw")
        return np.array([ratio("co2_with_unmet_kg"), ratio("surplus_kwh"), ratio("cost_with_unmet"), unmet, grid])

    def weights_at(self, share: float) -> np.ndarray:
        """The weights where cost has this share of what the configuration gives to CO2 and cost together."""
        weights = np.asarray(self.env.config.reward.vector)
        co2, cost = TERMS.index("co2"), TERMS.index("cost")
        both = weights[co2] + weights[cost]
        weights[[co2, cost]] = (1.0 - share) * both, share * both
        return weights

    def reweighted(self, params: Any, share: float) -> Any:
        """The params of a split with these weights."""
        return replace(params, valued=replace(params.valued, weights=jnp.asarray(self.weights_at(share), jnp.float32)))

    def weights_told(self, share: float) -> str:
        """Those weights for people."""
        return ", ".join(f"{name} {weight:.3g}" for name, weight in zip(TERMS, self.weights_at(share), strict=True))

    def share_of(self, weights: tuple[float, ...]) -> float:
        """What cost has of what these weights give to CO2 and cost together."""
        co2, cost = weights[TERMS.index("co2")], weights[TERMS.index("cost")]
        return cost / max(co2 + cost, 1e-9)

    def objective_at(self, share: float, values: Mapping[str, Any], nothing: Mapping[str, Any]) -> float:
        """The weighted objectives of a policy with these weights."""
        return float(np.dot(self.weights_at(share), self._objectives(values, nothing)))

    def daily_value_eur(self, table: pd.DataFrame, starts: Any) -> Mapping[str, np.ndarray]:
        """By day of each lane, `[lanes · days]`, each over the number of years, so that they add up to a mean year:
        minus the cost, and minus the weighted objectives with the worth of what the battery holds at the end."""
        day = self._day(table)
        terms = sum(table[f"term_{name}"].to_numpy(np.float64) for name in TERMS)
        value = -np.bincount(day, terms)
        last = np.append(day[1:] != day[:-1], True) & np.append(np.diff(table["lane"].to_numpy()) != 0, True)
        left_kwh = table["soc_end"].to_numpy(np.float64)[last] * self.env.config.battery.capacity_kwh
        value[day[last]] += left_kwh * _worth(self.env)
        years = (int(table["lane"].to_numpy().max()) + 1) / self.env.lanes_a_year
        profit = -np.bincount(day, table["cost"].to_numpy(np.float64))
        return {"profit_eur": profit / years, "value_eur": value / years}

    def daily_cycles(self, table: pd.DataFrame, params: Any, starts: Any) -> np.ndarray:
        """Energy discharged by day, in units of the usable capacity."""
        battery = self.env.config.battery
        usable_kwh = battery.capacity_kwh * (battery.soc_max - battery.soc_min)
        return np.bincount(self._day(table), table["discharge_kw"].to_numpy(np.float64)) * self.env.dt_h / usable_kwh

    def day_groups(self, table: pd.DataFrame) -> Mapping[str, DayGroups]:
        """The days by season, and by quartile of their PV, from the dullest."""
        day = self._day(table)
        first = np.append(True, day[1:] != day[:-1])
        pv_kwh = np.bincount(day, table["pv_kw"].to_numpy(np.float64)) * self.env.dt_h
        edges = np.quantile(pv_kwh, (0.25, 0.5, 0.75))
        quartile = DayGroups(QUARTILES, np.searchsorted(edges, pv_kwh), {"edges_kwh": edges.tolist()})
        return {"season": season_groups(self._dates(table["utc"].to_numpy()[first])), "pv": quartile}

    def season_days(self, params: Any, split: str) -> tuple[Start, tuple[str, ...]]:
        """Starts and seasons of the days with the median PV of each season of the first year, from midnight on."""
        steps, data = self.env.steps_per_day, params.data
        begins = np.asarray(data.day_begins[0])
        begins = begins[np.diff(begins, append=self.env.year_steps) == steps]  # those on which no clock changes
        begins = begins[make_years(self.env.config.data, split).own[0, begins]]
        pv_kwh = np.asarray(data.pv_kw[0], np.float64)[begins[:, None] + np.arange(steps)].sum(axis=1)
        dates = self._dates(np.asarray(data.minutes[0, begins]).astype("datetime64[m]"))
        groups, first = season_groups(dates), self.starts(params, split, 1)
        days = []
        for season in range(len(groups.names)):
            chosen = np.flatnonzero(groups.of_day == season)
            days.append(chosen[np.argsort(pv_kwh[chosen], kind="stable")[(len(chosen) - 1) // 2]])
        time = jnp.asarray(begins[days], jnp.int32)
        year, soc = jnp.zeros_like(time), jnp.full(len(days), first.soc[0])
        return Start(year, time, time + steps, soc), groups.names

    def season_figure(self, table: pd.DataFrame) -> Figure:
        """Power, import and charge of such days, a column for each."""
        return plots.season_days(table, self.env.config.data.timezone)

    def bound_eur(self, params: Any, starts: Any) -> np.ndarray | None:
        """The plan with perfect foresight is the optimum."""
        return None

    only_plan: ClassVar[bool] = False

    @property
    def currency(self) -> str:
        return self.env.config.billing.currency

    def figures(self, timeseries: pd.DataFrame, policies: list[str]) -> dict[str, Figure]:
        """Pictures by name: a week's energy balance, the duration curve of import, the front of CO2 and cost."""
        shown, zone = list(dict.fromkeys([policies[0], "level", "perfect_foresight"])), self.env.config.data.timezone
        return {
            "week": plots.week(timeseries, policies[0], zone),
            "import_duration": plots.duration(timeseries, shown),
            "co2_and_cost": plots.front(timeseries, self.currency),
            "ev_service": plots.ev_service(timeseries, policies[0], zone),
        }

    def summary(self, record: Record, params: Any, starts: Any) -> dict[str, float]:
        """The few figures of a periodic evaluation. `value_eur` is what counts."""
        valid = np.arange(len(record.info["pv_kw"]))[:, None] < np.asarray(record.steps)
        sums = {key: float(np.asarray(record.info[key], np.float64)[valid].sum()) for key in SUMMED}
        lanes = len(np.asarray(record.steps))
        last, years = np.asarray(record.steps) - 1, lanes / self.env.lanes_a_year
        left = np.asarray(record.info["soc_end"], np.float64)[last, np.arange(lanes)].sum()
        terms = sum(sums[f"term_{name}"] for name in TERMS)
        return {
            "value_eur": left * self.env.config.battery.capacity_kwh * _worth(self.env) - terms,
            "cost": (sums["energy_cost"] + sums["demand_cost"] + sums["wear_cost"]) / years,
            "co2_t": sums["co2_kg"] / 1000.0 / years,
            "ev_service": 1.0 - sums["ev_unmet_kwh"] / max(sums["ev_wanted_kwh"], 1e-9),
        }

    def _dates(self, utc: np.ndarray) -> np.ndarray:
        """The local dates of these times, datetime64[D]."""
        return local_time(utc, self.env.config.data.timezone).date

    def _day(self, table: pd.DataFrame) -> np.ndarray:
        """The number of each row's local day, counted through all lanes."""
        return kpis.days_of_rows(table, self.env.config.data.timezone)


@lru_cache(maxsize=8)
def _worth(env: Microgrid) -> float:
    """What a kWh that is left in the battery saves, in units of no control's mean step."""
    params = env.params("validation")
    return float(params.valued.stored_worth(params.valued.weights, params.battery.eta_discharge))


@lru_cache(maxsize=8)
def _baselines(env: Microgrid) -> dict[str, Any]:
    from vmax.envs.microgrid.tuning import constant_targets, time_of_use

    mpc = env.config.mpc
    return {
        NOTHING: NoControl(),
        "greedy": Greedy(),
        "level": Level(),
        "constant_targets": constant_targets(env),
        "priority_rules": PriorityRules(),
        "time_of_use": time_of_use(env),
        "mpc": MPC(mpc.pv_factor, mpc.end_factor, mpc.forecast),
        "perfect_foresight": PerfectForesight(),
    }
