"""Training by days, the host's part: how long it is, how far it has come, and the record of each day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, lcm
from typing import Any

import numpy as np

from vmax.config import RunConfig
from vmax.envs.environment import Environment
from vmax.errors import UserError
from vmax.training.days import DaySchedule


def in_days(config: RunConfig, env: Environment) -> RunConfig:
    """The configuration with its steps counted: as it is, or for `training.schedule=epochs` with all of it known.

    The warm-up becomes whole rounds of days, `total_steps` the warm-up and as many rounds as hold all epochs; epochs
    that are null follow from the budget. Once done, it changes nothing. Raises UserError where days and settings do not
    go together.
    """
    t = config.training
    if t.schedule == "steps":
        return config
    if env.days is None:
        raise UserError(f"training.schedule=epochs: env={env.name} has no days to pass; must be steps")
    count, steps = len(env.days.dates("train")[0]), env.days.steps
    per_epoch = count if t.days_per_epoch is None else t.days_per_epoch
    if not 1 <= per_epoch <= count:
        raise UserError(f"training.days_per_epoch={per_epoch}: must be within [1, {count}], the whole days of training")
    warm_up = _up_to(t.warmup_steps, t.num_envs * lcm(steps, t.unroll))
    budget = config.budget.share * config.budget.total_steps - warm_up
    epochs = max(1, round(budget / (per_epoch * steps))) if t.epochs is None else t.epochs
    total = warm_up + _up_to(epochs * per_epoch, t.num_envs) * steps
    settled = replace(t, warmup_steps=warm_up, epochs=epochs, days_per_epoch=per_epoch)
    return replace(config, total_steps=total, training=settled)


def _up_to(value: int, unit: int) -> int:
    return ceil(value / unit) * unit


def day_schedule(config: RunConfig, env: Environment) -> DaySchedule | None:
    """The schedule of a configuration from `in_days`; None where starts are drawn."""
    t = config.training
    if t.schedule == "steps":
        return None
    assert t.days_per_epoch is not None and env.days is not None
    rounds = t.warmup_steps // (t.num_envs * env.days.steps)
    return DaySchedule(t.days_per_epoch, t.day_order == "shuffled", -rounds)


@dataclass(frozen=True)
class DayCount:
    """What the host says of a run by days: how far it is, and the record of each day.

    Attributes:
      epochs, per_epoch: of the run.
      round_steps: environment steps of one round, over all environments; `warmup_steps` come before the first.
      num_envs: days in a round.
      dates, left_out: local dates of all days, and of those that are no whole days, datetime64[D].
    """

    epochs: int
    per_epoch: int
    round_steps: int
    warmup_steps: int
    num_envs: int
    dates: np.ndarray
    left_out: np.ndarray

    @classmethod
    def of(cls, config: RunConfig, env: Environment) -> DayCount | None:
        """For a configuration from `in_days`; None where it does not count days."""
        t = config.training
        if t.schedule == "steps":
            return None
        assert t.epochs is not None and t.days_per_epoch is not None and env.days is not None
        steps = t.num_envs * env.days.steps
        return cls(t.epochs, t.days_per_epoch, steps, t.warmup_steps, t.num_envs, *env.days.dates("train"))

    def done(self, step: int) -> int:
        """Days of the planned epochs that have ended after so many environment steps."""
        rounds = max(step - self.warmup_steps, 0) // self.round_steps
        return min(rounds * self.num_envs, self.epochs * self.per_epoch)

    def progress(self, step: int) -> str:
        """Where the run is: the epoch under way, and how many of its days have ended."""
        epoch = min(self.done(step) // self.per_epoch, self.epochs - 1)
        return f"epoch {epoch + 1}/{self.epochs}, day {self.done(step) - epoch * self.per_epoch}/{self.per_epoch}"

    def introduction(self) -> str:
        """What is passed, and what is left out."""
        text = f"{self.epochs} epochs of {self.per_epoch:,} of the {len(self.dates):,} whole training days"
        return text + (f", {len(self.left_out)} with clock changes or gaps left out" if len(self.left_out) else "")

    def rows(self, step: int, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One row for each day that ended, in the order of the queue; `record` as `DayEpisodes.finished` gives it.

        Its arrays have the devices in front. `step` counts the steps at the end of the stretch that it is about.
        """
        ended = record["ended"][0]
        flat = lambda values: np.moveaxis(values[:, ended], 0, 1).ravel()  # noqa: E731  (rounds, devices, environments)
        position, date = flat(record["position"]), self.dates[flat(record["day"])]
        figures = {name: flat(values) for name, values in record["figures"].items()}
        return [
            {
                "step": step,
                "epoch": int(place // self.per_epoch) + 1,
                "day": int(place % self.per_epoch) + 1,
                "date": str(date[i]),
                **{name: float(values[i]) for name, values in figures.items()},
            }
            for i, place in enumerate(position)
        ]
