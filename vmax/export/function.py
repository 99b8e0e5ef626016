"""A policy as one function from raw observations to actions in units, and that function as StableHLO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from vmax.algorithms.algorithm import Algorithm
from vmax.envs.environment import Environment
from vmax.envs.natural import Natural, as_declared, to_numbers
from vmax.errors import UserError
from vmax.spaces import Discrete

Array = jax.Array
Carry = tuple[Array, ...]
Controller = Callable[[Array, Carry], tuple[Array, Array, Carry]]
"""`(raw observations [N, D], carry)` -> `(actions [N, A] in [-1, 1], actions in units [N, U], carry)`.

The carry is a flat tuple of arrays `[N, units]`, zeros before an episode; an empty one for a feed-forward policy.
"""

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclass(frozen=True)
class Source:
    """What is exported: a policy's weights, and how the vectors of its environment read in the world."""

    algorithm: Algorithm
    weights: Any
    natural: Natural
    names: tuple[str, ...]

    @classmethod
    def of(cls, env: Environment, algorithm: Algorithm, weights: Any) -> Source:
        """The policy `weights` of an algorithm in `env`. Raises UserError where actions are choices."""
        if isinstance(env.action_space, Discrete):
            raise UserError(f"export: env={env.name} has discrete actions; only continuous ones can be exported")
        natural = env.natural(env.params("train"))
        if natural is None:
            natural = Natural(as_declared(env.observation_space), as_declared(env.action_space))
        return cls(algorithm, weights, natural, env.action_space.names)

    def fresh(self, batch: int) -> Carry:
        """The carry of so many controllers before their episodes."""
        return tuple(jax.tree.leaves(self.algorithm.initial_carry(batch)))

    def decide(self, observation: Array, carry: Carry) -> tuple[Array, Carry]:
        """What vmax itself does: the policy's actions on observations `[N, D]` as the environment gives them."""
        structure = jax.tree.structure(self.algorithm.initial_carry(1))
        remembered = jax.tree.unflatten(structure, carry)
        key = jax.random.key(0)  # nothing is drawn without exploring
        action, remembered, _ = self.algorithm.act(self.weights, observation, remembered, key, explore=False)
        return action, tuple(jax.tree.leaves(remembered))

    def controller(self) -> Controller:
        """The whole of it: scaling, normaliser, network, memory and units."""

        def control(raw: Array, carry: Carry) -> tuple[Array, Array, Carry]:
            action, after = self.decide(to_numbers(self.natural.observation, raw), carry)
            return action, self.natural.units(raw, action), after

        return control


def to_stablehlo(source: Source) -> bytes:
    """The controller for any batch size and `PLATFORMS`, serialised by jax.export; weights are inside.

    Products are computed in full float32 everywhere: accelerators would round inputs to fewer bits by default.
    """
    (batch,) = export.symbolic_shape("b")
    shape = lambda like: jax.ShapeDtypeStruct((batch, *like.shape[1:]), like.dtype)  # noqa: E731
    raw = jax.ShapeDtypeStruct((batch, len(source.natural.observation)), jnp.float32)
    with jax.default_matmul_precision("highest"):
        lowered = export.export(jax.jit(source.controller()), platforms=PLATFORMS)
        return bytes(lowered(raw, tuple(shape(leaf) for leaf in source.fresh(1))).serialize())


def from_stablehlo(data: bytes) -> export.Exported:
    """The controller of such a file; nothing in it is executed by reading. Raises ValueError for anything else."""
    try:
        return export.deserialize(bytearray(data))
    except Exception as error:  # flatbuffers and MLIR report damage in many ways
        raise ValueError(f"no exported function ({type(error).__name__})") from error
