"""The probes: worlds so small that their values and best actions are known."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import make, q_by_hand, spec

from vmax.envs.classic.probes import BEST_ACTION, PROBES
from vmax.envs.environment import AutoReset
from vmax.replay import transitions

NAMES = ("sac", "td3")
SPEC = spec(observations=1, actions=1)
ENVS, STEPS, UPDATES, SAMPLES = 8, 60, 1000, 32


def learner(name: str):
    changes = {"initial_temperature": 1e-6, "learn_temperature": False} if name == "sac" else {}
    return make(name, average_actor=0.0, **changes)


def played(probe: str) -> tuple[jax.Array, ...]:
    """Random actions: a block of transitions `[T, N, …]`."""
    world = AutoReset(PROBES[probe])

    def step(carry, key):
        state, observation = carry
        action = jax.random.uniform(key, (ENVS, 1), minval=-1.0, maxval=1.0)
        state, following, told = world.step(key, state, action, ())
        block = (observation, action, told.reward, told.terminated, told.truncated, told.observation)
        return (state, following), block

    start = world.reset(jax.random.split(jax.random.key(0), ENVS), ())
    return jax.jit(lambda: jax.lax.scan(step, start, jax.random.split(jax.random.key(1), STEPS))[1])()


@cache
def learn(name: str):
    """One compiled function a learner: from a block of transitions to the critics and the greedy actions."""
    algorithm = learner(name)

    @jax.jit
    def run(block):
        replay = transitions.add(transitions.init(ENVS * STEPS, ENVS, jnp.zeros(1), jnp.zeros(1), 1), *block)
        flat = transitions.sample(replay, jax.random.key(2), UPDATES * SAMPLES, 1, 0.9)
        inputs = jax.tree.map(lambda leaf: leaf.reshape(UPDATES, SAMPLES, *leaf.shape[1:]), flat)
        state = algorithm.init(jax.random.key(3), SPEC)
        state, _ = algorithm.update(state, inputs, jax.random.key(4), SPEC)
        seen = jnp.array([[-1.0], [0.0], [1.0]])
        return state.critic.params, algorithm.act(algorithm.policy(state), seen, (), jax.random.key(5), False)[0]

    return run


def value(critics, observation: float) -> np.ndarray:
    """Q at a few actions of both critics, `[2, 3]`."""
    return q_by_hand(critics, np.full((3, 1), observation), np.array([[-0.5], [0.0], [0.5]]))


@pytest.mark.parametrize("name", NAMES)
def test_constant_reward_is_the_value(name):
    critics, _ = learn(name)(played("constant"))
    assert np.allclose(value(critics, 0.0), 1.0, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_value_depends_on_the_observation(name):
    critics, _ = learn(name)(played("observation"))
    assert np.allclose(value(critics, 1.0), 1.0, atol=0.05)
    assert np.allclose(value(critics, -1.0), -1.0, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_value_reaches_back_with_the_discount(name):
    critics, _ = learn(name)(played("discount"))
    assert np.allclose(value(critics, 1.0), 1.0, atol=0.05)
    assert np.allclose(value(critics, 0.0), 0.9, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_policy_climbs_the_value(name):
    _, actions = learn(name)(played("action"))
    assert abs(actions[1, 0] - BEST_ACTION) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_policy_depends_on_the_observation(name):
    _, actions = learn(name)(played("both"))
    assert np.allclose(actions[:, 0][jnp.array([0, 2])], [-BEST_ACTION, BEST_ACTION], atol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_time_limit_does_not_end_the_value(name):
    # reward 1 for ever, looked at for 10 steps at a time, γ = 0.9: 1 / (1 - 0.9) = 10; the finite sum would be 6.5
    block = played("endless")
    critics, _ = learn(name)(block)
    assert np.allclose(value(critics, 0.0), 10.0, rtol=0.05)
    observation, action, reward, terminated, truncated, final = block
    wrong, _ = learn(name)((observation, action, reward, truncated, terminated, final))
    assert value(wrong, 0.0).max() < 9.0  # what the mistake would look like: truncation taken for termination
