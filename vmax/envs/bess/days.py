"""The local days of `bess`, for training that passes them one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np

from vmax.data.days import dates_left_out, local_dates, whole_days
from vmax.envs.bess.params import BessParams
from vmax.envs.bess.state import State
from vmax.envs.environment import Day
from vmax.errors import UserError

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

Array = jax.Array

ADDS_UP = ("_eur", "soh_loss")
"""Endings of the names of info entries whose sum over a day means something."""


@dataclass(frozen=True)
class BessDays:
    """Days of 24 h from local midnight; the protocol is `vmax.envs.environment.Days`. Clock changes are left out."""

    env: Bess

    def __post_init__(self) -> None:
        days = self.env.config.episode.days
        if days != 1:
            raise UserError(
                f"env.episode.days={days}: must be 1 with training.schedule=epochs, where an episode is a day"
            )

    @property
    def steps(self) -> int:
        return self.env.steps_per_day

    @property
    def totals(self) -> tuple[str, ...]:
        """Money by stream, reward shaping among it."""
        return tuple(feature.name for feature in self.env.info_space if feature.name.endswith(ADDS_UP))

    def starts(self, params: BessParams) -> Day:
        """Where the whole days of the split begin, `[D]`."""
        return Day(params.scenarios.day_starts)

    def dates(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Local dates of these days, and of those left out, datetime64[D]."""
        series = self.env.series
        return local_dates(series, whole_days(series, split)), dates_left_out(series, split)

    def figures(self, state: State, info: dict[str, Array]) -> dict[str, Array]:
        """The charge at the end, and how the prices of the day were changed for training."""
        return {
            "soc_end": info["soc_end"],
            "price_factor": state.price_factor,
            "price_shift_eur_per_mwh": state.price_shift,
        }
