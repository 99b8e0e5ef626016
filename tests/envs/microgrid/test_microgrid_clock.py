"""The local clock where it changes: tariff, demand charge, expected load, features and days, against pandas' zones."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sites import site

from vmax.envs.microgrid.params import calendar_of
from vmax.envs.microgrid.rules import NoControl
from vmax.envs.microgrid.state import Start
from vmax.envs.microgrid.tables import Calendar
from vmax.envs.microgrid.years import make_years
from vmax.envs.rollout import rollout

ZONES = {"Europe/Amsterdam": (52.0, 5.0, 180.0), "Australia/Sydney": (-33.9, 151.2, 0.0)}
"""Latitude, longitude and where the modules look: clocks are set forward in March and in October."""


def there(zone: str, *overrides: str):
    latitude, longitude, azimuth = ZONES[zone]
    place = (f"env.data.pv.latitude={latitude}", f"env.data.pv.longitude={longitude}", f"env.data.pv.azimuth={azimuth}")
    return site(f"env.data.timezone={zone}", *place, "env.data.pv.annual_kwh=3500000", *overrides)


@pytest.fixture(scope="module", params=ZONES)
def world(request):
    """An environment, its params and the local clock of the steps of its only test year, as pandas says it."""
    env = there(request.param)
    params = env.params("test")
    utc = pd.DatetimeIndex(np.asarray(params.data.minutes[0]).astype("datetime64[m]"), tz="UTC")
    return env, params, utc.tz_convert(request.param)


def hours_of(clock) -> np.ndarray:
    return clock.hour.to_numpy() + clock.minute.to_numpy() / 60.0


def test_peak_hours_are_those_on_the_wall_all_year(world):
    _, params, clock = world
    peak = (hours_of(clock) >= 18) & (hours_of(clock) < 22)
    assert clock[0].strftime("%m-%d %H:%M") == "01-01 00:00" and len(clock) == 8760
    assert sorted(np.unique(clock.normalize(), return_counts=True)[1])[::364] == [23, 25]  # both changes are in it
    np.testing.assert_array_equal(np.asarray(params.data.peak[0]), peak)
    dear = np.asarray(params.data.price_per_kwh[0]) > 0.4 / 3.75
    np.testing.assert_array_equal(dear, peak)
    np.testing.assert_allclose(params.data.hours_to_peak[0], (18 - hours_of(clock)) % 24)


def test_months_begin_at_midnight_and_the_demand_charge_with_them(world):
    env, params, clock = world
    first = (clock.day == 1) & (clock.hour == 0)
    np.testing.assert_array_equal(np.asarray(params.data.month_begins[0]), first)
    # from the 31st of July on a highest import stays until the 1st of August, whose first hour begins anew
    time = int(np.flatnonzero((clock.month == 7) & (clock.day == 31) & (clock.hour == 0))[0])
    start = Start(jnp.int32(0), jnp.int32(time), jnp.int32(time + 48), jnp.float32(0.5))
    state, _ = env.reset(jax.random.key(0), params, start)
    step, highest = jax.jit(env.step), []
    for _ in range(25):
        state, _ = step(jax.random.key(0), state, jnp.zeros(env.action_space.size), params)
        highest.append(float(state.imports.offpeak_kw))
    assert min(highest[:23]) > 0.0 and highest[23] == 0.0 < highest[24]
    left = np.asarray(params.data.month_left_after[0], np.float64)
    hours = pd.Series(1.0, clock).groupby(clock.month).cumsum().to_numpy()
    of_month = np.bincount(clock.month)[clock.month]
    np.testing.assert_allclose(left, 1.0 - hours / of_month, atol=1e-6)  # counted in hours: none is left out


def test_the_same_load_is_expected_at_the_same_hour_in_summer_and_winter(world):
    _, params, clock = world
    expected, kind = np.asarray(params.data.expected.mall_kw[0]), np.maximum(clock.day_of_week.to_numpy() - 4, 0)
    for hour in (3, 12, 20):
        for which in (0, 1, 2):
            assert len(np.unique(expected[(hours_of(clock) == hour) & (kind == which)])) == 1
    actual = np.asarray(params.data.mall_kw[0], np.float64)
    for months in ((1, 12), (6, 7)):  # summer and winter here or there; an hour off would show as 12 % in the morning
        inside = np.isin(clock.month, months) & (clock.hour == 9)
        assert expected[inside].sum() == pytest.approx(actual[inside].sum(), rel=0.05)


def test_features_say_the_hour_on_the_wall(world):
    env, params, clock = world
    table, names = np.asarray(params.data.table[0]), [f.name for f in env.observation_space.features]
    at = {name: names.index(name) - (len(names) - table.shape[1]) for name in ("hour_sin", "hour_cos", "peak")}
    angle = np.arctan2(table[:, at["hour_sin"]], table[:, at["hour_cos"]])
    np.testing.assert_allclose(angle % (2 * np.pi), 2 * np.pi * hours_of(clock) / 24 % (2 * np.pi), atol=1e-5)
    np.testing.assert_array_equal(table[:, at["peak"]] > 0.5, (hours_of(clock) >= 18) & (hours_of(clock) < 22))


def test_episodes_begin_at_midnight_and_days_are_those_of_the_calendar(world):
    env, params, clock = world
    keys = jax.random.split(jax.random.key(0), 300)
    states, _ = jax.vmap(env.reset, in_axes=(0, None))(keys, params)
    assert set(clock.hour[np.asarray(states.time)]) == {0} and len(set(np.asarray(states.time) % 24)) == 2
    starts = env.assessment.starts(params, "test", 1)
    record = rollout(env, NoControl(), params, starts)
    table = env.assessment.timeseries("no_control", record)
    _, day = np.unique(clock.date, return_inverse=True)
    cost = -np.bincount(day, table["cost"].to_numpy(np.float64))
    daily = env.assessment.daily_value_eur(table, starts)["profit_eur"]
    np.testing.assert_allclose(daily, cost, rtol=1e-6)
    begins = env.assessment.day_starts(params, starts)[:, 0]
    np.testing.assert_array_equal(begins, clock.hour == 0)
    few = env.assessment.starts(params, "test", 1, days=120)
    assert clock[int(few.end[0])].strftime("%m-%d %H:%M") == "05-01 00:00"  # past a change of the clock
    days, seasons = env.assessment.season_days(params, "test")
    assert set(clock.hour[np.asarray(days.time)]) == {0} and len(seasons) == 4


def test_each_year_has_the_dates_of_its_own_changes():
    env = there("Europe/Amsterdam")
    begins = [
        pd.Timestamp(year, 1, 1, tz="Europe/Amsterdam").tz_convert("UTC").tz_localize(None) for year in (2023, 2025)
    ]
    utc = np.stack([np.arange(8760) * np.timedelta64(1, "h") + begin.to_datetime64() for begin in begins])
    calendar = Calendar.of(env.config, utc.astype("datetime64[s]"))
    apart = np.flatnonzero((calendar.peak[0] != calendar.peak[1]).reshape(365, 24).any(axis=1))
    assert apart.tolist() == [84, 85, 86, 87, 298, 299, 300]  # 26 to 29 March, 26 to 28 October
    assert calendar.day_begins.shape == (2, 365) and len(apart) < 10


def test_where_no_clock_changes_days_are_of_24_hours():
    env = site()
    calendar = calendar_of(env.config, make_years(env.config.data, "train"))
    np.testing.assert_array_equal(calendar.day_begins, np.broadcast_to(np.arange(0, 8760, 24), (2, 365)))
    np.testing.assert_array_equal(calendar.step_of_day[1], calendar.sun_step)
