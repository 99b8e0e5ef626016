"""What an action means: peak windows on days worked by hand, and the way back from a power to an action."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_day import known_at
from small_bess import bess_on, wavy_prices

from vmax.envs.battery import Site
from vmax.envs.bess import day_features as day
from vmax.envs.bess import foresight
from vmax.envs.bess.action import ActionConfig, action_for, in_peak_window, power_mw
from vmax.envs.bess.baselines import TwoCycle
from vmax.envs.rollout import rollout
from vmax.errors import UserError
from vmax.evaluation.evaluate import OF_PLAN, _rules
from vmax.evaluation.table import _table

SITE: Site = SimpleNamespace(power_mw=1.5)  # type: ignore[assignment]
WINDOWS = ActionConfig("peak_windows", dead_band=0.0, full_band=0.0)
# 2025-06-13 in Hungary, rounded: the morning's peak is the very first hour, so its window has two hours, not three
SUMMER = [111, 100, 95, 92, 90, 88, 86, 80, 60, 40, 20, 10, 5, 4, 3, 10, 40, 80, 120, 180, 253, 200, 150, 120]
# 2025-01-11, rounded: peaks at 7 and 19
WINTER = [
    109,
    100,
    96,
    92,
    91,
    93,
    94,
    117,
    115,
    106,
    104,
    100,
    97,
    93,
    98,
    106,
    155,
    155,
    142,
    156,
    134,
    124,
    111,
    106,
]


def over_the_day(look, prices):
    return [look(known_at(hour, prices), 1.0) for hour in range(24)]


def hours_where(look, prices):
    return [hour for hour, value in enumerate(over_the_day(look, prices)) if float(jnp.ravel(value)[0]) > 0]


def test_the_windows_lie_an_hour_around_each_peak_and_within_the_day():
    assert hours_where(in_peak_window, WINTER) == [6, 7, 8, 18, 19, 20]
    assert hours_where(in_peak_window, SUMMER) == [0, 1, 19, 20, 21]
    late = [*range(12), *range(12, 24)]  # rising all day: 11 is the morning's peak, 23 the evening's
    assert hours_where(in_peak_window, late) == [10, 11, 12, 22, 23]


def test_of_equal_prices_the_first_is_the_peak():
    assert hours_where(in_peak_window, [50.0] * 24) == [0, 1, 11, 12, 13]


def test_a_quarter_of_an_hour_belongs_to_the_window_of_its_clock_hour():
    price = np.full(96, 10.0)
    price[[30, 78]] = 99.0  # 07:30 and 19:30
    inside = []
    for step in range(96):
        known = SimpleNamespace(
            price_eur_per_mwh=jnp.asarray(np.resize(np.roll(price, -step), 144)),
            past_price_eur_per_mwh=jnp.asarray(np.roll(price, -step)),
            mask=jnp.arange(144) < 96 - step,
            local_hour=jnp.asarray([step / 4]),
        )
        inside += [step] if bool(in_peak_window(known, 0.25)) else []  # type: ignore[arg-type]
    assert inside == [*range(24, 36), *range(72, 84)]  # 06:00 to 09:00, 18:00 to 21:00


def test_the_day_at_a_glance():
    assert hours_where(day.is_peak, WINTER) == [6, 7, 8, 18, 19, 20]
    assert hours_where(day.is_cheap_before_peak, WINTER) == [3, 4, 5, 12, 13, 14]  # 92 91 93 | 97 93 98
    hours = [round(float(h[0] + 1) * 10.5) for h in over_the_day(day.hours_to_peak, WINTER)]
    # the source's own column time_to_peak_hour of that day
    assert hours == [7, 6, 5, 4, 3, 2, 0, 0, 0, 10, 9, 8, 7, 6, 5, 4, 3, 2, 0, 0, 0, 21, 21, 21]
    for hour in (0, 9, 23):
        known = known_at(hour, WINTER)
        assert day.peak_prices(known, 1.0).tolist() == [117.0, 156.0]
        assert ((day.peak_hours(known, 1.0) + 1) * 12).tolist() == pytest.approx([7.0, 19.0])
        assert day.lowest_price(known, 1.0).tolist() == [91.0]
        assert ((day.lowest_hour(known, 1.0) + 1) * 12).tolist() == pytest.approx([4.0])


def test_a_day_of_which_nothing_is_known_ahead_has_the_peaks_that_have_passed():
    known = known_at(11, WINTER, known=12)
    assert not bool(in_peak_window(known, 1.0))  # no peak at 12, the first hour of which nothing is known
    assert day.peak_prices(known, 1.0).tolist() == [117.0, 100.0]  # of the evening nothing: the trailing mean
    assert day.hours_to_peak(known, 1.0).tolist() == [1.0]
    assert bool(in_peak_window(known_at(8, WINTER, known=9), 1.0))


@pytest.mark.parametrize(("moment", "number"), [("2024-01-01", 0), ("2024-06-02", 6), ("2023-12-31", 6)])
def test_weekday_and_season_come_back_from_the_cyclic_calendar(moment, number):
    date = np.datetime64(moment)
    of_year = int((date - date.astype("datetime64[Y]")).astype(int)) + 1
    turns = [0.0, number / 7.0, of_year / 365.25]
    calendar = jnp.asarray([f(2 * np.pi * turn) for turn in turns for f in (np.sin, np.cos)])
    assert float(day.weekday(calendar)[0]) == pytest.approx(2 * number / 6 - 1)
    season = {"01": -1.0, "12": -1.0, "06": 1 / 3}[moment[5:7]]
    assert float(day.season(calendar)[0]) == pytest.approx(season)


def test_the_share_is_discharged_in_a_window_and_charged_outside():
    for action, share in ((-1.0, 0.0), (0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
        assert float(power_mw(WINDOWS, jnp.float32(action), SITE, jnp.array(True))) == pytest.approx(1.5 * share)
        assert float(power_mw(WINDOWS, jnp.float32(action), SITE, jnp.array(False))) == pytest.approx(-1.5 * share)


@given(
    power=st.floats(-1.5, 1.5), peak=st.booleans(), mode=st.sampled_from(["signed", "peak_windows"]),
    dead=st.sampled_from([0.0, 0.3]), full=st.sampled_from([0.0, 0.2]),
)  # fmt: skip
def test_the_way_back_is_exact_or_idle(power, peak, mode, dead, full):
    config = ActionConfig(mode, dead, full)
    inside = jnp.array(peak) if mode == "peak_windows" else None
    action = action_for(config, jnp.float32(power), SITE, inside)
    assert -1.0 <= float(action) <= 1.0
    allowed = mode == "signed" or power == 0.0 or (power > 0.0) == peak
    got = float(power_mw(config, action, SITE, inside))
    assert got == pytest.approx(power if allowed else 0.0, abs=1e-6 if allowed else 0.0)


FEATURES = "env.observation.features=[soc,price_mean,price_scale,price_level,is_peak]"


@pytest.fixture(scope="module")
def windowed():
    return bess_on(wavy_prices(), "env.action.mode=peak_windows", FEATURES)


def test_the_environment_and_the_critic_read_an_action_alike(windowed):
    params = windowed.params("train")
    context = windowed.post_decision_context(params)
    step_fn, observe, seen_signs = jax.jit(windowed.step), jax.jit(windowed.observe), set()
    start, _ = windowed.reset(jax.random.key(0), params)
    for hour in range(0, 24, 3):
        state = start.replace(time=start.time + hour)
        seen = observe(state, params)
        for action in (-1.0, 0.1, 1.0):
            _, step = step_fn(jax.random.key(0), state, jnp.array([action]), params)
            reward, after = windowed.post_decision(seen, jnp.array([action]), context)
            np.testing.assert_allclose(reward, step.reward, atol=3e-4)
            np.testing.assert_allclose(after[0], step.observation[0], atol=1e-4)
            seen_signs.add(float(np.sign(step.info["discharge_mw"] - step.info["charge_mw"])))
    assert seen_signs == {-1.0, 0.0, 1.0}


def test_a_critic_that_cannot_see_the_windows_is_refused():
    env = bess_on(wavy_prices(), "env.action.mode=peak_windows", FEATURES.replace(",is_peak", ""))
    with pytest.raises(UserError, match="is_peak"):
        env.post_decision_context(env.params("train"))


def test_a_rule_does_what_the_windows_allow(windowed):
    """The two-cycle rule of the free battery, and the same with its forbidden hours left out."""
    free = bess_on(wavy_prices(), FEATURES)
    params = windowed.params("test")
    starts = windowed.evaluation_starts(params, "test", 1, 3)
    asked, got = (rollout(e, TwoCycle(-1e9), e.params("test"), starts).info for e in (free, windowed))
    state, _ = windowed.reset(jax.random.key(0), params, jax.tree.map(lambda leaf: leaf[0], starts))
    peak = np.asarray([bool(windowed.peak(state.replace(time=state.time + h), params)) for h in range(72)])
    assert (np.asarray(got["charge_mw"])[peak] == 0.0).all() and (np.asarray(got["discharge_mw"])[~peak] == 0.0).all()
    same = np.asarray(asked["discharge_mw"])[0] == np.asarray(got["discharge_mw"])[0]
    assert same.all()
    assert float(np.asarray(got["discharge_mw"]).sum()) > 1.0


def test_a_band_of_half_the_range_is_refused():
    with pytest.raises(UserError, match=r"env.action.dead_band=0.5: must be within"):
        ActionConfig("peak_windows", 0.5, 0.0)


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ([], "optimum"),
        (["env.action.mode=peak_windows"], "plan"),
        (["env.battery.compat_power_limit=true"], "optimum"),
        (["env.battery.compat_power_limit=true", "env.battery.compat_soc_clip=true"], "plan"),
        (["env.reserve.product=simple"], "optimum"),
        (["env.reserve.product=simple", "env.degradation.model=cardo_miota"], "plan"),
    ],
)
def test_what_perfect_foresight_does_not_plan_for_is_no_optimum(overrides, kind):
    assert foresight.kind(bess_on(wavy_prices(), *overrides)) == kind


def test_result_and_table_say_that_there_is_only_a_plan(windowed):
    assert windowed.assessment.only_plan
    assert windowed.assessment.bound_eur(windowed.params("test"), None) is None
    assert _rules("plan", with_reserve=False)["capture"] == OF_PLAN
    names = ("profit_eur", "profit_eur_per_mw_year", "uplift_eur", "capture", "cycles_per_day", "wear_cost_eur")
    figures = {**dict.fromkeys(names, 1.1), "violations": 0, "ci95": {"capture": None}}
    evaluation = {"split": "test", "start": "", "end": "", "policies": {"mpc": figures}, "optimum": {"kind": "plan"}}
    assert "of plan" in [column.header for column in _table(evaluation, "EUR").columns]


@pytest.mark.parametrize(
    ("bands", "alike"),
    [
        ((0.1, 0.0), set()),
        ((0.3, 0.2), {"reserve_up: -1 and -0.5"}),
        ((0.3, 0.3), {"reserve_up: -1 and -0.5", "reserve_up: 0.5 and 1"}),
    ],
)
def test_checks_are_told_which_actions_mean_the_same_by_wide_bands(bands, alike):
    set_bands = (f"env.action.dead_band={bands[0]}", f"env.action.full_band={bands[1]}")
    env = bess_on(wavy_prices(), "env.reserve.product=up", *set_bands)
    begin = "action_reaches_plant/"
    assert {name.removeprefix(begin) for name in env.checks.exempt if name.startswith(begin)} == alike
