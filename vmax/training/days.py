"""Training by days (`training.schedule=epochs`): who passes which day when, and what each day brought.

The days of all epochs stand in one queue, epoch after epoch. The N environments of all devices pass it in rounds: they
begin their days together, take the next N of the queue, and end together. So every day of an epoch is passed exactly
once, whatever N is; where N does not divide an epoch, its last days share a round with the first of the next one.

Before the queue lies the warm-up, which passes whole rounds of days by the same rule: epochs and positions below 0.
The order of an epoch follows from the run's key and the number of the epoch alone. Both, and the round, are part of the
state, so a resumed run goes on with the same days.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.devices import AXIS
from vmax.envs.environment import AutoReset, Environment, EpisodeState, EpisodeStatistics, Step

Array = jax.Array


@dataclass(frozen=True)
class DaySchedule:
    """The queue of days: `per_epoch` of all days, in `shuffled` order, drawn anew for each epoch, or by the calendar.

    An epoch of fewer days than there are holds a draw of them without repetition; by the calendar it goes on where the
    last one ended. `first_round` is the round that the warm-up begins with, 0 or below.
    """

    per_epoch: int
    shuffled: bool
    first_round: int

    def visits(self, key: Array, position: Array, count: int) -> Array:
        """Which of `count` days stand at consecutive positions of the queue, int32 `[N]` both."""
        if not self.shuffled:
            return position % count
        epoch, place = position // self.per_epoch, position % self.per_epoch
        touched = epoch[0] + jnp.arange((len(position) - 1) // self.per_epoch + 2)
        orders = jax.vmap(lambda e: jax.random.permutation(jax.random.fold_in(key, e), count))(touched)
        return orders[epoch - epoch[0], place]


@struct.dataclass
class DayState:
    """N environments that pass days.

    Attributes:
      episodes: their states.
      key: what the orders of the epochs follow from; the same on all devices.
      round: the round under way, int32.
      ended: whether the last step ended one.
      sums: reward and `Days.totals` of the day of each up to and with the last step, `[N]`.
    """

    episodes: EpisodeState
    key: Array
    round: Array
    ended: Array
    sums: dict[str, Array]

    @property
    def inner(self) -> Any:
        """States of the environments themselves."""
        return self.episodes.inner


@struct.dataclass
class Told:
    """What a step tells of the days under way: their round, whether they ended with it, and their figures, `[N]`."""

    round: Array
    ended: Array
    figures: dict[str, Array]


@dataclass(frozen=True)
class DayEpisodes:
    """`EpisodeStatistics` over days that a schedule names, not starts that are drawn. For use inside `parallel`."""

    environment: Environment
    schedule: DaySchedule

    @property
    def wrapped(self) -> EpisodeStatistics:
        return EpisodeStatistics(AutoReset(self.environment))

    def reset(self, keys: Array, params: Any, order_key: Array) -> tuple[DayState, Array]:
        """States and observations `[N, D]` for keys `[N]`; `order_key` is the run's, the same on all devices."""
        first = jnp.int32(self.schedule.first_round)
        episodes, observations = self.wrapped.reset(keys, params, self._starts(order_key, first, len(keys), params))
        sums = {name: jnp.zeros(len(keys)) for name in ("reward", *self._days.totals)}
        return DayState(episodes, order_key, first, jnp.array(False), sums), observations

    def step(self, key: Array, state: DayState, actions: Array, params: Any) -> tuple[DayState, Array, Step]:
        """One step of all, as `AutoReset.step`."""
        following = state.round + 1
        episodes, observations, step = self.wrapped.step(
            key, state.episodes, actions, params, lambda: self._starts(state.key, following, len(actions), params)
        )
        ended = (step.terminated | step.truncated).any()
        news = {"reward": step.reward, **step.info}
        sums = {name: jnp.where(state.ended, 0.0, total) + news[name] for name, total in state.sums.items()}
        state = DayState(episodes, state.key, jnp.where(ended, following, state.round), ended, sums)
        return state, observations, step

    def told(self, before: DayState, after: DayState, step: Step) -> Told:
        """What the step from `before` to `after` tells."""
        besides = jax.vmap(self._days.figures)(before.inner, step.info)
        return Told(before.round, after.ended, {**after.sums, **besides})

    def finished(self, key: Array, told: Told, params: Any) -> dict[str, Any]:
        """The days that ended in a stretch of T steps, from what each of these told, leaves `[T]` and `[T, N]`.

        Returns: `ended` `[R]`, whether a round is one that did end; `position` in the queue and `day` among all days,
        `[R, N]`; `figures`, `[R, N]` each. R is the most rounds that can end in T steps.
        """
        most = ceil(len(told.ended) / self._days.steps)
        at = jnp.nonzero(told.ended, size=most, fill_value=0)[0]
        figures = {name: values[at] for name, values in told.figures.items()}
        envs, count = figures["reward"].shape[1], len(self._days.starts(params).time)
        position = jax.vmap(lambda number: self._positions(number, envs))(told.round[at])
        day = jax.vmap(lambda row: self.schedule.visits(key, row, count))(position)
        return {"ended": jnp.arange(most) < told.ended.sum(), "position": position, "day": day, "figures": figures}

    @property
    def _days(self) -> Any:
        return self.environment.days

    def _starts(self, key: Array, number: Array, envs: int, params: Any) -> Any:
        """The days that this device's environments pass in a round, `[N]`."""
        days = self._days.starts(params)
        chosen = self.schedule.visits(key, self._positions(number, envs), len(days.time))
        return jax.tree.map(lambda leaf: leaf[chosen], days)

    def _positions(self, number: Array, envs: int) -> Array:
        """Places in the queue of the days that this device's environments pass in a round, int32 `[N]`."""
        block = number * jax.lax.psum(1, AXIS) + jax.lax.axis_index(AXIS)
        return block * envs + jnp.arange(envs)
