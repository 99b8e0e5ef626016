"""A learned policy in the contract of every policy that is evaluated (`vmax.envs.rollout.Policy`)."""

from __future__ import annotations

from typing import Any

import jax
from flax import struct

from vmax.algorithms.algorithm import Algorithm

Array = jax.Array


@struct.dataclass
class Learned:
    """The deterministic actor of an algorithm. `weights` are what `Algorithm.policy` gives."""

    weights: Any
    algorithm: Algorithm = struct.field(pytree_node=False)

    def initial(self, env: Any, params: Any, starts: Any) -> Any:
        return self.algorithm.initial_carry(len(jax.tree.leaves(starts)[0]))

    def act(self, env: Any, states: Any, observation: Array, params: Any, carry: Any, key: Array) -> tuple[Array, Any]:
        action, carry, _ = self.algorithm.act(self.weights, observation, carry, key, explore=False)
        return action, carry
