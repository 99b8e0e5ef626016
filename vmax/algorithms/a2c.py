"""Advantage actor-critic: one update on each rollout of environments that step together.

    L_π     = -mean A log π(u|s)                           u: the raw action that was drawn
    L_V     = ½ mean (V(s) - R)²,  R = A + V_old(s)
    L       = L_π + value_weight L_V - entropy_weight mean H(π(·|s))

A are generalised advantage estimates; with `gae_lambda` 1 they are n-step returns over the rollout less V, as in the
source: Mnih et al. (2016), Asynchronous Methods for Deep Reinforcement Learning, algorithm S3, with all actors in step
and Adam for RMSProp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from vmax.algorithms.algorithm import Rollout, Spec
from vmax.algorithms.on_policy import Lesson, OnPolicy, OnPolicyConfig, OnPolicyHyper, State

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class A2CConfig(OnPolicyConfig):
    """What `algorithm=a2c` sets; the meaning of each stands in conf/algorithm/a2c.yaml."""

    name: Literal["a2c"]


@dataclass(frozen=True)
class A2C(OnPolicy):
    """The learner: a config, a network and pure functions."""

    config: A2CConfig

    def update(self, state: State, batch: Rollout, key: Key, spec: Spec) -> tuple[State, dict[str, Array]]:
        """One update on a rollout `[T, N]`, all of it at once."""
        state, lesson = self.lesson(state, batch, spec)
        state, metrics = self.step(state, partial(self._loss, state.hyper, lesson, spec.axis), spec.axis)
        return state, {**metrics, "explained_variance": self.explained(lesson, spec.axis)}

    def _loss(
        self, hyper: OnPolicyHyper, lesson: Lesson, axis: str | None, params: Any
    ) -> tuple[Array, dict[str, Array]]:
        """L on the rollout."""
        opinion, advantage = self.opinion(params, lesson), self.normalised(lesson.advantage, axis)
        actor_loss = -jnp.mean(advantage * opinion.log_prob)
        critic_loss = 0.5 * jnp.mean(jnp.square(opinion.value - lesson.target))
        entropy = jnp.mean(opinion.entropy)
        loss = actor_loss + hyper.value_weight * critic_loss - hyper.entropy_weight * entropy
        return loss, {"actor_loss": actor_loss, "critic_loss": critic_loss, "entropy": entropy}
