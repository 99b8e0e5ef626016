"""Learners by name; resolved lazily, so that a name costs no import."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vmax.errors import UserError

REGISTRY = {
    "sac": "vmax.algorithms.sac:SAC",
    "td3": "vmax.algorithms.td3:TD3",
    "dqn": "vmax.algorithms.dqn:DQN",
    "ppo": "vmax.algorithms.ppo:PPO",
    "a2c": "vmax.algorithms.a2c:A2C",
}


def _resolve(name: str, suffix: str = "") -> Any:
    if name not in REGISTRY:
        raise UserError(f"algorithm.name={name}: unknown; available: {', '.join(sorted(REGISTRY))}")
    module, attribute = REGISTRY[name].split(":")
    return getattr(import_module(module), attribute + suffix)


def config_class(name: str) -> type[Any]:
    """The config dataclass of an algorithm, declared beside it. Raises UserError for an unknown name."""
    return _resolve(name, "Config")


def make_algorithm(config: Any, network: Any) -> Any:
    """The learner that `config` (an instance of `config_class(name)`) and a network config describe."""
    return _resolve(config.name)(config, network)
