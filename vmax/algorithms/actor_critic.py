"""What off-policy learners with an actor and an ensemble of critics share: SAC and TD3 are built on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from vmax.algorithms import normaliser, settings
from vmax.algorithms.algorithm import TD_ERROR, Batch, Spec
from vmax.algorithms.critic import Critic, Lesson, critic_step, make_critic, moved
from vmax.algorithms.memory import Recalled, as_seen, recalled, tiled
from vmax.algorithms.optimiser import Schedule, Trainable, device_mean, rate_share, trainable
from vmax.networks.mlp import NetworkConfig
from vmax.networks.recurrent import init_memory, initial_carry, remember, remembers
from vmax.replay.transitions import History

Array = jax.Array
Key = jax.Array
Target = Callable[[Critic, Lesson, Array | None, Array | None], Array]
"""y `[M]` of a lesson, and of what actor `[M, units]` and target critics `[n, M, units]` remember after it."""


@dataclass(frozen=True)
class ActorCriticConfig:
    """What both set; the meaning of each stands in conf/algorithm."""

    learning_rate: float
    critic_learning_rate: float
    learning_rate_schedule: Schedule
    schedule_constant_share: float
    adam_eps: float
    max_grad_norm: float | None
    discount: float
    n_step: int
    polyak: float
    num_critics: int
    post_decision_critic: bool
    counterfactuals: int
    slope_weight: float
    counterfactual_actor: bool
    average_actor: float
    normalise_observations: bool
    normalize_rewards: bool

    def __post_init__(self) -> None:
        settings.check(self)


@struct.dataclass
class ActorCriticHyper:
    """The numbers of both that change no shape, float32 scalars: a batch of them can be vmapped over."""

    learning_rate: Array
    critic_learning_rate: Array
    schedule_constant_share: Array
    total_updates: Array
    adam_eps: Array
    max_grad_norm: Array
    slope_weight: Array
    discount: Array
    polyak: Array
    average_actor: Array


@struct.dataclass
class Critics:
    """What valuing decisions needs of a learner's state."""

    params: Any
    normaliser: normaliser.Normaliser | None
    reward_scale: normaliser.Normaliser | None
    watched: Array | None
    context: Any
    discount: Array


@dataclass(frozen=True)
class ActorCritic:
    """A config, a network and pure functions on a state that has the entries of `fresh` and the numbers in `hyper`."""

    config: Any
    network: NetworkConfig
    on_policy = False

    @property
    def name(self) -> str:
        return self.config.name

    def initial_carry(self, batch: int) -> Any:
        """What an acting policy remembers before an episode, leaves `[batch, units]`; a feed-forward one nothing."""
        return initial_carry(self.network, batch)

    def observe(self, state: Any, observation: Array, spec: Spec, discounted: Array | None = None) -> Any:
        """Takes fresh observations `[N, D]` and discounted rewards `[N]` into the statistics that the config wants."""
        return normaliser.taken_in(state, observation, discounted, spec.axis)

    def fresh(self, key: Key, spec: Spec, make_actor: Callable[[NetworkConfig, int], nn.Module]) -> dict[str, Any]:
        """Random networks, targets and averaged actor as copies of them, and what else both learners' states hold.

        Raises: UserError for discrete actions, or a post-decision critic that the environment does not offer.
        """
        config, actions = self.config, settings.continuous_actions(self.name, spec.action_space)
        actor_key, critic_key = jax.random.split(key)
        observation, action = jnp.zeros((1, spec.observation_space.size)), jnp.zeros((1, actions))
        context = jax.tree.map(jnp.array, spec.context)
        critic = self.critic(spec).init(critic_key, observation, action, context)
        memory = init_memory(self.network, jax.random.fold_in(actor_key, 1), spec.observation_space.size)
        remembered = remember(self.network, memory, observation[None], initial_carry(self.network, 1))[0]
        remembered = None if remembered is None else remembered[0]
        head = make_actor(self.network, actions).init(actor_key, observation, remembered)
        actor = {**head, **memory}
        return {
            "actor": trainable(actor),
            "averaged_actor": jax.tree.map(jnp.copy, actor),
            "critic": trainable(critic),
            "target_critic": jax.tree.map(jnp.copy, critic),
            "normaliser": normaliser.init(spec.observation_space.size) if config.normalise_observations else None,
            "reward_scale": normaliser.init(1) if config.normalize_rewards else None,
            "watched": self._watched(spec),
            "context": context,
            "updates": jnp.zeros((), jnp.int32),
        }

    def _watched(self, spec: Spec) -> Array | None:
        """Which entries of an observation a memory reads, 1 or 0, `[D]`; None without memory.

        With counterfactuals all but those that only decisions move: what is remembered is then the same at any charge.
        """
        if not remembers(self.network):
            return None
        watched = jnp.ones(spec.observation_space.size)
        if self.config.counterfactuals:
            watched = watched.at[jnp.array([entry for entry, _, _ in spec.controlled], int)].set(0.0)
        return watched

    def recollect(self, policy: Any, observation: Array, carry: Any) -> tuple[Array | None, Any]:
        """What the acting policy remembers having seen `[N, D]` (normalised), `[N, units]` or None; and its carry."""
        if policy.watched is None:
            return None, carry
        memory, carry = remember(self.network, policy.actor, (observation * policy.watched)[None], carry)
        return None if memory is None else memory[0], carry

    def recall(self, actor: Any, history: History | None) -> Recalled:
        """What an actor remembers at the samples `[M]` of sequences and at their successors."""
        if history is None:
            return Recalled(None, None)
        return recalled(self.network, actor, history, history.carry)

    def critic(self, spec: Spec) -> Critic:
        """The critics that the config asks for."""
        return make_critic(self.network, self.config.num_critics, self.config.post_decision_critic, spec)

    def critics(self, state: Any) -> Critics:
        """What `value` needs of a state."""
        return Critics(
            state.critic.params, state.normaliser, state.reward_scale, state.watched, state.context,
            state.hyper.discount,
        )  # fmt: skip

    def value(self, critics: Critics, observation: Array, action: Array, spec: Spec) -> Array:
        """The least Q of decisions along N trajectories from their beginnings, `[T, N, D]`, `[T, N, A]` -> `[T, N]`.

        In units of the environment's reward, also where critics learn from normalized ones.
        """
        critic, count = self.critic(spec), action.shape[0] * action.shape[1]
        seen = normaliser.normalise(critics.normaliser, observation)
        memory = None if critics.watched is None else critic.remember(critics.params, seen * critics.watched)
        memory = None if memory is None else memory.reshape(len(memory), count, -1)
        seen, done = (leaf.reshape(count, -1) for leaf in (seen, action))
        values = critic.values(critics.params, seen, done, critics.context, memory)
        unit = 1.0 if critics.reward_scale is None else normaliser.reward_unit(critics.reward_scale)
        return unit * jnp.min(values, axis=0).reshape(action.shape[:2])

    def normalised(self, state: Any, batch: Batch) -> Batch:
        """The batch as the networks see it."""
        return as_seen(batch, state, state.watched)

    def rate_share(self, state: Any) -> Array:
        """Share of all learning rates that is in force."""
        hyper = state.hyper
        schedule = self.config.learning_rate_schedule
        return rate_share(schedule, state.updates, hyper.total_updates, hyper.schedule_constant_share)

    def train_critics(
        self, spec: Spec, state: Any, batch: Batch, elsewhere: Array, actor: Any, target: Target
    ) -> tuple[Trainable, dict[str, Array]]:
        """One step of the critics on a batch `[B]`, at other charges `elsewhere` `[K, B, C]` too, towards `target`.

        `actor` is the one whose decisions the target values. The metrics hold `TD_ERROR` if priorities want it.
        """
        hyper, critic, copies = state.hyper, self.critic(spec), self.config.counterfactuals + 1
        lesson = critic.lessons(batch, elsewhere, spec.controlled, state.context)
        actor_memory = tiled(self.recall(actor, batch.history).then, copies)
        critic_memory = tiled(critic.recall(state.target_critic, batch.history).then, copies)
        trained, metrics, error = critic_step(
            critic,
            state.critic,
            lesson,
            target(critic, lesson, actor_memory, critic_memory),
            batch.weight,
            lambda params: tiled(critic.recall(params, batch.history).now, copies),
            self.config.counterfactuals,
            hyper.slope_weight,
            self.rate_share(state) * hyper.critic_learning_rate,
            hyper.adam_eps,
            hyper.max_grad_norm,
            spec.axis,
        )
        return trained, metrics if batch.place is None else {**metrics, TD_ERROR: error}

    def to_improve(self, spec: Spec, batch: Batch, elsewhere: Array) -> tuple[Array, int]:
        """Where the actor improves, `[M, D]`: what was seen `[B, D]`, with `counterfactual_actor` also at the charges
        `elsewhere` `[K, B, C]`; and how many copies of the batch that is."""
        if not self.config.counterfactual_actor:
            return batch.observation, 1
        others = moved(batch.observation, elsewhere, spec.controlled)
        copies = self.config.counterfactuals + 1
        return jnp.concatenate([batch.observation, others.reshape(-1, others.shape[-1])]), copies


def summarised(metrics: dict[str, Array], batch: Batch, state: Any, axis: str | None) -> dict[str, Array]:
    """The metrics of U updates as means over them and the devices, but for this device's `TD_ERROR`, if it is there;
    and the unit that values are in, where rewards are normalized."""
    means = device_mean(jax.tree.map(jnp.mean, {k: v for k, v in metrics.items() if k != TD_ERROR}), axis)
    if state.reward_scale is not None:
        means["reward_unit"] = normaliser.reward_unit(state.reward_scale)
    return means if batch.place is None else {**means, TD_ERROR: metrics[TD_ERROR].reshape(batch.reward.shape)}
