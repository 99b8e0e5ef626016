"""The compiled part of a run: warm-up and chunks of (collect → store → learn), one function for one or many devices.

On-policy algorithms differ in the iteration alone: there is no warm-up and no replay, the rollout itself is the batch.

Each function is written for one device with the named axis `AXIS`; `vmax.devices.parallel` maps it over the devices.
Replicated over devices: learner and key. Per device: environments, their observations, the shard of the replay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.algorithms.algorithm import TD_ERROR, Algorithm, Batch, Rollout, Spec
from vmax.algorithms.returns import discounted_so_far
from vmax.devices import AXIS, parallel
from vmax.envs.environment import AutoReset, Environment, EpisodeStatistics
from vmax.errors import UserError
from vmax.networks.recurrent import forget
from vmax.replay import sequences, transitions
from vmax.replay.settings import PriorityConfig
from vmax.spaces import Discrete
from vmax.training.days import DayEpisodes, DaySchedule
from vmax.training.finite import Fault, first, no_fault, noted
from vmax.training.guide import Guide, first_actions

Array = jax.Array

SUMS = ("episodes", "episode_return", "episode_length", "reward")
"""Figures of an iteration that add up over a chunk; the others are averaged."""
DAYS = "days"
"""What an iteration tells of the days under way, and a record of those that ended, where days are scheduled."""
FAULT = "fault"
"""The first number of the run that was not finite."""
ORDER = 2**31 - 1
"""Folded into a run's key for the order of its days."""


@struct.dataclass
class RunState:
    """Everything that a run consists of on the devices.

    `replay`: None of an on-policy learner. `discounted`: the discounted rewards of each episode so far, `[N]`; None
    where nothing needs them. `fault`: the first number that was not finite.
    """

    learner: Any
    key: Array
    environment: Any
    observation: Array
    carry: Any
    replay: Any
    discounted: Array | None
    fault: Fault


@dataclass(frozen=True)
class Sizes:
    """Sizes per device and iteration, all static."""

    num_envs: int
    unroll: int
    updates: int
    batch_size: int
    replay_capacity: int
    n_step: int
    sequences: sequences.SequenceConfig
    priorities: PriorityConfig


@dataclass(frozen=True)
class Program:
    """Compiles a run: `initialise`, `warm_up` and `chunk`, each over all devices.

    `guide` acts during the warm-up; None: uniformly random actions or, of networks that have `learned` before, the
    policy. `schedule` names the days that episodes are; None:
    their starts are drawn.
    """

    environment: Environment
    algorithm: Algorithm
    spec: Spec
    sizes: Sizes
    guide: Guide | None = None
    schedule: DaySchedule | None = None
    learned: bool = False

    @cached_property
    def wrapped(self) -> Any:
        """The environments side by side: `EpisodeStatistics`, or `DayEpisodes` where days are scheduled."""
        if self.schedule is not None:
            return DayEpisodes(self.environment, self.schedule)
        return EpisodeStatistics(AutoReset(self.environment))

    def initialise(self, key: Array, params: Any) -> RunState:
        """First state on one device; called inside the device map."""
        learner_key, env_key, run_key = jax.random.split(key, 3)
        env_keys = jax.random.split(_own(env_key), self.sizes.num_envs)
        order_key = () if self.schedule is None else (jax.random.fold_in(key, ORDER),)
        environment, observation = self.wrapped.reset(env_keys, params, *order_key)
        learner = self.algorithm.init(learner_key, self.spec)
        carry = self.algorithm.initial_carry(self.sizes.num_envs)
        scaled = self.on_policy or getattr(learner, "reward_scale", None) is not None
        return RunState(
            learner=learner,
            key=run_key,
            environment=environment,
            observation=observation,
            carry=carry,
            replay=None if self.on_policy else self._empty_replay(observation[0], carry),
            discounted=jnp.zeros(self.sizes.num_envs) if scaled else None,
            fault=no_fault(),
        )

    def _empty_replay(self, observation: Array, carry: Any) -> Any:
        """A ring of transitions, or of sequences for a policy with memory. Raises: UserError."""
        sizes, least = self.sizes, self.environment.min_episode_steps
        space = self.environment.action_space
        action = jnp.zeros(space.shape, jnp.int32 if isinstance(space, Discrete) else jnp.float32)
        if not self.remembers:
            return transitions.init(
                sizes.replay_capacity, sizes.num_envs, observation, action, least, sizes.priorities, sizes.n_step
            )
        if sizes.sequences.kind == "episode" and least > sizes.sequences.length:
            raise UserError(
                f"training.sequences.length={sizes.sequences.length}: an episode has {least} steps; set at least that, "
                "or training.sequences.kind=window"
            )
        return sequences.init(
            sizes.sequences,
            sizes.replay_capacity,
            sizes.num_envs,
            observation,
            action,
            carry,
            least,
            sizes.priorities,
        )

    @property
    def on_policy(self) -> bool:
        """Whether the algorithm learns from each rollout once; one that does not say so does not."""
        return getattr(self.algorithm, "on_policy", False)

    @cached_property
    def remembers(self) -> bool:
        """Whether the policy carries anything from step to step."""
        return bool(jax.tree.leaves(self.algorithm.initial_carry(1)))

    def collect(
        self, state: RunState, key: Array, params: Any, warming_up: bool
    ) -> tuple[RunState, Any, dict, dict, Any]:
        """Step all environments `unroll` times.

        Returns: the state, the block of transitions `[T, N, …]`, episode sums, with a schedule what each step told of
        the days under way (`DAYS`), and the extras of acting.
        """
        policy, keeping = self.algorithm.policy(state.learner), self.remembers and not self.on_policy

        def one(carry: Any, step_key: Array) -> tuple[Any, Any]:
            environment, observation, memory, fault = carry
            act_key, env_key = jax.random.split(step_key)
            action, following_memory, extras = self.algorithm.act(policy, observation, memory, act_key, explore=True)
            if warming_up and not self.learned:
                states = environment.inner
                action = first_actions(self.guide, self.environment, self.spec, states, observation, params, act_key)
            moved, following, step = self.wrapped.step(env_key, environment, action, params)
            fault = noted(fault, observation, action, step)
            days = {} if self.schedule is None else {DAYS: self.wrapped.told(environment, moved, step)}
            done = step.terminated | step.truncated
            sums = {
                "episodes": done.sum(),
                "episode_return": jnp.where(done, step.info["episode_return"], 0.0).sum(),
                "episode_length": jnp.where(done, step.info["episode_length"], 0).astype(jnp.float32).sum(),
                "reward": step.reward.sum(),
            }
            block = (observation, action, step.reward, step.terminated, step.truncated, step.observation)
            block += (memory,) if keeping else ()
            return (moved, following, forget(following_memory, done), fault), (block, sums, days, extras)

        start = (state.environment, state.observation, state.carry, state.fault)
        (environment, observation, memory, fault), (block, sums, days, extras) = jax.lax.scan(
            one, start, jax.random.split(_own(key), self.sizes.unroll)
        )
        state = replace(state, environment=environment, observation=observation, carry=memory, fault=fault)
        return state, block, jax.tree.map(lambda x: x.sum(0), sums), days, extras

    def _observed(self, state: RunState, block: Any) -> RunState:
        """The state once the learner has taken in what is fresh: observations and, of a replay, scales of rewards."""
        observation, learner, more = block[0], state.learner, {}
        if not self.on_policy and state.discounted is not None:
            state, so_far = self._discounted(state, block)
            more = {"discounted": so_far.reshape(-1)}
        frames = observation.reshape(-1, observation.shape[-1])
        return replace(state, learner=self.algorithm.observe(learner, frames, self.spec, **more))

    def _discounted(self, state: RunState, block: Any) -> tuple[RunState, Array]:
        """The discounted sums of rewards so far at each step of a block, `[T, N]`, and the state that adds on."""
        _, _, reward, terminated, truncated, *_ = block
        assert state.discounted is not None
        adding = jax.vmap(discounted_so_far, in_axes=(1, 1, None, 0), out_axes=(1, 0))
        so_far, kept = adding(reward, terminated | truncated, state.learner.hyper.discount, state.discounted)
        return replace(state, discounted=kept), so_far

    def iteration(self, state: RunState, params: Any) -> tuple[RunState, dict[str, Array]]:
        """Collect one block, learn from what was stored before it, note its new priorities if any, then store it."""
        if self.on_policy:
            return self._rollout_iteration(state, params)
        key, collect_key, sample_key, update_key = jax.random.split(state.key, 4)
        batch = self._sample(state, _own(sample_key))
        state, block, sums, days, _ = self.collect(state, collect_key, params, warming_up=False)
        state = self._observed(state, block)
        learner, metrics = self.algorithm.update(state.learner, batch, update_key, self.spec)
        replay = self._kind.read_before_write(state.replay, batch)
        if batch.place is not None:
            replay = self._kind.reprioritise(replay, batch, metrics.pop(TD_ERROR))
        replay = self._kind.add(replay, *block)
        return replace(state, key=key, replay=replay, learner=learner), {**metrics, **_global(sums), **days}

    def _rollout_iteration(self, state: RunState, params: Any) -> tuple[RunState, dict[str, Array]]:
        """Collect one block and learn from it, and from nothing else; what the normaliser sees counts from the next on.

        So the networks read the block's observations as they did when they acted.
        """
        key, collect_key, update_key = jax.random.split(state.key, 3)
        carry = state.carry
        state, block, sums, days, extras = self.collect(state, collect_key, params, warming_up=False)
        observation, action, reward, terminated, truncated, following = block
        state, so_far = self._discounted(state, block)
        rollout = Rollout(observation, action, extras, reward, terminated, truncated, following, so_far, carry)
        learner, metrics = self.algorithm.update(state.learner, rollout, update_key, self.spec)
        state = self._observed(replace(state, key=key, learner=learner), block)
        return state, {**metrics, **_global(sums), **days}

    @property
    def _kind(self) -> Any:
        """The module of the replay: `init`, `add`, `sample`, `read_before_write`, `reprioritise`."""
        return sequences if self.remembers else transitions

    def _sample(self, state: RunState, key: Array) -> Batch:
        """What all updates of an iteration learn from, `[U, B]` or `[U, L, B]`, in one gather."""
        updates, count, n_step = self.sizes.updates, self.sizes.batch_size, self.sizes.n_step
        hyper, progress = state.learner.hyper, 0.0
        if self.sizes.priorities.exponent:
            progress = jnp.minimum(state.learner.updates / hyper.total_updates, 1.0)
        if self.remembers:
            return sequences.sample(state.replay, key, updates, count, n_step, hyper.discount, progress)
        flat = transitions.sample(state.replay, key, updates * count, n_step, hyper.discount, progress)
        return jax.tree.map(lambda x: x.reshape(updates, count, *x.shape[1:]), flat)

    def warm_up(self, state: RunState, params: Any, iterations: int) -> RunState:
        """Fill the replay with uniformly random actions, or with those of the guide."""
        if self.on_policy:
            return state

        def one(state: RunState, _: None) -> tuple[RunState, None]:
            key, collect_key = jax.random.split(state.key)
            state, block, _sums, _days, _ = self.collect(state, collect_key, params, warming_up=True)
            state = self._observed(state, block)
            return replace(state, key=key, replay=self._kind.add(state.replay, *block)), None

        return jax.lax.scan(one, state, None, length=iterations)[0]

    def chunk(self, state: RunState, params: Any, iterations: int) -> tuple[RunState, dict[str, Any]]:
        """Several iterations; the record is reduced to scalars: sums over episodes, means of learning metrics."""
        state, metrics = jax.lax.scan(lambda s, _: self.iteration(s, params), state, None, length=iterations)
        told = metrics.pop(DAYS, None)
        episodes = jnp.maximum(metrics["episodes"].sum(), 1)
        record = {name: values.mean() for name, values in metrics.items() if name not in SUMS}
        given = {name: None for name in ("hyper", "context") if hasattr(state.learner, name)}
        learned = state.learner.replace(**given)  # numbers that were given may be infinite
        transitions_seen = float(iterations * self.sizes.unroll * self.sizes.num_envs * jax.lax.psum(1, AXIS))
        record |= {
            "episodes": metrics["episodes"].sum(),
            "episode_return": metrics["episode_return"].sum() / episodes,
            "episode_length": metrics["episode_length"].sum() / episodes,
            "reward": metrics["reward"].sum() / transitions_seen,
            FAULT: first(state.fault, AXIS),
            "finite": jnp.stack([jnp.isfinite(x).all() for x in _floats(learned)]).all(),
        }
        if told is not None:
            told = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), told)
            record[DAYS] = self.wrapped.finished(state.environment.key, told, params)
        return state, record

    def compiled(self, iterations: int, warm_up_iterations: int) -> tuple[Any, Any, Any]:
        """`(initialise, warm_up, chunk)` over all devices; the state is donated, key and params come replicated."""
        return (
            parallel(self.initialise, donate=()),
            parallel(lambda state, params: self.warm_up(state, params, warm_up_iterations)),
            parallel(lambda state, params: self.chunk(state, params, iterations)),
        )


def _own(key: Array) -> Array:
    """This device's key."""
    return jax.random.fold_in(key, jax.lax.axis_index(AXIS))


def _global(sums: dict[str, Array]) -> dict[str, Array]:
    return jax.tree.map(lambda x: jax.lax.psum(x, AXIS), sums)


def _floats(tree: Any) -> list[Array]:
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
