"""Whether an environment's functions can be compiled and tell what is declared. Nothing is run, shapes are traced.

A training run asks this first, also with `checks=off`, as nothing can be trained otherwise.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.checks.finding import listed
from vmax.checks.trees import path_name
from vmax.envs.environment import Step
from vmax.errors import UserError
from vmax.spaces import Box, Discrete, Feature


def verify(env: Any, params: Any) -> None:
    """Raises UserError, one line, where what `reset` and `step` tell is not what the environment declares.

    Args: `params` of any split.
    """
    wrong = _spaces(env) or _told(env, params)
    if wrong:
        raise UserError(f"env={env.name}: {'; '.join(wrong)}")


def _spaces(env: Any) -> list[str]:
    """What is wrong with the declared spaces."""
    seen, actions = env.observation_space, env.action_space
    if not isinstance(seen, Box):
        shape = getattr(seen, "shape", ())
        return [not_a_vector(shape)] if len(shape) > 1 else [f"observation_space has to be a Box; found {_kind(seen)}"]
    if not isinstance(actions, Box | Discrete):
        return [f"action_space has to be a Box or Discrete; found {_kind(actions)}"]
    if not all(isinstance(feature, Feature) for feature in env.info_space):
        return ["info_space has to be a tuple of Feature"]
    return []


def _told(env: Any, params: Any) -> list[str]:
    """What is wrong with the shapes and types that `reset` and `step` tell."""
    key, space = jax.random.key(0), env.action_space
    action = jax.ShapeDtypeStruct(space.shape, jnp.int32 if isinstance(space, Discrete) else jnp.float32)
    told = _traced(env, "reset", env.reset, key, params)
    if not isinstance(told, tuple) or len(told) != 2:
        return ["reset has to return (state, observation)"]
    state, observation = told
    wrong = observation_mismatches(env, "observation after reset", observation)
    if wrong:
        return wrong
    told = _traced(env, "step", env.step, key, state, action, params)
    if not isinstance(told, tuple) or len(told) != 2 or not isinstance(told[1], Step):
        return ["step has to return (state, Step)"]
    following, step = told
    return step_mismatches(env, step) + state_mismatches(state, following)


def _traced(env: Any, name: str, function: Callable[..., Any], *given: Any) -> Any:
    """Shapes of what a function returns. Raises UserError where it cannot be traced."""
    try:
        return jax.eval_shape(function, *given)
    except UserError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        own = inspect.getsourcefile(type(env))
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
        place = f" ({own}:{frames[-1].lineno})" if frames else ""
        raise UserError(f"env={env.name}: {name} cannot be compiled: {type(error).__name__}: {first}{place}") from error


def observation_mismatches(env: Any, what: str, leaf: Any) -> list[str]:
    """Where an observation is no vector as long as declared."""
    if not _is_array(leaf):
        return [f"observations have to be vectors [D]; found {_kind(leaf)}"]
    if len(leaf.shape) != 1:
        return [not_a_vector(leaf.shape)]
    size, names = env.observation_space.size, env.observation_space.names
    if leaf.shape != (size,):
        return [f"{what}: declared [{size}] ({listed(names)}); found {list(leaf.shape)}"]
    is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
    return [] if is_float else [f"{what} has to be a float32 vector; found {type_name(leaf)}"]


def step_mismatches(env: Any, step: Step) -> list[str]:
    """Where what a step tells has another form than declared."""
    wrong = observation_mismatches(env, "observation after step", step.observation)
    wrong += _no_scalar("reward", "one float32", step.reward, np.floating)
    for name in ("terminated", "truncated"):
        wrong += _no_scalar(name, "one bool", getattr(step, name), np.bool_)
    names, told = {feature.name for feature in env.info_space}, set(step.info)
    if names != told:
        missing, extra = sorted(names - told), sorted(told - names)
        parts = (("declared and not told", missing), ("told and not declared in info_space", extra))
        wrong.append("info: " + ", ".join(f"{what}: {listed(which)}" for what, which in parts if which))
    for name in sorted(names & told):
        wrong += _no_scalar(f"info {name}", "one number", step.info[name], (np.number, np.bool_))
    return wrong


def state_mismatches(before: Any, after: Any) -> list[str]:
    """Leaves of a state that have another shape or type after a step."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        return ["state: another structure after a step"]
    pairs = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    return [
        f"state.{path_name(path)}: {type_name(one)} becomes {type_name(other)}"
        for (path, one), other in pairs
        if type_name(one) != type_name(other)
    ]


def type_name(leaf: Any) -> str:
    """`float32[2]` of an array or of its shape; of anything else its Python type."""
    return f"{leaf.dtype}{list(leaf.shape)}" if _is_array(leaf) else type(leaf).__name__


def not_a_vector(shape: Any) -> str:
    return f"observations have to be vectors [D]; found {list(shape)}: flatten them (there are no convolutions)"


def _no_scalar(what: str, wanted: str, leaf: Any, kinds: Any) -> list[str]:
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    is_scalar = np.shape(leaf) == () and any(jnp.issubdtype(jnp.result_type(leaf), kind) for kind in kinds)
    return [] if is_scalar else [f"{what} has to be {wanted}; found {type_name(leaf)}"]


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
