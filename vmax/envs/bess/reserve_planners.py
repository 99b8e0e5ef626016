"""What plans energy and reserve together: the receding horizon and the optimum (`reserve_program.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.battery import Site
from vmax.envs.bess.planners import (
    BatteryPlanner,
    Belief,
    View,
    actions_of,
    believed_prices,
    continued,
    known_to,
    lane_of,
    lane_sites,
)
from vmax.envs.bess.reserve_program import ReserveMarket, ReservePlan, ReserveProgram
from vmax.envs.bess.scenarios import row_of
from vmax.envs.course import Course

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess


@struct.dataclass
class ReserveView(View):
    """What the planner reads besides: pay of reserve `[W]`, block starts `[W]`, what is promised."""

    up_eur_per_mw_h: Any
    down_eur_per_mw_h: Any
    opens: Any
    promised_mw: Any


@dataclass(frozen=True)
class ReserveMPC(BatteryPlanner):
    """As `planners.MPC`, with bids: plans energy and reserve of the whole window anew at every step.

    Reserve prices beyond those published repeat the last known ones of the same clock hour. Calls are planned at their
    mean; what they really took shows in the charge at the next step.
    """

    belief: Belief = "as_is"

    def view(self, env: Bess, state: Any, params: Any) -> ReserveView:
        known = known_to(self.belief, env, state, params)
        market, per_day = known.reserve, env.steps_per_day
        assert market is not None
        return ReserveView(
            price_eur_per_mwh=believed_prices(known, per_day, self.belief),
            pv_mw=known.pv_mw,
            soc=state.soc,
            local_hour=known.local_hour[0],
            up_eur_per_mw_h=continued(market.past_up_eur_per_mw_h, market.up_eur_per_mw_h, market.mask, per_day),
            down_eur_per_mw_h=continued(market.past_down_eur_per_mw_h, market.down_eur_per_mw_h, market.mask, per_day),
            opens=market.opens,
            promised_mw=jnp.stack([state.reserve.up_mw, state.reserve.down_mw]),
        )

    def start(self, env: Bess, params: Any, starts: Any) -> list[ReserveProgram]:
        rules = env.config.reserve
        calls = rules.expected_call() if rules.called else (0.0, 0.0)
        return [ReserveProgram(env.window, env.dt_h, site, rules, calls) for site in lane_sites(env, params, starts)]

    def decide(self, view: ReserveView, active: np.ndarray, memory: list[ReserveProgram]) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        decision = np.zeros((len(memory), 3))
        for lane in np.flatnonzero(active):
            price = view.price_eur_per_mwh[lane]
            market = ReserveMarket(
                view.up_eur_per_mw_h[lane],
                view.down_eur_per_mw_h[lane],
                view.opens[lane],
                tuple(view.promised_mw[lane].tolist()),
            )
            plan = memory[lane].solve(price, float(view.soc[lane]), market, float(price.mean()), view.pv_mw[lane])
            decision[lane] = plan.power_mw[0], plan.up_mw[0], plan.down_mw[0]
        return decision


@dataclass(frozen=True)
class ReserveForesight:
    """The optimum of energy and reserve with every price of the lane, and every call, known beforehand.

    With calls it is the best course that delivers each of them and keeps the backing at the end of every schedule.
    """

    def course(self, env: Bess, params: Any, starts: Any) -> Course:
        """The best actions of each lane."""
        length = int(np.max(np.asarray(starts.end) - np.asarray(starts.time)))
        decision = np.zeros((3, len(starts.time), length), np.float32)
        sites = lane_sites(env, params, starts)
        for lane, site in enumerate(sites):
            start = jax.tree.map(lambda leaf: leaf[lane], starts)  # noqa: B023
            plan, _ = self.plan(env, params, start, site)
            decision[:, lane, : len(plan.power_mw)] = plan.power_mw, plan.up_mw, plan.down_mw
        return Course(actions_of(env, params, starts, *jnp.asarray(decision)))

    def plan(self, env: Bess, params: Any, start: Any, site: Site) -> tuple[ReservePlan, float]:
        """The best plan of one lane, and its profit with the value of the change in stored energy, EUR."""
        lane = lane_of(env, params, start, site)
        price, pv_mw, value = lane.price_eur_per_mwh, lane.pv_mw, lane.end_value_eur_per_mwh
        first, rules = int(start.time), env.config.reserve
        rows = slice(row_of(first, env.dt_h), row_of(int(start.end), env.dt_h))
        told = params.scenarios.reserve
        opens = np.asarray(told.opens[rows]) > 0.5
        market = ReserveMarket(np.asarray(told.up_eur_per_mw_h[rows]), np.asarray(told.down_eur_per_mw_h[rows]), opens)
        calls = (0.0, 0.0)
        if rules.called:
            path = np.asarray(params.reserve.calls, np.float64)
            call = path[(first + int(start.error_offset) + np.arange(len(price))) % len(path)]
            calls = np.maximum(call, 0.0), np.maximum(-call, 0.0)
        program = ReserveProgram(len(price), env.dt_h, site, rules, calls)
        plan = program.best(price, float(start.soc), market, value, pv_mw)
        return plan, plan.flows.objective_eur - value * float(start.soc) * float(site.capacity_mwh)
