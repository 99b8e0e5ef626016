"""Calibration: what the critics say of a decision, beside the return that followed it.

Compared are, for the first decision of each local day of a split (of each episode, where there are no days):

- the least Q-value of the online critics for the observation and the action of the deterministic actor;
- the discounted rewards from that step to the end of its trajectory. Where that is not the end of the world, what lies
  beyond is worth what the critics say of the last decision there. Days near the end, for which that share of the return
  (γ to the power of the steps left) exceeds `BEYOND`, are left out: critics would be compared with themselves.

Two things keep even a right critic off the diagonal: SAC's values are those of its random policy and hold an entropy
bonus, and training may draw worlds (price scales, start charges) that the split does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vmax.files import write_csv
from vmax.plotting import canvas, colour

BEYOND = 0.25
"""The largest share of a return that may be the critics' own word of what follows the trajectory."""
COLUMNS = ("q", "return")


@dataclass(frozen=True)
class Calibration:
    """Values and the returns that followed them, in units of the reward, `[P]` each, float64."""

    value: np.ndarray
    returned: np.ndarray

    def figures(self) -> dict[str, float]:
        """Their means and Pearson's correlation; nothing for fewer than two pairs, no correlation without a spread."""
        if len(self.value) < 2:
            return {}
        figures = {"q_mean": float(self.value.mean()), "q_return_mean": float(self.returned.mean())}
        if self.value.std() > 0.0 and self.returned.std() > 0.0:
            figures["q_correlation"] = float(np.corrcoef(self.value, self.returned)[0, 1])
        return figures

    def write(self, path: Path) -> None:
        """Writes the pairs as a table. Raises DiskFull."""
        write_csv(path, COLUMNS, np.stack([self.value, self.returned], axis=1).tolist())


def calibration(
    value: np.ndarray, reward: np.ndarray, steps: np.ndarray, ended: np.ndarray, asked: np.ndarray, discount: float
) -> Calibration:
    """Pairs of value and return at the steps that are `asked` for.

        G_t = r_{t+1} + γ G_{t+1};  at the last step G = r if the world ended there, else Q

    Args: values and rewards of each step, `[T, L]`; how many steps of each lane count, and whether the world ended with
    the last of them, `[L]`; `asked` `[T, L]`.
    """
    left = steps - 1 - np.arange(len(reward))[:, None]
    end = np.where(ended, reward, value).astype(np.float64)
    returned, following = np.zeros(reward.shape), np.zeros(len(steps))
    for t in reversed(range(len(reward))):
        following = np.where(left[t] > 0, reward[t] + discount * following, np.where(left[t] == 0, end[t], 0.0))
        returned[t] = following
    beyond = np.where(ended, 0.0, discount ** np.maximum(left, 0))
    kept = asked & np.where(ended, left >= 0, left > 0) & (beyond <= BEYOND)
    return Calibration(value[kept].astype(np.float64), returned[kept])


def calibration_figure(table: Path) -> Figure:
    """The pairs of a table as points, with the diagonal on which a right critic would lie."""
    pairs = pd.read_csv(table)
    value, returned = (pairs[name].to_numpy() for name in COLUMNS)
    with canvas(5.5, 5.0) as (figure, axes):
        if len(pairs):
            ends = [min(value.min(), returned.min()), max(value.max(), returned.max())]
            axes.plot(ends, ends, color=colour("perfect_foresight"), linewidth=1.2, linestyle="--")
        axes.scatter(value, returned, s=14, alpha=0.6, linewidths=0, color=colour("last"))
        axes.set(
            title="Calibration of the critics, validation split",
            xlabel="Q-value at the start of a day or episode",
            ylabel="discounted return from there",
        )
    return figure
