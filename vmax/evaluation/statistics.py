"""Uncertainty of evaluation figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK_DAYS = 7


def block_resamples(days: int, resamples: int, seed: int, block_days: int = BLOCK_DAYS) -> np.ndarray:
    """How often each day is drawn in each resample of a circular block bootstrap, `[resamples, days]`.

    Blocks of consecutive days, drawn with replacement and cut to `days` days, keep the correlation between neighbouring
    days. Source: Politis & Romano (1992), A circular block-resampling procedure for stationary data.
    """
    blocks = -(-days // block_days)
    first = np.random.default_rng(seed).integers(0, days, (resamples, blocks))
    drawn = ((first[:, :, None] + np.arange(block_days)) % days).reshape(resamples, -1)[:, :days]
    counts = np.zeros((resamples, days))
    np.add.at(counts, (np.arange(resamples)[:, None], drawn), 1.0)
    return counts


COLLAPSE = 0.5
"""A validation score collapsed that is worse than the best before it by more than this share of the best's size."""


def collapses(scores: Sequence[float]) -> int:
    """How many of the scores, in the order in which they were taken, collapsed: see `COLLAPSE`."""
    found, best = 0, -np.inf
    for score in scores:
        found += bool(np.isfinite(best) and score < best - COLLAPSE * abs(best))
        best = max(best, score)
    return found


def interval(samples: np.ndarray) -> list[float]:
    """The central 95 % of the samples, `[low, high]`."""
    return [float(x) for x in np.quantile(samples, (0.025, 0.975))]


def iqm(values: np.ndarray) -> float:
    """Interquartile mean: of the middle half of the values, the outermost counted by their share in it.

    Source: Agarwal et al. (2021), Deep reinforcement learning at the edge of the statistical precipice.
    """
    ordered = np.sort(np.asarray(values, np.float64).ravel())
    place = np.arange(len(ordered))
    low, high = 0.25 * len(ordered), 0.75 * len(ordered)
    weight = np.clip(np.minimum(place + 1, high) - np.maximum(place, low), 0.0, 1.0)
    return float(weight @ ordered / weight.sum())


def stratified_iqm(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Interquartile means of a stratified bootstrap, `[resamples]`: runs drawn anew within each task.

    Args: `values`: scores of runs in tasks, `[runs, tasks]`. Source: as `iqm`.
    """
    runs, tasks = values.shape
    drawn = np.random.default_rng(seed).integers(0, runs, (resamples, runs, tasks))
    return np.array([iqm(np.take_along_axis(values, rows, axis=0)) for rows in drawn])


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Probability that a run of ours beats one of theirs, the mean over tasks; ties count half.

        P(X > Y) = 1/(n m) Σ_i Σ_j [x_i > y_j] + ½ [x_i = y_j]

    Args: scores `[n, tasks]` and `[m, tasks]`, higher is better. Source: as `iqm` (after Mann and Whitney 1947).
    """
    above = (ours[:, None] > theirs[None]) + 0.5 * (ours[:, None] == theirs[None])
    return float(above.mean(axis=(0, 1)).mean())


def performance_profile(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of the runs, over all tasks alike, that score above each level, `[levels]`.

    Args: `values` `[runs, tasks]`. Source: as `iqm` (score distributions).
    """
    return (values[None] > levels[:, None, None]).mean(axis=1).mean(axis=1)
