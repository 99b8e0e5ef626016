"""Critics: the value of a decision, and one step towards given targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import chex
import jax
import jax.numpy as jnp

from vmax.algorithms.algorithm import Spec
from vmax.algorithms.optimiser import Trainable, descend
from vmax.errors import UserError
from vmax.networks.heads import CriticEnsemble
from vmax.networks.mlp import NetworkConfig

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class Critic:
    """An ensemble of critics of (s, a), or of what the decision leaves behind.

    With `post_decision`, Q(s, a) = known reward of (s, a) + net(post-decision observation): the network learns only
    what is uncertain. Source: Powell (2022), Reinforcement Learning and Stochastic Optimization, section 9.4.5.
    """

    network: CriticEnsemble
    post_decision: Callable[[Array, Array, Any], tuple[Array, Array]] | None

    def init(self, key: Key, observation: Array, action: Array, context: Any) -> Any:
        """Parameters for observations `[B, D]` and actions `[B, A]`."""
        _, inputs = self._split(observation, action, context)
        return self.network.init(key, inputs)

    def values(self, params: Any, observation: Array, action: Array, context: Any) -> Array:
        """Q of every member, `[B, D]`, `[B, A]` -> `[n, B]`."""
        known, inputs = self._split(observation, action, context)
        return known + self.network.apply(params, inputs)  # pyright: ignore[reportOperatorIssue]

    def first(self, params: Any, observation: Array, action: Array, context: Any) -> Array:
        """Q of the first member alone, `[B]`."""
        alone = replace(self, network=self.network.clone(size=1))
        return alone.values(jax.tree.map(lambda leaf: leaf[:1], params), observation, action, context)[0]

    def _split(self, observation: Array, action: Array, context: Any) -> tuple[Array | float, Array]:
        """The part of Q that is known, `[B]`, and what the network reads, `[B, I]`."""
        if self.post_decision is None:
            return 0.0, jnp.concatenate([observation, action], axis=-1)
        return jax.vmap(self.post_decision, in_axes=(0, 0, None))(observation, action, context)


def make_critic(network: NetworkConfig, num_critics: int, post_decision: bool, spec: Spec) -> Critic:
    """The critics that a config asks for. Raises UserError if the environment offers no post-decision state."""
    if post_decision and spec.post_decision is None:
        raise UserError(
            "algorithm.post_decision_critic=true: this environment offers no post-decision state; set false"
        )
    return Critic(CriticEnsemble(network, num_critics), spec.post_decision if post_decision else None)


def critic_step(
    critic: Critic,
    trained: Trainable,
    observation: Array,
    action: Array,
    target: Array,
    context: Any,
    learning_rate: Array,
    eps: Array,
    max_norm: Array,
    axis: str | None,
) -> tuple[Trainable, dict[str, Array]]:
    """One step on the squared error of every critic to one target `[B]`: L = ½ Σ_i mean (Q_i(s, a) - y)²."""
    chex.assert_rank(target, 1)

    def loss_of(params: Any) -> tuple[Array, Array]:
        q = critic.values(params, observation, action, context)
        chex.assert_shape(q, (critic.network.size, *target.shape))
        return 0.5 * jnp.sum(jnp.mean(jnp.square(q - target), axis=1)), jnp.mean(q)

    (loss, q_mean), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained.params)
    trained, norm = descend(trained, gradient, learning_rate, eps, max_norm, axis)
    return trained, {"critic_loss": loss, "q_mean": q_mean, "critic_grad_norm": norm}
