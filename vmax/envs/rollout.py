"""Compiled rollouts of policies: whole trajectories in parallel lanes, or greedy episodes.

The class of a policy is a static argument of every compiled function here. JAX takes the structures of two dataclasses
with as many leaves for equal although their hashes differ, so by chance of the hash one policy would run as another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.activity import doing
from vmax.envs.course import Courseful, course_of

Array = jax.Array
FIRST_CALL, CALL_S = 64, 0.5
"""Steps of the first compiled call of greedy episodes, and the seconds below which the next call has twice as many."""


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
    doing("rollout", type(policy).__name__)
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


@dataclass(frozen=True)
class Episodes:
    """Greedy episodes: return and length of each, `[episodes]`, float64, and which were cut before their end."""

    returns: np.ndarray
    lengths: np.ndarray
    cut: np.ndarray


def greedy_episodes(env: Any, policy: Policy, params: Any, key: Array, episodes: int, longest: int) -> Episodes:
    """`episodes` episodes, all running until the last has ended, at most `longest` steps.

    The steps are done in calls of about a second, so that a signal finds the host at work between two of them.
    """
    kind, done, count = type(policy), 0, FIRST_CALL
    loop = _begin_episodes(env, kind, policy, params, key, episodes)
    while done < longest and bool(loop[-1].any()):
        steps, started = min(count, longest - done), time.monotonic()
        loop = jax.block_until_ready(_go_on(env, kind, policy, params, loop, steps))
        done += steps
        count = count * 2 if time.monotonic() - started < CALL_S else count
        doing("greedy episodes", f"step {done} of at most {longest}")
    returns, lengths = (np.asarray(x, np.float64) for x in loop[4:6])
    return Episodes(returns, lengths, np.asarray(loop[-1]))


@partial(jax.jit, static_argnames=("env", "kind", "episodes"))
def _begin_episodes(env: Any, kind: type, policy: Policy, params: Any, key: Array, episodes: int) -> Any:
    return _episodes(env, policy, params, key, episodes)[0]


@partial(jax.jit, static_argnames=("env", "kind"))
def _go_on(env: Any, kind: type, policy: Policy, params: Any, loop: Any, steps: int) -> Any:
    """At most `steps` further steps of the episodes that have not ended."""
    one = _episode_step(env, policy, params)

    def unfinished(counted: Any) -> Array:
        return counted[1][-1].any() & (counted[0] < steps)

    return jax.lax.while_loop(unfinished, lambda counted: (counted[0] + 1, one(counted[1])[0]), (0, loop))[1]


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
    return begin, _episode_step(env, policy, params)


def _episode_step(env: Any, policy: Policy, params: Any) -> Any:
    """One step of greedy episodes: `(states, observation, carry, key, return, length, alive)` and what was seen."""

    def one(loop: Any) -> tuple[Any, dict[str, Array]]:
        states, observation, carry, key, total, length, alive = loop
        key, act_key, step_key = jax.random.split(key, 3)
        action, carry = policy.act(env, states, observation, params, carry, act_key)
        states, step = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            jax.random.split(step_key, len(alive)), states, action, params
        )
        total = total + jnp.where(alive, step.reward, 0.0)
        still = alive & ~(step.terminated | step.truncated)
        seen = {"observation": observation, "action": action, "reward": step.reward, "terminated": step.terminated}
        return (states, step.observation, carry, key, total, length + alive, still), seen

    return one
