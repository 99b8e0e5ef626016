"""What every environment has to keep to, side by side with others and with episodes that start anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_bess

from vmax import make_env
from vmax.envs.classic.probes import PROBES
from vmax.envs.environment import AutoReset
from vmax.spaces import random_actions

LANES = 3
MICROGRID = ["env.data.train_years=1", "env.data.validation_years=1", "env.data.test_years=1", "env.episode.days=2"]
TRAFFIC = ["env.episode.minutes=20"]
ENVIRONMENTS = {
    "pendulum": lambda: make_env("pendulum"),
    "cartpole": lambda: make_env("cartpole"),
    "bess": small_bess.small_bess,
    "bess_pv": lambda: small_bess.bess_on(
        small_bess.wavy_prices(),
        "env.battery.capacity_mwh=[2,4]",
        "env.battery.self_discharge_per_h=0.01",
        env="bess_pv",
    ),
    "microgrid": lambda: make_env("microgrid", MICROGRID),
    "microgrid_sockets": lambda: make_env(
        "microgrid", [*MICROGRID, "env.action.chargers=socket", "env.action.battery=rule"]
    ),
    "traffic_signal": lambda: make_env("traffic_signal", TRAFFIC),
    "traffic_corridor": lambda: make_env("traffic_corridor", [*TRAFFIC, "env.demand.level=saturated"]),
    **{name: lambda probe=probe: probe for name, probe in PROBES.items()},
}


SLOW = ("bess_pv", "microgrid_sockets", "traffic_corridor")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in ENVIRONMENTS])
def test_a_jitted_random_run_keeps_the_contract(name):
    environment = ENVIRONMENTS[name]()
    world, params, actions = AutoReset(environment), environment.params("train"), environment.action_space

    def one(carry, key):
        state, _ = carry
        action = random_actions(actions, key, (LANES,))
        state, following, told = world.step(key, state, action, params)
        return (state, following), (following, told)

    start = world.reset(jax.random.split(jax.random.key(0), LANES), params)
    _, (following, told) = jax.jit(lambda: jax.lax.scan(one, start, jax.random.split(jax.random.key(1), 600)))()
    space = environment.observation_space
    assert following.shape == told.observation.shape == (600, LANES, space.size)
    for seen in (following, told.observation):
        assert seen.dtype == jnp.float32 and np.isfinite(seen).all()
        assert (seen >= space.low - 1e-6).all() and (seen <= space.high + 1e-6).all()
    assert told.reward.dtype == jnp.float32
    assert set(told.info) == {feature.name for feature in environment.info_space}
    for feature in environment.info_space:
        assert (told.info[feature.name] >= feature.low).all() and (told.info[feature.name] <= feature.high + 1e-5).all()
    for lane in range(LANES):
        assert (np.diff(np.flatnonzero(told.truncated[:, lane])) >= environment.min_episode_steps).all()
    ended = np.asarray(told.truncated | told.terminated)
    assert ended.any()
    fresh = (np.asarray(following) != np.asarray(told.observation)).any(axis=-1)
    assert not fresh[~ended].any()


def test_lanes_are_renewed_one_by_one_each_from_its_own_key():
    world = AutoReset(make_env("cartpole"))
    params = world.environment.params("train")
    states, _ = world.reset(jax.random.split(jax.random.key(0), 4), params)
    fallen = jnp.array([False, True, False, True])
    states = states.replace(motion=states.motion.at[:, 2].set(jnp.where(fallen, 1.0, 0.0)))
    key = jax.random.key(7)
    renewed, following, step = world.step(key, states, jnp.zeros(4, jnp.int32), params)
    np.testing.assert_array_equal(step.terminated, fallen)
    for lane, own in enumerate(jax.random.split(key, 4)):
        expected = (
            world.environment.reset(jax.random.split(own)[1], params)[1] if fallen[lane] else step.observation[lane]
        )
        np.testing.assert_array_equal(following[lane], expected)
    assert (np.asarray(renewed.time)[np.asarray(fallen)] == 0).all()
