"""Whether shapes, types and compiled programs stay what they are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.checks.finding import Check, Measured, Skip, listed
from vmax.checks.programs import callbacks
from vmax.checks.shapes import observation_mismatches, state_mismatches, step_mismatches, type_name
from vmax.checks.subject import Subject
from vmax.checks.trees import is_key, path_name

KIND = "structure"


def pytree(subject: Subject) -> Measured:
    """Leaves whose shape or type is not as declared or changes from reset to step; weak types; Python numbers."""
    env, params, key = subject.env, subject.params, subject.key("pytree")
    wrong = [f"params.{name}: {said}" for name, said in _loose(params)]
    try:
        hash(env)
    except TypeError:
        wrong.append("the environment cannot be hashed: no arrays or lists on it")
    state, observation = env.reset(key, params)
    following, step = env.step(key, state, subject.actions("pytree", *()), params)
    wrong += [f"state.{name}: {said}" for name, said in _loose(state)]
    wrong += state_mismatches(state, following)
    wrong += observation_mismatches(env, "observation after reset", observation) + step_mismatches(env, step)
    told = {"observation after reset": observation, "observation": step.observation, "reward": step.reward}
    wrong += [part for name, leaf in told.items() for part in _other_type(name, leaf, jnp.float32)]
    for name in ("terminated", "truncated"):
        wrong += _other_type(name, getattr(step, name), jnp.bool_)
    for name, leaf in step.info.items():
        wrong += _other_type(f"info {name}", leaf, None)
    return Measured(len(wrong), listed(dict.fromkeys(wrong)))


def _loose(tree: Any) -> list[tuple[str, str]]:
    """Leaves that are no arrays, or weakly typed ones: they make a program compile once more."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not isinstance(leaf, jax.Array | np.ndarray):
            found.append((path_name(path), f"is a Python {type(leaf).__name__}"))
        elif getattr(leaf, "weak_type", False):
            found.append((path_name(path), "is weakly typed; give it a dtype"))
    return found


def _other_type(what: str, leaf: Any, dtype: Any) -> list[str]:
    """Where a leaf is no array, or one of another type (None: any), or a weakly typed one."""
    if not isinstance(leaf, jax.Array):
        return [f"{what}: is a Python {type(leaf).__name__}"]
    weak = dtype is not None and leaf.weak_type
    if dtype is None or (leaf.dtype == jnp.dtype(dtype) and not weak):
        return []
    return [f"{what}: {'weak ' * weak}{type_name(leaf)}"]


def retrace(subject: Subject) -> Measured:
    """How often `step` is traced again although only values are new."""
    state, _ = subject.reset(subject.key("retrace"), subject.params)
    first, *others = subject.keys("retrace", 4)
    state, _ = subject.step(first, state, subject.actions("retrace 0", *()), subject.params)
    traced = subject.traces
    for i, key in enumerate(others):
        state, _ = subject.step(key, state, subject.actions(f"retrace {i + 1}", *()), subject.params)
    again = subject.traces - traced
    return Measured(again, f"traced again in {again} of 3 calls" if again else "")


def transfer(subject: Subject) -> Measured:
    """Ways to the host inside `reset` and `step`: callbacks, and transfers that JAX refuses when they are forbidden."""
    key, params = subject.key("transfer"), jax.device_put(subject.params)
    action = subject.actions("transfer", *())
    state, _ = subject.reset(key, params)
    found = []
    for name, fn, given in (
        ("reset", subject.env.reset, (key, params)),
        ("step", subject.env.step, (key, state, action, params)),
    ):
        found += [f"{name}: {primitive}" for primitive in callbacks(jax.make_jaxpr(fn)(*given).jaxpr)]
    subject.step(key, state, action, params)  # compiled before: making constants is allowed
    try:
        with jax.transfer_guard("disallow"):
            state, _ = subject.reset(key, params)
            subject.step(key, state, action, params)
    except RuntimeError as error:
        found.append(str(error).splitlines()[0])
    return Measured(len(found), listed(found))


def constants(subject: Subject) -> Measured | Skip:
    """Size of the arrays that `step` closes over: they are copied into every program that uses it."""
    key = subject.key("constants")
    state, _ = subject.reset(key, subject.params)
    closed = jax.make_jaxpr(subject.env.step)(key, state, subject.actions("constants", *()), subject.params)
    size = sum(np.asarray(const).nbytes for const in closed.consts if not is_key(const))
    return Measured(size / 1024, f"{len(closed.consts)} arrays" if closed.consts else "")


CHECKS = (
    Check(
        "pytree", KIND, "leaves",
        "give every leaf a fixed shape and dtype (jnp.float32(…), jnp.int32(…)) in reset, step and params", pytree,
    ),
    Check(
        "retrace", KIND, "traces",
        "a state that leaves step with other types than it entered, or a Python number in it, compiles anew", retrace,
    ),
    Check(
        "transfer", KIND, "ways to the host",
        "nothing in reset and step may need the host: no callbacks, no numbers made by NumPy on the way", transfer,
    ),
    Check("constants", KIND, "KiB", "arrays belong into params, not on the environment or in a module", constants),
)  # fmt: skip
