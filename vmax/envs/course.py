"""Courses set beforehand and planners that work on the host: how a solver takes part in a compiled evaluation.

A planner decides step by step on the host; the environment moves on the device. Its actions are recorded as a `Course`,
which then runs through the same compiled rollout as every other policy, so all money is computed by the same code.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax import remembered
from vmax.activity import doing
from vmax.files import DiskFull, atomic

Array = jax.Array
KIND = "courses"
SOURCES = ("envs", "data", "spaces.py")
"""What courses depend on, below the package."""


@runtime_checkable
class Courseful(Protocol):
    """Something that sets its whole course on the host first, as planners and the optimum do."""

    def course(self, env: Any, params: Any, starts: Any) -> Course:
        """A policy that follows the course set for the lanes `starts`."""
        ...


class Planner(Protocol):
    """A policy that decides on the host. Hashable, as its `view` and `action` are compiled."""

    def view(self, env: Any, state: Any, params: Any) -> Any:
        """What it reads at a step, for one environment: a pytree of arrays, made from what may be known then."""
        ...

    def start(self, env: Any, params: Any, starts: Any) -> Any:
        """The memory of L lanes before their first step."""
        ...

    def decide(self, view: Any, active: np.ndarray, memory: Any) -> np.ndarray:
        """Decisions `[L, …]` for the lanes that are `active`; `memory` is changed in place."""
        ...

    def action(self, env: Any, state: Any, params: Any, decision: Array) -> Array:
        """The action `[A]` of one decision, for one environment."""
        ...


@struct.dataclass
class Course:
    """Follows actions `[L, T, A]` set beforehand."""

    actions: Array

    def initial(self, env: Any, params: Any, starts: Any) -> Array:
        """The number of the next action."""
        return jnp.int32(0)

    def act(
        self, env: Any, states: Any, observation: Array, params: Any, carry: Array, key: Array
    ) -> tuple[Array, Array]:
        """Actions `[L, A]`."""
        return jax.lax.dynamic_index_in_dim(self.actions, carry, axis=1, keepdims=False), carry + 1


def follow(env: Any, planner: Planner, params: Any, starts: Any) -> Course:
    """Run a planner in the lanes `starts` from their `time` to their `end`; returns what it did."""
    steps = np.asarray(starts.end) - np.asarray(starts.time)
    memory = planner.start(env, params, starts)
    states, view = _begin(env, planner, params, starts)
    actions = []
    for t in range(int(steps.max())):
        doing("planner", f"{type(planner).__name__}, step {t} of {int(steps.max())}")
        decision = planner.decide(jax.tree.map(np.asarray, view), t < steps, memory)
        states, view, action = _advance(env, planner, params, states, np.asarray(decision, np.float32))
        actions.append(np.asarray(action))
    return Course(jnp.asarray(np.stack(actions, axis=1)))


def course_of(env: Any, policy: Courseful, params: Any, starts: Any) -> Course:
    """The course of a policy for the lanes `starts`; one that was set before, from the same of everything, is read.

    Only actions are remembered: what they are worth is found anew.
    """
    path = None
    with suppress(TypeError):  # something that no digest can stand for
        if type(policy).__module__.startswith(f"{remembered.PACKAGE.name}."):
            path = remembered.place(KIND, f"{remembered.digest((env, policy, params, starts), SOURCES)}.npy")
    if path is None:
        return policy.course(env, params, starts)
    with suppress(OSError, ValueError):
        return Course(jnp.asarray(np.load(path, allow_pickle=False)))
    course = policy.course(env, params, starts)
    with suppress(OSError, DiskFull), atomic(path) as temporary:
        np.save(temporary, np.asarray(course.actions))
    remembered.tidy(path)
    return course


@partial(jax.jit, static_argnames=("env", "planner"))
def _begin(env: Any, planner: Any, params: Any, starts: Any) -> tuple[Any, Any]:
    states, _ = jax.vmap(env.reset, in_axes=(None, None, 0))(jax.random.key(0), params, starts)
    return states, jax.vmap(lambda state: planner.view(env, state, params))(states)


@partial(jax.jit, static_argnames=("env", "planner"))
def _advance(env: Any, planner: Any, params: Any, states: Any, decision: Array) -> tuple[Any, Any, Array]:
    def one(state: Any, decision: Array) -> tuple[Any, Any, Array]:
        action = planner.action(env, state, params, decision)
        following, _ = env.step(jax.random.key(0), state, action, params)
        return following, planner.view(env, following, params), action

    return jax.vmap(one)(states, decision)
