"""A policy as one function from raw observations to actions in units, and that function as StableHLO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import export

from vmax.envs.environment import Environment
from vmax.envs.natural import Natural, Quantity, as_declared, to_numbers
from vmax.evaluation.policies import Learned
from vmax.spaces import Discrete

Array = jax.Array
Carry = tuple[Array, ...]
Controller = Callable[[Array, Carry], tuple[Array, Array, Carry]]
"""`(raw observations [N, D], carry)` -> `(actions [N, A] in [-1, 1], actions in units [N, U], carry)`.

Where actions are choices both are the numbers of the C choices, `[N, C]`: int32 and float32.

The carry is a flat tuple of arrays `[N, units]`, zeros before an episode; an empty one for a feed-forward policy.
"""

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclass(frozen=True)
class Source:
    """What is exported: a policy, and how the vectors of its environment read in the world.

    `choices`: what each choice is called, where actions are choices; else none.
    """

    policy: Learned
    natural: Natural
    actions: tuple[str, ...]
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, env: Environment, policy: Learned) -> Source:
        """A policy trained in `env`."""
        space, natural = env.action_space, env.natural(env.params("train"))
        if isinstance(space, Discrete):
            said = ", ".join(f"{i}: {name}" for i, name in enumerate(space.choices))
            numbers = tuple(Quantity(label, "1", 0.0, space.size - 1.0, said) for label in space.labels)
            seen = as_declared(env.observation_space) if natural is None else natural.observation
            data = {} if natural is None else natural.data
            return cls(policy, Natural(seen, numbers, data=data), space.labels, space.choices)
        if natural is None:
            natural = Natural(as_declared(env.observation_space), as_declared(space))
        return cls(policy, natural, space.names)

    def fresh(self, batch: int) -> Carry:
        """The carry of so many controllers before their episodes."""
        return tuple(jax.tree.leaves(self.policy.algorithm.initial_carry(batch)))

    def controller(self) -> Controller:
        """The whole of it: scaling, normaliser, network, memory and units."""
        algorithm, weights = self.policy.algorithm, self.policy.weights
        structure = jax.tree.structure(algorithm.initial_carry(1))

        def control(raw: Array, carry: Carry) -> tuple[Array, Array, Carry]:
            observation, key = to_numbers(self.natural.observation, raw), jax.random.key(0)
            remembered = jax.tree.unflatten(structure, carry)
            action, remembered, _ = algorithm.act(weights, observation, remembered, key, explore=False)
            if self.choices:
                numbers = action.reshape(action.shape[0], len(self.actions))
                return numbers, numbers.astype(jnp.float32), tuple(jax.tree.leaves(remembered))
            return action, self.natural.units(raw, action), tuple(jax.tree.leaves(remembered))

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
