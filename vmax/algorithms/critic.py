"""Critics: the value of a decision, and one step towards given targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

from vmax.algorithms.algorithm import Batch, Controlled, Spec
from vmax.algorithms.memory import Recalled, recalled, weighted
from vmax.algorithms.noise import shared
from vmax.algorithms.optimiser import Trainable, descend
from vmax.errors import UserError
from vmax.networks.heads import CriticEnsemble
from vmax.networks.mlp import NetworkConfig
from vmax.networks.recurrent import RecurrentConfig, init_memory, initial_carry, remember, remembers
from vmax.replay.transitions import History

Array = jax.Array
Key = jax.Array


@struct.dataclass
class Lesson:
    """Samples for the critics, `[M]`: Q = known + net(inputs) is to become `reward + discount * value(next)`.

    M = (K + 1) B: first B decisions that were taken, then K times as many that stem from the same transitions.
    """

    inputs: Array
    known: Array
    reward: Array
    discount: Array
    next_observation: Array


@dataclass(frozen=True)
class Critic:
    """An ensemble of critics of (s, a), or of what the decision leaves behind.

    With `post_decision`, Q(s, a) = known reward of (s, a) + net(post-decision observation): the network learns only
    what is uncertain. Source: Powell (2022), Reinforcement Learning and Stochastic Optimization, section 9.4.5.
    """

    network: CriticEnsemble
    post_decision: Callable[[Array, Array, Any], tuple[Array, Array]] | None
    news_moves: bool = False

    def init(self, key: Key, observation: Array, action: Array, context: Any) -> Any:
        """Parameters for observations `[B, D]` and actions `[B, A]`, those of the memories included."""
        _, inputs = self._split(observation, action, context)
        config, size = self.network.config, self.network.size
        keys = jax.random.split(jax.random.fold_in(key, 1), size)
        memory = jax.vmap(lambda own: init_memory(config, own, observation.shape[-1]))(keys)
        units = config.units if isinstance(config, RecurrentConfig) else 0
        remembered = jnp.zeros((size, len(inputs), units)) if remembers(config) else None
        return {**self.network.init(key, inputs, remembered), **memory}

    def recall(self, params: Any, history: History | None) -> Recalled:
        """What every member remembers at each sample `[M]` and at its successor, `[n, M, units]`; from a blank start.

        The carry that the replay keeps is the actor's. A critic's memory starts afresh with the sequence, which is
        exact for whole episodes; `training.sequences.burn_in` warms it up in windows.
        """
        if history is None:
            return Recalled(None, None)
        config, count = self.network.config, history.observation.shape[1]

        def one(memory: Any) -> Recalled:
            return recalled(config, {"memory": memory}, history, initial_carry(config, count))

        return jax.vmap(one)(params["memory"])

    def remember(self, params: Any, observation: Array) -> Array | None:
        """What every member remembers along N trajectories from their beginnings, `[T, N, D]` -> `[n, T, N, units]`."""
        config, count = self.network.config, observation.shape[1]
        if not remembers(config):
            return None
        blank = initial_carry(config, count)
        return jax.vmap(lambda memory: remember(config, {"memory": memory}, observation, blank)[0])(params["memory"])

    def values(
        self, params: Any, observation: Array, action: Array, context: Any, memory: Array | None = None
    ) -> Array:
        """Q of every member, `[B, D]`, `[B, A]` and, of networks with memory, `[n, B, units]` -> `[n, B]`."""
        known, inputs = self._split(observation, action, context)
        return known + self.network.apply(params, inputs, memory)  # pyright: ignore[reportOperatorIssue]

    def lessons(self, batch: Batch, elsewhere: Array, controlled: Controlled, context: Any) -> Lesson:
        """What the critics may learn from a batch `[B]`: the decisions taken, and K others that were not.

        Where only decisions move the `controlled` entries of an observation (post-decision critics), the same news
        would have followed any other charge. So one transition also teaches the value at the charges `elsewhere`,
        `[K, B, C]`. The news is then common to K + 1 samples and drops out of the slope between them, which is what an
        actor follows. What a decision earns beyond its known reward has mean zero and is left out there. Where news
        moves the controlled entries too (`news_moves`), it moves them as far from the other charge, within its limits,
        and what it earned belongs to the other charges as well.
        Source: Pitis, Creager & Garg (2020), Counterfactual Data Augmentation using Locally Factored Dynamics.
        """
        known, inputs = self._split(batch.observation, batch.action, context)
        count, size = elsewhere.shape[0], batch.reward.shape[0]
        at, low, high = _apart(controlled)

        def with_others(taken: Array, others: Array) -> Array:
            return jnp.concatenate([taken, others.reshape(count * size, *taken.shape[1:])])

        nothing = jnp.zeros((count, size))
        earned, landed = nothing, elsewhere
        if count and self.news_moves:
            earned = jnp.broadcast_to(batch.reward - known, (count, size))
            landed = jnp.clip(elsewhere + batch.next_observation[:, at] - inputs[:, at], low, high)
        return Lesson(
            inputs=with_others(inputs, moved(inputs, elsewhere, controlled)),
            known=with_others(jnp.broadcast_to(known, (size,)), nothing),
            reward=with_others(batch.reward, earned),
            discount=jnp.tile(batch.discount, count + 1),
            next_observation=with_others(batch.next_observation, moved(batch.next_observation, landed, controlled)),
        )

    def first(self, params: Any) -> tuple[Critic, Any]:
        """The first member alone, with its parameters."""
        return replace(self, network=self.network.clone(size=1)), jax.tree.map(lambda leaf: leaf[:1], params)

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
    return Critic(CriticEnsemble(network, num_critics), spec.post_decision if post_decision else None, spec.news_moves)


def draw_elsewhere(key: Key, shape: tuple[int, ...], spec: Spec) -> Array:
    """Uniform values within the limits of the controlled entries, C: `shape` = (U, K, …, B) -> `[U, K, …, B, C]`.

    Raises: UserError if K > 0 and the environment names no controlled entries.
    """
    if shape[1] and not spec.controlled:
        raise UserError(f"algorithm.counterfactuals={shape[1]}: this environment names no controlled features; set 0")
    _, low, high = _apart(spec.controlled)
    shares = shared(jax.random.uniform, key, (*shape, len(spec.controlled)), spec.axis, batch_dim=len(shape) - 1)
    return low + (high - low) * shares


def moved(seen: Array, to: Array, controlled: Controlled) -> Array:
    """What would be seen `[B, D]` at other values `[K, B, C]` of the controlled entries, `[K, B, D]`."""
    if not to.shape[0]:
        return jnp.zeros((0, *seen.shape))
    return jnp.broadcast_to(seen, (to.shape[0], *seen.shape)).at[..., _apart(controlled)[0]].set(to)


def _apart(controlled: Controlled) -> tuple[list[int], Array, Array]:
    """Which entries are controlled, and the least and greatest value of each, `[C]`."""
    limits = jnp.array([limits for _, *limits in controlled], jnp.float32).reshape(-1, 2)
    return [entry for entry, _, _ in controlled], limits[:, 0], limits[:, 1]


def critic_step(
    critic: Critic,
    trained: Trainable,
    lesson: Lesson,
    target: Array,
    weight: Array | None,
    remembered: Callable[[Any], Array | None],
    counterfactuals: int,
    slope_weight: Array,
    learning_rate: Array,
    eps: Array,
    max_norm: Array,
    axis: str | None,
) -> tuple[Trainable, dict[str, Array], Array]:
    """One step of every critic on its error to one target `[M]`, δ = Q(s, a) - y:

        L = ½ Σ_i mean ( δ̄_i² + w (δ_i - δ̄_i)² ),  δ̄ the mean over the K + 1 samples of one transition

    With w = 1, or without counterfactuals, that is the mean squared error. The samples of a transition share the news
    that it brought, so their differences, the slope that an actor climbs, are known far better than their level.

    `weight` is what each transition counts, `[B]`; `remembered` gives what critics with memory recall at the inputs,
    `[n, M, units]`.

    Returns: the critics, metrics, and |δ| of the decisions that were taken, its mean over the critics, `[B]`.
    """
    chex.assert_rank(target, 1)

    def loss_of(params: Any) -> tuple[Array, tuple[Array, Array]]:
        q = lesson.known + critic.network.apply(params, lesson.inputs, remembered(params))  # pyright: ignore[reportOperatorIssue]
        chex.assert_shape(q, (critic.network.size, *target.shape))
        error = (q - target).reshape(critic.network.size, counterfactuals + 1, -1)
        level = jnp.mean(error, axis=1, keepdims=True)
        square = jnp.square(level) + slope_weight * jnp.square(error - level)
        loss = 0.5 * jnp.sum(jnp.mean(weighted(square, weight), axis=(1, 2)))
        return loss, (jnp.mean(weighted(q.reshape(error.shape), weight)), jnp.mean(jnp.abs(error[:, 0]), axis=0))

    (loss, (q_mean, taken)), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained.params)
    trained, norm = descend(trained, gradient, learning_rate, eps, max_norm, axis)
    return trained, {"critic_loss": loss, "q_mean": q_mean, "critic_grad_norm": norm}, taken
