"""Memory: an LSTM or GRU that reads the observations of an episode, beside the layers that actors and critics share.

A recurrent actor or critic is a head as of `mlp` whose inputs are the present observation and the memory's output. The
variables of both stand in one dictionary: `params` of the head, `memory` of the cell. A critic's memory reads what was
observed; the action to be valued enters at the head, so that one pass over a sequence serves every action that is asked
about. With `network=mlp` there is no memory: every function here then gives nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from vmax.errors import UserError
from vmax.networks.mlp import NetworkConfig
from vmax.networks.orthogonal import orthogonal

Array = jax.Array
Key = jax.Array

CELLS: dict[str, type[nn.RNNCellBase]] = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}
RECURRENT_KERNEL = orthogonal()


@dataclass(frozen=True)
class RecurrentConfig(NetworkConfig):
    """What `network=lstm` and `network=gru` set: besides the layers of `mlp`, the units of the cell before them."""

    name: Literal["lstm", "gru"]  # pyright: ignore[reportIncompatibleVariableOverride]
    units: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units < 1:
            raise UserError(f"network.units={self.units}: must be at least 1")


def remembers(config: NetworkConfig) -> bool:
    """Whether a network has a memory."""
    return isinstance(config, RecurrentConfig)


def initial_carry(config: NetworkConfig, batch: int) -> Any:
    """The memory before the first step, zeros: leaves `[batch, units]`, float32; an empty tuple without memory."""
    if not isinstance(config, RecurrentConfig):
        return ()
    zeros = jnp.zeros((batch, config.units))
    return (zeros, zeros) if config.name == "lstm" else zeros


def init_memory(config: NetworkConfig, key: Key, size: int) -> dict[str, Any]:
    """Parameters of a memory of observations with `size` entries, to be joined to those of a head."""
    if not isinstance(config, RecurrentConfig):
        return {}
    return {"memory": _cell(config).init(key, initial_carry(config, 1), jnp.zeros((1, size)))["params"]}


def remember(
    config: NetworkConfig, variables: Any, observation: Array, carry: Any, first: Array | None = None
) -> tuple[Array | None, Any]:
    """What is remembered at each step of a sequence, that step's observation included.

    Args: observations `[T, N, D]`; the carry before them, leaves `[N, units]`; `first` `[T, N]`: steps before which
    the memory is wiped, since another episode begins there.
    Returns: `[T, N, units]`, float32, and the carry after the last step; None and the carry as it is without memory.
    """
    if not isinstance(config, RecurrentConfig):
        return None, carry
    chex.assert_rank(observation, 3)
    cell, params = _cell(config), {"params": variables["memory"]}

    def one(carry: Any, inputs: tuple[Array, Array | None]) -> tuple[Any, Array]:
        seen, wiped = inputs
        if wiped is not None:
            carry = forget(carry, wiped)
        carry, output = cell.apply(params, carry, seen)  # pyright: ignore[reportAssignmentType]
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (carry, output))

    carry, outputs = jax.lax.scan(one, carry, (observation, first))
    return outputs, carry


def forget(carry: Any, where: Array) -> Any:
    """The carry of N environments, `[N, units]`, back at its start `where` `[N]`."""
    return jax.tree.map(lambda leaf: jnp.where(where[:, None], 0.0, leaf), carry)


def joined(inputs: Array, memory: Array | None) -> Array:
    """What a head reads: its inputs `[..., I]` and what is remembered `[..., units]`."""
    return inputs if memory is None else jnp.concatenate([inputs, memory], axis=-1)


def _cell(config: RecurrentConfig) -> nn.RNNCellBase:
    settings: Any = {"dtype": jnp.dtype(config.dtype), "recurrent_kernel_init": RECURRENT_KERNEL}
    return CELLS[config.name](config.units, **settings)  # pyright: ignore[reportCallIssue]
