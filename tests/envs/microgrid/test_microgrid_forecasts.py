"""Forecasts in the user's files: who expects them, from when on, what they are worth, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sites import days, site, told

from vmax.envs.microgrid.checks import altered
from vmax.envs.microgrid.climate import look
from vmax.envs.microgrid.planners import MPC
from vmax.envs.microgrid.settings import TERMS
from vmax.envs.microgrid.state import Start
from vmax.envs.microgrid.tables import EXOGENOUS_H
from vmax.envs.natural import to_numbers, to_values
from vmax.errors import UserError

ZONE = "env.data.timezone=America/Lima"
DAY = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three years of PV and load with days that nobody knows from the season, forecasts that do, and a temperature."""
    folder = tmp_path_factory.mktemp("forecasts")
    time = pd.date_range("2023-01-01", "2026-01-01", freq="h", inclusive="left")
    draw, hour = np.random.default_rng(0), time.hour.to_numpy()
    cloud, busy = (np.repeat(draw.uniform(low, high, len(time) // 24), 24) for low, high in ((0.1, 1.0), (0.6, 1.4)))
    pv = 3000.0 * np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0) * cloud
    mall = (300.0 + 150.0 * np.sin((hour - 8) / 24 * 2 * np.pi)) * busy
    for name, values in {
        "pv": pv,
        "mall": mall,
        "pv_forecast": pv * draw.uniform(0.9, 1.1, len(time)),
        "mall_forecast": mall * draw.uniform(0.95, 1.05, len(time)),
    }.items():
        pd.DataFrame({"time": time, f"{name}_kw": values}).to_csv(folder / f"{name}.csv", index=False)
    temperature = pd.DataFrame({"time": time, "t": 20.0 + 10.0 * cloud + draw.normal(0.0, 0.5, len(time))})
    temperature.to_csv(folder / "t.csv", index=False)
    return folder


def overrides(files, *names):
    return [ZONE, *(f"env.data.files.{name}={files / name}.csv" for name in names)]


def with_temperature(files):
    return f"env.data.files.exogenous=[{{name: warmth, file: {{path: {files}/t.csv, columns: {{value: t}}}}}}]"


@pytest.fixture(scope="module")
def env(files):
    return site(*overrides(files, "pv", "mall", "pv_forecast", "mall_forecast"), with_temperature(files))


@pytest.fixture(scope="module")
def blind(files):
    return site(*overrides(files, "pv", "mall"))


def at(env, hour):
    """The state at an hour of a day of the test year, and the params."""
    params, time = env.params("test"), DAY * 24 + hour
    start = Start(jnp.int32(0), jnp.int32(time), jnp.int32(time + 24), jnp.float32(0.5))
    return env.reset(jax.random.key(0), params, start)[0], params


@pytest.mark.parametrize(("hour", "ahead"), [(0, 24), (11, 13), (12, 36), (23, 25)])
def test_forecasts_of_a_day_are_expected_from_their_hour_on_and_the_climate_behind_them(env, blind, files, hour, ahead):
    state, params = at(env, hour)
    expected = env.known(state, params)
    first = 2 * 8760 + 24 + DAY * 24 + hour  # 2024 has 24 hours more in the file
    for name, found in (("pv", expected.pv_kw), ("mall", expected.mall_kw)):
        told_kw = pd.read_csv(files / f"{name}_forecast.csv")[f"{name}_forecast_kw"].to_numpy()[first : first + ahead]
        np.testing.assert_allclose(found[1:ahead], told_kw[1:], rtol=1e-4, atol=1e-3)
    without = blind.known(*at(blind, hour))
    np.testing.assert_allclose(expected.pv_kw[ahead:], without.pv_kw[ahead:], rtol=1e-5)
    np.testing.assert_allclose(expected.mall_kw[ahead:], without.mall_kw[ahead:], rtol=1e-5)
    assert (expected.pv_kw[0], expected.mall_kw[0]) == (without.pv_kw[0], without.mall_kw[0])  # measured


def test_observations_sum_up_what_is_forecast(env, blind):
    state, params = at(env, 13)
    known, capacity = env.known(state, params), env.config.battery.capacity_kwh
    net = np.asarray(known.mall_kw + known.ev_kw - known.pv_kw)[1:25]
    seen = dict(zip(env.observation_space.names, np.asarray(env.observe(state, params)), strict=True))
    assert seen["deficit_24h"] == pytest.approx(np.maximum(net, 0.0).sum() / capacity, rel=1e-3)
    assert seen["surplus_24h"] == pytest.approx(np.maximum(-net, 0.0).sum() / (4.0 * capacity), rel=1e-3)
    otherwise = np.asarray(blind.observe(*at(blind, 13)))
    names = blind.observation_space.names
    assert abs(seen["deficit_24h"] - otherwise[names.index("deficit_24h")]) > 1e-3


def test_other_forecasts_are_features_in_their_own_unit(env, files):
    state, params = at(env, 0)
    quantities = env.natural(params).observation
    seen = env.observe(state, params)
    values = dict(zip((q.name for q in quantities), to_values(quantities, seen[None])[0], strict=True))
    first = 2 * 8760 + 24 + DAY * 24
    t = pd.read_csv(files / "t.csv")["t"].to_numpy()[first : first + 24]
    for h in EXOGENOUS_H:
        assert values[f"warmth_{h}h"] == pytest.approx(t[1 : min(h, 23) + 1].mean(), abs=0.01)
    np.testing.assert_allclose(
        to_numbers(quantities, jnp.asarray(to_values(quantities, seen[None]))), seen[None], atol=1e-4
    )


def test_what_no_forecast_tells_yet_is_not_seen(env):
    params = env.params("train")
    for hour in (3, 15):
        start = Start(jnp.int32(0), jnp.int32(DAY * 24 + hour), jnp.int32(DAY * 24 + hour + 24), jnp.float32(0.5))
        state, seen = env.reset(jax.random.key(0), params, start)
        other = altered(env, state, params, 0)
        np.testing.assert_array_equal(env.observe(state, other), seen)
        for a, b in zip(
            jax.tree.leaves(env.known(state, other)), jax.tree.leaves(env.known(state, params)), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        end = int(params.data.told_until[0, int(state.time)])
        assert end == (DAY + 1 + (hour > 12)) * 24
        for name in ("pv_forecast_kw", "mall_forecast_kw"):
            was, now = (np.asarray(getattr(p.data, name))[0] for p in (params, other))
            assert (was[:end] == now[:end]).all() and (was[end:] != now[end:]).mean() > 0.4


def test_a_plan_on_forecasts_beats_one_on_the_climate(env, blind):
    objectives = []
    for one in (env, blind):
        info = told(one, MPC(1.0, 1.0), days(one, 20, first_day=DAY))
        left = (info["soc_end"][-1] - info["soc"][0]) * one.config.battery.capacity_kwh
        params = one.params("test")
        worth = float(params.valued.stored_worth(params.valued.weights, params.battery.eta_discharge))
        objectives.append(sum(info[f"term_{name}"].sum() for name in TERMS) - float(left.sum()) * worth)
    assert objectives[0] < objectives[1]


def test_the_year_ends_with_what_is_known_of_it(env):
    """Behind the last step of a year no forecast is read from its beginning."""
    _, params = at(env, 0)
    last = env.year_steps - 1
    assert int(params.data.told_until[0, last]) == env.year_steps
    outlook = look(params.data, jnp.int32(0), jnp.int32(last), env.window, env.dt_h, "weather")
    climate = np.asarray(params.data.expected.pv_kw)[np.arange(1, env.window) - 1]
    ratio = np.asarray(outlook.pv_kw)[1:][climate > 1.0] / climate[climate > 1.0]
    assert len(np.unique(ratio.round(4))) <= 3  # one share of the expectation for each stretch ahead


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ("env.data.files.pv_forecast=pv.csv", "nobody forecasts what is generated; set env.data.files.pv= too"),
        ("env.data.files.forecast_hour=24", "env.data.files.forecast_hour=24: must be from 0 to 23"),
        ("env.data.files.exogenous=[{name: 'a b', file: t.csv}]", "'a b' names a feature: must be small letters"),
    ],
)
def test_what_does_not_fit_is_refused(extra, line):
    with pytest.raises(UserError) as error:
        site(extra)
    assert line in str(error.value)


def test_names_of_other_forecasts_do_not_mix_up(files):
    both = ", ".join(f"{{name: {name}, file: {{path: {files}/t.csv, columns: {{value: t}}}}}}" for name in ("a", "a_b"))
    env = site(*overrides(files, "pv"), f"env.data.files.exogenous=[{both}]")
    told = {q.name: q.meaning for q in env.natural(env.params("test")).observation}
    assert "'a_b'" in told["a_b_3h"] and "'a'" in told["a_3h"]
    taken = f"env.data.files.exogenous=[{{name: deficit, file: {{path: {files}/t.csv, columns: {{value: t}}}}}}]"
    with pytest.raises(UserError, match="'deficit' makes a second feature deficit_"):
        _ = site(*overrides(files, "pv"), taken).observation_space


def test_a_forecast_of_other_years_is_refused(files, tmp_path):
    short = pd.read_csv(files / "pv_forecast.csv").iloc[8760:]
    more = pd.DataFrame({"time": pd.date_range("2026-01-01", periods=8760, freq="h"), "pv_forecast_kw": 1000.0})
    pd.concat([short, more]).to_csv(tmp_path / "late.csv", index=False)
    env = site(*overrides(files, "pv"), f"env.data.files.pv_forecast={tmp_path / 'late.csv'}")
    with pytest.raises(UserError, match="all files must have the same"):
        env.params("test")
