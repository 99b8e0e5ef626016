"""The feed-forward torso that actors and critics share in shape (never in parameters)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from vmax.errors import UserError

Array = jax.Array
Part = Literal["actor", "critic"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": nn.relu, "tanh": jnp.tanh, "silu": nn.silu}


@dataclass(frozen=True)
class NetworkConfig:
    """What `network=mlp` sets: hidden widths, activation, where LayerNorm stands and the dtype of the computation.

    Parameters and outputs are float32 whatever `dtype` says.
    """

    name: Literal["mlp"]
    hidden: tuple[int, ...]
    activation: Literal["relu", "tanh", "silu"]
    layer_norm: Literal["none", "critic", "all"]
    dtype: Literal["float32", "bfloat16"]

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"network.hidden={list(self.hidden)}: must list at least one width, each at least 1")


class Torso(nn.Module):
    """Hidden layers: Dense, LayerNorm if the config wants it for this part, activation. `[..., I]` -> `[..., H]`."""

    config: NetworkConfig
    part: Part
    kernel_init: Any = nn.linear.default_kernel_init

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        dtype = jnp.dtype(self.config.dtype)
        normed = self.config.layer_norm == "all" or self.config.layer_norm == self.part
        hidden = inputs.astype(dtype)
        for width in self.config.hidden:
            hidden = nn.Dense(width, dtype=dtype, kernel_init=self.kernel_init)(hidden)
            if normed:
                hidden = nn.LayerNorm(dtype=dtype)(hidden)
            hidden = ACTIVATIONS[self.config.activation](hidden)
        return hidden
