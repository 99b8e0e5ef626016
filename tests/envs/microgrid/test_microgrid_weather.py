"""What the last hours say of the coming ones: least squares against a known law, and nothing from the future."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sites import days, site

from vmax.envs.microgrid.planners import MPC
from vmax.envs.microgrid.rules import expected_deficits_kw
from vmax.envs.microgrid.weather import AHEAD_H, fit_weather, stretch_of, trailing_ratio

HOURS = np.arange(8760) % 24
CLEAR = np.maximum(np.sin((HOURS - 6) / 12 * np.pi), 0.0) * 1000.0


def years(rho: float, count: int = 6, seed: int = 0) -> np.ndarray:
    """PV `[Y, T]` of days whose clearness is 1 plus an AR(1) from day to day, the same all day."""
    rng = np.random.default_rng(seed)
    noise = 0.2 * rng.standard_normal((count, 365))
    clearness = np.zeros_like(noise)
    for day in range(365):
        clearness[:, day] = rho * clearness[:, day - 1] * (day > 0) + noise[:, day]
    return CLEAR * (1.0 + np.repeat(np.clip(clearness, -0.8, 0.8), 24, axis=1))


def test_the_morning_tells_the_rest_of_the_day_and_the_night_before_it_what_stays():
    pv = years(rho=0.5)
    weather = fit_weather(pv, CLEAR, HOURS, 1.0, np.ones(pv.shape, bool))
    fresh = years(rho=0.5, seed=1)
    shares = weather.shares(fresh, CLEAR, HOURS, 1.0)
    truth = fresh.reshape(6, 365, 24)[:, :, 12] / CLEAR[12]  # each day's clearness
    at = lambda hour, stretch: shares.reshape(6, 365, 24, 3)[:, :, hour, stretch]  # noqa: E731
    np.testing.assert_allclose(at(10, 0), truth, atol=0.02)  # it is the same all day
    np.testing.assert_allclose(at(10, 1), truth, atol=0.02)
    tomorrow = 1.0 + 0.5 * (truth[:, :-1] - 1.0)
    np.testing.assert_allclose(at(20, 2)[:, :-1], tomorrow, atol=0.04)  # half of it stays until tomorrow
    assert (at(19, 0) == 1.0).all()  # no sun is expected within three hours


def test_weather_without_memory_expects_the_usual():
    pv = years(rho=0.0)
    weather = fit_weather(pv, CLEAR, HOURS, 1.0, np.ones(pv.shape, bool))
    tomorrow = weather.shares(pv, CLEAR, HOURS, 1.0).reshape(6, 365, 24, 3)[:, :, 20, 2]
    assert np.abs(tomorrow - 1.0).max() < 0.1


@pytest.mark.parametrize("minutes", [60, 30, 15])
def test_every_coming_step_lies_in_one_stretch(minutes):
    dt_h = minutes / 60
    stretch = stretch_of(round(36 / dt_h), dt_h)
    ends = [np.flatnonzero(stretch == k)[-1] * dt_h for k in range(3)]
    assert (np.diff(stretch) >= 0).all() and ends == pytest.approx([*AHEAD_H[:2], 36 - dt_h])


def test_ratios_are_those_of_the_last_steps():
    pv = years(rho=0.5, count=1)
    ratio = trailing_ratio(pv, np.broadcast_to(CLEAR, pv.shape), 3)
    assert ratio[0, 36] == pytest.approx(pv[0, 34:37].sum() / CLEAR[34:37].sum())
    assert ratio[0, 26] == 1.0  # at night nothing is expected


def test_no_share_knows_what_comes_after_it():
    pv = years(rho=0.5)
    weather, at = fit_weather(pv, CLEAR, HOURS, 1.0, np.ones(pv.shape, bool)), 100 * 24 + 11
    other = pv.copy()
    other[:, at + 1 :] *= 0.1
    seen, changed = (weather.shares(values, CLEAR, HOURS, 1.0) for values in (pv, other))
    assert np.array_equal(seen[:, : at + 1], changed[:, : at + 1])
    assert np.abs(seen[:, at + 1 : at + 24] - changed[:, at + 1 : at + 24]).max() > 0.1


def test_rules_look_at_the_last_day_and_plans_at_the_last_hours_or_as_they_are_told():
    env = site()
    params = env.params("test")
    state, _ = env.reset(jax.random.key(0), params, jax.tree.map(lambda x: x[0], days(env, 1, first_day=100)))
    state = state.replace(time=state.time + 11)
    by_hours, by_day = (env.known(state, params, forecast) for forecast in ("weather", "last_day"))
    assert float(by_hours.pv_kw[0]) == float(by_day.pv_kw[0]) == float(params.data.pv_kw[0, 100 * 24 + 11])
    assert np.abs(by_hours.pv_kw - by_day.pv_kw).max() > 1.0
    planned = {
        forecast: MPC(1.0, 1.0, forecast).view(env, state, params).outlook for forecast in ("weather", "last_day")
    }
    np.testing.assert_array_equal(planned["weather"].pv_kw, by_hours.pv_kw)
    np.testing.assert_array_equal(planned["last_day"].pv_kw, by_day.pv_kw)
    net = np.asarray(by_day.mall_kw + by_day.ev_kw - by_day.pv_kw)
    coming = np.asarray(expected_deficits_kw(env, state, params, jnp.float32(net[0])))
    first = np.flatnonzero((net < -1.0) & (np.arange(len(net)) > 0))[0]  # the next surplus
    np.testing.assert_allclose(coming[:first], np.maximum(net[:first], 0.0), rtol=1e-6)
    assert (coming[first:] == 0.0).all()


def test_a_plan_may_be_shown_the_pv_that_comes_and_nothing_else_of_it():
    env = site()
    params = env.params("test")
    state, _ = env.reset(jax.random.key(0), params, jax.tree.map(lambda x: x[0], days(env, 1, first_day=100)))
    shown, expected = (env.known(state, params, forecast) for forecast in ("perfect_pv", "weather"))
    at = 100 * 24 + np.arange(env.window)
    np.testing.assert_array_equal(shown.pv_kw, np.asarray(params.data.pv_kw)[0, at])
    assert np.abs(shown.pv_kw - expected.pv_kw).max() > 1.0
    np.testing.assert_array_equal(shown.mall_kw, expected.mall_kw)
