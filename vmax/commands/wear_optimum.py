"""How near `wear` comes to the optimum under each model: programs against each other, plans against bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from rich.table import Table

from vmax.envs.bess import dynamic_program, foresight
from vmax.envs.bess.baselines import DoNothing
from vmax.envs.bess.planners import PerfectForesight, lane_of, lane_sites

if TYPE_CHECKING:
    from vmax.commands.wear import Case

HEADER = ("model", "what", "eur", "against", "against_eur", "ratio")


def optimum_rows(case: Case, used_soh: float) -> list[tuple[Any, ...]]:
    """Rows of `HEADER` for the same prices under four models of wear; `used_soh` is where Xu's begins.

    Against a bound where that is all there is (`foresight.kind`), and no row where not even that.
    """
    soh = case.env.config.degradation.start_soh
    rows = []
    for model, start_soh in (("throughput", soh), ("cardo_miota", soh), ("rainflow", soh), ("xu", used_soh)):
        one = case.under(model, start_soh)
        kind = foresight.kind(one.env)
        if kind == "bound":
            rows.append(_of_bound(model if start_soh == soh else f"{model}, from SOH {start_soh:g}", one))
        elif kind == "optimum" and np.max(one.env.config.battery.self_discharge_per_h) == 0.0:
            rows.append(_programs(one) if model == "throughput" else _replayed(one))
    return rows


def optimum_table(rows: list[tuple[Any, ...]], currency: str) -> Table:
    """The rows for the terminal."""
    heads = ("wear", "what", currency, "against", currency, "ratio")
    table = Table(*heads, title="With every price known", title_justify="left")
    for model, what, eur, against, of_eur, ratio in rows:
        table.add_row(model, what, f"{eur:,.0f}", against, f"{of_eur:,.0f}", f"{ratio:.7f}")
    return table


def _programs(case: Case) -> tuple[Any, ...]:
    """The dynamic program against the linear one, where wear is a price on throughput."""
    linear = dynamic = 0.0
    for start, site in _starts(case):
        lane = lane_of(case.env, case.params, start, site)
        held_eur = lane.end_value_eur_per_mwh * lane.soc * float(lane.site.capacity_mwh)
        price = np.array([float(lane.site.wear_eur_per_mwh)])
        wear = dynamic_program.Wear(price, np.zeros(0), lane.starts_half)
        plan = dynamic_program.optimise(
            lane.site, lane.price_eur_per_mwh, case.env.dt_h, lane.soc, wear, lane.end_value_eur_per_mwh, lane.pv_mw
        )
        dynamic += plan.schedule.objective_eur - held_eur
        linear += foresight.plans(case.env, case.params, lane)[0].objective_eur - held_eur
    return "throughput", "dynamic program", dynamic, "linear program", linear, dynamic / linear


def _replayed(case: Case) -> tuple[Any, ...]:
    """What the dynamic program's schedule earns in the environment against its own reckoning."""
    plan = PerfectForesight().schedule
    reckoned = sum(plan(case.env, case.params, start, site)[1] for start, site in _starts(case))
    earned = _value_eur(case, case.plan())
    return "cardo_miota", "dynamic program, carried out", earned, "as it reckons", reckoned, earned / reckoned


def _of_bound(name: str, case: Case) -> tuple[Any, ...]:
    """The uplift of the best plan that was tried against that of the bound."""
    bound = case.env.assessment.bound_eur(case.params, case.starts)
    assert bound is not None
    nothing = _value_eur(case, DoNothing())
    uplift, most = _value_eur(case, case.plan()) - nothing, float(bound.sum()) - nothing
    return name, "uplift of the best plan tried", uplift, "bound", most, uplift / most


def _starts(case: Case) -> list[tuple[Any, Any]]:
    """Start and site of each lane."""
    sites = lane_sites(case.env, case.params, case.starts)
    return [(jax.tree.map(lambda leaf: leaf[lane], case.starts), site) for lane, site in enumerate(sites)]  # noqa: B023


def _value_eur(case: Case, policy: Any) -> float:
    """Profit with the value of the energy left."""
    table = case.timeseries("plan", policy)
    return float(case.env.assessment.daily_value_eur(table, case.starts)["value_eur"].sum())
