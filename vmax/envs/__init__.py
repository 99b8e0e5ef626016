"""The environments by name. A name leads to a module, its config dataclass and its class; imported when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vmax.errors import UserError

REGISTRY = {
    "bess": ("vmax.envs.bess.environment", "BessConfig", "Bess"),
    "bess_pv": ("vmax.envs.bess.environment", "BessConfig", "Bess"),
    "microgrid": ("vmax.envs.microgrid.environment", "MicrogridConfig", "Microgrid"),
    "microgrid_scarce": ("vmax.envs.microgrid.environment", "MicrogridConfig", "Microgrid"),
    "traffic_signal": ("vmax.envs.traffic_signal.environment", "TrafficSignalConfig", "TrafficSignal"),
    "traffic_corridor": ("vmax.envs.traffic_signal.environment", "TrafficSignalConfig", "TrafficSignal"),
    "traffic_lagos": ("vmax.envs.traffic_signal.environment", "TrafficSignalConfig", "TrafficSignal"),
    "pendulum": ("vmax.envs.classic.pendulum", "PendulumConfig", "Pendulum"),
    "cartpole": ("vmax.envs.classic.cartpole", "CartPoleConfig", "CartPole"),
}


def config_class(name: str) -> type:
    """The config dataclass of an environment. Raises UserError for an unknown name."""
    module, config, _ = _entry(name)
    return getattr(import_module(module), config)


def make(config: Any) -> Any:
    """The environment that a config describes."""
    module, _, environment = _entry(config.name)
    return getattr(import_module(module), environment)(config)


def _entry(name: str) -> tuple[str, str, str]:
    if name not in REGISTRY:
        raise UserError(f"env.name={name}: unknown; allowed: {', '.join(REGISTRY)}")
    return REGISTRY[name]
