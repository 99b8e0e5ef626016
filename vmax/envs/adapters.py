"""A vmax environment as a Gymnasium one, for other libraries. Needs the extra `gymnasium`."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vmax.envs.environment import Environment
from vmax.errors import UserError
from vmax.spaces import Discrete

try:
    import gymnasium
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
        seen, action = env.observation_space, env.action_space
        self.observation_space = gymnasium.spaces.Box(seen.low, seen.high, dtype=np.float32)
        if isinstance(action, Discrete):
            self.action_space = gymnasium.spaces.Discrete(action.size)
        else:
            self.action_space = gymnasium.spaces.Box(action.low, action.high, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A fresh episode. `options={"start": …}` begins it where the environment's own `reset` would."""
        super().reset(seed=seed)
        if seed is not None or self._key is None:
            drawn = self.np_random.integers(2**31)
            self._key = jax.device_put(jax.random.key(int(drawn)), self._cpu)
        self._key, key = jax.random.split(self._key)
        self._state, observation = self._reset(key, self._params, (options or {}).get("start"))
        return np.asarray(observation), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step, in the order of Gymnasium: observation, reward, terminated, truncated, info."""
        self._key, self._state, step = self._step(self._key, self._state, np.asarray(action), self._params)
        step = jax.device_get(step)
        info = {name: value.item() for name, value in step.info.items()}
        return step.observation, step.reward.item(), step.terminated.item(), step.truncated.item(), info


def _split_and_step(env: Environment) -> Any:
    """The environment's step with the split of its key inside: one dispatch a step."""

    def step(key: Any, state: Any, action: Any, params: Any) -> tuple[Any, Any, Any]:
        key, step_key = jax.random.split(key)
        return (key, *env.step(step_key, state, action, params))

    return step
