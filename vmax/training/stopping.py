"""Why a run may end before its planned steps: early stopping on the validation score, and a budget of wall clock."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vmax.errors import UserError
from vmax.run_folder import Status

ENDING_S = 15.0
"""What the end of a run takes besides: the files of an evaluation without planners."""


@dataclass(frozen=True)
class StoppingConfig:
    """`patience`: so many evaluations in a row without an improvement of the validation score by more than
    `min_improvement` end the run; `target`: so does a score that reaches it. None: neither does."""

    patience: int | None
    min_improvement: float
    target: float | None

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise UserError(f"stopping.patience={self.patience}: must be at least 1, or null")
        if self.min_improvement < 0:
            raise UserError(f"stopping.min_improvement={self.min_improvement}: must be at least 0")


@dataclass(frozen=True)
class Ending:
    """How the chunks of a run ended: the status of run.json, and why in one line (None: all steps are done)."""

    status: Status
    reason: str | None = None


@dataclass
class Improvement:
    """The last score that was an improvement, and how many evaluations there were since without one."""

    mark: float | None = None
    stale: int = 0

    def note(self, score: float, min_improvement: float) -> None:
        """Takes in the score of one more evaluation."""
        if self.mark is None or score > self.mark + min_improvement:
            self.mark, self.stale = score, 0
        else:
            self.stale += 1


def early_ending(config: StoppingConfig, improvement: Improvement, score: float | None, step: int) -> Ending | None:
    """Whether a run ends at this step after an evaluation with this score, the last that was noted."""
    if score is not None and config.target is not None and score >= config.target:
        return Ending("stopped_early", f"step {step}: validation score {score:.4g} reached {config.target:g}")
    if config.patience is not None and improvement.stale >= config.patience:
        gain = f" by more than {config.min_improvement:g}" if config.min_improvement else ""
        best = f"validation score not above {improvement.mark:.4g}{gain} for {improvement.stale} evaluations"
        return Ending("stopped_early", f"step {step}: {best}")
    return None


class Deadline:
    """When a process has to be done, by the wall clock; without a budget it never has to."""

    def __init__(self, budget_s: float | None, began: float) -> None:
        self.end = None if budget_s is None else began + budget_s
        self.longest_s, self.last = 0.0, time.monotonic()

    def near(self) -> bool:
        """To be asked once a chunk: whether another one, saving and ending might last too long.

        Each is taken to last as long as the longest so far, with whatever was done beside it.
        """
        now = time.monotonic()
        self.longest_s, self.last = max(self.longest_s, now - self.last), now
        return self.end is not None and now + 2.0 * self.longest_s + ENDING_S > self.end
