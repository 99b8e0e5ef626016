"""Policies that solve the storage program of `optimum.py` as they go; they run on the host.

Their contract and the loop that runs them stand in `vmax.envs.course`. Each lane keeps its own HiGHS model, so a solve
starts from the basis of the step before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.battery import Site
from vmax.envs.bess import foresight
from vmax.envs.bess.foresight import Lane
from vmax.envs.bess.known import Known
from vmax.envs.bess.optimum import Schedule, StorageProgram
from vmax.envs.bess.scenarios import row_of
from vmax.envs.course import Course, follow
from vmax.envs.rollout import rollout

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

Array = jax.Array


@struct.dataclass
class View:
    """What a planner reads: the prices it believes in `[W]`, PV `[W]`, state of charge and local hour."""

    price_eur_per_mwh: Any
    pv_mw: Any
    soc: Any
    local_hour: Any


@dataclass(frozen=True)
class Calibration:
    """How forecasts are corrected: the last error dies out as `persistence`^k, and the rest is shrunk to the trailing
    hour-of-day mean with `weight` on the forecast."""

    persistence: float
    weight: float


@dataclass(frozen=True)
class Single:
    """One of the data's own forecasts alone, by its number."""

    number: int


Belief = Calibration | Single | Literal["as_is", "estimate"]
"""What a planner makes of forecasts: takes them (of several the mean) as they are, corrects them, takes one alone, or
reads the estimate that observations hold."""


class BatteryPlanner(ABC):
    """What the planners of a battery share (the contract is `vmax.envs.course.Planner`): they decide on an AC power."""

    @abstractmethod
    def view(self, env: Bess, state: Any, params: Any) -> View:
        """What the planner may read at this step, for one environment."""

    @abstractmethod
    def start(self, env: Bess, params: Any, starts: Any) -> Any:
        """The memory of L lanes before their first step."""

    @abstractmethod
    def decide(self, view: View, active: np.ndarray, memory: Any) -> np.ndarray:
        """AC power in MW, discharge positive, `[L]`, or with upward and downward bids `[L, 3]`, for the lanes that are
        `active`; `memory` is changed in place."""

    def action(self, env: Bess, state: Any, params: Any, decision: Array) -> Array:
        """The action `[A]` of a decision, for one environment."""
        power_mw, *bids_mw = jnp.atleast_1d(decision)
        return env.action_for_power(power_mw, state, params, *bids_mw)

    def course(self, env: Bess, params: Any, starts: Any) -> Course:
        """What the planner does in the lanes `starts`."""
        return follow(env, self, params, starts)


@dataclass(frozen=True)
class MPC(BatteryPlanner):
    """Plans the whole window anew at every step and carries out its first step.

    Steps beyond what is known repeat the last known price of the same clock hour (with a calibration: the trailing
    hour-of-day mean). Energy stored at the end of the window is valued at the window's mean price.
    """

    belief: Belief = "as_is"

    def view(self, env: Bess, state: Any, params: Any) -> View:
        known = known_to(self.belief, env, state, params)
        price = believed_prices(known, env.steps_per_day, self.belief)
        return View(price, known.pv_mw, state.seen_soc, known.local_hour[0])

    def start(self, env: Bess, params: Any, starts: Any) -> list[StorageProgram]:
        return [StorageProgram(env.window, env.dt_h, site) for site in lane_sites(env, params, starts)]

    def decide(self, view: View, active: np.ndarray, memory: list[StorageProgram]) -> np.ndarray:
        power_mw = np.zeros(len(memory))
        for lane in np.flatnonzero(active):
            price = view.price_eur_per_mwh[lane]
            schedule = memory[lane].solve(
                price, float(view.soc[lane]), float(price.mean()), np.asarray(view.pv_mw[lane])
            )
            power_mw[lane] = schedule.power_mw[0]
        return power_mw


@dataclass
class DayPlan:
    """A lane's program over one day and the rest of the course that it has set."""

    program: StorageProgram
    course_mw: np.ndarray


@dataclass(frozen=True)
class YesterdaysPlan(BatteryPlanner):
    """At local midnight the best schedule for the prices of the day before, with the battery half full at its end."""

    def view(self, env: Bess, state: Any, params: Any) -> View:
        known = env.known(state, params)
        day = env.steps_per_day
        return View(known.past_price_eur_per_mwh[-day:], known.pv_mw[:day], state.seen_soc, known.local_hour[0])

    def start(self, env: Bess, params: Any, starts: Any) -> list[DayPlan]:
        return [
            DayPlan(
                StorageProgram(env.steps_per_day, env.dt_h, site, end_mwh=0.5 * float(site.capacity_mwh)), np.zeros(0)
            )
            for site in lane_sites(env, params, starts)
        ]

    def decide(self, view: View, active: np.ndarray, memory: list[DayPlan]) -> np.ndarray:
        power_mw = np.zeros(len(memory))
        for lane in np.flatnonzero(active):
            day = memory[lane]
            if view.local_hour[lane] == 0:
                price, pv_mw = view.price_eur_per_mwh[lane], view.pv_mw[lane]
                day.course_mw = day.program.solve(price, float(view.soc[lane]), pv_mw=pv_mw).power_mw
            if len(day.course_mw):
                power_mw[lane], day.course_mw = day.course_mw[0], day.course_mw[1:]
        return power_mw


@dataclass(frozen=True)
class PerfectForesight:
    """The best plan with every price of the lane known beforehand (`foresight.py`): no policy, but a mark for all of
    them."""

    def course(self, env: Bess, params: Any, starts: Any) -> Course:
        """The best actions of each lane."""
        plans = [foresight.plans(env, params, lane) for lane in _lanes(env, params, starts)]
        courses = [self._following(env, params, starts, list(schedules)) for schedules in zip(*plans, strict=True)]
        if len(courses) == 1:
            return courses[0]
        best = np.argmax([_earned_eur(env, course, params, starts) for course in courses], axis=0)
        return Course(jnp.stack([courses[plan].actions[lane] for lane, plan in enumerate(best)]))

    def _following(self, env: Bess, params: Any, starts: Any, schedules: list[Schedule]) -> Course:
        """The course that follows one schedule in each lane."""
        power_mw = np.zeros((len(schedules), max(len(schedule.power_mw) for schedule in schedules)))
        for row, schedule in zip(power_mw, schedules, strict=True):
            row[: len(schedule.power_mw)] = schedule.power_mw
        return Course(actions_of(env, params, starts, jnp.asarray(power_mw, jnp.float32)))

    def schedule(self, env: Bess, params: Any, start: Any, site: Site) -> tuple[Schedule, float]:
        """The best schedule of one lane (the first plan where there are several), and its profit by its own reckoning
        with the value of the change in stored energy, EUR."""
        lane = lane_of(env, params, start, site)
        schedule = foresight.plans(env, params, lane)[0]
        return schedule, schedule.objective_eur - lane.end_value_eur_per_mwh * lane.soc * float(site.capacity_mwh)


def bound_eur(env: Bess, params: Any, starts: Any) -> list[np.ndarray] | None:
    """Of each lane what no policy exceeds in sum, by step (`foresight.bound_eur`); None where perfect foresight is the
    optimum, or where there is none."""
    if foresight.kind(env) != "bound":
        return None
    return [foresight.bound_eur(env, params, lane) for lane in _lanes(env, params, starts)]


def _lanes(env: Bess, params: Any, starts: Any) -> list[Lane]:
    lanes = []
    for number, site in enumerate(lane_sites(env, params, starts)):
        start = jax.tree.map(lambda leaf: leaf[number], starts)  # noqa: B023
        lanes.append(lane_of(env, params, start, site))
    return lanes


def lane_of(env: Bess, params: Any, start: Any, site: Site) -> Lane:
    """What is known beforehand of the lane that begins at `start`."""
    return Lane.of(env, params, start, site, float(_terminal_price(env, params, start)))


def _earned_eur(env: Bess, course: Course, params: Any, starts: Any) -> np.ndarray:
    """Profit and value of the energy left of a course, by lane, `[L]`."""
    record = rollout(env, course, params, starts)
    valid = np.arange(course.actions.shape[1])[:, None] < np.asarray(record.steps)
    info = {key: np.asarray(record.info[key], np.float64) for key in ("profit_eur", "terminal_value_eur")}
    return np.where(valid, info["profit_eur"] + info["terminal_value_eur"], 0.0).sum(axis=0)


def lane_sites(env: Bess, params: Any, starts: Any) -> list[Site]:
    """The numbers of the site in each lane, on the host."""
    columns = jax.tree.map(lambda value: np.asarray(value, np.float64), _sites(env, params, starts))
    return [jax.tree.map(lambda column: column[lane], columns) for lane in range(len(starts.time))]  # noqa: B023


@partial(jax.jit, static_argnames="env")
def _sites(env: Bess, params: Any, starts: Any) -> Site:
    """Numbers of the site `[L]`."""
    return jax.vmap(lambda start: env.site(env.reset(jax.random.key(0), params, start)[0], params))(starts)


@partial(jax.jit, static_argnames="env")
def _terminal_price(env: Bess, params: Any, start: Any) -> Array:
    """Value of one stored MWh at the end of a lane, EUR/MWh."""
    state = replace(env.reset(jax.random.key(0), params, start)[0], time=start.end)
    return env.terminal_price(params, state, env.site(state, params))


def actions_of(env: Bess, params: Any, starts: Any, *decision: Array) -> Array:
    """Actions `[L, T, A]` that request powers, and bid reserve, `[L, T]` each, from the first step of each lane on."""

    def lane(start: Any, *decision: Array) -> Array:
        state = env.reset(jax.random.key(0), params, start)[0]

        def at(step: Array, power_mw: Array, *bids_mw: Array) -> Array:
            return env.action_for_power(power_mw, replace(state, time=state.time + step), params, *bids_mw)

        return jax.vmap(at)(jnp.arange(len(decision[0])), *decision)

    return jax.vmap(lane)(starts, *decision)


def known_to(belief: Belief, env: Bess, state: Any, params: Any) -> Known:
    """What a planner with this belief knows: of several forecasts perhaps one alone."""
    if isinstance(belief, Single):
        one = params.scenarios.forecasts_eur_per_mwh[:, belief.number]
        params = replace(params, scenarios=replace(params.scenarios, quoted_eur_per_mwh=one))
    return env.known(state, params)


def believed_prices(known: Known, steps_per_day: int, belief: Belief) -> Array:
    """The prices that an MPC plans with, `[W]`: known or forecast, continued, corrected or estimated."""
    if isinstance(belief, Calibration):
        return calibrated(known, belief.persistence, belief.weight)
    if belief == "estimate" and known.forecasts_eur_per_mwh is not None:
        return continued(known.past_price_eur_per_mwh, known.expected_price_eur_per_mwh, known.mask, steps_per_day)
    if belief == "estimate":
        return jnp.where(known.mask, known.expected_price_eur_per_mwh, known.profile_eur_per_mwh)
    return repeat_last_day(known, steps_per_day)


def repeat_last_day(known: Known, steps_per_day: int) -> Array:
    """Known prices, continued by the last known price of the same clock hour, `[W]`."""
    return continued(known.past_price_eur_per_mwh, known.price_eur_per_mwh, known.mask, steps_per_day)


def continued(before: Array, ahead: Array, mask: Array, steps_per_day: int) -> Array:
    """Values `ahead` `[W]` as far as the mask goes, then the last of the same clock hour, from `before` `[H]` on."""
    window, past = mask.shape[0], before.shape[0]
    count = mask.sum()
    step = jnp.arange(window)
    days_back = jnp.maximum(-(-(step - count + 1) // steps_per_day), 0)
    everything = jnp.concatenate([before, ahead])
    return everything[past + step - days_back * steps_per_day]


def calibrated(known: Known, persistence: Any, weight: Any) -> Array:
    """Corrected prices m + w·(f − ρ^k·e − m), k steps after the last error; m (trailing hour-of-day mean) where
    nothing is known, `[W]`."""
    ahead = known.error_age + jnp.arange(known.mask.shape[0])
    forecast = known.price_eur_per_mwh - persistence**ahead * known.last_error_eur_per_mwh
    mean = known.profile_eur_per_mwh
    return jnp.where(known.mask, mean + weight * (forecast - mean), mean)


@lru_cache(maxsize=8)
def fit_calibration(env: Bess, samples: int = 4096) -> Calibration:
    """Persistence and weight by least squares over steps spread evenly over the training split.

    A plan lives on price differences within its window, so the weight is fitted to these: the window's mean is taken
    out of both sides. Published prices need no correction. In an auction the steps are the beginnings of days.
    """
    if not env.config.uncertain:
        return Calibration(0.0, 1.0)
    now, actual = _training_looks(env, samples)
    next_error = now.price_eur_per_mwh[:, 0] - actual[:, 0]
    error = now.last_error_eur_per_mwh / now.spread_eur_per_mwh
    if not error.any():
        return Calibration(0.0, 1.0)
    persistence = float(jnp.vdot(error, next_error / now.spread_eur_per_mwh) / jnp.vdot(error, error))
    corrected = jax.vmap(calibrated, in_axes=(0, None, None))(now, persistence, 1.0)
    scale = 1.0 / now.spread_eur_per_mwh[:, None]
    regressor, target = (_centred((price - now.profile_eur_per_mwh) * scale, now.mask) for price in (corrected, actual))
    return Calibration(persistence, float(jnp.vdot(regressor, target) / jnp.vdot(regressor, regressor)))


@lru_cache(maxsize=8)
def best_single(env: Bess, days: int = 1000) -> Single:
    """The forecast on which plans earn most in the training split: one for each of so many local days, spread evenly,
    made when the day begins with the battery half full, settled at the prices that came; energy left at their mean."""
    params = env.params("train")
    begins = np.asarray(params.scenarios.day_starts)
    begins = begins[np.linspace(0, len(begins) - 1, min(days, len(begins))).astype(int)]
    known, actual = _looks(env, begins)
    assert known.forecasts_eur_per_mwh is not None
    one = jax.tree.map(lambda leaf: leaf[:1], env.evaluation_starts(params, "train"))
    site, day = lane_sites(env, params, one)[0], env.steps_per_day
    program = StorageProgram(env.window, env.dt_h, site)
    past, mask, price = known.past_price_eur_per_mwh, known.mask, np.asarray(actual, np.float64)
    earned_eur = []
    for forecast in jnp.moveaxis(known.forecasts_eur_per_mwh, 1, 0):
        prices = np.asarray(jax.vmap(continued, (0, 0, 0, None))(past, forecast, mask, day), np.float64)
        pv_mw = np.asarray(known.pv_mw, np.float64)
        plans = [program.solve(p, 0.5, float(p.mean()), pv) for p, pv in zip(prices, pv_mw, strict=True)]
        power_mw = np.stack([plan.power_mw[:day] for plan in plans])
        left_mwh = np.array([plan.stored_mwh[day - 1] for plan in plans])
        paid = power_mw * price[:, :day] - np.abs(power_mw) * float(site.wear_eur_per_mwh)
        earned_eur.append(float(paid.sum()) * env.dt_h + float((left_mwh * price.mean(axis=1)).sum()))
    return Single(int(np.argmax(earned_eur)))


def _training_looks(env: Bess, samples: int) -> tuple[Known, Array]:
    """What is known at steps spread evenly over the training split, and the prices that came, `[S, W]`."""
    params = env.params("train")
    lanes = env.evaluation_starts(params, "train")
    first, last = np.asarray(lanes.time), np.asarray(lanes.end) - env.window - 1
    times = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    if params.scenarios.issued is not None:
        times = times[np.asarray(params.scenarios.issued)[row_of(times, env.dt_h)] == times]
    return _looks(env, times[np.linspace(0, len(times) - 1, min(samples, len(times))).astype(int)])


def _looks(env: Bess, times: np.ndarray) -> tuple[Known, Array]:
    """What is known at these steps of the training split, and the prices that came, `[S, W]`."""
    params = env.params("train")
    lanes, pick = env.evaluation_starts(params, "train"), jnp.zeros(len(times), jnp.int32)
    starts = replace(jax.tree.map(lambda leaf: leaf[pick], lanes), time=jnp.asarray(times, jnp.int32))

    def look(start: Any) -> tuple[Known, Array]:
        state = env.reset(jax.random.key(0), params, start)[0]
        row = row_of(state.time, env.dt_h)
        actual = jax.lax.dynamic_slice(params.scenarios.price_eur_per_mwh, (row,), (env.window,))
        return env.known(state, params), actual

    return jax.jit(jax.vmap(look))(starts)


def _centred(values: Array, mask: Array) -> Array:
    """Values `[S, W]` minus their mean over the window, 0 where the mask is false."""
    mean = jnp.sum(values, axis=1, where=mask) / mask.sum(axis=1)
    return jnp.where(mask, values - mean[:, None], 0.0)
