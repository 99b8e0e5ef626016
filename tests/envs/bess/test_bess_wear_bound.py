"""What no schedule exceeds: the linear wear stays below the model's on any course, and the report says bound."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
import rainflow
from hypothesis import given
from hypothesis import strategies as st
from small_bess import bess_on, wavy_prices

from vmax.envs.bess import foresight
from vmax.envs.bess.assessment import BessAssessment
from vmax.envs.bess.baselines import DoNothing
from vmax.envs.bess.foresight import Lane, _underestimate
from vmax.envs.bess.planners import PerfectForesight, _lanes, bound_eur
from vmax.envs.course import Course
from vmax.envs.rollout import rollout
from vmax.evaluation.evaluate import OF_BOUND, RULES, compare, evaluate
from vmax.evaluation.table import _table
from vmax.evaluation.validation import Validation


@given(
    charges=st.lists(st.integers(0, 64), min_size=3, max_size=40),
    parts=st.lists(st.booleans(), min_size=40, max_size=40),
    exponent=st.sampled_from([1.0, 1.3, 2.03, 4.0]),
)
def test_sweeps_of_windows_never_wear_more_than_the_cycles(charges, parts, exponent):
    series = np.asarray(charges) / 64
    cycles = sum(count * depth**exponent for depth, _, count, *_ in rainflow.extract_cycles(series))
    cuts = [0, *(i for i in range(1, len(series) - 1) if parts[i]), len(series) - 1]
    windows = [series[a : b + 1] for a, b in pairwise(cuts)]  # both ends belong to a window
    assert sum(0.5 * np.ptp(window) ** exponent for window in windows) <= cycles * (1 + 1e-9)


FEW = "env.observation.features=[soc,price_mean,price_scale,price_level]"
"""Features; fewer compile faster."""
BOUNDED = {
    "rainflow": ["env.degradation.model=rainflow"],
    "used cells": ["env.degradation.model=xu", "env.degradation.start_soh=0.9"],
    "leaking buckets": ["env.degradation.model=cardo_miota", "env.battery.self_discharge_per_h=0.002"],
    "shrinking, rainflow": [
        "env.degradation.model=rainflow",
        "env.degradation.feedback=true",
        "env.degradation.rainflow.life_share_per_cycle=0.01",
    ],
    "shrinking, xu": ["env.degradation.model=xu", "env.degradation.feedback=true"],
    "shrinking, throughput": ["env.degradation.feedback=true"],
}


@pytest.fixture(scope="module", params=BOUNDED)
def bounded(request):
    env = bess_on(wavy_prices(), *BOUNDED[request.param], "env.action.dead_band=0", FEW)
    params = env.params("test")
    starts = env.evaluation_starts(params, "test")
    return env, params, starts, _lanes(env, params, starts)[0]


def linear_eur(wear, lane: Lane, info) -> float:
    """The wear of the bound on what happened."""
    charge, discharge, soc, end = (
        np.asarray(info[key][:, 0], np.float64) for key in ("charge_mw", "discharge_mw", "soc", "soc_end")
    )
    stored = 0.5 * (soc + end) * float(lane.site.capacity_mwh)
    total = wear.ac_eur_per_mwh * (charge + discharge) + wear.discharge_eur_per_mwh * discharge
    total = (total + wear.stored_eur_per_mwh * stored + wear.step_eur).sum()
    if wear.tangents is not None:
        first = np.append(0, np.flatnonzero(lane.starts_sweep[1:]) + 1)
        for a, b in zip(first, [*first[1:], len(soc)], strict=True):
            depth = np.ptp(np.append(soc[a], end[a:b]))
            total += max(0.0, (wear.tangents[:, 0] * depth + wear.tangents[:, 1]).max())
    return total


def test_linear_wear_stays_below_the_models_on_any_course(bounded):
    env, params, starts, lane = bounded
    wear = _underestimate(env, params, lane)
    count = len(lane.price_eur_per_mwh)
    rng = np.random.default_rng(0)
    for size, persistence in ((1.0, 0.0), (1.0, 0.9), (0.2, 0.5), (0.0, 0.0)):
        noise = rng.uniform(-size, size, count)
        for t in range(1, count):
            noise[t] = noise[t - 1] if rng.uniform() < persistence else noise[t]
        info = rollout(env, Course(jnp.asarray(noise, jnp.float32)[None, :, None]), params, starts).info
        paid = float(np.asarray(info["wear_cost_eur"], np.float64).sum())
        assert linear_eur(wear, lane, info) <= paid * (1 + 1e-4) + 1e-3


def test_no_plan_earns_more_than_the_bound(bounded):
    env, params, starts, _ = bounded
    assert foresight.kind(env) == "bound"
    lanes = bound_eur(env, params, starts)
    assert lanes is not None and len(lanes[0]) == int(starts.end[0] - starts.time[0])
    info = rollout(env, PerfectForesight(), params, starts).info
    best = float(np.asarray(info["profit_eur"] + info["terminal_value_eur"], np.float64).sum())
    idle = rollout(env, Course(jnp.zeros((1, len(lanes[0]), 1))), params, starts).info
    nothing = float(np.asarray(idle["profit_eur"] + idle["terminal_value_eur"], np.float64).sum())
    assert nothing - 1e-3 <= best <= lanes[0].sum() + 1e-3
    if not env.config.degradation.feedback and env.config.degradation.model != "xu":
        assert best - nothing > 0.3 * (lanes[0].sum() - nothing)  # and is of use


def test_the_bound_is_the_optimum_where_the_linear_wear_is_exact():
    """Feedback that never shrinks anything: the bound of throughput is what the linear program earns."""
    env = bess_on(wavy_prices(), FEW, "env.degradation.feedback=true", "env.degradation.replacement_eur_per_mwh=1e12")
    params = env.params("test")
    starts = env.evaluation_starts(params, "test")
    lanes = bound_eur(env, params, starts)
    assert lanes is not None
    info = rollout(env, PerfectForesight(), params, starts).info
    best = float(np.asarray(info["profit_eur"] + info["terminal_value_eur"], np.float64).sum())
    held = float(_lanes(env, params, starts)[0].end_value_eur_per_mwh) * (0.5 - 0.1) * 3.5  # the slack for feedback
    assert lanes[0].sum() - held == pytest.approx(best, rel=1e-4)


def test_captures_are_shares_of_the_bound():
    figures: dict = {name: {} for name in ("do_nothing", "perfect_foresight", "best")}
    daily = {
        name: {"value_eur": np.full(14, value), "profit_eur": np.full(14, value)}
        for name, value in (("do_nothing", -1.0), ("perfect_foresight", 5.0), ("best", 2.0))
    }
    optimum = compare(figures, daily, 10, 0, np.full(14, 9.0))
    assert optimum == {"kind": "bound", "value_eur": 9.0 * 14, "uplift_eur": 10.0 * 14}
    assert figures["best"]["capture"] == pytest.approx(0.3)
    assert figures["perfect_foresight"]["capture"] == pytest.approx(0.6)
    assert compare(figures, daily, 10, 0) == {"kind": "optimum", "value_eur": 5.0 * 14, "uplift_eur": 6.0 * 14}
    assert figures["best"]["capture"] == pytest.approx(0.5)


def test_result_and_table_say_bound_or_optimum(monkeypatch):
    few = {"do_nothing": DoNothing(), "perfect_foresight": PerfectForesight()}
    monkeypatch.setattr(BessAssessment, "baselines", lambda self: few)
    monkeypatch.setattr(BessAssessment, "settings", lambda self: {})
    for overrides, kind, rule, heading in (
        (["env.degradation.model=rainflow"], "bound", OF_BOUND, "of bound"),
        ([], "optimum", RULES["capture"], "capture"),
    ):
        env = bess_on(wavy_prices(30), *overrides, FEW)
        result = evaluate(env, {}, "test", error_draws=1, bootstrap=10, max_episode_steps=1000).result
        assert (result["optimum"]["kind"], result["rules"]["capture"]) == (kind, rule)
        assert heading in [column.header for column in _table(result, "EUR").columns]
        assert result["policies"]["perfect_foresight"]["capture"] <= 1.0
        assert (kind == "optimum") == (result["policies"]["perfect_foresight"]["capture"] == 1.0)
        score = Validation(env, None, "test", 1, max_episode_steps=1)
        assert score.best_eur == pytest.approx(result["optimum"]["uplift_eur"], rel=1e-4)
