"""A vmax environment as a Gymnasium one, single or vector, for other libraries. Needs the extra `gymnasium`.

The other way round, an environment of Gymnax's interface as a vmax one, is `vmax.envs.from_gymnax`.
"""

from __future__ import annotations

from typing import Any

import jax
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


class GymnasiumEnv(gymnasium.Env[np.ndarray, Any]):
    """One world of `env` on the data of `split`. Its step is compiled, and runs on the CPU whatever else there is.

    Observations are float32 `[D]`, continuous actions `[A]` in [-1, 1]; `info` holds the entries of `env.info_space`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (declared like this by Gymnasium)

    def __init__(self, env: Environment, split: str = "train") -> None:
        self.env = env
        self._cpu = jax.local_devices(backend="cpu")[0]
        self._params = jax.device_put(env.params(split), self._cpu)
        self._reset, self._step = jax.jit(env.reset), jax.jit(_split_and_step(env))
        self._key: Any = None
        self._state: Any = None
        self.observation_space, self.action_space = _spaces(env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A fresh episode. `options={"start": …}` begins it where the environment's own `reset` would."""
        super().reset(seed=seed)
        if seed is not None or self._key is None:
            self._key = _fresh_key(self.np_random, self._cpu)
        self._key, key = jax.random.split(self._key)
        self._state, observation = self._reset(key, self._params, (options or {}).get("start"))
        return np.asarray(observation), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step, in the order of Gymnasium: observation, reward, terminated, truncated, info."""
        self._key, self._state, step = self._step(self._key, self._state, np.asarray(action), self._params)
        step = jax.device_get(step)
        info = {name: value.item() for name, value in step.info.items()}
        return step.observation, step.reward.item(), step.terminated.item(), step.truncated.item(), info


class GymnasiumVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """`num_envs` worlds of `env` on the data of `split`, stepped by one compiled call on the CPU.

    Where an episode ends the next one begins in the same step (`AutoresetMode.SAME_STEP`): the observation returned is
    the first of the new episode, and `info["final_obs"]` holds the true final ones of the rows in `info["_final_obs"]`.
    The entries of `env.info_space` are arrays `[num_envs]` of the step that was taken.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, env: Environment, num_envs: int, split: str = "train") -> None:
        if num_envs < 1:
            raise UserError(f"num_envs={num_envs}: must be at least 1")
        self.env, self.num_envs = env, num_envs
        self._cpu = jax.local_devices(backend="cpu")[0]
        self._params = jax.device_put(env.params(split), self._cpu)
        self._reset, self._step = jax.jit(AutoReset(env).reset), jax.jit(_split_and_step(AutoReset(env)))
        self._key: Any = None
        self._state: Any = None
        self.single_observation_space, self.single_action_space = _spaces(env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Fresh episodes everywhere, `[num_envs, D]`. There are no options."""
        super().reset(seed=seed)
        if seed is not None or self._key is None:
            self._key = _fresh_key(self.np_random, self._cpu)
        self._key, key = jax.random.split(self._key)
        self._state, observation = self._reset(jax.random.split(key, self.num_envs), self._params)
        return np.array(observation), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of all: observations `[num_envs, D]`, rewards, terminations and truncations `[num_envs]`, info."""
        actions = np.asarray(actions)
        self._key, self._state, observation, step = self._step(self._key, self._state, actions, self._params)
        observation, step = jax.device_get((observation, step))
        info, ended = dict(step.info), step.terminated | step.truncated
        if ended.any():
            info |= {"final_obs": step.observation, "_final_obs": ended}
        return np.array(observation), np.asarray(step.reward, np.float64), step.terminated, step.truncated, info


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


def _split_and_step(env: Environment | AutoReset) -> Any:
    """The step with the split of its key inside: one dispatch a step."""

    def step(key: Any, state: Any, action: Any, params: Any) -> tuple[Any, ...]:
        key, step_key = jax.random.split(key)
        return (key, *env.step(step_key, state, action, params))

    return step
