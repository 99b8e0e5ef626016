"""Twin delayed deep deterministic policy gradient.

    a'      = clip( μ'(s') + clip(ε, -c, c), -1, 1 ),  ε ~ N(0, σ²)
    y       = G + γ^k min_i Q'_i(s', a')
    L_Q     = ½ Σ_i mean (Q_i(s, a) - y)²
    L_μ     = -mean Q_1(s, μ(s))                      every `policy_delay` updates of the critics
    Q', μ' <- Q', μ' + polyak (Q - Q', μ - μ')        likewise

G and γ^k are the n-step return and its discount. Source: Fujimoto et al. (2018), Addressing Function Approximation
Error in Actor-Critic Methods, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.algorithms import normaliser, settings
from vmax.algorithms.actor_critic import ActorCritic, ActorCriticConfig, ActorCriticHyper, summarised
from vmax.algorithms.algorithm import TD_ERROR, Batch, Spec
from vmax.algorithms.critic import Critic, Lesson, draw_elsewhere
from vmax.algorithms.memory import repeated, samples_of, tiled, weighted
from vmax.algorithms.noise import shared
from vmax.algorithms.optimiser import Trainable, average, descend, polyak
from vmax.errors import UserError
from vmax.networks.heads import DeterministicActor, action_size

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class TD3Config(ActorCriticConfig):
    """What `algorithm=td3` sets; the meaning of each stands in conf/algorithm/td3.yaml."""

    name: Literal["td3"]
    policy_delay: int
    target_noise: float
    target_noise_clip: float
    exploration_noise: float
    saturation_weight: float


@struct.dataclass
class Hyper(ActorCriticHyper):
    """With those of TD3 alone."""

    target_noise: Array
    target_noise_clip: Array
    exploration_noise: Array
    saturation_weight: Array


@struct.dataclass
class State:
    """All that a TD3 learner knows. `context` is what the post-decision function reads; `updates` counts, int32.

    `reward_scale`: of the discounted rewards so far, `[1]`; None: rewards are learned from as they are.
    """

    actor: Trainable
    target_actor: Any
    averaged_actor: Any
    critic: Trainable
    target_critic: Any
    normaliser: normaliser.Normaliser | None
    reward_scale: normaliser.Normaliser | None
    hyper: Hyper
    watched: Array | None
    context: Any
    updates: Array


@struct.dataclass
class Policy:
    """What acting needs."""

    actor: Any
    normaliser: normaliser.Normaliser | None
    watched: Array | None
    exploration_noise: Array


SATURATED = 2.0
"""Raw actions beyond it are penalised by `saturation_weight`; its tanh is 0.964."""


@dataclass(frozen=True)
class TD3(ActorCritic):
    """The learner: a config, a network and pure functions."""

    config: TD3Config

    def init(self, key: Key, spec: Spec) -> State:
        """Random networks; targets and the averaged actor start as copies. Raises: UserError, see `fresh`."""
        common = self.fresh(key, spec, DeterministicActor)
        return State(
            **common,
            target_actor=jax.tree.map(jnp.copy, common["actor"].params),
            hyper=settings.numbers(Hyper, self.config, total_updates=spec.total_updates),
        )

    def policy(self, state: State, averaged: bool = False) -> Policy:
        """What `act` needs; `averaged`: the running mean of the actor's parameters."""
        actor = state.averaged_actor if averaged else state.actor.params
        return Policy(actor, state.normaliser, state.watched, state.hyper.exploration_noise)

    def act(
        self, params: Policy, observation: Array, carry: Any, key: Key, explore: bool
    ) -> tuple[Array, Any, tuple[()]]:
        """`[N, D]` -> actions `[N, A]` in [-1, 1]; `explore` adds Gaussian noise."""
        observation = normaliser.normalise(params.normaliser, observation)
        memory, carry = self.recollect(params, observation, carry)
        action = self._action(params.actor, observation, memory)
        if not explore:
            return action, carry, ()
        noise = params.exploration_noise * jax.random.normal(key, action.shape)
        return jnp.clip(action + noise, -1.0, 1.0), carry, ()

    def update(self, state: State, batch: Batch, key: Key, spec: Spec) -> tuple[State, dict[str, Array]]:
        """U updates on a batch `[U, B]` or on sequences `[U, L, B]`, all noise drawn beforehand; metrics are means over
        updates and devices.

        U must be a multiple of the policy delay d: a scan over U/d actor updates holds one over d critic updates, so
        that no branch is computed in vain. Raises: UserError if it is not.
        """
        updates, *samples, actions = batch.action.shape
        delay = self.config.policy_delay
        if updates % delay:
            raise UserError(
                f"training.updates_per_iteration={updates}: must be a multiple of algorithm.policy_delay={delay}"
            )
        noise_key, elsewhere_key = jax.random.split(key)
        noise = shared(jax.random.normal, noise_key, (updates, *samples, actions), spec.axis, len(samples))
        elsewhere = draw_elsewhere(elsewhere_key, (updates, self.config.counterfactuals, *samples), spec)
        batch = self.normalised(state, batch)
        rounds = lambda leaf: leaf.reshape(updates // delay, delay, *leaf.shape[1:])  # noqa: E731
        inputs = jax.tree.map(rounds, (batch, noise, elsewhere))
        state, metrics = jax.lax.scan(partial(self._update_round, spec), state, inputs)
        return state, summarised(metrics, batch, state, spec.axis)

    def _action(self, actor: Any, observation: Array, memory: Array | None) -> Array:
        return jnp.tanh(self._raw_action(actor, observation, memory))

    def _raw_action(self, actor: Any, observation: Array, memory: Array | None) -> Array:
        return DeterministicActor(self.network, action_size(actor)).apply(actor, observation, memory)  # pyright: ignore[reportReturnType]

    def _update_round(
        self, spec: Spec, state: State, inputs: tuple[Batch, Array, Array]
    ) -> tuple[State, dict[str, Array]]:
        """d critic updates on a batch `[d, B]`, then the actor on the last of them, then all targets."""
        hyper = state.hyper
        state, critic_metrics = jax.lax.scan(partial(self._critic_step, spec), state, inputs)
        batch, _, elsewhere = samples_of(jax.tree.map(lambda leaf: leaf[-1], inputs), spec.axis)
        state, actor_metrics = self._actor_step(spec, state, batch, elsewhere)
        state = replace(
            state,
            target_actor=polyak(state.target_actor, state.actor.params, hyper.polyak),
            target_critic=polyak(state.target_critic, state.critic.params, hyper.polyak),
            averaged_actor=average(state.averaged_actor, state.actor.params, hyper.average_actor, state.updates),
        )
        errors = {TD_ERROR: critic_metrics.pop(TD_ERROR)} if TD_ERROR in critic_metrics else {}
        return state, {**jax.tree.map(jnp.mean, critic_metrics), **errors, **actor_metrics}

    def _critic_step(
        self, spec: Spec, state: State, inputs: tuple[Batch, Array, Array]
    ) -> tuple[State, dict[str, Array]]:
        """One step of the critics on a batch `[B]`."""
        batch, noise, elsewhere = samples_of(inputs, spec.axis)
        target = partial(self._target, state, noise)
        trained, metrics = self.train_critics(spec, state, batch, elsewhere, state.target_actor, target)
        return replace(state, critic=trained, updates=state.updates + 1), metrics

    def _target(
        self,
        state: State,
        noise: Array,
        critic: Critic,
        lesson: Lesson,
        actor_memory: Array | None,
        critic_memory: Array | None,
    ) -> Array:
        """y, `[M]`; counterfactual samples share the noise of the transition that they stem from, `[B, A]`."""
        hyper, seen = state.hyper, lesson.next_observation
        noise = jnp.tile(noise, (self.config.counterfactuals + 1, 1))
        smoothing = jnp.clip(hyper.target_noise * noise, -hyper.target_noise_clip, hyper.target_noise_clip)
        action = jnp.clip(self._action(state.target_actor, seen, actor_memory) + smoothing, -1.0, 1.0)
        q = critic.values(state.target_critic, seen, action, state.context, critic_memory)
        return lesson.reward + lesson.discount * jnp.min(q, axis=0)

    def _actor_step(self, spec: Spec, state: State, batch: Batch, elsewhere: Array) -> tuple[State, dict[str, Array]]:
        """One step of the actor up the first critic, and back from where tanh hardly moves any more."""
        hyper, rate = state.hyper, self.rate_share(state) * state.hyper.learning_rate
        critic, params = self.critic(spec).first(state.critic.params)
        seen, copies = self.to_improve(spec, batch, elsewhere)
        memory, weight = tiled(critic.recall(params, batch.history).now, copies), repeated(batch.weight, copies)

        def loss_of(actor: Any) -> Array:
            raw = self._raw_action(actor, seen, tiled(self.recall(actor, batch.history).now, copies))
            q = critic.values(params, seen, jnp.tanh(raw), state.context, memory)[0]
            beyond = jnp.sum(jnp.square(jnp.maximum(jnp.abs(raw) - SATURATED, 0.0)), axis=-1)
            return jnp.mean(weighted(hyper.saturation_weight * beyond - q, weight))

        loss, gradient = jax.value_and_grad(loss_of)(state.actor.params)
        actor, norm = descend(state.actor, gradient, rate, hyper.adam_eps, hyper.max_grad_norm, spec.axis)
        return replace(state, actor=actor), {"actor_loss": loss, "actor_grad_norm": norm, "learning_rate": rate}
