"""What on-policy learners share: one actor, the value of states, and what a rollout teaches. PPO and A2C build on it.

Actor and value have parameters of their own but for a memory, which belongs to the actor; the value reads it as well.
Both are trained on one loss, whose gradient is clipped as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from vmax.algorithms import normaliser, settings
from vmax.algorithms.algorithm import Rollout, Spec
from vmax.algorithms.distributions import FORBIDDEN, Categorical, Distribution, Gaussian
from vmax.algorithms.optimiser import Schedule, Trainable, descend, device_mean, rate_share, trainable
from vmax.algorithms.returns import generalised_advantage
from vmax.errors import UserError
from vmax.networks.heads import CategoricalPolicy, GaussianPolicy, StateValue, action_size
from vmax.networks.mlp import NetworkConfig
from vmax.networks.recurrent import init_memory, initial_carry, remember, remembers
from vmax.spaces import Discrete, choosable

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class OnPolicyConfig:
    """What all set; the meaning of each stands in conf/algorithm."""

    on_policy: ClassVar[bool] = True

    learning_rate: float
    learning_rate_schedule: Schedule
    schedule_constant_share: float
    adam_eps: float
    max_grad_norm: float | None
    discount: float
    gae_lambda: float
    value_weight: float
    entropy_weight: float
    distribution: Literal["gaussian", "squashed"]
    free_std: bool
    initial_std: float
    normalise_advantages: bool
    normalise_observations: bool
    normalize_rewards: bool

    def __post_init__(self) -> None:
        settings.check_ranges(self)

    @property
    def updates(self) -> int:
        """Gradient updates on one rollout."""
        return 1

    @property
    def parts(self) -> int:
        """Into how many minibatches a rollout is split."""
        return 1


@struct.dataclass
class OnPolicyHyper:
    """The numbers that change no shape, float32 scalars: a batch of them can be vmapped over."""

    learning_rate: Array
    schedule_constant_share: Array
    total_updates: Array
    adam_eps: Array
    max_grad_norm: Array
    discount: Array
    gae_lambda: Array
    value_weight: Array
    entropy_weight: Array


@struct.dataclass
class State:
    """All that an on-policy learner knows.

    `networks` holds `actor` (with its memory) and `critic`; `reward_scale` the variance of discounted rewards, `[1]`;
    `allowed`: which entries of an observation say what choices are allowed, `[P]`, int32; None: all are, always.
    `updates` counts, int32, those that were skipped among them.
    """

    networks: Trainable
    normaliser: normaliser.Normaliser | None
    reward_scale: normaliser.Normaliser | None
    allowed: Array | None
    hyper: Any
    updates: Array


@struct.dataclass
class Policy:
    """What acting needs."""

    actor: Any
    normaliser: normaliser.Normaliser | None
    allowed: Array | None


@struct.dataclass
class Lesson:
    """What a rollout teaches: steps `[B]` or, for a memory, sequences `[T, B]` with the carry before them, `[B, …]`.

    `may`: which choices were allowed, `[…, P]`; None: all. `target` is what the value is to become, `first` where an
    episode begins.
    """

    observation: Array
    may: Array | None
    raw: Array
    log_prob: Array
    value: Array
    advantage: Array
    target: Array
    first: Array
    carry: Any


@struct.dataclass
class Opinion:
    """What networks say of the steps of a lesson: probability of what was done, entropy, value; each in its shape."""

    log_prob: Array
    entropy: Array
    value: Array


@dataclass(frozen=True)
class OnPolicy:
    """A config, a network and pure functions."""

    config: Any
    network: NetworkConfig
    on_policy = True
    hyper: ClassVar[type[Any]] = OnPolicyHyper

    @property
    def name(self) -> str:
        return self.config.name

    def init(self, key: Key, spec: Spec) -> State:
        """Random networks; first actions lie in the middle of their range, first choices are alike."""
        actor_key, critic_key = jax.random.split(key)
        size = spec.observation_space.size
        observation, carry = jnp.zeros((1, 1, size)), initial_carry(self.network, 1)
        memory = init_memory(self.network, jax.random.fold_in(actor_key, 1), size)
        remembered, _ = remember(self.network, memory, observation, carry)
        if isinstance(spec.action_space, Discrete):
            if spec.action_space.count > 1:
                raise UserError(f"algorithm={self.name}: makes one choice; here are {spec.action_space.count} at once")
            head: nn.Module = CategoricalPolicy(self.network, spec.action_space.size)
        else:
            head = self._gaussian(spec.action_space.size)
        actor = {**head.init(actor_key, observation, remembered), **memory}
        critic = StateValue(self.network).init(critic_key, observation, remembered)
        return State(
            networks=trainable({"actor": actor, "critic": critic}),
            normaliser=normaliser.init(size) if self.config.normalise_observations else None,
            reward_scale=normaliser.init(1) if self.config.normalize_rewards else None,
            allowed=jnp.asarray(spec.allowed, jnp.int32) if spec.allowed else None,
            hyper=settings.numbers(self.hyper, self.config, total_updates=spec.total_updates),
            updates=jnp.zeros((), jnp.int32),
        )

    def initial_carry(self, batch: int) -> Any:
        """What an acting policy remembers before an episode, leaves `[batch, units]`; a feed-forward one nothing."""
        return initial_carry(self.network, batch)

    def observe(self, state: State, observation: Array, spec: Spec) -> State:
        """Takes fresh observations `[N, D]` into the running statistics, if the config wants them."""
        if state.normaliser is None:
            return state
        return replace(state, normaliser=normaliser.observe(state.normaliser, observation, spec.axis))

    def policy(self, state: State, averaged: bool = False) -> Policy:
        """What `act` needs; there are no averaged parameters."""
        return Policy(state.networks.params["actor"], state.normaliser, state.allowed)

    def act(self, params: Policy, observation: Array, carry: Any, key: Key, explore: bool) -> tuple[Array, Any, Any]:
        """`[N, D]` -> actions `[N, A]` in [-1, 1] or choices `[N]`, int32: drawn, or the likeliest without `explore`.

        The extras of a drawn one are the raw action and its log-probability.
        """
        seen = normaliser.normalise(params.normaliser, observation)
        memory, carry = remember(self.network, params.actor, seen[None], carry)
        may = self._may(params.allowed, observation)
        kind, parameters = self._parameters(params.actor, seen, None if memory is None else memory[0], may)
        if not explore:
            return kind.action(kind.mode(parameters)), carry, ()
        raw = kind.sample(parameters, key)
        return kind.action(raw), carry, {"raw": raw, "log_prob": kind.log_prob(parameters, raw)}

    def lesson(self, state: State, rollout: Rollout, spec: Spec) -> tuple[State, Lesson]:
        """Advantages and targets `[T, N]` under the networks that acted, and the state with the scale of its rewards.

        Where an episode was truncated the value of its true final observation stands for what would have come.
        """
        hyper, reward = state.hyper, rollout.reward
        if state.reward_scale is not None:
            scale = normaliser.observe(state.reward_scale, rollout.discounted.reshape(-1, 1), spec.axis)
            reward = jnp.clip(reward / normaliser.reward_unit(scale), -normaliser.CLIP, normaliser.CLIP)
            state = replace(state, reward_scale=scale)
        params, seen = state.networks.params, normaliser.normalise(state.normaliser, rollout.observation)
        following = normaliser.normalise(state.normaliser, rollout.next_observation)
        now, then = self._along(params["actor"], seen, following, rollout)
        v_tm1, v_t = self._value(params, seen, now), self._value(params, following, then)
        discount_t = hyper.discount * (1.0 - rollout.terminated)
        lambda_t = hyper.gae_lambda * (1.0 - rollout.ended)
        advantages = jax.vmap(generalised_advantage, in_axes=1, out_axes=1)
        advantage = advantages(reward, discount_t, lambda_t, v_tm1, v_t)
        lesson = Lesson(
            seen, self._may(state.allowed, rollout.observation), rollout.extras["raw"], rollout.extras["log_prob"],
            v_tm1, advantage, advantage + v_tm1, rollout.first, rollout.carry,
        )  # fmt: skip
        if remembers(self.network):
            return state, lesson
        return state, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), lesson)

    def opinion(self, params: Any, lesson: Lesson) -> Opinion:
        """What the networks say of a lesson; a memory is run over its sequences anew."""
        memory, _ = remember(self.network, params["actor"], lesson.observation, lesson.carry, lesson.first)
        kind, parameters = self._parameters(params["actor"], lesson.observation, memory, lesson.may)
        value = self._value(params, lesson.observation, memory)
        return Opinion(kind.log_prob(parameters, lesson.raw), kind.entropy(parameters), value)

    def normalised(self, advantage: Array, axis: str | None) -> Array:
        """Advantages with mean 0 and variance 1 over all devices, where the config wants it."""
        if not self.config.normalise_advantages:
            return advantage
        mean = device_mean(jnp.mean(advantage), axis)
        variance = device_mean(jnp.mean(jnp.square(advantage - mean)), axis)
        return (advantage - mean) / (jnp.sqrt(variance) + 1e-8)

    def step(
        self, state: State, loss_of: Callable[[Any], tuple[Array, dict[str, Array]]], axis: str | None
    ) -> tuple[State, dict[str, Array]]:
        """One Adam step down `loss_of(params) -> (loss, metrics)`; metrics, the step's among them, as device means."""
        hyper = state.hyper
        schedule = self.config.learning_rate_schedule
        rate = hyper.learning_rate * rate_share(
            schedule, state.updates, hyper.total_updates, hyper.schedule_constant_share
        )
        gradient, metrics = jax.grad(loss_of, has_aux=True)(state.networks.params)
        networks, norm = descend(state.networks, gradient, rate, hyper.adam_eps, hyper.max_grad_norm, axis)
        state = replace(state, networks=networks, updates=state.updates + 1)
        return state, {**device_mean(metrics, axis), "grad_norm": norm, "learning_rate": rate}

    def explained(self, lesson: Lesson, axis: str | None) -> Array:
        """What share of the variance of the targets the values before learning explain; 0 where there is none."""
        mean = device_mean(jnp.mean(lesson.target), axis)
        variance = device_mean(jnp.mean(jnp.square(lesson.target - mean)), axis)
        error = lesson.target - lesson.value
        left = device_mean(jnp.mean(jnp.square(error)), axis) - jnp.square(device_mean(jnp.mean(error), axis))
        return jnp.where(variance > 0.0, 1.0 - left / jnp.maximum(variance, 1e-12), 0.0)

    def _gaussian(self, actions: int) -> GaussianPolicy:
        return GaussianPolicy(self.network, actions, self.config.free_std, self.config.initial_std)

    @staticmethod
    def _may(entries: Array | None, observation: Array) -> Array | None:
        """Which choices are allowed, `[..., P]`, from observations as the world gives them; None: all."""
        return None if entries is None else choosable(entries, observation, len(entries))[..., 0, :]

    def _parameters(self, actor: Any, seen: Array, memory: Array | None, may: Array | None) -> tuple[Distribution, Any]:
        """What actions are drawn from, by the kind of actor; of choices those that `may` be made."""
        if "logits" in actor["params"]:
            logits: Any = CategoricalPolicy(self.network, action_size(actor)).apply(actor, seen, memory)
            return Categorical(), logits if may is None else jnp.where(may, logits, FORBIDDEN)
        return Gaussian(self.config.distribution == "squashed"), self._gaussian(action_size(actor)).apply(
            actor, seen, memory
        )

    def _value(self, params: Any, seen: Array, memory: Array | None) -> Array:
        return StateValue(self.network).apply(params["critic"], seen, memory)  # pyright: ignore[reportReturnType]

    def _along(self, actor: Any, seen: Array, following: Array, rollout: Rollout) -> tuple[Array | None, Array | None]:
        """What is remembered at each step and at what it led to, `[T, N, units]` both; None without memory."""
        if not remembers(self.network):
            return None, None

        def one(carry: Any, inputs: tuple[Array, Array, Array]) -> tuple[Any, Any]:
            before, after, first = inputs
            now, carry = remember(self.network, actor, before[None], carry, first[None])
            then, _ = remember(self.network, actor, after[None], carry)
            return carry, jax.tree.map(lambda leaf: leaf[0], (now, then))

        return jax.lax.scan(one, rollout.carry, (seen, following, rollout.first))[1]
