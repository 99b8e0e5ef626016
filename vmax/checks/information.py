"""Whether an observation shows what nobody can know yet, and how fast the world is computed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.checks.finding import Check, Measured, Skip, listed
from vmax.checks.subject import Subject
from vmax.checks.trees import is_number, numbers, path_name

STATES = 4


def leak(subject: Subject) -> Measured | Skip:
    """How far an observation moves when all data that is not known yet is changed."""
    altered = subject.hooks.altered
    if altered is None:
        return Skip("the environment does not say what of its data is known")
    states, keys = subject.picked
    length = subject.sizes.trial
    actions = subject.actions("leak", length)
    worst, at, seen = 0.0, "", False
    for i in np.linspace(0, len(keys) - 1, STATES).astype(int):
        state = jax.tree.map(lambda leaf, i=i: leaf[i], states)
        steps = jax.random.split(keys[i], length)
        reached, _ = subject.step(steps[0], state, actions[0], subject.params)
        other = altered(reached, subject.params, int(i))
        true, otherwise = (
            [np.asarray(told, np.float64) for told in subject.follow(state, steps, actions, params)]
            for params in (subject.params, other)
        )
        apart = np.abs(true[0][0] - otherwise[0][0])
        entry = int(np.argmax(apart))
        worst, at = max((worst, at), (float(apart[entry]), subject.env.observation_space.names[entry]))
        seen = seen or any((abs(a - b) > 1e-3).any() for a, b in zip(true, otherwise, strict=True))
    if not seen:
        return Measured(float("nan"), f"the changed data was not seen within {length} steps either: nothing was tested")
    return Measured(worst, f"in {at}" if worst > 1e-9 else f"{STATES} moments, all data that is unknown then changed")


def eval_parity(subject: Subject) -> Measured | Skip:
    """Leaves of the params that make the world of validation or test another one than that of training: numbers of
    the world that differ, other types. The data itself is another one, and may be longer."""
    train = _leaves(subject.params)
    if not train:
        return Skip("the params are empty")
    differing = {}
    for split in ("validation", "test"):
        other = _leaves(subject.env.params(split))
        for name in {**train, **other}:
            if not _same(train.get(name), other.get(name)):
                differing.setdefault(name, split)
    counted, excused = subject.exempt("eval_parity", differing)
    return Measured(len(counted), "; ".join([listed(f"{name} ({differing[name]})" for name in counted), *excused]))


def _leaves(params: Any) -> dict[str, jax.Array]:
    return {path_name(path): jnp.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def _same(one: jax.Array | None, other: jax.Array | None) -> bool:
    """Whether a leaf is the same number of the world in both, or data of the same kind."""
    if one is None or other is None or one.dtype != other.dtype or one.ndim != other.ndim:
        return False
    if is_number(one) or is_number(other):
        return one.shape == other.shape and bool((numbers(one) == numbers(other)).all())
    return True


def throughput(subject: Subject) -> Measured:
    """Steps per second of the random run, compiled before: a report, no verdict."""
    return Measured(subject.steps_per_s, f"{subject.sizes.lanes} environments side by side")


CHECKS = (
    Check(
        "leak", "information", "change",
        "the entry named reads data of the future; take it from what is known at the step, and causal statistics", leak,
    ),
    Check(
        "eval_parity", "information", "leaves",
        "what is trained in has to be what is judged in: split-dependent are the data alone; scales and ranges come "
        "from the training data in all splits", eval_parity, named=True,
    ),
    Check("throughput", "speed", "steps/s", "", throughput),
)  # fmt: skip
