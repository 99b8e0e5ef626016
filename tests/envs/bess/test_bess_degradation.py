"""Models of wear: hand-worked numbers, published lives, laws for any course, and the environment that carries them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_bess import bess_on, wavy_prices

import vmax
from vmax.envs import battery
from vmax.envs.bess import depth_stress
from vmax.envs.bess.baselines import TwoCycle
from vmax.envs.bess.degradation import WearNumbers, make_wear
from vmax.envs.rollout import rollout
from vmax.errors import UserError

CONFIG = vmax.make_env("bess").config
SITE = battery.Site.of(CONFIG.battery, CONFIG.plant)
MODELS = ("throughput", "cardo_miota", "cardo_miota_linear", "rainflow", "xu")
XU = vars(CONFIG.degradation.xu)


def numbers(model, **changes):
    config = replace(CONFIG.degradation, model=model, **changes)
    return make_wear(config), WearNumbers.of(config)


def course(model, charges, half_starts=(), dt_h=1.0, **changes):
    """Cost and ΔSOH of each step along states of charge; `half_starts`: the steps with which a half-day begins."""
    wear, given_numbers = numbers(model, **changes)
    starts = np.isin(np.arange(len(charges) - 1), half_starts)
    return ALONG(wear, given_numbers, jnp.asarray(charges, jnp.float32), jnp.asarray(starts), dt_h)


def _along(wear, given_numbers, charges, starts, dt_h):
    def one(carry, step):
        memory, soc = carry
        soc_end, starts_half = step
        moved_mw = (soc_end - soc) * SITE.capacity_mwh / dt_h
        charge_mw = jnp.maximum(moved_mw, 0.0) / SITE.eta_charge
        discharge_mw = jnp.maximum(-moved_mw, 0.0) * SITE.eta_discharge
        zero = jnp.zeros(())
        flows = battery.Dispatch(charge_mw, discharge_mw, soc_end, zero, zero, zero)
        memory, told = wear.step(given_numbers, memory, SITE, soc, flows, starts_half, dt_h)
        return (memory, soc_end), (told.cost_eur, told.soh_loss)

    return jax.lax.scan(one, (wear.initial(charges[0]), charges[0]), (charges[1:], starts))[1]


ALONG = jax.jit(_along, static_argnames=("wear", "dt_h"))


def test_throughput_pays_each_mwh():
    # 0.4 of 3.5 MWh in: 1.4 / 0.97 MWh at the meter, at 15 EUR
    cost, loss = course("throughput", [0.5, 0.9])
    assert cost[0] == pytest.approx(1.4 / 0.97 * 15)
    assert loss[0] == pytest.approx(float(cost[0]) * 0.2 / (120_000 * 3.5))


def test_linear_depth_price_is_capital_over_lifetime_energy():
    cost, _ = course("cardo_miota_linear", [0.5, 0.9], replacement_eur_per_mwh=175_000.0)
    assert cost[0] == pytest.approx(1.4 / 0.97 * 175_000 / (0.6 * 6000))


def test_buckets_price_the_swing_of_the_half_day():
    # C_cyc = 175,000 / (0.8 · 5000) = 43.75. Swings 0.1 | 0.4 | 0.7, then a new half-day: 0.4; back and forth within it
    charges = [0.5, 0.6, 0.9, 0.2, 0.6, 0.55, 0.6]
    cost, _ = course("cardo_miota", charges, half_starts=[3], replacement_eur_per_mwh=175_000.0)
    at_meter = np.array([0.1 / 0.97, 0.3 / 0.97, 0.7 * 0.97, 0.4 / 0.97, 0.05 * 0.97, 0.05 / 0.97]) * 3.5
    np.testing.assert_allclose(cost, at_meter * [0.02, 0.4, 0.75, 0.4, 0.4, 0.4] * 43.75 / 2, rtol=1e-5)


REFERENCE_ROWS = (
    # |MW| over an hour, swing of the half-day, EUR: rows of a published dispatch (TD3, 11 January 2025)
    (1.3999999999996007, 0.38800000000000345, 12.249999999996504),
    (0.04199999999998799, 0.3996400000000001, 0.36749999999989486),
    (0.0012599999999997058, 0.39998920000000004, 0.011024999999997424),
)


@pytest.mark.parametrize(("power_mw", "depth", "cost_eur"), REFERENCE_ROWS)
def test_buckets_give_the_published_dispatch_in_float64(power_mw, depth, cost_eur):
    buckets = CONFIG.degradation.cardo_miota
    stress = depth_stress.bucket_stress(np.float64(depth), np.asarray(buckets.depth_limits), np.asarray(buckets.stress))
    assert depth_stress.bucket_cost_eur(power_mw, 1.0, stress, 43.75) == pytest.approx(cost_eur, rel=1e-9)


def test_every_limit_of_the_buckets():
    buckets = CONFIG.degradation.cardo_miota
    limits, stress = np.asarray(buckets.depth_limits), np.asarray(buckets.stress)
    z = lambda depth: depth_stress.bucket_stress(np.asarray(depth), limits, stress).tolist()  # noqa: E731
    assert z([0.0, 0.1, 0.11, 0.3, 0.31, 0.4, 0.41]) == [0.02, 0.02, 0.1, 0.1, 0.4, 0.4, 0.5]
    assert z([0.55, 0.56, 0.7, 0.71, 0.8]) == [0.5, 0.75, 0.75, 1.0, 1.0]
    assert z([0.4 + 5e-8]) == [0.4]  # 0.9 - 0.5 in float32


def test_rainflow_takes_a_share_of_the_life_for_each_cycle():
    # 0.1 -> 0.9 -> 0.1: two half cycles of 0.8, 3,000 of which are a life
    cost, loss = course("rainflow", [0.1, 0.5, 0.9, 0.4, 0.1])
    assert cost.sum() == pytest.approx(120_000 * 3.5 / 3000, rel=1e-3)
    assert loss.sum() == pytest.approx(0.2 / 3000, rel=1e-3)


def years_to_end_of_life(depth):
    """Years to 80 % at one cycle of `depth` a day around a charge of 0.5, at 25 °C; by the formulas, in float64."""
    days = np.arange(0, 15 * 365)
    a_day = depth_stress.xu_cycle(XU, np.float64(depth), np.float64(0.5), np.float64(25.0)) if depth else 0.0
    a_day += depth_stress.xu_calendar(XU, np.float64(24.0), np.float64(0.5), np.float64(25.0))
    return float(np.interp(0.2, depth_stress.xu_life(XU, days * a_day), days) / 365)


def test_xu_lives_as_long_as_published():
    assert 4.5 < years_to_end_of_life(1.0) < 5.0
    assert 9.0 < years_to_end_of_life(0.5) < 9.2
    assert years_to_end_of_life(0.0) == pytest.approx(12.5, abs=0.1)


def test_xu_steps_add_up_to_the_formula():
    days, depth = 60, 0.5
    charges = 0.5 + 0.5 * depth * np.concatenate([[0], np.tile([0.5, 1, 0.5, 0, -0.5, -1, -0.5, 0], days)])
    _, loss = course("xu", charges, dt_h=3.0)
    stress = depth_stress.xu_cycle(XU, np.float64(depth), np.float64(0.5), np.float64(25.0)) * days
    middle = 0.5 * (charges[1:] + charges[:-1])
    stress += depth_stress.xu_calendar(XU, np.float64(3.0), middle, np.float64(25.0)).sum()
    assert np.asarray(loss, np.float64).sum() == pytest.approx(depth_stress.xu_life(XU, stress), rel=2e-3)


def test_xu_begins_where_the_battery_stands():
    rest = [0.5] * 25
    new, old = (course("xu", rest, start_soh=soh)[1].sum() for soh in (1.0, 0.85))
    a_day = depth_stress.xu_calendar(XU, np.float64(24.0), np.float64(0.5), np.float64(25.0))
    assert new == pytest.approx(a_day * (0.0575 * 121 + 0.9425), rel=1e-2)
    assert old == pytest.approx(a_day * 0.85, rel=1e-2)  # the film is done: L' = (1 - α)·exp(-f), which is what is left


def test_xu_is_warmer_faster():
    kelvin = 35 + 273.15
    hot, mild = (course("xu", [0.5] * 3, temperature_c=c, start_soh=0.9)[1].sum() for c in (35.0, 25.0))
    assert hot / mild == pytest.approx(np.exp(0.0693 * 10 * 298.15 / kelvin), rel=1e-3)


def test_at_rest_xu_has_a_slope_of_the_size_of_a_small_cycle():
    wear, given_numbers = numbers("xu", start_soh=0.85)
    zero = jnp.zeros(())

    def cost_eur(soc_end):
        flows = battery.Dispatch(zero, zero, soc_end, zero, zero, zero)
        soc = jnp.float32(0.5)
        return wear.step(given_numbers, wear.initial(soc), SITE, soc, flows, jnp.array(False), 1.0)[1].cost_eur

    small = (cost_eur(jnp.float32(0.55)) - cost_eur(jnp.float32(0.5))) / 0.05
    for barely in (0.5 + 1e-5, 0.5 + 1e-3, 0.52):
        assert 0.9 * small < jax.grad(cost_eur)(jnp.float32(barely)) < 1.5 * small
    steep = (cost_eur(jnp.float32(0.501)) - cost_eur(jnp.float32(0.5))) / 0.001
    assert steep > 3 * small  # what a step pays is the source's


@pytest.mark.parametrize("model", MODELS)
def test_rest_costs_nothing_but_time(model):
    cost, loss = course(model, [0.5] * 30)
    if model == "xu":
        assert (cost > 0).all() and (np.diff(loss) < 0).all()  # the film slows down
    else:
        assert (cost == 0).all() and (loss == 0).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_deeper_cycle_costs_more(model):
    costs = [float(course(model, [0.1, 0.1 + depth, 0.1])[0].sum()) for depth in np.linspace(0.05, 0.8, 16)]
    assert (np.diff(costs) > 0).all()


@given(charges=st.lists(st.integers(0, 64), min_size=12, max_size=12), model=st.sampled_from(MODELS))
def test_wear_is_never_negative_and_cost_follows_the_loss(charges, model):
    cost, loss = course(model, np.asarray(charges) / 64, half_starts=[5])
    assert (cost >= 0).all() and np.isfinite(cost).all()
    np.testing.assert_allclose(cost, loss * 120_000 * 3.5 / 0.2, rtol=1e-5, atol=1e-6)


# --- in the environment ---------------------------------------------------------------------------------------------


def env_with(model, *overrides):
    few = "env.observation.features=[soc,price_mean,price_scale,price_level]"  # fewer compile faster
    return bess_on(wavy_prices(), f"env.degradation.model={model}", few, *overrides)


def run(env, actions, seed=3):
    """Infos `[T]`, states and observations after a course of actions from a drawn start."""
    params = env.params("train")
    state, seen = env.reset(jax.random.key(seed), params)

    def one(state, action):
        state, step = env.step(jax.random.key(0), state, action[None], params)
        return state, (step, state)

    _, (steps, states) = jax.jit(lambda: jax.lax.scan(one, state, jnp.asarray(actions, jnp.float32)))()
    return steps, states, (state, seen)


@pytest.mark.parametrize(
    ("model", "feedback"),
    [("throughput", True), ("cardo_miota", False), ("cardo_miota", True), ("rainflow", False), ("xu", True)],
)
def test_the_post_decision_state_is_exact_under_every_model(model, feedback):
    """Reward and what is left are known to the critic, step by step, also where a half-day begins."""
    env = env_with(model, f"env.degradation.feedback={feedback}", "env.degradation.start_soh=0.95",
                   "env.battery.capacity_mwh=[2,4]", "env.action.dead_band=0.0")  # fmt: skip
    params, actions = env.params("train"), np.random.default_rng(0).uniform(-1, 1, 30).round(1)
    steps, _, (_, seen) = run(env, actions)
    observations = jnp.concatenate([seen[None], steps.observation[:-1]])
    context = env.post_decision_context(params)
    known = jax.jit(jax.vmap(lambda seen, action: env.post_decision(seen, action[None], context)))
    reward, after = known(observations, jnp.asarray(actions, jnp.float32))
    np.testing.assert_allclose(reward, steps.reward, atol=2e-3 * float(jnp.abs(steps.reward).max()))
    controlled = list(env.observation_space.entries(tuple(env.controlled)))
    np.testing.assert_allclose(after[:, controlled], steps.observation[:, controlled], atol=2e-4)


@pytest.mark.parametrize("model", MODELS)
def test_what_wear_depends_on_is_observed_and_nothing_else(model):
    plain, names = env_with("throughput").observation_space.names, env_with(model).observation_space.names
    added = {"cardo_miota": 3, "rainflow": 5, "xu": 6}.get(model, 0)
    assert len(names) == len(plain) + added
    assert [name for name in names if not name.startswith(("wear", "half_day"))] == list(plain)


def test_half_days_begin_at_midnight_and_noon_local():
    env = vmax.make_env("bess", ["env.degradation.model=cardo_miota"])
    params = env.params("test")
    starts = env.evaluation_starts(params, "test", days=60)  # local midnight; 1 January
    assert starts.time.shape == (1,)

    def flag(step):
        start = jax.tree.map(lambda leaf: leaf[0], starts).replace(time=starts.time[0] + step)
        seen = env.reset(jax.random.key(0), params, start)[1]
        return seen[env.observation_space.slice("half_day_start")][0]

    flags = np.asarray(jax.jit(jax.vmap(flag))(jnp.arange(24 * 92)))
    hours = env.series.local_hour[int(starts.time[0]) :][: len(flags)]  # 31 March has 23 hours
    np.testing.assert_array_equal(flags > 0, np.isin(hours, [0, 12]))


def test_the_loss_shrinks_the_capacity_and_the_books_still_balance():
    env = env_with("rainflow", "env.degradation.feedback=true", "env.degradation.rainflow.life_share_per_cycle=0.1")
    params = env.params("test")
    starts = env.evaluation_starts(params, "test")
    judge = env.assessment
    table = judge.timeseries("two_cycle", rollout(env, TwoCycle(-jnp.inf), params, starts))
    figures = judge.key_figures(table, params, starts)
    assert (figures["violations"], figures["wear_overflows"]) == (0, 0)
    assert figures["max_energy_residual_mwh"] < 1e-5
    capacity = table["capacity_mwh"].to_numpy()
    np.testing.assert_allclose(capacity, 3.5 * (1 - np.append(0, table["soh_loss"].cumsum())[:-1]), rtol=1e-4)
    assert capacity[-1] < 3.4
    assert figures["soh_loss"] == pytest.approx(table["soh_loss"].sum())
    assert figures["soh_percent_per_year"] == pytest.approx(100 * table["soh_loss"].sum() * 8760 / len(table))
    assert "soh" in env.observation_space and "soh" not in env_with("rainflow").observation_space


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.degradation.model=magic", "env.degradation.model=magic: must be one of throughput"),
        ("env.degradation.replacement_eur_per_mwh=0", r"replacement_eur_per_mwh=0.0: must be above 0"),
        ("env.degradation.stack=2", r"stack=2: must be within \[4, 1024\]"),
        ("env.degradation.start_soh=1.2", "start_soh=1.2: must be above 0 and at most 1"),
        ("env.degradation.cardo_miota.depth_limits=[0.3,0.1,0.4,0.55,0.7]", "must ascend"),
        ("env.degradation.cardo_miota.stress=[0.1,1]", "one more than depth_limits"),
        ("env.degradation.rainflow.exponent=0.5", r"exponent=0.5: must be within \[1, 10\]"),
        ("env.degradation.xu.k_delta3=-1.5e5", "more with depth"),
    ],
)
def test_a_wrong_number_is_named(override, message):
    with pytest.raises(UserError, match=message):
        vmax.make_env("bess", [override])
