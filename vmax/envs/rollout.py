"""Compiled rollouts of policies: whole trajectories in parallel lanes, or greedy episodes.

The class of a policy is a static argument of every compiled function here. JAX takes the structures of two dataclasses
with as many leaves for equal although their hashes differ, so by chance of the hash one policy would run as another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.course import Courseful, course_of

Array = jax.Array


@runtime_checkable
class Policy(Protocol):
    """A pytree whose arrays may change without a new compilation. Decides for L lanes at once."""

    def initial(self, env: Any, params: Any, starts: Any) -> Any:
        """The carry of L lanes before their first step."""
        ...

    def act(self, env: Any, states: Any, observation: Array, params: Any, carry: Any, key: Array) -> tuple[Array, Any]:
        """Observations `[L, D]` -> `(actions [L, A], carry)`."""
        ...


@dataclass(frozen=True)
class Column:
    """A column of the table of policies: its heading, the key figure in it (dots lead into it; a pair is an interval)
    and its decimals."""

    heading: str
    key: str
    digits: int

    def described(self) -> dict[str, Any]:
        """As it stands in result.json."""
        return {"heading": self.heading, "key": self.key, "digits": self.digits}


@struct.dataclass
class Record:
    """What happened in L lanes of up to T steps. `trace` holds observation, action and reward, or nothing.

    Attributes:
      info: the environment's info entries, each `[T, L]`.
      steps: number of steps of each lane, `[L]`; what follows them in a lane is to be ignored.
      trace: `observation` `[T, L, D]`, `action` `[T, L, A]`, `reward` `[T, L]`.
    """

    info: dict[str, Array]
    steps: Array
    trace: dict[str, Array]


def rollout(env: Any, policy: Policy | Courseful, params: Any, starts: Any, trace: bool = False) -> Record:
    """Run one policy from `starts` (leaves `[L]`) to their ends, in one compiled scan."""
    follower: Policy = course_of(env, policy, params, starts) if isinstance(policy, Courseful) else policy
    length = int(np.max(np.asarray(starts.end) - np.asarray(starts.time)))
    return rollout_states(env, follower, params, starts, length, trace)


def rollout_states(env: Any, policy: Policy, params: Any, starts: Any, length: int, trace: bool) -> Record:
    """The compiled part of `rollout`: `length` steps in every lane."""
    return _rollout_states(env, type(policy), policy, params, starts, length, trace)


@partial(jax.jit, static_argnames=("env", "kind", "length", "trace"))
def _rollout_states(env: Any, kind: type, policy: Policy, params: Any, starts: Any, length: int, trace: bool) -> Record:
    lanes = len(starts.time)
    reset_key, run_key = jax.random.split(jax.random.key(0))
    states, observation = jax.vmap(env.reset, in_axes=(0, None, 0))(jax.random.split(reset_key, lanes), params, starts)

    def one(loop: Any, key: Array) -> tuple[Any, Any]:
        states, observation, carry = loop
        act_key, step_key = jax.random.split(key)
        action, carry = policy.act(env, states, observation, params, carry, act_key)
        states, step = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            jax.random.split(step_key, lanes), states, action, params
        )
        seen = {"observation": observation, "action": action, "reward": step.reward} if trace else {}
        return (states, step.observation, carry), (step.info, seen)

    begin = (states, observation, policy.initial(env, params, starts))
    _, (info, seen) = jax.lax.scan(one, begin, jax.random.split(run_key, length))
    return Record(info, starts.end - starts.time, seen)


def greedy_episodes(env: Any, policy: Policy, params: Any, key: Array, episodes: int) -> tuple[Array, Array]:
    """Return and length of `episodes` episodes, each `[episodes]`, all running until the last has ended."""
    return _greedy_episodes(env, type(policy), policy, params, key, episodes)


@partial(jax.jit, static_argnames=("env", "kind", "episodes"))
def _greedy_episodes(
    env: Any, kind: type, policy: Policy, params: Any, key: Array, episodes: int
) -> tuple[Array, Array]:
    begin, step = _episodes(env, policy, params, key, episodes)
    end = jax.lax.while_loop(lambda loop: loop[-1].any(), lambda loop: step(loop)[0], begin)
    return end[4], end[5]


def trace_episodes(env: Any, policy: Policy, params: Any, key: Array, episodes: int, length: int) -> Record:
    """The first `length` steps of the same episodes: `trace` has `terminated` `[T, episodes]` besides."""
    return _trace_episodes(env, type(policy), policy, params, key, episodes, length)


@partial(jax.jit, static_argnames=("env", "kind", "episodes", "length"))
def _trace_episodes(
    env: Any, kind: type, policy: Policy, params: Any, key: Array, episodes: int, length: int
) -> Record:
    begin, step = _episodes(env, policy, params, key, episodes)
    end, seen = jax.lax.scan(lambda loop, _: step(loop), begin, None, length=length)
    return Record({}, jnp.asarray(end[5], jnp.int32), seen)


def _episodes(env: Any, policy: Policy, params: Any, key: Array, episodes: int) -> tuple[Any, Any]:
    """The beginning of greedy episodes, and their step: loop -> (loop, what was seen)."""
    reset_key, run_key = jax.random.split(key)
    states, observation = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(reset_key, episodes), params)
    zero = jnp.zeros(episodes)
    begin = (states, observation, policy.initial(env, params, zero), run_key, zero, zero, jnp.ones(episodes, bool))

    def one(loop: Any) -> tuple[Any, dict[str, Array]]:
        states, observation, carry, key, total, length, alive = loop
        key, act_key, step_key = jax.random.split(key, 3)
        action, carry = policy.act(env, states, observation, params, carry, act_key)
        states, step = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            jax.random.split(step_key, episodes), states, action, params
        )
        total = total + jnp.where(alive, step.reward, 0.0)
        still = alive & ~(step.terminated | step.truncated)
        seen = {"observation": observation, "action": action, "reward": step.reward, "terminated": step.terminated}
        return (states, step.observation, carry, key, total, length + alive, still), seen

    return begin, one
