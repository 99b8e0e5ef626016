"""Classic environments against Gymnasium, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vmax.envs import make
from vmax.envs.classic.cartpole import CartPole, CartPoleConfig
from vmax.envs.classic.pendulum import Pendulum, PendulumConfig
from vmax.envs.classic.probes import PROBES
from vmax.errors import UserError

gymnasium = pytest.importorskip("gymnasium")

PENDULUM = Pendulum(PendulumConfig("pendulum", 200))
CARTPOLE = CartPole(CartPoleConfig("cartpole", 500))
KEY = jax.random.key(0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pendulum_moves_as_gymnasiums_does(seed):
    reference = gymnasium.make("Pendulum-v1")
    first, _ = reference.reset(seed=seed)
    params, step = PENDULUM.params("train"), jax.jit(PENDULUM.step)
    state, observation = PENDULUM.reset(KEY, params, start=jnp.asarray(reference.unwrapped.state))
    assert np.allclose(observation, first, atol=1e-6)
    actions = np.random.default_rng(seed).uniform(-1.3, 1.3, (200, 1))  # some beyond the range
    for number, action in enumerate(actions, start=1):
        state, told = step(KEY, state, jnp.asarray(action, jnp.float32), params)
        observation, reward, terminated, truncated, _ = reference.step(np.float32(2.0) * action)
        assert np.allclose(told.observation, observation, atol=5e-3)
        assert np.isclose(told.reward, reward, atol=2e-2)
        assert np.isclose(told.reward, -sum(told.info.values()), rtol=1e-6)
        assert bool(told.terminated) == terminated and bool(told.truncated) == truncated == (number == 200)
        # both go on from the same state, so that rounding does not grow along a chaotic path
        angle, speed = (jnp.float32(x) for x in reference.unwrapped.state)
        state = state.replace(angle_rad=angle, speed_rad_per_s=speed)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_cartpole_moves_and_falls_as_gymnasiums_does(seed):
    reference = gymnasium.make("CartPole-v1")
    first, _ = reference.reset(seed=seed)
    params, step = CARTPOLE.params("train"), jax.jit(CARTPOLE.step)
    state, observation = CARTPOLE.reset(KEY, params, start=first)
    assert np.array_equal(observation, first)
    rng, terminated = np.random.default_rng(seed), False
    while not terminated:
        action = int(rng.integers(2))
        state, told = step(KEY, state, jnp.int32(action), params)
        observation, reward, terminated, _, _ = reference.step(action)
        assert np.allclose(told.observation, observation, rtol=1e-4, atol=1e-5)
        assert told.reward == reward == 1.0
        assert bool(told.terminated) == terminated == (told.info["upright"] == 0.0)


def test_cartpole_is_truncated_while_it_still_stands():
    short = CartPole(CartPoleConfig("cartpole", 3))
    params = short.params("train")
    state, _ = short.reset(KEY, params, start=jnp.zeros(4))
    ends = []
    for action in (0, 1, 0):
        state, told = short.step(KEY, state, jnp.int32(action), params)
        ends.append((bool(told.terminated), bool(told.truncated)))
    assert ends == [(False, False), (False, False), (False, True)]


def test_pendulum_starts_are_drawn_over_the_whole_circle():
    states, _ = jax.vmap(PENDULUM.reset, in_axes=(0, None))(jax.random.split(KEY, 1000), PENDULUM.params("train"))
    assert states.angle_rad.min() < -3.0 and states.angle_rad.max() > 3.0
    assert np.abs(states.speed_rad_per_s).max() <= 1.0


@pytest.mark.parametrize(
    ("name", "start", "action", "rewards", "terminates"),
    [
        ("constant", 1.0, 0.3, [1.0], True),
        ("observation", -1.0, 0.3, [-1.0], True),
        ("discount", 1.0, 0.3, [0.0, 1.0], True),
        ("action", 1.0, 0.5, [0.0], True),
        ("both", -1.0, 0.5, [-1.0], True),
        ("endless", 1.0, 0.3, [1.0] * 10, False),
    ],
)
def test_probes_pay_and_end_as_they_say(name, start, action, rewards, terminates):
    probe = PROBES[name]
    state, _ = probe.reset(KEY, (), start=start)
    told = []
    for _ in rewards:
        state, step = probe.step(KEY, state, jnp.array([action]), ())
        told.append(step)
    assert [float(step.reward) for step in told] == rewards
    assert [bool(step.terminated | step.truncated) for step in told] == [False] * (len(rewards) - 1) + [True]
    assert bool(told[-1].terminated) == terminates


def test_names_and_mistakes():
    assert make(PENDULUM.config) == PENDULUM and make(CARTPOLE.config) == CARTPOLE
    with pytest.raises(UserError, match="env.max_steps=0: must be at least 1"):
        PendulumConfig("pendulum", 0)
    with pytest.raises(UserError, match="env.max_steps=-1: must be at least 1"):
        CartPoleConfig("cartpole", -1)
