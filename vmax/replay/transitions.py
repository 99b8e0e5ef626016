"""A ring buffer of transitions on the device: pure functions on a struct of preallocated arrays.

A *row* is one vector step: the transitions of all N environments at one time. Rows are written one after the other, so
the successor of a transition stands N places further on. Its next observation is therefore the observation that is
stored there, and each observation is kept once. The exception is a truncated episode, whose next place holds the first
observation of another one: its true final observation goes to a ring of its own, the *finals*, behind the rows in the
same array, and the transition keeps the place.

A transition whose final has been overwritten is never drawn. Each final is kept with the number of the row that it
belongs to. Where a row overwrites one, that row and all older ones leave the buffer in the same call: `filled` falls to
what lies after it. This holds for any lengths of episodes.

How large the finals are. Let R be the number of rows, N the environments, F = N (K + 2) the places of the finals, and m
the least steps between two truncations of one environment, as the environment declares them. Each row writes a block of
N places at the head of the finals (its truncated ones first, the rest void) and moves the head by their count; a block
that would not fit starts at 0. A final at place p is hit by a block at s with p - N < s <= p one lap later. The lap
before ended at F - N + 1 or beyond, so that at least (F - N - p) + (p - N + 1) = F - 2N + 1 = N K + 1 finals, itself
one of them, were written from it on and before that block.

- With K = ceil(R / m) + 1 no row leaves early where the declaration is true: at most N K truncations lie within R rows,
  the one more being for environments started afresh in between.
- Whatever is declared, at most N of these finals belong to its own row, so at least K rows came after that. With that
  of the block, K + 1 rows stay: `least_rows` bounds K from below, for n-step returns and sequences.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

from vmax.counters import MOST
from vmax.errors import UserError
from vmax.replay import priorities
from vmax.replay.settings import PriorityConfig

Array = jax.Array
Key = jax.Array


@struct.dataclass
class History:
    """The sequences that samples stem from, for a network with memory.

    Attributes:
      observation: all observations of a sequence in turn, the one it led to included, `[U, L + 1, B, D]`.
      carry: what the actor remembered before the first of them, leaves `[U, B, units]`.
      successor: where in a sequence the `next_observation` of each sample stands, `[U, L, B]`, int32.
    """

    observation: Array
    carry: Any
    successor: Array


@struct.dataclass
class Batch:
    """Samples for learning, `[...]`: `[count]` as drawn, `[U, B]` for U updates, `[U, L, B]` for those on sequences.

    Attributes:
      observation, next_observation: `[..., D]`, raw (a normaliser is applied inside the algorithm).
      action: `[..., A]`.
      reward: n-step return without bootstrap, `[...]`.
      discount: γ^k, 0 where the world terminated, `[...]`; the target is `reward + discount * value(next_observation)`.
      weight: what each sample counts in every loss, `[...]`, 0 for padding; None: all alike.
      history: the sequences themselves; None for single transitions.
      place: where the samples are stored whose priority is to be learned, `[U, B]`; for sequences `[U, P, B]`, all
        places that lead to a sequence and some that no ring has. None: priorities are off.
    """

    observation: Array
    action: Array
    reward: Array
    discount: Array
    next_observation: Array
    weight: Array | None = None
    history: History | None = None
    place: Array | None = None


@struct.dataclass
class Replay:
    """The buffer; C = R N transitions and F finals.

    Attributes:
      observation: `[C + F, D]`; the finals stand behind the rows.
      action: `[C, A]`.
      reward: `[C]`, float32.
      terminated, truncated: `[C]`, bool.
      final: place of the true final observation in `observation`, read only where truncated, `[C]`, int32.
      head: the row that is written next, int32.
      filled: rows in use, the newest so many, int32.
      final_head: place in the finals that is written next, int32.
      owner: number of the row that each final belongs to, `[F]`, uint32; of a void place that of a row which is gone.
      number: rows written so far, uint32, which may wrap round: differences count.
      num_envs: N.
      priority: of each of the C transitions; None: all are drawn alike.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    final: Array
    head: Array
    filled: Array
    final_head: Array
    owner: Array
    number: Array
    num_envs: int = struct.field(pytree_node=False)
    priority: priorities.Priorities | None = None

    @property
    def capacity(self) -> int:
        return self.reward.shape[0]

    @property
    def rows(self) -> int:
        return self.capacity // self.num_envs


def finals_needed(capacity: int, num_envs: int, min_episode_steps: int, least_rows: int) -> int:
    """Places for final observations, F (derivation above)."""
    rows = capacity // num_envs
    return num_envs * (max(math.ceil(rows / min_episode_steps) + 1, least_rows) + 2)


def init(
    capacity: int,
    num_envs: int,
    example_observation: Array,
    example_action: Array,
    min_episode_steps: int,
    priority: PriorityConfig | None = None,
    least_rows: int = 1,
) -> Replay:
    """An empty buffer for `capacity` transitions of `num_envs` environments (those of one device).

    Args:
      example_observation, example_action: one of each, `[D]` and `[A]`; their dtypes are those of the buffer.
      min_episode_steps: no environment truncates twice within fewer steps. Where that is not true, old rows leave the
        buffer before it is full.
      priority: how priorities are kept; None: not at all.
      least_rows: more rows than these stay, even if all environments truncate in every step.

    Raises: UserError if the capacity is no multiple of the environments or holds fewer than two rows.
    """
    if capacity % num_envs or capacity < 2 * num_envs:
        raise UserError(
            f"training.replay_capacity={capacity} (a device): must be a multiple of training.num_envs={num_envs}, "
            "at least twice as large"
        )
    finals = finals_needed(capacity, num_envs, min_episode_steps, least_rows)
    places = capacity + finals
    if places > MOST:
        raise UserError(
            f"training.replay_capacity={capacity} (a device): needs {places} places; at most {MOST} can be counted"
        )
    return Replay(
        observation=jnp.zeros((places, *example_observation.shape), example_observation.dtype),
        action=jnp.zeros((capacity, *example_action.shape), example_action.dtype),
        reward=jnp.zeros(capacity, jnp.float32),
        terminated=jnp.zeros(capacity, bool),
        truncated=jnp.zeros(capacity, bool),
        final=jnp.zeros(capacity, jnp.int32),
        head=jnp.zeros((), jnp.int32),
        filled=jnp.zeros((), jnp.int32),
        final_head=jnp.zeros((), jnp.int32),
        owner=jnp.zeros(finals, jnp.uint32),
        number=jnp.zeros((), jnp.uint32),
        num_envs=num_envs,
        priority=priorities.init(priority, capacity),
    )


def add(
    replay: Replay,
    observation: Array,
    action: Array,
    reward: Array,
    terminated: Array,
    truncated: Array,
    final_observation: Array,
) -> Replay:
    """Appends T vector steps, `[T, N, ...]`; T may differ from call to call.

    `observation` is what was acted on and `final_observation` what the step led to (before any auto-reset); the latter
    is kept for truncated episodes only. A step that both terminates and truncates counts as terminated.
    """
    chex.assert_equal_shape([reward, terminated, truncated])
    chex.assert_equal_shape([observation, final_observation])
    chex.assert_axis_dimension(reward, 1, replay.num_envs)
    block = (observation, action, reward, terminated, truncated & ~terminated, final_observation)
    if reward.shape[0] == 1:
        return _add_row(replay, *(leaf[0] for leaf in block))
    return jax.lax.scan(lambda kept, row: (_add_row(kept, *row), None), replay, block)[0]


def _add_row(
    replay: Replay,
    observation: Array,
    action: Array,
    reward: Array,
    terminated: Array,
    truncated: Array,
    final_observation: Array,
) -> Replay:
    """Appends one vector step, `[N, ...]`: one contiguous write a leaf, and one of the finals."""
    capacity, count, rows = replay.capacity, replay.num_envs, replay.rows
    places = replay.observation.shape[0] - capacity
    start = replay.head * count
    final_start = jnp.where(replay.final_head + count > places, 0, replay.final_head)
    order = jnp.argsort(~truncated, stable=True)  # the truncated environments first
    final = capacity + final_start + jnp.cumsum(truncated, dtype=jnp.int32) - 1
    ends = jnp.sum(truncated, dtype=jnp.int32)
    number = replay.number + 1
    # the rows since each final that is overwritten; of one whose row is gone at least R, and of none at all `number`
    since = number - jax.lax.dynamic_slice_in_dim(replay.owner, final_start, count)
    stay = jnp.minimum(jnp.min(since), rows).astype(jnp.int32)
    owner = jnp.where(jnp.arange(count) < ends, number, number - rows)

    def write(leaf: Array, values: Array, at: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(leaf, values.astype(leaf.dtype), at, axis=0)

    observations = write(replay.observation, observation, start)
    return replace(
        replay,
        observation=write(observations, final_observation[order], capacity + final_start),
        action=write(replay.action, action, start),
        reward=write(replay.reward, reward, start),
        terminated=write(replay.terminated, terminated, start),
        truncated=write(replay.truncated, truncated, start),
        final=write(replay.final, final, start),
        head=(replay.head + 1) % rows,
        filled=jnp.minimum(replay.filled + 1, stay),
        final_head=final_start + ends,
        owner=write(replay.owner, owner, final_start),
        number=number,
        priority=priorities.renewed(replay.priority, start, count),
    )


def read_before_write(replay: Replay, batch: Batch) -> Replay:
    """The same buffer, whose next write waits for `batch` to have been read from it.

    Without this dependency the compiler copies the whole buffer each time a loop both samples and adds (0.1 s for
    350 MB); the head is what every write depends on.
    """
    read = sum(leaf.reshape(-1)[0] for leaf in jax.tree.leaves(batch))
    nothing = jnp.minimum(jnp.asarray(read > jnp.finfo(jnp.float32).max, jnp.int32), 0)
    return replace(replay, head=replay.head + nothing, final_head=replay.final_head + nothing)


def reprioritise(replay: Replay, batch: Batch, error: Array) -> Replay:
    """The same buffer after |δ| = `error` `[U, B]` was seen at the samples of a batch; call it before `add`."""
    assert replay.priority is not None and batch.place is not None
    return replace(replay, priority=priorities.learned(replay.priority, batch.place, error))


def rows_between(replay: Replay, first: Array | int, last: Array) -> Array:
    """Which places stand in rows from `first` up to but without `last`, counted from the oldest row, `[C]`."""
    number = (jnp.arange(replay.rows) - replay.head + replay.filled) % replay.rows
    return jnp.repeat((number >= first) & (number < last), replay.num_envs, total_repeat_length=replay.capacity)


def sample(replay: Replay, key: Key, count: int, n_step: int, discount: Any, progress: Array | float = 0.0) -> Batch:
    """`count` transitions with n-step returns, drawn with replacement from those whose n successors are here.

        G = r_t + γ r_{t+1} + … + γ^{k-1} r_{t+k-1},  bootstrap γ^k v(s_{t+k}),  k <= n

    The window stops at a termination (discount 0) and at a truncation (bootstrap from the true final observation).
    The newest n rows wait for their successors; the buffer must hold more than n rows when this is called.

    They are drawn uniformly, or by their priorities if such are kept (`priorities.draw`).

    Args: `discount` γ, a number or a scalar array; `progress` of the training, 0-1, which priorities want to know.
    Returns: a Batch with leading dimension `[count]`.
    Source: Sutton & Barto (2018), eq. 7.1. Raises: UserError if n_step is no less than the rows of the buffer.
    """
    if not 1 <= n_step < replay.rows:
        raise UserError(f"algorithm.n_step={n_step}: must be within [1, {replay.rows - 1}], the replay's rows less one")
    capacity, envs = replay.capacity, replay.num_envs
    oldest = (replay.head - replay.filled) % replay.rows
    eligible = jnp.maximum(replay.filled - n_step, 1)
    weight = None
    if replay.priority is None:
        first = (oldest * envs + jax.random.randint(key, (count,), 0, eligible * envs)) % capacity
    else:
        there = rows_between(replay, 0, eligible)
        first, weight = priorities.draw(replay.priority, key, count, there, progress)
    window = (first + envs * jnp.arange(n_step)[:, None]) % capacity  # [n, count]

    terminated, truncated = replay.terminated[window], replay.truncated[window]
    ended = jnp.cumsum(terminated | truncated, axis=0)
    within = jnp.concatenate([jnp.ones((1, count), bool), ended[:-1] == 0])  # no end before this step
    power = jnp.asarray(discount, jnp.float32) ** jnp.arange(n_step + 1)
    reward = jnp.sum(jnp.where(within, power[:-1, None] * replay.reward[window], 0.0), axis=0)
    length = jnp.sum(within, axis=0)  # k
    world_ended = jnp.any(within & terminated, axis=0)
    cut = jnp.any(within & truncated, axis=0)

    last = (first + envs * (length - 1)) % capacity
    successor = jnp.where(cut, replay.final[last], (last + envs) % capacity)
    observations = replay.observation[jnp.concatenate([first, successor])]
    return Batch(
        observation=observations[:count],
        action=replay.action[first],
        reward=reward,
        discount=jnp.where(world_ended, 0.0, power[length]),
        next_observation=observations[count:],
        weight=weight,
        place=None if weight is None else first,
    )
