"""Whether all numbers are finite, within their declared bounds, and not stuck at them; and whether gradients exist."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vmax.checks.finding import Check, Measured, Skip, listed
from vmax.checks.subject import Subject
from vmax.spaces import Discrete, random_actions

KIND = "ranges"
ROUNDING = 1e-5
"""Share of the bounds' size by which rounding may pass them."""
EDGE = 1e-3
"""Share of the range within which a value counts as standing at its bound."""
FEW = 3
"""An entry with so few values is a flag, which always stands at a bound."""


def finite(subject: Subject) -> Measured:
    """Values of observation, reward and info that are not finite, and NaN in the state, under random and extreme
    constant actions."""
    sample = subject.sample
    random = {
        "observation": sample.observation, "final observation": sample.step.observation, "reward": sample.step.reward,
        **sample.info,
    }  # fmt: skip
    found = {name: int((~np.isfinite(values)).sum()) for name, values in random.items()}
    found["state (NaN)"] = int(sample.noted["nan"].sum())
    found["lanes and steps of constant actions"] = subject.contest.bad
    bad = {name: count for name, count in found.items() if count}
    return Measured(sum(bad.values()), listed(f"{name}: {count}" for name, count in bad.items()))


def bounds(subject: Subject) -> Measured:
    """Entries of observation and info that leave their declared bounds."""
    space, sample, still = subject.env.observation_space, subject.sample, subject.contest
    wrong = []
    seen = [values.reshape(-1, space.size) for values in (sample.observation, sample.step.observation)]
    low = np.min([still.low, *(values.min(axis=0) for values in seen)], axis=0)
    high = np.max([still.high, *(values.max(axis=0) for values in seen)], axis=0)
    wrong += _outside(space.names, low, high, space.low, space.high)
    for feature in subject.env.info_space:
        values, (least, most) = sample.info[feature.name], still.info[feature.name]
        low, high = min(float(values.min()), least), max(float(values.max()), most)
        wrong += _outside([feature.name], [low], [high], [feature.low], [feature.high])
    return Measured(len(wrong), listed(wrong))


def _outside(names: Any, low: Any, high: Any, least: Any, most: Any) -> list[str]:
    """Entries whose lowest or highest value leaves the bounds by more than rounding."""
    found = []
    for name, a, b, c, d in zip(names, low, high, least, most, strict=True):
        size = max((abs(x) for x in (c, d) if np.isfinite(x)), default=0.0) * ROUNDING
        if a < c - size or b > d + size:
            found.append(f"{name} in [{a:.4g}, {b:.4g}], declared [{c:.4g}, {d:.4g}]")
    return found


def saturation(subject: Subject) -> Measured | Skip:
    """The largest share of values of one observed entry that stand at one of its bounds."""
    space = subject.env.observation_space
    seen = subject.sample.step.observation.reshape(-1, space.size)
    shares = {}
    for i, name in enumerate(space.names):
        values, width = seen[:, i], float(space.high[i]) - float(space.low[i])
        if not np.isfinite(width) or len(np.unique(values)) <= FEW:
            continue
        at_low, at_high = values <= space.low[i] + EDGE * width, values >= space.high[i] - EDGE * width
        shares[name] = float(max(at_low.mean(), at_high.mean()))
    counted, excused = subject.exempt("saturation", shares)
    if not counted:
        return Skip("no observed entry has finite bounds and more than a few values")
    worst = max(counted, key=lambda name: shares[name])
    return Measured(shares[worst], "; ".join([worst if shares[worst] > 0 else "", *excused]).strip("; "))


def gradient(subject: Subject) -> Measured | Skip:
    """Entries of the gradient of a short return by the actions that are not finite."""
    env, space = subject.env, subject.env.action_space
    if isinstance(space, Discrete):
        return Skip("actions are discrete")
    states, keys = subject.picked
    length = min(8, subject.sizes.hold)

    def total(actions: Any, state: Any, key: Any, params: Any) -> Any:
        def one(state: Any, given: Any) -> Any:
            state, step = env.step(given[0], state, given[1], params)
            return state, step.reward

        return jax.lax.scan(one, state, (jax.random.split(key, length), actions))[1].sum()

    actions = random_actions(space, subject.key("gradient"), (len(keys), length))
    by = jax.jit(jax.vmap(jax.grad(total), in_axes=(0, 0, 0, None)))
    slope = np.asarray(by(actions, states, keys, subject.params))
    flat = float((slope == 0.0).mean())
    return Measured(int((~np.isfinite(slope)).sum()), f"{flat:.0%} of the slopes are 0" if flat > 0 else "")


CHECKS = (
    Check(
        "finite", KIND, "values",
        "look for a division by 0, the root of a negative number, or a state that grows without end", finite,
    ),
    Check(
        "bounds", KIND, "entries",
        "correct the bounds of the feature, or its scaling; checks, exports and plots rely on them", bounds,
    ),
    Check(
        "saturation", KIND, "share of values",
        "a feature that is cut off most of the time tells little; scale it by what it usually is", saturation,
    ),
    Check(
        "gradient", KIND, "slopes",
        "jnp.where computes the slope of both branches: keep the argument of the unused one away from 0 and infinity",
        gradient,
    ),
)  # fmt: skip
