"""Rollouts: which program a policy runs as."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

import vmax
from vmax.envs.rollout import greedy_episodes

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


def test_no_policy_runs_as_another_one_of_the_same_shape():
    env = vmax.make_env("pendulum", [])
    traced: list[type] = []
    policies = [constant_policy(traced) for _ in range(POLICIES)]
    for policy in policies:
        greedy_episodes(env, policy, env.params("test"), jax.random.key(0), 2, longest=1)
    assert set(traced) == {type(policy) for policy in policies}
