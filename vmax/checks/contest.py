"""Constant actions, random linear policies and the environment's own rules on the same episodes, in one program.

Constant actions say what can be had without looking; linear policies and rules say what looking is worth. The extreme
actions among them also show where the world leaves its bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.spaces import Discrete, random_actions

if TYPE_CHECKING:
    from vmax.checks.subject import Subject

Array = jax.Array
MOST_CONSTANTS = 81
READ = 3
"""How many entries of the observation a random linear policy reads, on average."""


@struct.dataclass
class Constants:
    """Policies that always take their own action, `[P, A]`; each acts for `L / P` lanes in a row."""

    actions: Array

    def initial(self, env: Any, params: Any, starts: Any) -> tuple[()]:
        return ()

    def act(self, env: Any, states: Any, seen: Array, params: Any, carry: Any, key: Array) -> tuple[Array, Any]:
        return jnp.repeat(self.actions, len(seen) // len(self.actions), axis=0), carry


@struct.dataclass
class Linear:
    """Policies that take a linear function of the standardised observation, cut to the action's range; the greatest of
    several where actions are discrete. Weights `[P, A, D]`, offsets `[P, A]`."""

    weights: Array
    offsets: Array
    mean: Array
    scale: Array

    def initial(self, env: Any, params: Any, starts: Any) -> tuple[()]:
        return ()

    def act(self, env: Any, states: Any, seen: Array, params: Any, carry: Any, key: Array) -> tuple[Array, Any]:
        size = seen.shape[-1]
        standard = ((seen - self.mean) / self.scale).reshape(len(self.weights), -1, size)
        score = jnp.einsum("pld,pad->pla", standard, self.weights) + self.offsets[:, None]
        score = score.reshape(-1, score.shape[-1])
        space = env.action_space
        if not isinstance(space, Discrete):
            return jnp.clip(score, -1.0, 1.0), carry
        return jnp.argmax(score.reshape(-1, *space.shape, space.size), -1).astype(jnp.int32), carry


@dataclass(frozen=True)
class Contest:
    """What every policy earned.

    Attributes:
      names: of the P policies, each beginning with `constant`, `linear` or `rule`.
      returns, kpi: of each policy and episode up to its end, `[P, E]`; kpi None where the environment names none.
      low, high: per entry of the observation, over constant policies, `[D]`. info: per entry of the info, the same.
      bad: how many values of observation, reward and info were not finite, over constant policies.
    """

    names: list[str]
    returns: np.ndarray
    kpi: np.ndarray | None
    low: np.ndarray
    high: np.ndarray
    info: dict[str, tuple[float, float]]
    bad: int

    def kind(self, kind: str) -> np.ndarray:
        """Indices of the policies of a kind."""
        return np.asarray([i for i, name in enumerate(self.names) if name.startswith(kind)], int)


def constant_actions(space: Any, key: Array, corners: int) -> Array:
    """Constant actions `[P, A]` to try: a grid where it is small, else all alike and random corners."""
    if isinstance(space, Discrete):
        alike = jnp.repeat(jnp.arange(space.size), space.count).reshape(space.size, *space.shape)
        some = 0 if space.count == 1 else corners
        return jnp.concatenate([alike, random_actions(space, key, (some,))]).astype(jnp.int32)
    if space.size == 1:
        return jnp.linspace(-1.0, 1.0, 9)[:, None]
    if 3**space.size <= MOST_CONSTANTS:
        return jnp.asarray(list(product((-1.0, 0.0, 1.0), repeat=space.size)), jnp.float32)
    alike = jnp.linspace(-1.0, 1.0, 9)[:, None] * jnp.ones(space.size)
    return jnp.concatenate([alike, jax.random.rademacher(key, (corners, space.size), jnp.float32)])


def hold(subject: Subject) -> Contest:
    """Runs them all, each on the same episodes, up to `sizes.most_steps` steps.

    In every further round the linear policies are new ones near the best so far, constant actions among them.
    """
    sizes, groups = subject.sizes, _groups(subject)
    counts = tuple(len(labels) for _, labels in groups.values())
    names = [f"{kind} {label}".strip() for kind, (_, labels) in groups.items() for label in labels]
    still = np.repeat([name.startswith("constant") for name in names], sizes.episodes)
    run = jax.jit(lambda policies, keys, params: _run(subject, policies, counts, jnp.asarray(still), keys, params))
    policies, keys = tuple(policy for policy, _ in groups.values()), subject.keys("contest", sizes.episodes)
    told = [jax.tree.map(np.asarray, run(policies, keys, subject.params))]
    line = np.asarray([i for i, name in enumerate(names) if name.startswith("linear")])
    for number in range(1, sizes.rounds):
        linear = _nearer(subject, policies, told[-1], number, len(names))
        policies = (policies[0], linear, *policies[2:])
        told.append(jax.tree.map(np.asarray, run(policies, keys, subject.params)))
    shape, first = (len(names), sizes.episodes), told[0]
    later = [f"linear {number}.{i}" for number in range(1, sizes.rounds) for i in range(len(line))]

    def all_rounds(name: str) -> np.ndarray:
        values = [one[name].reshape(shape).astype(np.float64) for one in told]
        return np.concatenate([values[0], *(value[line] for value in values[1:])])

    return Contest(
        names=[*names, *later],
        returns=all_rounds("return"),
        kpi=all_rounds("kpi") if subject.hooks.kpi else None,
        low=first["low"],
        high=first["high"],
        info={name: (float(first["info_low"][name]), float(first["info_high"][name])) for name in first["info_low"]},
        bad=int(first["bad"]),
    )


def by_rules(subject: Subject) -> dict[str, float]:
    """What counts, mean over the episodes, under each rule of the environment."""
    rules: Mapping[str, Any] = subject.hooks.rules
    counts, still = (1,) * len(rules), jnp.zeros(len(rules) * subject.sizes.episodes, bool)
    run = jax.jit(lambda rules, keys, params: _run(subject, rules, counts, still, keys, params))
    told = run(tuple(rules.values()), subject.keys("contest", subject.sizes.episodes), subject.params)
    means = np.asarray(told["kpi"], np.float64).reshape(len(rules), -1).mean(axis=1)
    return dict(zip(rules, means.tolist(), strict=True))


def _groups(subject: Subject) -> dict[str, tuple[Any, list[str]]]:
    """Policies by kind, and a label for each that a policy stands for."""
    space, sizes = subject.env.action_space, subject.sizes
    fixed = constant_actions(space, subject.key("constants"), sizes.corners)
    seen = subject.sample.observation.reshape(-1, subject.env.observation_space.size)
    mean, scale = seen.mean(axis=0), seen.std(axis=0)
    weights, offsets = _drawn(subject, 0)
    linear = Linear(weights, offsets, jnp.asarray(mean), jnp.asarray(np.where(scale > 1e-6, scale, 1.0)))
    labels = [np.array2string(np.asarray(action), precision=2) for action in fixed]
    rules: Mapping[str, Any] = subject.hooks.rules
    return {
        "constant": (Constants(fixed), labels),
        "linear": (linear, [str(i) for i in range(sizes.linear)]),
        **{f"rule {name}": (rule, [""]) for name, rule in rules.items()},
    }


def _drawn(subject: Subject, number: int) -> tuple[Array, Array]:
    """Random weights `[P, A, D]`, about `READ` of an action's not 0, and offsets `[P, A]`, so large that actions fill
    their range."""
    first, second, third = subject.keys(f"linear {number}", 3)
    space, inputs = subject.env.action_space, subject.env.observation_space.size
    outputs = space.size * (space.count if isinstance(space, Discrete) else 1)
    shape = (subject.sizes.linear, outputs, inputs)
    weights = jax.random.normal(first, shape) * jax.random.bernoulli(third, min(1.0, READ / inputs), shape)
    return weights, 0.5 * jax.random.normal(second, shape[:2])


def _nearer(subject: Subject, policies: Any, told: dict[str, Any], number: int, count: int) -> Linear:
    """Linear policies around the best constant and the best linear one by every second episode, half and half, the
    further rounds the closer."""
    fixed, linear = policies[0].actions, policies[1]
    figure = "kpi" if subject.hooks.kpi else "return"
    score = told[figure].reshape(count, -1)[:, ::2].mean(axis=1)
    best = int(np.argmax(score[len(fixed) : len(fixed) + len(linear.weights)]))
    action = fixed[int(np.argmax(score[: len(fixed)]))]
    discrete = isinstance(subject.env.action_space, Discrete)
    offset = jax.nn.one_hot(action, subject.env.action_space.size).reshape(-1) if discrete else action
    weights, offsets = _drawn(subject, number)
    half, scale = len(weights) // 2, 0.5**number
    size = jnp.asarray([0.05, 0.2, 0.8])[jnp.arange(half) % 3]  # around the constant: some that hardly leave it
    return linear.replace(
        weights=jnp.concatenate([size[:, None, None] * weights[:half], linear.weights[best] + scale * weights[half:]]),
        offsets=jnp.concatenate(
            [offset + 0.2 * size[:, None] * offsets[:half], linear.offsets[best] + scale * offsets[half:]]
        ),
    )


def _run(subject: Subject, policies: Any, counts: Any, still: Array, keys: Array, params: Any) -> dict[str, Any]:
    """All lanes, policy by policy and episode by episode. What comes after an episode's end does not count."""
    env, episodes, hooks = subject.env, subject.sizes.episodes, subject.hooks
    lanes = sum(counts) * episodes
    edges = np.cumsum([0, *counts]) * episodes
    parts = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    own = jnp.tile(jax.vmap(jax.random.key_data)(keys), (sum(counts), 1))
    own = jax.random.wrap_key_data(own)
    states, observation = jax.vmap(env.reset, in_axes=(0, None))(own, params)
    cut = lambda tree, part: jax.tree.map(lambda leaf: leaf[part], tree)  # noqa: E731
    first = [jnp.zeros(part.stop - part.start) for part in parts]
    carries = [policy.initial(env, params, begin) for policy, begin in zip(policies, first, strict=True)]

    def one(loop: Any, step_number: Array) -> Any:
        states, observation, carries, alive, figures = loop
        step_keys = jax.vmap(lambda key: jax.random.fold_in(key, step_number))(own)
        taken = [
            policy.act(env, cut(states, part), observation[part], params, carry, step_keys[0])
            for policy, part, carry in zip(policies, parts, carries, strict=True)
        ]
        action, carries = jnp.concatenate([action for action, _ in taken]), [carry for _, carry in taken]
        states, step = jax.vmap(env.step, in_axes=(0, 0, 0, None))(step_keys, states, action, params)
        figures = _add(figures, step, alive, still, hooks.kpi)
        alive = alive & ~(step.terminated | step.truncated)
        return (states, step.observation, carries, alive, figures), None

    figures = {
        "return": jnp.zeros(lanes), "kpi": jnp.zeros(lanes), "bad": jnp.int32(0),
        "low": jnp.full(observation.shape[-1], jnp.inf), "high": jnp.full(observation.shape[-1], -jnp.inf),
        "info_low": {feature.name: jnp.float32(jnp.inf) for feature in env.info_space},
        "info_high": {feature.name: jnp.float32(-jnp.inf) for feature in env.info_space},
    }  # fmt: skip
    length = min(env.min_episode_steps, subject.sizes.most_steps)
    begin = (states, observation, carries, jnp.ones(lanes, bool), figures)
    return jax.lax.scan(one, begin, jnp.arange(length))[0][-1]


def _add(figures: dict[str, Any], step: Any, alive: Array, still: Array, kpi: Mapping[str, float]) -> dict[str, Any]:
    """The figures with one more step."""
    counts, seen = alive & still, step.observation
    count = lambda values: (~jnp.isfinite(values)).reshape(len(alive), -1).any(axis=1)  # noqa: E731
    bad = count(seen) | count(step.reward)
    for value in step.info.values():
        bad = bad | count(value)
    counted = jnp.asarray(sum(weight * step.info[name] for name, weight in kpi.items()), jnp.float32)
    least = lambda values: jnp.where(counts, values, jnp.inf).min()  # noqa: E731
    most = lambda values: jnp.where(counts, values, -jnp.inf).max()  # noqa: E731
    return {
        "return": figures["return"] + jnp.where(alive, step.reward, 0.0),
        "kpi": figures["kpi"] + jnp.where(alive, counted, 0.0),
        "bad": figures["bad"] + (bad & counts).sum(),
        "low": jnp.minimum(figures["low"], jnp.where(counts[:, None], seen, jnp.inf).min(axis=0)),
        "high": jnp.maximum(figures["high"], jnp.where(counts[:, None], seen, -jnp.inf).max(axis=0)),
        "info_low": {name: jnp.minimum(low, least(step.info[name])) for name, low in figures["info_low"].items()},
        "info_high": {name: jnp.maximum(high, most(step.info[name])) for name, high in figures["info_high"].items()},
    }
