"""Soft actor-critic with a squashed Gaussian policy, an ensemble of critics and an automatic temperature.

    y       = G + γ^k ( min_i Q'_i(s', a') - α log π(a'|s') ),  a' ~ π(s')
    L_Q     = ½ Σ_i mean (Q_i(s, a) - y)²
    L_π     = mean ( α log π(a|s) - min_i Q_i(s, a) ),  a ~ π(s) reparametrised
    L_α     = -log α · mean ( log π(a|s) + H )
    Q'_i   <- Q'_i + polyak (Q_i - Q'_i)

G and γ^k are the n-step return and its discount. Source: Haarnoja et al. (2018), Soft Actor-Critic Algorithms and
Applications, section 6; the temperature's loss in log α as in its authors' code.
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
from vmax.algorithms.algorithm import Batch, Spec
from vmax.algorithms.critic import Critic, Lesson, draw_elsewhere
from vmax.algorithms.memory import repeated, samples_of, tiled, weighted
from vmax.algorithms.noise import shared
from vmax.algorithms.optimiser import Trainable, average, descend, polyak, trainable
from vmax.networks.heads import GaussianActor, action_size, squash

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class SACConfig(ActorCriticConfig):
    """What `algorithm=sac` sets; the meaning of each stands in conf/algorithm/sac.yaml."""

    name: Literal["sac"]
    alpha_learning_rate: float
    target_entropy: float | None
    initial_temperature: float
    learn_temperature: bool


@struct.dataclass
class Hyper(ActorCriticHyper):
    """With those of SAC alone."""

    alpha_learning_rate: Array
    target_entropy: Array


@struct.dataclass
class State:
    """All that a SAC learner knows. `context` is what the post-decision function reads; `updates` counts, int32.

    `reward_scale`: of the discounted rewards so far, `[1]`; None: rewards are learned from as they are.
    """

    actor: Trainable
    averaged_actor: Any
    critic: Trainable
    target_critic: Any
    log_temperature: Trainable
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


@dataclass(frozen=True)
class SAC(ActorCritic):
    """The learner: a config, a network and pure functions."""

    config: SACConfig

    def init(self, key: Key, spec: Spec) -> State:
        """Random networks; targets and the averaged actor start as copies. Raises: UserError, see `fresh`."""
        config, common = self.config, self.fresh(key, spec, GaussianActor)
        entropy = -float(spec.action_space.size) if config.target_entropy is None else config.target_entropy
        return State(
            **common,
            log_temperature=trainable(jnp.log(jnp.float32(config.initial_temperature))),
            hyper=settings.numbers(Hyper, config, target_entropy=entropy, total_updates=spec.total_updates),
        )

    def policy(self, state: State, averaged: bool = False) -> Policy:
        """What `act` needs; `averaged`: the running mean of the actor's parameters."""
        return Policy(state.averaged_actor if averaged else state.actor.params, state.normaliser, state.watched)

    def act(
        self, params: Policy, observation: Array, carry: Any, key: Key, explore: bool
    ) -> tuple[Array, Any, tuple[()]]:
        """`[N, D]` -> actions `[N, A]` in [-1, 1]: a sample of the policy, or tanh of its mean without `explore`."""
        observation = normaliser.normalise(params.normaliser, observation)
        memory, carry = self.recollect(params, observation, carry)
        mean, log_std = self._distribution(params.actor, observation, memory)
        if not explore:
            return jnp.tanh(mean), carry, ()
        return squash(mean, log_std, jax.random.normal(key, mean.shape))[0], carry, ()

    def update(self, state: State, batch: Batch, key: Key, spec: Spec) -> tuple[State, dict[str, Array]]:
        """U updates on a batch `[U, B]` or on sequences `[U, L, B]`, all noise drawn beforehand; metrics are means over
        updates and devices.
        """
        updates, *samples, actions = batch.action.shape
        noise_key, elsewhere_key = jax.random.split(key)
        noise = shared(jax.random.normal, noise_key, (updates, 2, *samples, actions), spec.axis, 1 + len(samples))
        elsewhere = draw_elsewhere(elsewhere_key, (updates, self.config.counterfactuals, *samples), spec)
        batch = self.normalised(state, batch)
        state, metrics = jax.lax.scan(partial(self._update_once, spec), state, (batch, noise, elsewhere))
        return state, summarised(metrics, batch, state, spec.axis)

    def _distribution(self, actor: Any, observation: Array, memory: Array | None) -> tuple[Array, Array]:
        return GaussianActor(self.network, action_size(actor)).apply(actor, observation, memory)  # pyright: ignore[reportReturnType]

    def _update_once(
        self, spec: Spec, state: State, inputs: tuple[Batch, Array, Array]
    ) -> tuple[State, dict[str, Array]]:
        """The critics, then the actor against the new critics, then temperature and targets; batch `[B]`."""
        batch, noise, elsewhere = samples_of(inputs, spec.axis)
        hyper, share = state.hyper, self.rate_share(state)
        target = partial(self._target, state, noise[0])
        trained_critic, critic_metrics = self.train_critics(spec, state, batch, elsewhere, state.actor.params, target)
        state = replace(state, critic=trained_critic)
        state, actor_metrics = self._actor_step(spec, state, batch, elsewhere, noise[1], share)
        state = replace(
            state,
            target_critic=polyak(state.target_critic, trained_critic.params, hyper.polyak),
            averaged_actor=average(state.averaged_actor, state.actor.params, hyper.average_actor, state.updates),
            updates=state.updates + 1,
        )
        return state, {**critic_metrics, **actor_metrics, "learning_rate": share * hyper.learning_rate}

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
        noise, seen = jnp.tile(noise, (self.config.counterfactuals + 1, 1)), lesson.next_observation
        action, log_prob = squash(*self._distribution(state.actor.params, seen, actor_memory), noise)
        q = jnp.min(critic.values(state.target_critic, seen, action, state.context, critic_memory), axis=0)
        return lesson.reward + lesson.discount * (q - jnp.exp(state.log_temperature.params) * log_prob)

    def _actor_step(
        self, spec: Spec, state: State, batch: Batch, elsewhere: Array, noise: Array, share: Array
    ) -> tuple[State, dict[str, Array]]:
        """One step of the actor, and of the temperature if it is learned."""
        hyper, critic = state.hyper, self.critic(spec)
        seen, copies = self.to_improve(spec, batch, elsewhere)
        noise, weight = jnp.tile(noise, (copies, 1)), repeated(batch.weight, copies)
        memory = tiled(critic.recall(state.critic.params, batch.history).now, copies)
        temperature = jnp.exp(state.log_temperature.params)

        def loss_of(actor: Any) -> tuple[Array, Array]:
            remembered = tiled(self.recall(actor, batch.history).now, copies)
            action, log_prob = squash(*self._distribution(actor, seen, remembered), noise)
            q = jnp.min(critic.values(state.critic.params, seen, action, state.context, memory), axis=0)
            loss = jnp.mean(weighted(temperature * log_prob - q, weight))
            return loss, jnp.mean(weighted(log_prob, weight))

        (loss, log_prob), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.actor.params)
        actor, norm = descend(
            state.actor, gradient, share * hyper.learning_rate, hyper.adam_eps, hyper.max_grad_norm, spec.axis
        )
        state = replace(state, actor=actor)
        if self.config.learn_temperature:
            slope = -(log_prob + hyper.target_entropy)  # of L_α in log α
            rate = share * hyper.alpha_learning_rate
            learned, _ = descend(state.log_temperature, slope, rate, hyper.adam_eps, jnp.inf, spec.axis)
            state = replace(state, log_temperature=learned)
        metrics = {"actor_loss": loss, "entropy": -log_prob, "temperature": temperature, "actor_grad_norm": norm}
        return state, metrics
