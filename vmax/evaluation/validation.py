"""The periodic evaluation during training: compiled once, a few figures, no files."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vmax.envs.rollout import greedy_episodes, rollout
from vmax.evaluation.evaluate import EPISODES, NOTHING, OPTIMUM
from vmax.evaluation.policies import Learned

REFERENCES = ("mpc", "gated_two_cycle")


class Validation:
    """Scores policies on one split. `score` is what the best checkpoint is chosen by: capture, or the mean return.

    Attributes:
      references: the score of `perfect_foresight`, `do_nothing` and the baselines named by `REFERENCES`, for the
        learning curve; computed once. Empty for an environment that is judged by episodes.
    """

    def __init__(
        self,
        env: Any,
        algorithm: Any,
        split: str,
        error_draws: int,
        days: int | None = None,
        references: tuple[str, ...] = REFERENCES,
    ) -> None:
        self.env, self.algorithm, self.params = env, algorithm, env.params(split)
        self.references: dict[str, float] = {}
        if env.assessment is None:
            return
        self.starts = env.assessment.starts(self.params, split, error_draws, days)
        baselines = env.assessment.baselines()
        names = [name for name in (OPTIMUM, NOTHING, *references) if name in baselines]
        values = {name: self._summary(baselines[name])["value_eur"] for name in names}
        self.nothing_eur = values[NOTHING]
        bound = env.assessment.bound_eur(self.params, self.starts)
        self.best_eur = (values[OPTIMUM] if bound is None else float(bound.sum())) - self.nothing_eur
        self.references = {name: self._capture(value) for name, value in values.items()}

    def __call__(self, weights: Any) -> dict[str, float]:
        """The figures of the deterministic actor with these weights (what `Algorithm.policy` gives)."""
        policy = Learned(weights, self.algorithm)
        if not self.references:
            returns, _ = greedy_episodes(self.env, policy, self.params, jax.random.key(0), EPISODES)
            values = np.asarray(returns, np.float64)
            return {
                "score": float(values.mean()),
                "return_mean": float(values.mean()),
                "return_std": float(values.std()),
            }
        figures = self._summary(policy)
        capture = self._capture(figures.pop("value_eur"))
        return {"score": capture, "capture": capture, **figures}

    def _summary(self, policy: Any) -> dict[str, float]:
        record = rollout(self.env, policy, self.params, self.starts)
        return self.env.assessment.summary(record, self.params, self.starts)

    def _capture(self, value_eur: float) -> float:
        """Share of the optimum's uplift, or of the bound's; where that is 0 (nothing to earn) the uplift itself in
        EUR."""
        uplift_eur = value_eur - self.nothing_eur
        return uplift_eur / self.best_eur if self.best_eur > 0 else uplift_eur
