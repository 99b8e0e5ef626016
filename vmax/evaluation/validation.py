"""The periodic evaluation during training: compiled once, a few figures, no files."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from vmax.algorithms.algorithm import Spec, Valuing
from vmax.envs.rollout import Record, rollout, trace_episodes
from vmax.evaluation.calibration import Calibration, calibration
from vmax.evaluation.episodes import EPISODES, figures_of, longest_episode, split_episodes, split_key
from vmax.evaluation.evaluate import OPTIMUM, nothing_of
from vmax.evaluation.policies import Learned

REFERENCES = ("mpc", "gated_two_cycle", "level")


class Validation:
    """Scores policies on one split. `score` is what the best checkpoint is chosen by: capture, or the mean return.

    Attributes:
      references: the score of `perfect_foresight`, of doing nothing and of the baselines named by `REFERENCES`, for the
        learning curve; computed once. Empty for an environment that is judged by episodes.
      longest: steps after which an episode is cut, where the split is judged by episodes.
      calibration: the values that the critics gave in the last call, and the returns that followed; None without.
    """

    def __init__(
        self,
        env: Any,
        algorithm: Any,
        split: str,
        error_draws: int,
        days: int | None = None,
        references: tuple[str, ...] = REFERENCES,
        spec: Spec | None = None,
        *,
        max_episode_steps: int,
    ) -> None:
        """With a `spec`, an algorithm that can value its decisions is asked to. `max_episode_steps`: as `evaluate`."""
        self.env, self.algorithm, self.params = env, algorithm, env.params(split)
        self.split, self.longest = split, longest_episode(env, max_episode_steps)
        self.calibration: Calibration | None = None
        self._value: Any = None
        if spec is not None and isinstance(algorithm, Valuing):
            self._value = jax.jit(lambda critics, seen, done: algorithm.value(critics, seen, done, spec))
        self.references: dict[str, float] = {}
        if env.assessment is None and env.trials is not None:
            self.starts = env.trials.starts(split)
            baselines = env.trials.baselines()
            self.references = {name: self._by_trials(baselines[name])["score"] for name in env.trials.references}
        if env.assessment is None:
            return
        self.starts = env.assessment.starts(self.params, split, error_draws, days)
        baselines = env.assessment.baselines()
        nothing = nothing_of(baselines)
        names = [name for name in (OPTIMUM, nothing, *references) if name in baselines]
        values = {name: self._summary(baselines[name])["value_eur"] for name in names}
        self.nothing_eur = values[nothing]
        bound = env.assessment.bound_eur(self.params, self.starts)
        self.best_eur = (values[OPTIMUM] if bound is None else float(bound.sum())) - self.nothing_eur
        self.references = {name: self._capture(value) for name, value in values.items()}

    def __call__(self, weights: Any, critics: Any = None) -> dict[str, float]:
        """The figures of the deterministic actor with these weights (what `Algorithm.policy` gives).

        With `critics` (what `Valuing.critics` gives) those of their calibration too.
        """
        policy = Learned(weights, self.algorithm)
        critics = None if self._value is None else critics
        if self.env.assessment is None and self.env.trials is not None:
            return self._by_trials(policy)
        figures = self._by_lanes(policy, critics) if self.references else self._by_episodes(policy, critics)
        return figures if critics is None or self.calibration is None else figures | self.calibration.figures()

    def _by_trials(self, policy: Any) -> dict[str, float]:
        judge = self.env.trials
        found = judge.lane_figures(rollout(self.env, policy, self.params, self.starts))
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return {"score": -means[judge.judged_by], **means}

    def _by_lanes(self, policy: Learned, critics: Any) -> dict[str, float]:
        record = rollout(self.env, policy, self.params, self.starts, trace=critics is not None)
        figures = self.env.assessment.summary(record, self.params, self.starts)
        if critics is not None:
            going_on = np.zeros(len(record.steps), bool)
            self._calibrate(critics, record, going_on, self.env.assessment.day_starts(self.params, self.starts))
        capture = self._capture(figures.pop("value_eur"))
        return {"score": capture, "capture": capture, **figures}

    def _by_episodes(self, policy: Learned, critics: Any) -> dict[str, float]:
        found = split_episodes(self.env, policy, self.params, self.split, self.longest)
        if critics is not None:
            longest = 2 ** math.ceil(math.log2(float(np.max(found.lengths))))  # few lengths, so few compilations
            record = trace_episodes(self.env, policy, self.params, split_key(self.split), EPISODES, longest)
            steps = np.asarray(record.steps)
            ended = np.asarray(record.trace["terminated"])[steps - 1, np.arange(EPISODES)]
            first = np.tile(np.arange(longest)[:, None] == 0, EPISODES)
            self._calibrate(critics, record, ended, first)
        figures = figures_of(found)
        return {"score": figures["return_mean"], **figures}

    def _calibrate(self, critics: Any, record: Record, ended: np.ndarray, asked: np.ndarray) -> None:
        trace = record.trace
        value = self._value(critics, trace["observation"], trace["action"])
        steps, reward = np.asarray(record.steps), np.asarray(trace["reward"], np.float64)
        discount = float(critics.discount)
        self.calibration = calibration(np.asarray(value), reward, steps, ended, asked, discount)

    def _summary(self, policy: Any) -> dict[str, float]:
        record = rollout(self.env, policy, self.params, self.starts)
        return self.env.assessment.summary(record, self.params, self.starts)

    def _capture(self, value_eur: float) -> float:
        """Share of the optimum's uplift, or of the bound's; where that is 0 (nothing to earn) the uplift itself in
        EUR."""
        uplift_eur = value_eur - self.nothing_eur
        return uplift_eur / self.best_eur if self.best_eur > 0 else uplift_eur
