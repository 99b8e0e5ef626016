"""Whether actions and numbers of the world do something, observations move, laws hold, and the clock fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vmax.checks.contest import by_rules
from vmax.checks.finding import Check, Measured, Skip, listed
from vmax.checks.held import TOLERANCE
from vmax.checks.subject import Subject

KIND = "dynamics"


def action_reaches_plant(subject: Subject) -> Measured | Skip:
    """Pairs of actions, held from the same states, that lead to the same states everywhere.

    Where no action moves the state, each step stands alone, and pairs must differ in what they pay instead.
    """
    held = subject.held
    stands_alone = not held.moves and (subject.one_step or held.pays_by_state)
    alike, pairs = held.alike(held.total[..., None] if stands_alone else held.plant)
    counted, excused = subject.exempt("action_reaches_plant", alike)
    if stands_alone and not alike:
        return Skip(f"no action moves the state: each step stands alone, and {pairs} pairs of actions differ in reward")
    return Measured(len(counted), "; ".join([listed(counted), *excused]).strip("; ") or f"{pairs} pairs differ")


def obs_live(subject: Subject) -> Measured | Skip:
    """Share of observed entries that never change; all of them where whole observations stand still.

    Where each step stands alone and an action pays the same from all states, there is nothing to be seen.
    """
    space, sample = subject.env.observation_space, subject.sample
    seen = sample.step.observation
    goes_on = ~sample.ended
    stands = (seen == sample.observation).all(axis=-1)[goes_on]
    if stands.size and stands.mean() > 0.5:
        return Measured(1.0, f"the observation stands still in {stands.mean():.0%} of the steps")
    flat = seen.reshape(-1, space.size)
    dead = np.ptp(flat, axis=0) <= 1e-7 * (1.0 + np.abs(flat).max(axis=0))
    if dead.all() and subject.one_step and not subject.held.pays_otherwise:
        return Skip("every episode has one step, and each action pays the same in all: there is nothing to be seen")
    counted, excused = subject.exempt(
        "obs_live", [name for name, still in zip(space.names, dead, strict=True) if still]
    )
    return Measured(len(counted) / space.size, "; ".join([listed(counted), *excused]).strip("; "))


def param_live(subject: Subject) -> Measured | Skip:
    """Numbers of the world that change nothing when they are changed."""
    trials = subject.trials
    if not trials.names:
        return Skip("params hold no single numbers")
    moved = np.zeros(len(trials.names), bool)
    for values in trials.told.values():
        before, after = np.asarray(values[:1], np.float64), np.asarray(values[1:], np.float64)
        size = np.where(np.isfinite(before), np.abs(before), 0.0).max(axis=tuple(range(before.ndim - 1)))
        with np.errstate(invalid="ignore"):
            apart = ~(np.abs(after - before) <= TOLERANCE * (size + 1e-9)) & ~((after == before) | np.isnan(before))
        moved |= apart.reshape(len(moved), -1).any(axis=1)
    dead = [name for name, lives in zip(trials.names, moved, strict=True) if not lives]
    counted, excused = subject.exempt("param_live", dead)
    told = "; ".join([listed(counted), *excused]).strip("; ") or f"all {len(trials.names)} change something"
    return Measured(len(counted), told)


def conservation(subject: Subject) -> Measured | Skip:
    """The largest residual of a conservation law."""
    residuals = subject.sample.noted["residual"]
    if not residuals:
        return Skip("the environment states no conservation law")
    worst = {name: float(np.abs(values).max()) for name, values in residuals.items()}
    name = max(worst, key=lambda name: (np.isnan(worst[name]), worst[name]))
    return Measured(worst[name], f"{name} of {listed(worst)}")


def load(subject: Subject) -> Measured | Skip:
    """The least variation of what the world asks: standard deviation as a share of the mean size."""
    names = subject.hooks.load
    if not names:
        return Skip("the environment names no load")
    info = {name: np.asarray(subject.sample.info[name], np.float64) for name in names}
    varies = {name: float(values.std() / max(np.abs(values).mean(), 1e-12)) for name, values in info.items()}
    name = min(varies, key=lambda name: varies[name])
    return Measured(varies[name], name)


def timescale(subject: Subject) -> Measured | Skip:
    """Median over the observed entries of their correlation from one step to the next."""
    sample = subject.sample
    if subject.one_step:
        return Skip("every episode has one step")
    if not subject.held.moves:
        return Skip("no action moves the state: each step stands alone")
    before, after = sample.observation[~sample.ended], sample.step.observation[~sample.ended]
    before, after = (values.reshape(-1, values.shape[-1]).astype(np.float64) for values in (before, after))
    moving = (before.std(axis=0) > 1e-6) & (after.std(axis=0) > 1e-6)
    if not moving.any():
        return Skip("no observed entry changes")
    a, b = before[:, moving] - before[:, moving].mean(axis=0), after[:, moving] - after[:, moving].mean(axis=0)
    correlation = (a * b).mean(axis=0) / (a.std(axis=0) * b.std(axis=0))
    low, high = correlation.min(), correlation.max()
    return Measured(float(np.median(correlation)), f"entries from {low:.2f} to {high:.3f}")


def interval(subject: Subject) -> Measured | Skip:
    """Share of what counts that the best rule loses because it may not decide more often."""
    hooks, sizes = subject.hooks, subject.sizes
    if hooks.quicker is None or not hooks.rules or not hooks.kpi:
        return Skip("the environment does not say how it is with shorter steps, by rules and what counts")
    times = hooks.quicker.min_episode_steps / subject.env.min_episode_steps
    quicker = Subject(hooks.quicker, replace(sizes, most_steps=round(times * sizes.most_steps)), subject.seed)
    here, there = by_rules(subject), by_rules(quicker)
    best, other = max(here, key=lambda name: here[name]), max(there, key=lambda name: there[name])
    lost = (there[other] - here[best]) / max(abs(there[other]), abs(here[best]), 1e-12)
    told = (
        f"{listed(hooks.kpi)}: {best} {here[best]:.4g}, deciding {times:.3g} times as often {other} {there[other]:.4g}"
    )
    return Measured(lost, told)


CHECKS = (
    Check(
        "action_reaches_plant", KIND, "pairs of actions",
        "actions that do the same: look for int(), a component that is not read, or limits that always bind",
        action_reaches_plant, named=True,
    ),
    Check(
        "obs_live", KIND, "share of entries",
        "an entry that never changes is a stale buffer or a feature of something that this configuration has not",
        obs_live, named=True,
    ),
    Check(
        "param_live", KIND, "numbers",
        "a number that changes nothing is not read where it should be", param_live, named=True,
    ),
    Check(
        "conservation", KIND, "share of its size",
        "limits must be applied before the state moves: a clip afterwards makes or destroys", conservation,
    ),
    Check("load", KIND, "variation", "the data is constant, so there is nothing to react to", load),
    Check(
        "timescale", KIND, "correlation",
        "near 0: a step is longer than what happens within it; near 1: nothing happens within a step", timescale,
    ),
    Check(
        "interval", KIND, "share lost",
        "decisions come too seldom: with shorter steps the same rules do better", interval,
    ),
)  # fmt: skip
