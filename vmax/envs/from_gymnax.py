"""An environment of Gymnax's interface as a vmax one. Gymnax itself is not needed.

The interface is that of Gymnax 1.0: `reset_env(key, params) -> (observation, state)`, `step_env(key, state, action,
params) -> (observation, state, reward, terminated, info)` and `is_truncated(state, params)`; spaces have `shape`, `low`
and `high`, or `n`. Before 1.0 there was one flag, `done`, which time limits set too: there an end at
`params.max_steps_in_episode` counts as truncation, any other as termination. The resetting `step` is not used, so the
true final observation is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.environment import Plain, Step
from vmax.envs.natural import Natural, Quantity, as_declared
from vmax.errors import UserError
from vmax.spaces import Box, Discrete, Feature

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True, eq=False)
class FromGymnax(Plain):
    """`gymnax` with `numbers` (its params; None: its defaults), every split the same world.

    Observations are flattened to `[D]`, float32; continuous actions come in [-1, 1] and are mapped to the bounds of the
    space. `shortest`: no episode is truncated before so many steps; None: before `max_steps_in_episode`, or 1 where the
    params have no such entry. Entries of Gymnax's info are left out. Raises UserError for spaces that are no vector.
    """

    gymnax: Any
    numbers: Any = None
    shortest: int | None = None
    observation_space: Box = field(init=False)
    action_space: Box | Discrete = field(init=False)
    info_space: tuple[Feature, ...] = ()

    def __post_init__(self) -> None:
        if self.numbers is None:
            object.__setattr__(self, "numbers", self.gymnax.default_params)
        seen, action = self.gymnax.observation_space(self.numbers), self.gymnax.action_space(self.numbers)
        if not hasattr(seen, "low"):
            raise UserError(f"{self.name}: its observations are {type(seen).__name__}; only a Box can be used")
        object.__setattr__(self, "observation_space", Box(_features("observation", seen)))
        object.__setattr__(self, "action_space", self._own_action_space(action))

    def _own_action_space(self, space: Any) -> Box | Discrete:
        if hasattr(space, "n"):
            return Discrete(int(space.n))
        if not hasattr(space, "low"):
            raise UserError(f"{self.name}: its actions are {type(space).__name__}; only Box and Discrete can be used")
        features = _features("action", space)
        if not all(np.isfinite([f.low, f.high]).all() for f in features):
            raise UserError(f"{self.name}: an action has no bounds; they are needed to map it from [-1, 1]")
        return Box(tuple(Feature(f.name) for f in features))

    @property
    def name(self) -> str:
        return str(self.gymnax.name)

    @property
    def min_episode_steps(self) -> int:
        return self.shortest or int(getattr(self.numbers, "max_steps_in_episode", 1))

    @property
    def max_episode_steps(self) -> int | None:
        """What Gymnax's params say; None where they say nothing."""
        steps = getattr(self.numbers, "max_steps_in_episode", None)
        return None if steps is None else int(steps)

    def params(self, split: str) -> Any:
        """Gymnax's params, their numbers as arrays."""
        return _strong(self.numbers)

    def reset(self, key: Key, params: Any, start: Any = None) -> tuple[Any, Array]:
        """A fresh episode. Starts cannot be named."""
        if start is not None:
            raise UserError(f"{self.name}: an environment of Gymnax's interface cannot start where one says")
        observation, state = self.gymnax.reset_env(key, params)
        return _strong(state), _flat(observation)

    def step(self, key: Key, state: Any, action: Array, params: Any) -> tuple[Any, Step]:
        """One step, without a reset at its end."""
        told = self.gymnax.step_env(key, state, self._given(action), params)
        observation, after, reward, ended = told[:4]
        ended = jnp.asarray(ended, bool).reshape(())
        if hasattr(self.gymnax, "is_truncated"):
            terminated, truncated = ended, jnp.asarray(self.gymnax.is_truncated(after, params), bool).reshape(())
        else:
            truncated = ended & (jnp.asarray(after.time) >= params.max_steps_in_episode)
            terminated = ended & ~truncated
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        return _strong(after), Step(_flat(observation), reward, terminated, truncated, {})

    def natural(self, params: Any) -> Natural | None:
        """Observations are as they are; actions in the bounds of Gymnax's space."""
        if isinstance(self.action_space, Discrete):
            return None
        features = _features("action", self.gymnax.action_space(self.numbers))
        answer = tuple(Quantity(f"{f.name}_scaled", "1", f.low, f.high) for f in features)
        low, high = (jnp.array([getattr(f, end) for f in features]) for end in ("low", "high"))
        units = lambda raw, action: low + 0.5 * (action + 1.0) * (high - low)  # noqa: E731
        return Natural(as_declared(self.observation_space), answer, units)

    def _given(self, action: Array) -> Array:
        """An action as Gymnax takes it."""
        if isinstance(self.action_space, Discrete):
            return action
        space = self.gymnax.action_space(self.numbers)
        low, high = (
            jnp.broadcast_to(jnp.asarray(bound, jnp.float32), space.shape) for bound in (space.low, space.high)
        )
        share = 0.5 * (jnp.clip(action, -1.0, 1.0) + 1.0)
        return low + share.reshape(space.shape) * (high - low)


def _features(name: str, space: Any) -> tuple[Feature, ...]:
    """One feature for each number of a Box."""
    low, high = (
        np.broadcast_to(np.asarray(bound, np.float64), space.shape).ravel() for bound in (space.low, space.high)
    )
    names = [name] if low.size == 1 else [f"{name}_{i}" for i in range(low.size)]
    return tuple(Feature(n, "1", float(a), float(b)) for n, a, b in zip(names, low, high, strict=True))


def _flat(observation: Any) -> Array:
    return jnp.asarray(observation, jnp.float32).ravel()


def _strong(tree: Any) -> Any:
    """Plain Python numbers as arrays, and every array of a dtype of its own, so that a step does not change it."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), tree)
