"""Linen modules by name; resolved lazily, so that a name costs no import."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vmax.errors import UserError

REGISTRY = {
    "mlp": "vmax.networks.mlp:NetworkConfig",
    "lstm": "vmax.networks.recurrent:RecurrentConfig",
    "gru": "vmax.networks.recurrent:RecurrentConfig",
}


def config_class(name: str) -> type[Any]:
    """The config dataclass of a network. Raises UserError for an unknown name."""
    if name not in REGISTRY:
        raise UserError(f"network.name={name}: unknown; available: {', '.join(sorted(REGISTRY))}")
    module, attribute = REGISTRY[name].split(":")
    return getattr(import_module(module), attribute)
