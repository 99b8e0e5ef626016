"""The probes for those that learn from their own rollouts, through the compiled part of a run itself."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from learners import NETWORK, ON_POLICY, make

from vmax import devices
from vmax.algorithms.algorithm import Spec
from vmax.envs.classic.probes import BEST_ACTION, PROBES, RECALL_STEPS
from vmax.networks.recurrent import RecurrentConfig
from vmax.replay.settings import PriorityConfig, SequenceConfig
from vmax.training.program import Program, Sizes

NAMES = sorted(ON_POLICY)
ENVS, UNROLL = 16, 20
ITERATIONS = {"ppo": 60, "a2c": 500}
LSTM = RecurrentConfig("lstm", (16, 16), "relu", "none", "float32", 8)


@cache
def taught(name, probe, network=NETWORK, swapped=False):
    """The learner, its last state and what the last chunk told; `swapped`: a mistake, truncation taken for termination."""
    algorithm, world = make(name, network, learning_rate=1e-2), PROBES[probe]
    world = replace(world, truncates=not world.truncates) if swapped else world
    spec = Spec(world.observation_space, world.action_space, 1, axis=devices.AXIS)
    sizes = Sizes(
        ENVS, UNROLL, 1, 1, 1, 1, SequenceConfig(1, "window", 1, 0), PriorityConfig(0.0, 0.0, 1.0, 0.0)
    )  # fmt: skip
    initialise, _, chunk = Program(world, algorithm, spec, sizes).compiled(ITERATIONS[name], 0)
    params = devices.replicate((), 1)
    state, record = chunk(initialise(devices.replicate(jax.random.key(0), 1), params), params)
    return algorithm, devices.fetch(state.learner), devices.fetch(record)


def value(found, *observations):
    algorithm, state, _ = found
    return np.asarray(algorithm._value(state.networks.params, np.float32(observations)[:, None], None))


def actions(found, *observations):
    algorithm, state, _ = found
    seen = np.float32(observations)[:, None]
    return np.asarray(algorithm.act(algorithm.policy(state), seen, (), jax.random.key(0), explore=False)[0])[:, 0]


@pytest.mark.parametrize("name", NAMES)
def test_constant_reward_is_the_value(name):
    assert np.allclose(value(taught(name, "constant"), 0.0), 1.0, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_value_depends_on_the_observation(name):
    assert np.allclose(value(taught(name, "observation"), -1.0, 1.0), [-1.0, 1.0], atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_value_reaches_back_with_the_discount(name):
    assert np.allclose(value(taught(name, "discount"), 0.0, 1.0), [0.9, 1.0], atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_policy_climbs_the_value(name):
    assert np.allclose(actions(taught(name, "action"), 0.0), BEST_ACTION, atol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_policy_depends_on_the_observation(name):
    assert np.allclose(actions(taught(name, "both"), -1.0, 1.0), [-BEST_ACTION, BEST_ACTION], atol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_time_limit_does_not_end_the_value(name):
    # reward 1 for ever, looked at for 10 steps at a time, γ = 0.9: 1 / (1 - 0.9) = 10; the finite sum would be 6.5
    assert np.allclose(value(taught(name, "endless"), 0.0), 10.0, rtol=0.05)
    assert value(taught(name, "endless", swapped=True), 0.0) < 9.0


def recalled(name, network):
    """Greedy actions at the last step of `memory`, for the cues -1 and 1."""
    algorithm, state, _ = taught(name, "memory", network)
    carry, action = algorithm.initial_carry(2), None
    for shown in [np.float32([[-1.0], [1.0]]), *[np.zeros((2, 1), np.float32)] * (RECALL_STEPS - 1)]:
        action, carry, _ = algorithm.act(algorithm.policy(state), shown, carry, jax.random.key(0), explore=False)
    return np.asarray(action)[:, 0]


@pytest.mark.parametrize("name", NAMES)
def test_a_cue_of_the_first_step_decides_the_last_action_with_memory_alone(name):
    assert np.allclose(recalled(name, LSTM), [-BEST_ACTION, BEST_ACTION], atol=0.15)
    assert np.allclose(recalled(name, NETWORK), 0.0, atol=0.2)  # the last step looks alike after either cue
