"""Forecasts of the data itself: who sees them, from when on, what is made of them, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_bess import PROVIDED, bess_on, wavy_prices, with_forecasts

from vmax.envs.bess.assessment import BessAssessment
from vmax.envs.bess.planners import MPC, Single, best_single
from vmax.envs.bess.scenarios import row_of
from vmax.envs.bess.state import Start
from vmax.envs.rollout import rollout
from vmax.errors import UserError

AUCTION = (*PROVIDED, "env.market.kind=auction")


def begin(env, hour_of_day: int, hours: int = 24):
    """A state at this hour of a day of the test split, and the params."""
    params = env.params("test")
    time = env.series.splits["test"][0][0] + 24 + hour_of_day
    start = Start(jnp.int32(time), jnp.int32(time + hours), jnp.float32(0.5), jnp.int32(0))
    return env.reset(jax.random.key(0), params, start)[0], params


@pytest.fixture(scope="module")
def spot():
    return bess_on(with_forecasts(), *PROVIDED)


@pytest.fixture(scope="module")
def auction():
    return bess_on(with_forecasts(), *AUCTION)


@pytest.mark.parametrize(("hour", "ahead"), [(0, 24), (11, 13), (12, 36), (23, 25)])
def test_forecasts_of_a_day_are_known_from_the_gate_of_the_day_before(spot, hour, ahead):
    state, params = begin(spot, hour)
    known = spot.known(state, params)
    assert known.mask.sum() == ahead
    first = int(state.time)
    told = with_forecasts()[["good", "poor"]].to_numpy()[first : first + ahead]
    np.testing.assert_allclose(known.forecasts_eur_per_mwh[:, :ahead], told.T, atol=1e-3)
    np.testing.assert_allclose(known.price_eur_per_mwh[:ahead], told.mean(axis=1), atol=1e-3)
    assert not known.forecasts_eur_per_mwh[:, ahead:].any() and not known.exogenous[:, ahead:].any()


@pytest.mark.parametrize("hour", [0, 11, 12, 23])
def test_a_day_is_sold_on_the_forecasts_of_that_day_alone(auction, hour):
    state, params = begin(auction, hour)
    known = auction.known(state, params)
    assert known.mask.sum() == 24 - hour
    assert (known.exogenous[0] != 0.0).sum() == 24 - hour


def test_the_observation_holds_each_forecast_their_mean_their_spread_and_the_others(spot):
    state, params = begin(spot, 3)
    seen, known = spot.observe(state, params), spot.known(state, params)
    scale = params.scales["exogenous"]
    names = [name for name in spot.features if name in spot.config.outside]
    starts = dict(zip(names, np.cumsum([0, *(spot.config.outside[n].size(spot.window) for n in names)]), strict=False))

    def of(name):
        return np.asarray(seen[spot.observation_space.slice(name)]) * float(scale[starts[name]])

    spread, mean = known.spread_eur_per_mwh, known.forecasts_eur_per_mwh.mean(axis=0)
    near = lambda found, expected: np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # noqa: E731
    apart = jnp.arcsinh((known.forecasts_eur_per_mwh - mean) / spread).ravel()
    near(of("price_forecasts"), apart)
    near(of("forecast_spread"), jnp.arcsinh(known.forecasts_eur_per_mwh.std(0) / spread))
    relative = jnp.where(known.mask, jnp.arcsinh((mean - known.mean_eur_per_mwh) / spread), 0.0)
    near(of("price_forecast"), relative)
    near(of("wind"), known.exogenous[0])


def test_one_forecast_has_no_spread():
    env = bess_on(with_forecasts(), PROVIDED[0], "env.data.columns.forecast=[good]")
    assert "price_forecast" in env.features
    assert "price_forecasts" not in env.features and "forecast_spread" not in env.features
    assert "mpc_single" not in BessAssessment(env).baselines()


def test_prices_and_forecasts_are_scaled_alike_in_training(spot):
    params = spot.params("train")
    state, seen = spot.reset(jax.random.key(1), params)
    plain = state.replace(price_factor=jnp.float32(1.0), price_shift=jnp.float32(0.0))
    assert float(state.price_factor) != 1.0
    own = [spot.observation_space.slice(name) for name in ("price_forecasts", "price_window", "forecast_spread")]
    for part in own:
        np.testing.assert_allclose(seen[part], spot.observe(plain, params)[part], atol=1e-5)
    scaled, known = spot.known(state, params), spot.known(plain, params)
    factor = float(state.price_factor)
    np.testing.assert_allclose(scaled.forecasts_eur_per_mwh, factor * known.forecasts_eur_per_mwh, rtol=1e-4)


def test_the_combination_beats_every_single_forecast_and_their_mean(auction):
    """It can: the forecasts differ in their errors, and wind tells of what both of them miss."""
    params, series = auction.params("test"), auction.series
    first, last = series.splits["test"][0]
    midnights = range(first + (-first) % 24, last - 24, 24)
    errors = {"estimate": [], "mean": [], "good": [], "poor": []}
    for midnight in midnights:
        start = Start(jnp.int32(midnight), jnp.int32(midnight + 24), jnp.float32(0.5), jnp.int32(0))
        known = auction.known(auction.reset(jax.random.key(0), params, start)[0], params)
        row = int(row_of(midnight, 1.0))
        actual = np.asarray(params.scenarios.price_eur_per_mwh[row : row + 24])
        told = {"estimate": known.expected_price_eur_per_mwh, "mean": known.price_eur_per_mwh}
        told |= dict(zip(("good", "poor"), known.forecasts_eur_per_mwh, strict=True))
        for name, values in told.items():
            error = np.asarray(values[:24]) - actual
            errors[name].append(error - error.mean())
    size = {name: float(np.sqrt(np.mean(np.square(error)))) for name, error in errors.items()}
    assert size["estimate"] < 0.75 * min(size["mean"], size["good"], size["poor"]), size


def test_planners_earn_by_what_they_read(auction):
    """More on the combination than on the mean, more on the good forecast than on the poor one."""
    params = auction.params("test")
    starts = auction.evaluation_starts(params, "test")

    def earned(planner):
        record = rollout(auction, planner.course(auction, params, starts), params, starts)
        return float(record.info["profit_eur"].sum() + record.info["terminal_value_eur"].sum())

    assert best_single(auction) == Single(0)
    by_estimate, by_mean, by_good, by_poor = map(earned, (MPC("estimate"), MPC(), MPC(Single(0)), MPC(Single(1))))
    assert by_estimate > by_mean > by_poor and by_good > by_poor


def test_true_prices_as_forecast_earn_what_published_prices_do():
    """The other way round: a forecast without errors is a price that is known."""
    exact = wavy_prices().assign(told=wavy_prices()["price_eur_per_mwh"])
    said = ("env.market.gate_hour=13", "env.episode.days=1")
    provided = bess_on(exact, "env.information=provided", "env.data.columns.forecast=[told]", *said)
    published = bess_on(wavy_prices(), *said)
    profits = []
    for env in (provided, published):
        params = env.params("test")
        starts = env.evaluation_starts(params, "test")
        record = rollout(env, MPC().course(env, params, starts), params, starts)
        profits.append(float(record.info["profit_eur"].sum()))
    np.testing.assert_allclose(*profits, rtol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("env.information=provided",), "env.information=provided: needs forecasts of the price; set env.data.columns"),
        (("env.data.columns.forecast=[good]",), "nothing reads it with env.information=day_ahead; set env.information"),
        ((PROVIDED[0], "env.data.columns.forecast=good"), "env.data.columns.forecast=good: must be a list [a,b,...]"),
        ((PROVIDED[0], "env.data.columns.forecast=[well]"), "no column 'well'; set env.data.columns.forecast= to one"),
        (("env.data.columns.exogenous={soc: wind_mw}",), "'soc' is a feature already; choose another name"),
        (("env.data.columns.exogenous={Wind speed: wind_mw}",), "'Wind speed' names a feature: must be small letters"),
        (("env.data.columns.exogenous={wind: gale}",), "no column 'gale'; set env.data.columns.exogenous.wind= to one"),
        (("env.observation.features=[soc,forecast_spread]",), "'forecast_spread' needs env.information=provided"),
        ((*PROVIDED, "env.market.kind=imbalance"), "env.market.kind=imbalance: needs env.information=day_ahead, not"),
    ],
)
def test_what_does_not_fit_is_refused(overrides, line):
    with pytest.raises(UserError, match=re.escape(line)):
        bess_on(with_forecasts(), *overrides)


def test_a_forecast_in_another_unit_is_refused():
    prices = with_forecasts()
    with pytest.raises(UserError, match="is one of them per kWh"):
        bess_on(prices.assign(good=prices["good"] / 1000.0), *PROVIDED)


def test_forecasts_come_from_another_file_too(tmp_path):
    whole = with_forecasts()
    whole[["utc", "good", "poor", "wind_mw"]].iloc[24:].to_csv(tmp_path / "forecasts.csv", index=False)
    more = "{path: %s, naive_time: utc, columns: {time: utc, forecast: [good, poor], exogenous: {wind: wind_mw}}}"
    env = bess_on(wavy_prices(), PROVIDED[0], f"env.data.more=[{more % (tmp_path / 'forecasts.csv')}]")
    together = bess_on(whole.iloc[24:], *PROVIDED)
    for role, values in together.series.values.items():
        np.testing.assert_array_equal(env.series.values[role], values)
    assert env.features == together.features
