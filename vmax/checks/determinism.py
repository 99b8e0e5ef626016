"""Whether the same call gives the same result, whichever way it is made, and other keys give others."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vmax.checks import programs
from vmax.checks.finding import Check, Measured, Skip, listed
from vmax.checks.subject import Subject
from vmax.checks.trees import differing, is_key, path_name

KIND = "determinism"
CALLS = 4
STARTS = 256
"""Resets in which distinct starts are counted."""


def purity(subject: Subject) -> Measured:
    """Leaves that differ between two calls with the same arguments, and arguments that a call changed."""
    env, key, params = subject.env, subject.key("purity"), subject.params
    state, action = subject.reset(key, params)[0], subject.actions("purity", *())
    before = _copied((state, params))
    called: list[Any] = [(env.reset(key, params), env.step(key, state, action, params)) for _ in range(2)]
    wrong = _unequal(*called) + [f"changed by the call: {name}" for name in _unequal(before, _copied((state, params)))]
    compiled = [(subject.reset(key, params), subject.step(key, state, action, params)) for _ in range(2)]
    wrong += [f"compiled: {name}" for name in _unequal(*compiled)]
    return Measured(len(wrong), listed(wrong))


def jit_equals_eager(subject: Subject) -> Measured:
    """The largest difference between compiled and uncompiled calls."""
    worst = []
    for i, key in enumerate(subject.keys("jit", 2)):
        state, _ = subject.reset(key, subject.params)
        given = (key, state, subject.actions(f"jit {i}", *()), subject.params)
        worst.append(_worst(subject.step(*given), subject.env.step(*given)))
        worst.append(_worst(subject.reset(key, subject.params), subject.env.reset(key, subject.params)))
    return _told(max(worst))


def vmap_equals_loop(subject: Subject) -> Measured:
    """The largest difference between environments side by side and one after the other."""
    states, keys = subject.picked
    given = keys, states, subject.actions("vmap", len(keys))
    given = jax.jit(lambda given: jax.tree.map(lambda leaf: leaf[:CALLS], given))(given)
    lane = jax.jit(lambda given, i: jax.tree.map(lambda leaf: leaf[i], given))
    together = jax.jit(jax.vmap(subject.env.step, in_axes=(0, 0, 0, None)))(*given, subject.params)
    worst = []
    for i in range(CALLS):
        alone = subject.step(*lane(given, i), subject.params)
        worst.append(_worst(alone, lane(together, i)))
    return _told(max(worst))


def scan_equals_loop(subject: Subject) -> Measured:
    """The largest difference between one compiled run and as many single steps."""
    length = subject.sizes.trial
    state, _ = subject.reset(subject.key("scan"), subject.params)
    keys, actions = subject.keys("scan", length), subject.actions("scan", length)
    observations, rewards = map(np.asarray, subject.follow(state, keys, actions, subject.params))
    worst, at = 0.0, 0
    for i in range(length):
        state, step = subject.step(keys[i], state, actions[i], subject.params)
        apart = max(differing(step.observation, observations[i]).max(), float(differing(step.reward, rewards[i])))
        worst, at = max((worst, at), (float(apart), i))
    return Measured(worst, f"at step {at} of {length}" if worst > 0 else "")


def seeding(subject: Subject) -> Measured | Skip:
    """Share of runs with other keys and the same actions that differ from those before; 0 where all are the same."""
    told = subject.trials.told
    first = _flat(told["first"][0, 0])
    runs = np.concatenate([first, _flat(told["told"][0, 0])], axis=1)
    distinct, keys = _distinct(runs), len(runs)
    reason = _why_alike(subject, distinct == _distinct(first)) if distinct < keys else None
    if reason is not None:
        return Skip(reason)
    return Measured((distinct - 1) / (keys - 1), f"{distinct} distinct runs of {keys} keys")


def _why_alike(subject: Subject, start_decides: bool) -> str | None:
    """Why runs with other keys are the same in a sound world; None where it draws from a key of its own, or nothing
    explains it. `start_decides`: whether runs with the same first observation are the same."""
    draws = _draws(subject)
    if draws.foreign:
        return None
    if not draws.drawn:
        return "reset and step draw nothing: there is one start and no noise"
    resets = jax.jit(jax.vmap(lambda key, params: subject.env.reset(key, params)[1], in_axes=(0, None)))
    starts = _distinct(np.asarray(resets(subject.keys("starts", STARTS), subject.params)))
    if starts > 1:
        return f"{starts} distinct starts of {STARTS} keys, and no noise after them" if start_decides else None
    silent = _silenced_by(subject)
    return None if silent is None else f"there is one start, and {silent} switches the noise off"


class Draws(NamedTuple):
    """Whether random numbers are drawn at all, and whether some do not come from the keys that are given."""

    drawn: bool
    foreign: bool


def _draws(subject: Subject) -> Draws:
    key, params = subject.key("seeding"), subject.params
    state, _ = subject.reset(key, params)
    at_reset = programs.draws(subject.env.reset, 1, key, params)
    at_step = programs.draws(subject.env.step, 2, key, state, subject.actions("seeding", *()), params)
    return Draws(at_reset[0] or at_step[0], at_reset[1] or at_step[1])


def _silenced_by(subject: Subject) -> str | None:
    """The number of the world with whose change runs begin to differ; None: no number has that effect."""
    trials = subject.trials
    for i, told in enumerate(trials.told["told"][1:, 0]):
        if _distinct(_flat(told)) > 1:
            return f"params.{trials.names[i // 2]}"
    return None


def _flat(values: np.ndarray) -> np.ndarray:
    """A row for each environment, `[N, …]` to `[N, M]`."""
    return np.asarray(values).reshape(len(values), -1)


def _distinct(rows: np.ndarray) -> int:
    return len(np.unique(rows, axis=0))


def _copied(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf if is_key(jnp.asarray(leaf)) else np.array(leaf), tree)


def _unequal(one: Any, other: Any) -> list[str]:
    """Paths of leaves that are not bit for bit the same."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True)
    return [path_name(path) for (path, a), b in pairs if not np.array_equal(_plain(a), _plain(b), equal_nan=True)]


def _worst(one: Any, other: Any) -> tuple[float, str]:
    """The largest scaled difference between two trees, and where it is."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True)
    found = [(float(np.max(differing(_plain(a), _plain(b)), initial=0.0)), path_name(path)) for (path, a), b in pairs]
    return max(found)


def _told(worst: tuple[float, str]) -> Measured:
    return Measured(worst[0], f"in {worst[1]}" if worst[0] > 0 else "")


def _plain(leaf: Any) -> np.ndarray:
    """A leaf as float64; keys as their bits."""
    leaf = jnp.asarray(leaf)
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf, np.float64)


CHECKS = (
    Check(
        "purity", KIND, "leaves",
        "the result must follow from key, state, action and params alone: no global random numbers, no memory on the "
        "environment, no change in place", purity,
    ),
    Check(
        "jit_equals_eager", KIND, "relative",
        "look for Python control flow on values, NumPy calls, or a number that needs float64", jit_equals_eager,
    ),
    Check(
        "vmap_equals_loop", KIND, "relative",
        "look for reductions over all axes, or indices that count lanes", vmap_equals_loop,
    ),
    Check(
        "scan_equals_loop", KIND, "relative",
        "look for memory outside of the state, or a sum that loses precision", scan_equals_loop,
    ),
    Check(
        "seeding", KIND, "share of runs",
        "reset has to draw from its key (start, charge, demand, …); a key may be used once only", seeding,
    ),
)  # fmt: skip
