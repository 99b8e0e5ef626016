"""Rollouts: which program a policy runs as."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import vmax
from vmax.envs import rollout
from vmax.envs.environment import Step
from vmax.envs.rollout import greedy_episodes
from vmax.evaluation.episodes import figures_of

POLICIES = 150
"""JAX mixes two alike structures up when seven bits of their hashes agree; among so many policies some do."""


def constant_policy(traced: list[type]) -> Any:
    """A policy of a class of its own with one number; notes its class when it is compiled."""

    @struct.dataclass
    class Constant:
        torque: Any

        def initial(self, env: Any, params: Any, starts: Any) -> tuple[()]:
            return ()

        def act(self, env: Any, states: Any, observation: Any, params: Any, carry: Any, key: Any) -> Any:
            traced.append(type(self))
            return jnp.full((len(observation), 1), self.torque), carry

    return Constant(0.5)


def one_step(env: Any, policy: Any) -> Any:
    """A step of greedy episodes."""
    params = env.params("test")
    begin = rollout._begin_episodes(env, type(policy), policy, params, jax.random.key(0), 2)
    return rollout._go_on(env, type(policy), policy, params, begin, 1)


def test_no_policy_runs_as_another_one_of_the_same_shape():
    env = vmax.make_env("pendulum", [])
    traced: list[type] = []
    policies = [constant_policy(traced) for _ in range(POLICIES)]
    for policy in policies:
        jax.eval_shape(lambda p: one_step(env, p), policy)
    assert set(traced) == {type(policy) for policy in policies}


def endless(left: int) -> Any:
    """A corridor whose right end is never reached by who goes left: of the episodes `left` do not end."""

    @struct.dataclass
    class Corridor:
        max_episode_steps = None

        def reset(self, key, params, start=None):
            return jnp.float32(0.0), jnp.zeros(1)

        def step(self, key, state, action, params):
            state = jnp.maximum(state + action[0], 0.0)
            return state, Step(state[None], jnp.float32(1.0), state >= 5, jnp.array(False), {})

    @struct.dataclass
    class Goes:
        def initial(self, env, params, starts):
            return ()

        def act(self, env, states, observation, params, carry, key):
            return jnp.where(jnp.arange(len(observation)) < left, -1.0, 1.0)[:, None], carry

    return Corridor(), Goes()


def test_episodes_that_do_not_end_are_cut_and_counted():
    env, policy = endless(3)
    found = greedy_episodes(env, policy, None, jax.random.key(0), 10, longest=1500)
    assert found.cut.tolist() == [True] * 3 + [False] * 7
    assert found.lengths.tolist() == found.returns.tolist() == [1500.0] * 3 + [5.0] * 7
    assert figures_of(found)["episodes_cut"] == 3


def test_episodes_are_the_same_in_however_many_calls_they_are_done(monkeypatch):
    env, policy = vmax.make_env("pendulum", ["env.max_steps=90"]), constant_policy([])
    whole = greedy_episodes(env, policy, env.params("test"), jax.random.key(0), 4, longest=90)
    monkeypatch.setattr("vmax.envs.rollout.FIRST_CALL", 7)
    monkeypatch.setattr("vmax.envs.rollout.CALL_S", 0.0)
    parts = greedy_episodes(env, policy, env.params("test"), jax.random.key(0), 4, longest=90)
    np.testing.assert_array_equal(whole.returns, parts.returns)
    assert not whole.cut.any() and (whole.lengths == 90).all()
