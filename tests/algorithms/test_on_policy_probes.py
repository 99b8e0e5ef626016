"""The probes for those that learn from their own rollouts, through the compiled part of a run itself."""

from dataclasses import dataclass, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import NETWORK, make

from vmax import devices
from vmax.algorithms.algorithm import Spec
from vmax.envs.classic.probes import BEST_ACTION, PROBES, RECALL_STEPS, ProbeState
from vmax.envs.environment import Plain
from vmax.networks.recurrent import RecurrentConfig
from vmax.replay.settings import PriorityConfig, SequenceConfig
from vmax.training.program import Program, Sizes

BOTH = [pytest.param("a2c", marks=pytest.mark.slow), "ppo"]
ENVS, UNROLL = 16, 20
ITERATIONS = {"ppo": 60, "a2c": 1000}
LSTM = RecurrentConfig("lstm", (16,), "relu", "none", "float32", 8)
ORDER = list(PROBES)


@dataclass(frozen=True)
class AnyProbe(Plain):
    """The probe that the params name by its place in `ORDER`, so that one program plays them all.

    The second of the params is whether an episode is truncated at its end, or terminates.
    """

    name = "any"
    observation_space, action_space = PROBES["both"].observation_space, PROBES["both"].action_space
    info_space = ()
    min_episode_steps = 1

    def params(self, split):
        return jnp.int32(0), jnp.array(False)

    def reset(self, key, params, start=None):
        state = ProbeState(jax.random.rademacher(key, (), jnp.float32), jnp.int32(0))
        return state, self._chosen(params, lambda probe: probe._observe(state))

    def step(self, key, state, action, params):
        def stepped(probe):
            following, step = probe.step(key, state, action, ())
            ended = step.terminated | step.truncated
            return following, replace(step, terminated=ended & ~params[1], truncated=ended & params[1])

        return self._chosen(params, stepped)

    def _chosen(self, params, ask):
        return jax.lax.switch(params[0], [lambda probe=probe: ask(probe) for probe in PROBES.values()])


@cache
def program(name, network):
    """One compiled run for all probes."""
    algorithm, world = make(name, network, learning_rate=1e-2), AnyProbe()
    spec = Spec(world.observation_space, world.action_space, 1, axis=devices.AXIS)
    unused = SequenceConfig(1, "window", 1, 0), PriorityConfig(0.0, 0.0, 1.0, 0.0)
    sizes = Sizes(ENVS, UNROLL, 1, 1, 1, 1, *unused)
    return algorithm, Program(world, algorithm, spec, sizes).compiled(ITERATIONS[name], 0)


@cache
def taught(name, probe, network=NETWORK, truncates=False, chunks=1):
    """The learner and its last state."""
    algorithm, (initialise, _, chunk) = program(name, network)
    params = devices.replicate((jnp.int32(ORDER.index(probe)), jnp.array(truncates)), 1)
    state = initialise(devices.replicate(jax.random.key(0), 1), params)
    for _ in range(chunks):
        state, _ = chunk(state, params)
    return algorithm, devices.fetch(state.learner)


def value(found, *observations):
    algorithm, state = found
    return np.asarray(algorithm._value(state.networks.params, jnp.float32(observations)[:, None], None))


def actions(found, *observations):
    algorithm, state = found
    seen = jnp.float32(observations)[:, None]
    return np.asarray(algorithm.act(algorithm.policy(state), seen, (), jax.random.key(0), explore=False)[0])[:, 0]


@pytest.mark.parametrize("name", BOTH)
def test_constant_reward_is_the_value(name):
    assert np.allclose(value(taught(name, "constant"), 0.0), 1.0, atol=0.05)


@pytest.mark.parametrize("name", BOTH)
def test_value_depends_on_the_observation(name):
    assert np.allclose(value(taught(name, "observation"), -1.0, 1.0), [-1.0, 1.0], atol=0.05)


@pytest.mark.parametrize("name", BOTH)
def test_value_reaches_back_with_the_discount(name):
    assert np.allclose(value(taught(name, "discount"), 0.0, 1.0), [0.9, 1.0], atol=0.05)


@pytest.mark.parametrize("name", BOTH)
def test_policy_climbs_the_value(name):
    assert np.allclose(actions(taught(name, "action"), 0.0), BEST_ACTION, atol=0.1)


@pytest.mark.parametrize("name", BOTH)
def test_policy_depends_on_the_observation(name):
    assert np.allclose(actions(taught(name, "both"), -1.0, 1.0), [-BEST_ACTION, BEST_ACTION], atol=0.1)


@pytest.mark.parametrize("name", BOTH)
def test_a_time_limit_does_not_end_the_value(name):
    # reward 1 for ever, looked at for 10 steps at a time, γ = 0.9: 1 / (1 - 0.9) = 10; the finite sum would be 6.5
    assert np.allclose(value(taught(name, "endless", truncates=True, chunks=3), 0.0), 10.0, rtol=0.05)
    assert value(taught(name, "endless", truncates=False, chunks=3), 0.0) < 9.0


def recalled(network):
    """PPO's greedy actions at the last step of `memory`, for the cues -1 and 1."""
    algorithm, state = taught("ppo", "memory", network)
    carry, action = algorithm.initial_carry(2), None
    act = jax.jit(lambda shown, carry: algorithm.act(algorithm.policy(state), shown, carry, jax.random.key(0), False))
    for shown in [jnp.float32([[-1.0], [1.0]]), *[np.zeros((2, 1), np.float32)] * (RECALL_STEPS - 1)]:
        action, carry, _ = act(shown, carry)
    return np.asarray(action)[:, 0]


def test_a_cue_of_the_first_step_decides_the_last_action_with_memory_alone():
    assert np.allclose(recalled(LSTM), [-BEST_ACTION, BEST_ACTION], atol=0.15)
    assert np.allclose(recalled(NETWORK), 0.0, atol=0.2)  # the last step looks alike after either cue
