import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_bess import PROVIDED, bess_on, small_bess, wavy_prices, with_forecasts

from vmax import make_env
from vmax.envs.bess.observation import EXOGENOUS, OF_RESERVE
from vmax.envs.natural import Quantity, as_declared, to_numbers, to_values
from vmax.spaces import Box, Feature

ALL = [name for name in EXOGENOUS if name not in OF_RESERVE]
WORLDS = {
    "every feature": (f"env.observation.features=[soc,previous_soc,price_mean,price_scale,{','.join(ALL)}]",),
    "ranges, pv and depth buckets": (
        *("env.battery.power_mw=[1.0,2.0]", "env.battery.soc_min=[0.05,0.2]"),
        *("env.plant.pv_capacity_mw=1.0", "env.degradation.model=cardo_miota"),
    ),
    "forecasts of the data": PROVIDED,
    "reserve and wear": (
        "env.reserve.product=up_and_down",
        "env.degradation.model=xu",
        "env.degradation.feedback=true",
        f"env.observation.features=[soc,price_level,{','.join(OF_RESERVE)}]",
    ),
}


def starts(env, count=20):
    """Observations at drawn starts, `[count, D]`, and the states."""
    params = env.params("train")
    return jax.jit(jax.vmap(lambda key: env.reset(key, params)))(jax.random.split(jax.random.key(0), count))


@pytest.mark.parametrize("overrides", WORLDS.values(), ids=WORLDS)
def test_values_of_the_battery_lead_back_to_its_observation_and_keep_their_bounds(overrides):
    env = bess_on(with_forecasts(), *overrides)
    natural, observation = env.natural(env.params("test")), np.asarray(starts(env)[1])
    assert len(natural.observation) == observation.shape[1] == len({q.name for q in natural.observation})
    values = to_values(natural.observation, observation)
    back = to_numbers(natural.observation, jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(back, observation, rtol=2e-6, atol=2e-6)
    for i, quantity in enumerate(natural.observation):
        slack = 1e-5 * max(1.0, abs(quantity.high) if np.isfinite(quantity.high) else 1.0)
        assert (values[:, i] >= quantity.low - slack).all() and (values[:, i] <= quantity.high + slack).all(), quantity
        assert quantity.meaning and quantity.unit


def test_values_are_those_of_the_world():
    features = "[soc,price_mean,price_scale,price_level,hour,weekday,price_now,time_to_peak,is_peak,price_window]"
    changes = ("env.augmentation.price_factor=[1.0,1.0]", f"env.observation.features={features}")
    env = bess_on(wavy_prices(), *changes)
    params = env.params("train")
    states, observation = starts(env)
    natural = env.natural(params)
    names = [q.name for q in natural.observation]
    values = dict(zip(names, to_values(natural.observation, observation).T, strict=True))
    known = jax.vmap(lambda state: env.known(state, params))(states)
    row = np.asarray(states.time)
    near = lambda found, expected: np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # noqa: E731
    near(values["soc"], states.soc)
    near(values["hour"], env.series.local_hour[row])
    near(values["weekday"], env.series.local_weekday[row])
    near(values["price_now"], env.series.values["price"][row])
    near(values["price_scale"], known.spread_eur_per_mwh)
    near(values["price_mean"] * values["price_scale"], known.mean_eur_per_mwh)
    near(values["price_level"] * values["price_scale"], env.series.values["price"][row] - known.mean_eur_per_mwh)
    following = env.series.values["price"][row + 1] - env.series.values["price"][row]
    certain = np.asarray(known.mask[:, 1])
    near((values["price_window_0"] * values["price_scale"])[certain], following[certain])
    within = np.where(np.asarray(known.mask), np.asarray(known.price_eur_per_mwh), -np.inf)
    near(values["time_to_peak"], within.argmax(axis=1))  # steps of an hour
    assert set(values["is_peak"].round(6)) <= {0.0, 1.0}


def test_actions_become_the_power_that_the_environment_is_asked_for():
    env = small_bess()
    params = env.params("train")
    natural = env.natural(params)
    (quantity,) = natural.action
    assert (quantity.name, quantity.unit, quantity.low, quantity.high) == ("power_mw", "MW", -1.5, 1.5)
    band, full = env.config.action.dead_band, env.config.action.full_band
    action = np.array([-1.0, band / 2, 0.5 * (band + 1.0 - full), 1.0])  # idle, then half of what is between the bands
    raw = jnp.zeros((4, env.observation_space.size))
    np.testing.assert_allclose(
        natural.units(raw, jnp.asarray(action)[:, None])[:, 0], [-1.5, 0.0, 0.75, 1.5], rtol=1e-6
    )
    state, _ = env.reset(jax.random.key(0), params)
    for power in (-1.2, -0.3, 0.7):
        asked = env.action_for_power(power, state, params)
        assert float(natural.units(raw[:1], asked[None])[0, 0]) == pytest.approx(power, rel=1e-5)


def test_rated_power_that_is_drawn_is_read_from_the_row():
    env = bess_on(wavy_prices(), "env.battery.power_mw=[1.0,2.0]", "env.action.dead_band=0.0")
    natural = env.natural(env.params("train"))
    raw = np.zeros((2, env.observation_space.size), np.float32)
    raw[:, [q.name for q in natural.observation].index("power_mw")] = [1.0, 2.0]
    np.testing.assert_allclose(natural.units(jnp.asarray(raw), jnp.full((2, 1), 0.5))[:, 0], [0.5, 1.0], rtol=1e-6)
    assert natural.action[0].high == 2.0


@pytest.mark.parametrize(("features", "expected"), [("[soc,is_peak]", [0.75, -0.75]), ("[soc,hour]", [0.75, 0.75])])
def test_in_peak_windows_the_direction_is_told_where_the_row_tells_it(features, expected):
    mode = ("env.action.mode=peak_windows", "env.action.dead_band=0.0", "env.action.full_band=0.0")
    env = bess_on(wavy_prices(), *mode, f"env.observation.features={features}")
    natural = env.natural(env.params("train"))
    raw = jnp.array([[0.5, 1.0], [0.5, 0.0]])
    np.testing.assert_allclose(natural.units(raw, jnp.zeros((2, 1)))[:, 0], expected, rtol=1e-6)
    assert natural.action[0].name == ("power_mw" if "is_peak" in features else "power_size_mw")


def test_bids_are_in_mw_beside_the_power():
    env = bess_on(wavy_prices(), "env.reserve.product=up_and_down", "env.action.dead_band=0.0")
    natural = env.natural(env.params("train"))
    assert [q.name for q in natural.action] == ["power_mw", "reserve_up_mw", "reserve_down_mw"]
    units = natural.units(jnp.zeros((1, env.observation_space.size)), jnp.array([[0.2, -1.0, 0.0]]))
    np.testing.assert_allclose(units[0], [0.3, 0.0, 0.75], rtol=1e-6)


def test_a_torque_is_in_newton_metres_and_the_angle_as_it_is():
    env = make_env("pendulum")
    natural = env.natural(env.params("train"))
    assert natural.observation == as_declared(env.observation_space)
    assert natural.units(jnp.zeros((1, 3)), jnp.array([[-0.5]])).tolist() == [[-1.0]]


@pytest.mark.parametrize(
    ("curve", "value", "number"),
    [
        ("linear", 3.0, 1.0),
        ("arcsinh", 3.0, (np.arcsinh(3.0) - 1.0) / 2),
        ("arcsinh_of_share", 4.0, 0.5 * np.arcsinh(2.5) - 0.5),
    ],
)
def test_a_number_is_the_curve_of_its_value_less_offset_over_scale(curve, value, number):
    quantity = Quantity("x", "1", -9.0, 9.0, "", curve, offset=1.0, scale=2.0, reference=10.0)
    assert float(to_numbers([quantity], jnp.array([value]))[0]) == pytest.approx(number, rel=1e-6)
    assert quantity.value(number) == pytest.approx(value, rel=1e-6)


def test_what_is_declared_in_units_stays_as_it_is():
    quantities = as_declared(Box((Feature("a", "m", -2.0, 2.0, size=2), Feature("b"))))
    assert [(q.name, q.unit, q.low) for q in quantities] == [("a_0", "m", -2.0), ("a_1", "m", -2.0), ("b", "1", -1.0)]
    values = jnp.array([[1.5, -2.0, 0.1]])
    assert to_numbers(quantities, values) is values
