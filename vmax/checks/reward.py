"""Whether the reward tells anything, whether actions move it, and whether it goes with what counts."""

from __future__ import annotations

import numpy as np

from vmax.checks.finding import Check, Measured, Skip, listed
from vmax.checks.subject import Subject
from vmax.checks.termination import episode_lengths

KIND = "reward"
DISCOUNT = 0.99
"""Of the returns whose size is measured: what learners have unless it is set."""


def reward_spread(subject: Subject) -> Measured:
    """Standard deviation of the reward; where it is constant and episodes terminate, of their lengths' share."""
    reward = np.asarray(subject.sample.step.reward, np.float64)
    if np.ptp(reward) <= 1e-6 * (1.0 + np.abs(reward).max()) and np.asarray(subject.sample.step.terminated).any():
        lengths = episode_lengths(subject)
        return Measured(float(np.std(lengths) / np.mean(lengths)), "of episode lengths: the reward itself is constant")
    return Measured(float(reward.std()), f"mean {reward.mean():.4g}, from {reward.min():.4g} to {reward.max():.4g}")


def reward_scale(subject: Subject) -> Measured | Skip:
    """Standard deviation of the discounted returns from all steps of the random run, up to its end."""
    if subject.scaling.on:
        return Skip(f"{subject.scaling.override}: the learner divides rewards by it")
    reward, goes_on = np.asarray(subject.sample.step.reward, np.float64), ~subject.sample.ended
    total, totals = np.zeros(reward.shape[1]), np.zeros_like(reward)
    for t in reversed(range(len(reward))):
        totals[t] = total = reward[t] + DISCOUNT * total * goes_on[t]
    told = f"of returns discounted by {DISCOUNT}; of one step's reward {reward.std():.3g}"
    return Measured(float(totals.std()), told, subject.scaling.override)


def reward_unique(subject: Subject) -> Measured:
    """Distinct values of the reward in a hundred steps; of returns where the reward is constant until the end."""
    reward = np.asarray(subject.sample.step.reward, np.float64)
    if np.asarray(subject.sample.step.terminated).any() and len(np.unique(reward)) == 1:
        return Measured(float(len(np.unique(episode_lengths(subject)[:100]))), "of episode lengths")
    return Measured(float(len(np.unique(reward.ravel()[:: max(1, reward.size // 100)][:100]))), "in 100 steps")


def reward_by_action(subject: Subject) -> Measured:
    """Share of the variance of a short return that actions held from the same state explain."""
    total = subject.held.total
    whole = total.var()
    share = float(total.var(axis=1).mean() / whole) if whole > 1e-12 else 0.0
    return Measured(share, f"of returns over {subject.sizes.hold} steps from {len(total)} states")


def reward_terms(subject: Subject) -> Measured | Skip:
    """The share that the largest term has in the sum of the sizes of all."""
    names = subject.hooks.reward_terms
    if len(names) < 2:
        return Skip("the environment names no terms of its reward")
    sizes = {name: float(np.abs(subject.sample.info[name]).mean()) for name in names}
    total = sum(sizes.values())
    if total <= 0.0:
        return Measured(1.0, "all terms are 0")
    name = max(sizes, key=lambda name: sizes[name])
    return Measured(sizes[name] / total, ", ".join(f"{n} {size / total:.0%}" for n, size in sizes.items()))


def headroom(subject: Subject) -> Measured:
    """What looking is worth: (best rule − best constant action) / the larger of both in size.

    Chosen on one half of the episodes and measured on the other.
    """
    contest = subject.contest
    scores = contest.returns if contest.kpi is None else contest.kpi
    chosen, measured = scores[:, ::2].mean(axis=1), scores[:, 1::2].mean(axis=1)
    fixed = contest.kind("constant")
    looking = np.concatenate([contest.kind("linear"), contest.kind("rule")])
    best, still = looking[np.argmax(chosen[looking])], fixed[np.argmax(chosen[fixed])]
    gain = measured[best] - measured[still]
    size = max(abs(measured[best]), abs(measured[still]), 1e-12)
    what = "return" if contest.kpi is None else listed(subject.hooks.kpi)
    told = f"{what}: {contest.names[best]} {measured[best]:.4g}, {contest.names[still]} {measured[still]:.4g}"
    return Measured(float(gain / size), told)


def agreement(subject: Subject) -> Measured | Skip:
    """Rank correlation of return and what counts over all policies of `headroom`, mean over the episodes.

    Within an episode, as a reward may weigh episodes otherwise (in units of the spread of prices, say)."""
    contest = subject.contest
    if contest.kpi is None:
        return Skip("the environment names no figure that counts besides the reward")
    returns, kpi = contest.returns.mean(axis=1), contest.kpi.mean(axis=1)
    best = int(np.argmax(returns))
    place = 1 + int((kpi > kpi[best]).sum())
    told = f"{len(returns)} policies; the best by return, {contest.names[best]}, is number {place}"
    mean = np.mean([rank_correlation(a, b) for a, b in zip(contest.returns.T, contest.kpi.T, strict=True)])
    return Measured(float(mean), f"{told} by {listed(subject.hooks.kpi)}")


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; 0 where one of both does not vary."""
    from scipy.stats import rankdata

    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (one, other))
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


CHECKS = (
    Check("reward_spread", KIND, "sd", "a constant reward teaches nothing: is it scaled, rounded?", reward_spread),
    Check(
        "reward_unique", KIND, "values",
        "few distinct rewards: rounded, clipped or counted; a reward in units of what it measures learns faster",
        reward_unique,
    ),
    Check(
        "reward_scale", KIND, "standard deviation",
        "learners begin with values near 0 and change them by little in a step: divide the reward in the environment",
        reward_scale,
    ),
    Check(
        "reward_by_action", KIND, "share of variance",
        "what the reward shows hardly depends on what is done: noise or data prevail, or the effect comes much later",
        reward_by_action,
    ),
    Check(
        "reward_terms", KIND, "share",
        "one term drowns the others: check their units and weights", reward_terms,
    ),
    Check(
        "headroom", KIND, "gain",
        "a constant action does as well as any rule tried: nothing to learn, or no rule that shows it", headroom,
    ),
    Check(
        "agreement", KIND, "rank correlation",
        "more reward goes with less of what counts: look at the sign, at shaping, at what the reward leaves out",
        agreement,
    ),
)  # fmt: skip
