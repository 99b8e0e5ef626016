"""A vmax environment as a Gymnasium one, single or vector, for other libraries. Needs the extra `gymnasium`.

The other way round, an environment of Gymnax's interface as a vmax one, is `vmax.envs.from_gymnax`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.environment import AutoReset, Environment
from vmax.errors import UserError
from vmax.spaces import Discrete

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as error:
    raise UserError("vmax.envs.adapters: gymnasium is not installed; pip install vmax[gymnasium]") from error

UNBEGUN = "step: the environment has not been reset; call reset first"


class GymnasiumEnv(gymnasium.Env[np.ndarray, Any]):
    """One world of `env` on the data of `split`. Its step is compiled, and runs on the CPU whatever else there is.

    Observations are float32 `[D]`, continuous actions `[A]` in [-1, 1]; `info` holds the entries of `env.info_space`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (declared like this by Gymnasium)

    def __init__(self, env: Environment, split: str = "train") -> None:
        self.env = env
        self._cpu = jax.local_devices(backend="cpu")[0]
        self._params = jax.device_put(env.params(split), self._cpu)
        self._reset, self._step = jax.jit(env.reset), jax.jit(_split_and_step(env.step))
        self._key: Any = None
        self._state: Any = None
        self.observation_space, self.action_space = _spaces(env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A fresh episode. `options={"start": …}` begins it where the environment's own `reset` would.

        Raises UserError for other options.
        """
        start = _options(options, "start").get("start")
        super().reset(seed=seed)
        if seed is not None or self._key is None:
            self._key = _fresh_key(self.np_random, self._cpu)
        self._key, key = jax.random.split(self._key)
        self._state, observation = self._reset(key, self._params, start)
        return np.asarray(observation), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step, in the order of Gymnasium: observation, reward, terminated, truncated, info.

        Raises UserError for an action that is none.
        """
        action = _checked(action, self.action_space, "action")
        if self._state is None:
            raise UserError(UNBEGUN)
        self._key, self._state, step = self._step(self._key, self._state, action, self._params)
        step = jax.device_get(step)
        info = {name: value.item() for name, value in step.info.items()}
        return step.observation, step.reward.item(), step.terminated.item(), step.truncated.item(), info


class GymnasiumVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """`num_envs` worlds of `env` on the data of `split`, stepped by compiled calls on the CPU.

    `autoreset_mode` is one of Gymnasium's, or its text. Where an episode ends

    - `SAME_STEP` (default): the next one begins in the same step. The observation returned is the first of the new
      episode, and `info["final_obs"]` holds the true final ones of the rows in `info["_final_obs"]`;
    - `NEXT_STEP`: the true final observation is returned. The next step of that row begins the new episode whatever its
      action: it gives the first observation, no reward, and no entry of the info (`info["_NAME"]` says which rows have
      one);
    - `DISABLED`: the true final observation is returned, and the caller resets the row (`reset_mask`).

    The entries of `env.info_space` are arrays `[num_envs]` of the step that was taken.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        env: Environment,
        num_envs: int,
        split: str = "train",
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ) -> None:
        if num_envs < 1:
            raise UserError(f"num_envs={num_envs}: must be at least 1")
        try:
            self._mode = AutoresetMode(autoreset_mode)
        except ValueError:
            allowed = ", ".join(mode.value for mode in AutoresetMode)
            raise UserError(f"autoreset_mode={autoreset_mode}: must be one of {allowed}") from None
        self.metadata = {**self.metadata, "autoreset_mode": self._mode}
        self.env, self.num_envs = env, num_envs
        self._cpu = jax.local_devices(backend="cpu")[0]
        self._params = jax.device_put(env.params(split), self._cpu)
        step = AutoReset(env).step if self._mode is AutoresetMode.SAME_STEP else _abreast(env)
        self._renew, self._step = jax.jit(_renewing(env)), jax.jit(_split_and_step(step))
        self._key: Any = None
        self._state: Any = None
        self._observations: Any = None
        self._ended = np.zeros(num_envs, bool)
        self.single_observation_space, self.single_action_space = _spaces(env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Fresh episodes everywhere, `[num_envs, D]`; with `options={"reset_mask": …}`, bool `[num_envs]`, in those
        rows alone: the others stay where they are. Raises UserError for other options, and a mask that is none."""
        rows = self._rows(_options(options, "reset_mask").get("reset_mask"))
        super().reset(seed=seed)
        if seed is not None or self._key is None:
            self._key = _fresh_key(self.np_random, self._cpu)
        self._begin(rows)
        return self._observations.copy(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of all: observations `[num_envs, D]`, rewards, terminations and truncations `[num_envs]`, info.

        Raises UserError for actions that are none, and for a row that has ended with `DISABLED`.
        """
        actions = _checked(actions, self.action_space, "actions")
        begun = self._ended if self._mode is AutoresetMode.NEXT_STEP else np.zeros(self.num_envs, bool)
        if self._state is None:
            raise UserError(UNBEGUN)
        if self._mode is AutoresetMode.DISABLED and self._ended.any():
            row = int(np.argmax(self._ended))
            raise UserError(f"step: the episode of row {row} has ended; call reset with options reset_mask first")
        self._key, self._state, observations, step = self._step(self._key, self._state, actions, self._params)
        observations, step = jax.device_get((observations, step))
        self._observations, info = np.array(observations), dict(step.info)
        rewards, terminated, truncated = np.array(step.reward, np.float64), step.terminated, step.truncated
        ended = terminated | truncated
        if self._mode is AutoresetMode.SAME_STEP and ended.any():
            info |= {"final_obs": step.observation, "_final_obs": ended}
        if begun.any():  # what the step made of episodes that were over is nobody's
            self._begin(begun)
            rewards[begun], terminated, truncated, ended = 0.0, terminated & ~begun, truncated & ~begun, ended & ~begun
            info = {name: np.where(begun, np.zeros_like(values), values) for name, values in info.items()}
            info |= {f"_{name}": ~begun for name in step.info}
        self._ended = ended if self._mode is not AutoresetMode.SAME_STEP else self._ended
        return self._observations.copy(), rewards, terminated, truncated, info

    def _begin(self, rows: np.ndarray) -> None:
        """Fresh episodes in these rows."""
        self._key, key = jax.random.split(self._key)
        keys = jax.random.split(key, self.num_envs)
        as_is = None if rows.all() else (self._state, self._observations)
        self._state, observations = self._renew(keys, rows, as_is, self._params)
        self._observations, self._ended = np.array(observations), self._ended & ~rows

    def _rows(self, mask: Any) -> np.ndarray:
        """The rows of a mask, all without one. Raises UserError for one that is none."""
        if mask is None:
            return np.ones(self.num_envs, bool)
        found = np.asarray(mask)
        if found.shape != (self.num_envs,) or found.dtype != bool or not found.any():
            allowed = f"must be bool [{self.num_envs}], true somewhere"
            raise UserError(f"options: reset_mask is {found.dtype} {list(found.shape)}; {allowed}")
        if self._state is None and not found.all():
            raise UserError("options: reset_mask leaves rows that have never been reset; call reset without it first")
        return found


def _spaces(env: Environment) -> tuple[gymnasium.spaces.Box, Any]:
    """Spaces of an observation and of an action of one world."""
    seen, action = env.observation_space, env.action_space
    observation_space = gymnasium.spaces.Box(seen.low, seen.high, dtype=np.float32)
    if isinstance(action, Discrete):
        if action.count > 1:
            return observation_space, gymnasium.spaces.MultiDiscrete([action.size] * action.count)
        return observation_space, gymnasium.spaces.Discrete(action.size)
    return observation_space, gymnasium.spaces.Box(action.low, action.high, dtype=np.float32)


def _fresh_key(random: np.random.Generator, device: Any) -> Any:
    return jax.device_put(jax.random.key(int(random.integers(2**31))), device)


def _split_and_step(step: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """The step with the split of its key inside: one dispatch a step."""

    def split_and_step(key: Any, state: Any, action: Any, params: Any) -> tuple[Any, ...]:
        key, step_key = jax.random.split(key)
        return (key, *step(step_key, state, action, params))

    return split_and_step


def _abreast(env: Environment) -> Callable[..., tuple[Any, ...]]:
    """One step of N worlds, as `AutoReset.step`, but that nothing begins where an episode ends."""

    def step(key: Any, states: Any, actions: Any, params: Any) -> tuple[Any, ...]:
        keys = jax.random.split(key, len(actions))
        states, step = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, states, actions, params)
        return states, step.observation, step

    return step


def _renewing(env: Environment) -> Callable[..., tuple[Any, Any]]:
    """Fresh states and observations for keys `[N]`: of all worlds, or of some `rows` `[N]` with the others `as_is`."""

    def renew(keys: Any, rows: Any, as_is: Any, params: Any) -> tuple[Any, Any]:
        fresh = jax.vmap(env.reset, in_axes=(0, None))(keys, params)
        if as_is is None:
            return fresh
        return jax.vmap(lambda row, a, b: jax.tree.map(partial(jnp.where, row), a, b))(rows, fresh, as_is)

    return renew


def _options(given: dict[str, Any] | None, allowed: str) -> dict[str, Any]:
    """The options of a reset. Raises UserError for one that is not known."""
    for name in given or {}:
        if name != allowed:
            raise UserError(f"options: '{name}' is unknown; allowed: {allowed}")
    return given or {}


def _checked(action: Any, space: gymnasium.Space[Any], what: str) -> np.ndarray:
    """An action, or those of all worlds. Raises UserError for one of another shape or kind, a choice that there is not,
    and a number that is not finite; numbers beyond the bounds are the environment's to clip."""
    found = np.asarray(action)
    if found.shape != space.shape:
        raise UserError(f"{what}: shape {list(found.shape)}; must be {list(space.shape or ())}")
    if isinstance(space, gymnasium.spaces.Box):
        kinds, wrong, allowed = "fiu", lambda: ~np.isfinite(found), "finite numbers"
    else:
        assert isinstance(space, gymnasium.spaces.Discrete | gymnasium.spaces.MultiDiscrete)
        most = np.asarray(space.n if isinstance(space, gymnasium.spaces.Discrete) else space.nvec)
        kinds, wrong = "iu", lambda: (found < 0) | (found >= most)
        allowed = f"whole numbers from 0 to {most.max() - 1}"
    if found.dtype.kind not in kinds:
        raise UserError(f"{what}: type {found.dtype}; must be {allowed}")
    if (bad := wrong()).any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        raise UserError(f"{what}{list(place) or ''} = {found[place]}: must be {allowed}")
    return found
