"""Sequences from the ring of transitions, for networks with memory: whole episodes, or windows with their start carry.

Besides each step its age is kept (the steps of its episode before it), so that the start of its episode is found. The
acting network's carry is kept for the first of every `stride` rows. A sequence is found from a step drawn uniformly: it
begins at that step's episode, or, in windows, at the last row before it whose carry is kept, unless the episode begins
after that. It ends with its episode, at the newest step, or after `length` steps; the rest is padding of weight 0.
Neither does it begin before the oldest row: once rows have left the buffer, its first ones are not drawn.

Source: Kapturowski et al. (2019), Recurrent Experience Replay in Distributed Reinforcement Learning (stored carry and
burn-in).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from vmax.counters import counted
from vmax.errors import UserError
from vmax.replay import priorities, transitions
from vmax.replay.settings import PriorityConfig, SequenceConfig
from vmax.replay.transitions import Batch, History

Array = jax.Array
Key = jax.Array


@struct.dataclass
class Replay:
    """The ring of transitions, and what sequences need besides; C = R N transitions.

    Attributes:
      steps: the transitions.
      age: steps of its episode before each, `[C]`, int32.
      carry: the actor's memory before the first of every `stride` rows, leaves `[ceil(R / stride) N, units]`; of no use
        for whole episodes.
      coming: age of the step that is written next, `[N]`, int32.
      config: what a sequence is.
    """

    steps: transitions.Replay
    age: Array
    carry: Any
    coming: Array
    config: SequenceConfig = struct.field(pytree_node=False)


def init(
    config: SequenceConfig,
    capacity: int,
    num_envs: int,
    example_observation: Array,
    example_action: Array,
    example_carry: Any,
    min_episode_steps: int,
    priority: PriorityConfig | None = None,
) -> Replay:
    """An empty buffer, see `transitions.init`; `example_carry` is that of all N environments, leaves `[N, units]`.

    Raises: UserError if the ring does not hold two sequences of each environment.
    """
    steps = transitions.init(
        capacity, num_envs, example_observation, example_action, min_episode_steps, priority, _reach(config)
    )
    if steps.rows < 2 * config.length:
        raise UserError(
            f"training.replay_capacity={capacity} (a device): holds {steps.rows} steps of each of {num_envs} "
            f"environments; must hold at least two sequences of training.sequences.length={config.length}"
        )
    # whole episodes need none; one row stands there nevertheless, as Orbax saves no empty array
    kept = 1 if config.kind == "episode" else math.ceil(steps.rows / config.stride) * num_envs
    carry = jax.tree.map(lambda x: jnp.zeros((kept, *x.shape[1:]), x.dtype), example_carry)
    return Replay(steps, jnp.zeros(capacity, jnp.int32), carry, jnp.zeros(num_envs, jnp.int32), config)


def add(
    replay: Replay,
    observation: Array,
    action: Array,
    reward: Array,
    terminated: Array,
    truncated: Array,
    final_observation: Array,
    carry: Any,
) -> Replay:
    """Appends T vector steps, `[T, N, ...]`, as `transitions.add`; `carry` is what the actor remembered before each."""
    chex.assert_axis_dimension(reward, 1, replay.steps.num_envs)
    block = (observation, action, reward, terminated, truncated, final_observation)
    if reward.shape[0] == 1:  # a loop might copy the buffer
        return _add_row(replay, *jax.tree.map(lambda leaf: leaf[0], (block, carry)))
    return jax.lax.scan(lambda kept, row: (_add_row(kept, *row), None), replay, (block, carry))[0]


def _add_row(replay: Replay, step: tuple[Array, ...], carry: Any) -> Replay:
    """Appends one vector step, `[N, ...]`."""
    count, head = replay.steps.num_envs, replay.steps.head
    terminated, truncated = step[3:5]
    return replace(
        replay,
        steps=transitions.add(replay.steps, *(leaf[None] for leaf in step)),
        age=jax.lax.dynamic_update_slice_in_dim(replay.age, replay.coming, head * count, axis=0),
        coming=jnp.where(terminated | truncated, 0, counted(replay.coming, 1)),
        carry=_keep(replay, carry),
    )


def _keep(replay: Replay, carry: Any) -> Any:
    """The carries kept, with those of the row that is written now if it is the first of a stride."""
    if replay.config.kind == "episode":
        return replay.carry
    count, stride = replay.steps.num_envs, replay.config.stride
    place, due = replay.steps.head // stride * count, replay.steps.head % stride == 0

    def written(kept: Array, new: Array) -> Array:
        old = jax.lax.dynamic_slice_in_dim(kept, place, count)
        return jax.lax.dynamic_update_slice_in_dim(kept, jnp.where(due, new, old), place, axis=0)

    return jax.tree.map(written, replay.carry, carry)


def read_before_write(replay: Replay, batch: Batch) -> Replay:
    """As `transitions.read_before_write`."""
    return replace(replay, steps=transitions.read_before_write(replay.steps, batch))


def reprioritise(replay: Replay, batch: Batch, error: Array) -> Replay:
    """The same buffer after |δ| = `error` `[U, L, B]` was seen along the sequences of a batch; call it before `add`.

    The priority of a sequence goes to all places that lead to it.
    """
    steps = replay.steps
    assert steps.priority is not None and batch.place is not None and batch.weight is not None
    size = priorities.of_sequences(steps.priority.config, error, batch.weight)[:, None]
    place = jnp.where((batch.weight > 0.0).any(1, keepdims=True), batch.place, priorities.NOWHERE)
    learned = priorities.learned(steps.priority, place, jnp.broadcast_to(size, place.shape))
    return replace(replay, steps=replace(steps, priority=learned))


def sample(
    replay: Replay, key: Key, updates: int, count: int, n_step: int, discount: Any, progress: Array | float = 0.0
) -> Batch:
    """`count` sequences for each of U updates, drawn with replacement: leaves `[U, L, B, …]`, see `Batch`.

    Every step is a sample with its n-step return inside the sequence: the window of a return stops at the end of the
    episode, as in `transitions.sample`, and at the end of the sequence, with the bootstrap from there.
    """
    config, steps = replay.config, replay.steps
    capacity, envs, length = steps.capacity, steps.num_envs, config.length
    origin = _origins(replay, key, updates * count, progress)
    start, available = origin.start, origin.available
    place = (start + envs * jnp.arange(length + 1)[:, None]) % capacity  # [L + 1, S]
    rows = place[:-1]
    ended = steps.terminated[rows] | steps.truncated[rows]
    before = jnp.cumsum(ended, axis=0) - ended  # ends before each step
    inside = (before == 0) & (jnp.arange(length)[:, None] < available)
    # the newest step has no successor yet, unless its episode ended with it
    inside &= ended | (jnp.arange(1, length + 1)[:, None] < available)
    size = jnp.sum(inside, axis=0)  # steps of each sequence
    last = (start + envs * (size - 1)) % capacity
    led_elsewhere = (jnp.arange(length + 1)[:, None] == size) & steps.truncated[last]
    place = jnp.where(led_elsewhere, steps.final[last], place)
    observation = steps.observation[place]
    reward, discounts, reach = _returns(steps, rows, inside, size, n_step, discount)
    successor = jnp.arange(length)[:, None] + reach
    warming = (jnp.arange(length)[:, None] < config.burn_in) & (replay.age[start] > 0)
    weight = jnp.asarray(inside & ~warming, jnp.float32)
    batch = Batch(
        observation=observation[:-1],
        action=steps.action[rows],
        reward=reward,
        discount=discounts,
        next_observation=jnp.take_along_axis(observation, successor[..., None], axis=0),
        weight=weight if origin.weight is None else weight * origin.weight,
        place=None if origin.weight is None else _leading(replay, origin, rows, before),
    )
    shared_out = lambda leaf: jnp.moveaxis(leaf.reshape(leaf.shape[0], updates, count, *leaf.shape[2:]), 1, 0)  # noqa: E731
    history = History(
        observation=shared_out(observation),
        carry=jax.tree.map(lambda leaf: leaf.reshape(updates, count, *leaf.shape[1:]), origin.carry),
        successor=shared_out(successor),
    )
    return replace(jax.tree.map(shared_out, batch), history=history)


def _reach(config: SequenceConfig) -> int:
    """The most rows from the beginning of a sequence to a step that leads to it, both counted."""
    return config.length if config.kind == "episode" else config.stride


class _Origin(NamedTuple):
    """Where S sequences begin: the place, how many rows there are from it to the newest, and the carry there.

    None are there if the episode begins before the oldest row, as one longer than a sequence may. `drawn` is the place
    that led to it, and `weight` makes up for the chance of that; None where all are drawn alike.
    """

    start: Array
    available: Array
    carry: Any
    drawn: Array
    weight: Array | None


def _origins(replay: Replay, key: Key, count: int, progress: Array | float) -> _Origin:
    config, steps = replay.config, replay.steps
    envs, rows = steps.num_envs, steps.rows
    # once a row has left, sequences that begin before the oldest one would be drawn from the first rows
    low = jnp.where(steps.number == steps.filled.astype(jnp.uint32), 0, _reach(config) - 1)
    high = jnp.maximum(steps.filled - 1, low + 1)
    oldest = (steps.head - steps.filled) % rows
    if steps.priority is None:
        env_key, row_key = jax.random.split(key)
        env = jax.random.randint(env_key, (count,), 0, envs)
        offset = jax.random.randint(row_key, (count,), low, high)
        weight = None
    else:
        there = transitions.rows_between(steps, low, high)
        drawn, weight = priorities.draw(steps.priority, key, count, there, progress)
        env, offset = drawn % envs, (drawn // envs - oldest) % rows
    row = (oldest + offset) % rows
    age = replay.age[row * envs + env]
    if config.kind == "episode":
        back = age
        carry = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape[1:]), leaf.dtype), replay.carry)
    else:
        back = jnp.minimum(age, row % config.stride)
        slot = (row - back) // config.stride * envs + env
        kept = age >= row % config.stride
        carry = jax.tree.map(lambda leaf: jnp.where(kept[:, None], leaf[slot], 0.0), replay.carry)
    start = (row - back) % rows * envs + env
    return _Origin(
        start=start,
        available=jnp.where(offset >= back, steps.filled - offset + back, 0),
        carry=carry,
        drawn=row * envs + env,
        weight=weight,
    )


def _leading(replay: Replay, origin: _Origin, rows: Array, before: Array) -> Array:
    """The places that lead to each sequence, the one that was drawn last, `[L + 1, S]`, `NOWHERE` between them.

    Args: the places of its steps, and how often an episode ended before each, `[L, S]`.
    """
    config, steps = replay.config, replay.steps
    ahead = jnp.arange(config.length)[:, None]
    leads = (before == 0) & (ahead < origin.available)
    if config.kind == "window":  # up to the next row whose carry is kept
        first = origin.start // steps.num_envs
        slot_end = jnp.minimum((first // config.stride + 1) * config.stride, steps.rows)
        leads &= first + ahead < slot_end
    return jnp.concatenate([jnp.where(leads, rows, priorities.NOWHERE), origin.drawn[None]])


def _returns(
    steps: transitions.Replay, rows: Array, inside: Array, size: Array, n_step: int, discount: Any
) -> tuple[Array, Array, Array]:
    """n-step returns, the discounts of their bootstraps and the steps until these, each `[L, S]`."""
    length = len(rows)
    reward = jnp.where(inside, steps.reward[rows], 0.0)
    terminated = jnp.where(inside, steps.terminated[rows], False)
    power = jnp.asarray(discount, jnp.float32) ** jnp.arange(n_step + 1)
    reach = jnp.clip(size - jnp.arange(length)[:, None], 1, n_step)
    total, world_ended = jnp.zeros_like(reward), jnp.zeros_like(terminated)
    for k in range(n_step):
        ahead = lambda leaf, k=k: jnp.pad(leaf, ((0, k), (0, 0)))[k : k + length]  # noqa: E731
        within = k < reach
        total += jnp.where(within, power[k] * ahead(reward), 0.0)
        world_ended |= within & ahead(terminated)
    return total, jnp.where(world_ended, 0.0, power[reach]), reach
