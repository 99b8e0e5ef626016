"""Uncertainty of evaluation figures."""

from __future__ import annotations

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
