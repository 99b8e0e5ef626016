"""Whether episodes end as they should, and what is seen at their end."""

from __future__ import annotations

import jax
import numpy as np

from vmax.checks.finding import Check, Measured, Skip
from vmax.checks.subject import Subject
from vmax.checks.trees import path_name

KIND = "termination"
FEW_STARTS = 0.9
"""Share of distinct observations among fresh starts above which one is told from another."""


def final_observation(subject: Subject) -> Measured | Skip:
    """Ends of episodes at which not the true final observation is told, or no fresh episode follows."""
    sample, ended = subject.sample, subject.sample.ended
    if not ended.any():
        return Skip(f"no episode ended in {len(ended)} steps")
    told, true = sample.step.observation[ended], sample.noted["observation"][ended]
    lost = (told != true).any(axis=-1)
    fresh = sample.coming[ended]
    # with few distinct starts an episode may well begin where one has ended
    stale = (fresh == told).all(axis=-1) & (len(np.unique(fresh, axis=0)) > FEW_STARTS * len(fresh))
    back = _clock_runs_back(subject)
    parts = [(lost, "lost"), (back, "of a new episode: a clock of the state runs back"), (stale, "acted on again")]
    wrong = lost | stale | back
    return Measured(int(wrong.sum()), ", ".join(f"{what}: {int(where.sum())}" for where, what in parts if where.any()))


def _clock_runs_back(subject: Subject) -> np.ndarray:
    """For each end of an episode, whether a number of the state that else only rises falls in that very step."""
    sample, ended = subject.sample, subject.sample.ended
    before = _clocks_before(subject)
    found = np.zeros(int(ended.sum()), bool)
    for name, after in sample.noted["clocks"].items():
        change = after.astype(np.int64) - before[name].astype(np.int64)
        if (~ended).any() and (change[~ended] > 0).all():
            found |= change[ended] < 0
    return found


def _clocks_before(subject: Subject) -> dict[str, np.ndarray]:
    """The same numbers before each step, `[T, N]`."""
    leaves = jax.tree_util.tree_leaves_with_path(subject.sample.state)
    return {path_name(path): leaf for path, leaf in leaves}


def episode_length(subject: Subject) -> Measured | Skip:
    """The shortest truncated episode as a share of `min_episode_steps`, under random and extreme constant actions."""
    least, lengths = subject.env.min_episode_steps, []
    for step in (subject.sample.step, subject.extreme):
        truncated, ended = step.truncated & ~step.terminated, step.truncated | step.terminated
        lengths += [_lengths(lane)[which[lane]] for lane, which in zip(ended.T, truncated.T, strict=True)]
    found = np.concatenate(lengths)
    if not len(found):
        return Skip(f"no episode was truncated in {len(subject.sample.ended)} steps")
    return Measured(found.min() / least, f"{found.min()} steps, declared at least {least}")


def episode_end(subject: Subject) -> Measured | Skip:
    """Share of the lanes in which an episode ended."""
    ended, least = subject.sample.ended, subject.env.min_episode_steps
    if len(ended) < least:
        return Skip(f"episodes of {least} steps are longer than the random run of {len(ended)}")
    return Measured(float(ended.any(axis=0).mean()), f"in {len(ended)} steps")


def time_limit(subject: Subject) -> Measured | Skip:
    """Share of terminated episodes that ended after exactly the same number of steps."""
    sample = subject.sample
    if not np.asarray(sample.step.terminated).any():
        return Skip("no episode terminated")
    if subject.one_step:
        return Skip("every episode has one step")
    lengths = episode_lengths(subject)[np.concatenate([lane[end] for lane, end in _by_lane(subject)])]
    _, counts = np.unique(lengths, return_counts=True)
    return Measured(float(counts.max() / counts.sum()) if len(lengths) > 2 else 0.0, f"{len(lengths)} terminated")


def episode_lengths(subject: Subject) -> np.ndarray:
    """Lengths of all whole episodes of the random run."""
    return np.concatenate([_lengths(lane) for lane in subject.sample.ended.T])


def _lengths(ended: np.ndarray) -> np.ndarray:
    """Lengths of the whole episodes of one environment, from where they end, `[T]`."""
    return np.diff(np.flatnonzero(ended), prepend=-1)


def _by_lane(subject: Subject) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each lane whether a step terminated, and which steps ended an episode."""
    terminated = np.asarray(subject.sample.step.terminated)
    return [(terminated[:, i], subject.sample.ended[:, i]) for i in range(terminated.shape[1])]


CHECKS = (
    Check(
        "final_observation", KIND, "ends",
        "step tells the observation that it led to, also at the end, and never starts anew: auto-reset does that",
        final_observation,
    ),
    Check(
        "episode_length", KIND, "share",
        "the replay keeps fewer transitions than it is given room for; correct min_episode_steps, or what truncates",
        episode_length,
    ),
    Check("episode_end", KIND, "share of lanes", "evaluation by episodes needs ends: set a time limit", episode_end),
    Check(
        "time_limit", KIND, "share",
        "a time limit truncates: terminated says that the world ended and that nothing is worth anything after it",
        time_limit,
    ),
)  # fmt: skip
