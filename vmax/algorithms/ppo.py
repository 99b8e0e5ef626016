"""Proximal policy optimisation: several epochs of minibatches on each rollout, with a bound on how far they may go.

    ratio   = π(u|s) / π_old(u|s)                          u: the raw action that was drawn
    L_π     = -mean min( ratio A, clip(ratio, 1 - ε, 1 + ε) A )
    L_V     = ½ mean (V(s) - R)²,  R = A + V_old(s)        with `value_clip` c the mean of the greater of this and
                                                            (V_old + clip(V - V_old, -c, c) - R)²
    L       = L_π + value_weight L_V - entropy_weight mean H(π(·|s))
    kl      = mean ( ratio - 1 - log ratio )

A are generalised advantage estimates, normalised in each minibatch if the config wants it; R is not. With `target_kl`
the first minibatch whose kl is above it and all that follow on the same rollout change nothing. Source: Schulman et al.
(2017), Proximal Policy Optimization Algorithms, eq. 7 and 9; the estimate of kl: Schulman (2020), Approximating KL
Divergence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.algorithms.algorithm import Rollout, Spec
from vmax.algorithms.on_policy import Lesson, OnPolicy, OnPolicyConfig, OnPolicyHyper, State
from vmax.networks.recurrent import remembers

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class PPOConfig(OnPolicyConfig):
    """What `algorithm=ppo` sets; the meaning of each stands in conf/algorithm/ppo.yaml."""

    name: Literal["ppo"]
    clip_ratio: float
    value_clip: float | None
    epochs: int
    minibatches: int
    target_kl: float | None

    @property
    def updates(self) -> int:
        return self.epochs * self.minibatches

    @property
    def parts(self) -> int:
        return self.minibatches


@struct.dataclass
class Hyper(OnPolicyHyper):
    """With those of PPO alone."""

    clip_ratio: Array
    value_clip: Array
    target_kl: Array


def clipped_gain(ratio: Array, advantage: Array, clip: Array) -> Array:
    """min( ratio A, clip(ratio, 1 - ε, 1 + ε) A ), elementwise: nothing is gained by going further than the bound."""
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)


def clipped_error(value: Array, before: Array, target: Array, clip: Array) -> Array:
    """The greater of (V - R)² and (V_old + clip(V - V_old, -c, c) - R)², elementwise."""
    near = before + jnp.clip(value - before, -clip, clip)
    return jnp.maximum(jnp.square(value - target), jnp.square(near - target))


@dataclass(frozen=True)
class PPO(OnPolicy):
    """The learner: a config, a network and pure functions."""

    config: PPOConfig
    hyper = Hyper

    def update(self, state: State, batch: Rollout, key: Key, spec: Spec) -> tuple[State, dict[str, Array]]:
        """All epochs on a rollout `[T, N]`; metrics are means over updates, those that were skipped among them.

        Minibatches are drawn anew for each epoch: of steps or, for a network with memory, of environments, whose steps
        stay together. Every device draws from its own.
        """
        state, lesson = self.lesson(state, batch, spec)
        if spec.axis is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(spec.axis))

        def epoch(loop: Any, key: Key) -> tuple[Any, dict[str, Array]]:
            return jax.lax.scan(partial(self._minibatch, spec), loop, self._minibatches(lesson, key))

        begin = (state, jnp.array(True))
        (state, _), metrics = jax.lax.scan(epoch, begin, jax.random.split(key, self.config.epochs))
        skipped = metrics.pop("skipped_updates").sum()
        means = jax.tree.map(jnp.mean, metrics)
        return state, {**means, "skipped_updates": skipped, "explained_variance": self.explained(lesson, spec.axis)}

    def _minibatches(self, lesson: Lesson, key: Key) -> Lesson:
        """A lesson in random parts, `[M, B / M]` or `[M, T, B / M]`."""
        sequences, parts = remembers(self.network), self.config.minibatches
        order = jax.random.permutation(key, lesson.first.shape[-1]).reshape(parts, -1)
        if not sequences:
            return jax.tree.map(lambda leaf: leaf[order], lesson)
        steps = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, order], 1, 0), replace(lesson, carry=()))
        return replace(steps, carry=jax.tree.map(lambda leaf: leaf[order], lesson.carry))

    def _minibatch(self, spec: Spec, loop: tuple[State, Array], lesson: Lesson) -> tuple[Any, dict[str, Array]]:
        """One update, or none once the policy has gone too far."""
        state, going = loop
        stepped, metrics = self.step(state, partial(self._loss, state.hyper, lesson, spec.axis), spec.axis)
        going = going & (metrics["kl"] <= state.hyper.target_kl)
        networks = jax.tree.map(partial(jnp.where, going), stepped.networks, state.networks)
        state = replace(stepped, networks=networks)
        return (state, going), {**metrics, "skipped_updates": 1.0 - going}

    def _loss(self, hyper: Hyper, lesson: Lesson, axis: str | None, params: Any) -> tuple[Array, dict[str, Array]]:
        """L on a minibatch."""
        opinion, advantage = self.opinion(params, lesson), self.normalised(lesson.advantage, axis)
        log_ratio = opinion.log_prob - lesson.log_prob
        ratio = jnp.exp(log_ratio)
        actor_loss = -jnp.mean(clipped_gain(ratio, advantage, hyper.clip_ratio))
        if self.config.value_clip is None:
            error = jnp.square(opinion.value - lesson.target)
        else:
            error = clipped_error(opinion.value, lesson.value, lesson.target, hyper.value_clip)
        critic_loss, entropy = 0.5 * jnp.mean(error), jnp.mean(opinion.entropy)
        loss = actor_loss + hyper.value_weight * critic_loss - hyper.entropy_weight * entropy
        return loss, {
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "entropy": entropy,
            "kl": jnp.mean(ratio - 1.0 - log_ratio),
            "clipped_share": jnp.mean(jnp.abs(ratio - 1.0) > hyper.clip_ratio),
        }
