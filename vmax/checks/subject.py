"""What the checks look at: one environment, its training params, and a few runs of it that several checks share.

Each run is made once, when the first check asks for it, and each is one compiled program.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.checks.contest import Contest, constant_actions, hold
from vmax.checks.held import RANDOM, Held, held_actions
from vmax.checks.settings import BY_ENVIRONMENT_ALONE, Scaling, SizesConfig
from vmax.checks.trees import changed, clocks, is_key, is_number, numbers, path_name
from vmax.envs.environment import AutoReset, Checks, Environment, Step
from vmax.spaces import random_actions

Array = jax.Array
SPLIT = "train"
TRIAL_LANES = 8


class Subject:
    """An environment under test. Keys of every run follow from `seed` and the run's name."""

    def __init__(
        self,
        env: Any,
        sizes: SizesConfig,
        seed: int = 0,
        exempt: Mapping[str, str] | None = None,
        scaling: Scaling = BY_ENVIRONMENT_ALONE,
    ) -> None:
        """`exempt`: what is left out besides what the environment exempts itself. `scaling`: of the learner."""
        self.env, self.seed, self.scaling = env, seed, scaling
        self.hooks: Checks = replace(env.checks, exempt={**env.checks.exempt, **(exempt or {})})
        self.sizes = sizes.eased(self.hooks.effort)
        self.params = env.params(SPLIT)
        self.traces = 0
        self.step, self.reset = jax.jit(self._counted_step), jax.jit(env.reset)

    def _counted_step(self, key: Array, state: Any, action: Array, params: Any) -> Any:
        self.traces += 1  # runs when JAX traces, not when the program runs
        return self.env.step(key, state, action, params)

    def key(self, name: str) -> Array:
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(name.encode()) % 2**31)

    def keys(self, name: str, count: int) -> Array:
        return jax.random.split(self.key(name), count)

    def actions(self, name: str, *shape: int) -> Array:
        """Random actions `[*shape, A]`, uniform; of a discrete space `[*shape]`."""
        return random_actions(self.env.action_space, self.key(name), shape)

    def exempt(self, check: str, names: Any) -> tuple[list[str], list[str]]:
        """Names that count for a check, and those that the environment exempts, with its reasons.

        `price_mask_3` is exempt where `price_mask` is, `site.power_mw` where `site` is.
        """
        counted, excused = [], {}
        for name in names:
            reasons = (self.hooks.exempt.get(f"{check}/{of}") for of in (name, *_wider(name)))
            reason = next((reason for reason in reasons if reason is not None), None)
            if reason is None:
                counted.append(name)
            else:
                excused.setdefault(reason, []).append(name)
        return counted, [
            f"{names[0]}{f' and {len(names) - 1} more' * (len(names) > 1)}: {reason}"
            for reason, names in excused.items()
        ]

    def plant(self, state: Any) -> Any:
        """What actions and numbers of the world have to reach of a state."""
        return state if self.hooks.plant is None else self.hooks.plant(state)

    # --- runs -------------------------------------------------------------------------------------------------------

    @cached_property
    def length(self) -> int:
        """Steps of the random run: at least `sizes.steps`, two episodes and some more where they fit."""
        return min(max(self.sizes.steps, 2 * self.env.min_episode_steps + 8), self.sizes.most_steps)

    @cached_property
    def _runs(self) -> tuple[Sample, Step, float]:
        """The random run, what the steps of the extreme one told, and the seconds that this took once compiled."""
        lanes, world = self.sizes.lanes, AutoReset(cast(Environment, _Recorder(self.env, self.hooks.residual)))

        def run(keys: Array, step_keys: Array, actions: Array, params: Any) -> Sample:
            states, first = world.reset(keys, params)

            def one(loop: Any, given: Any) -> Any:
                states, observation = loop
                key, action = given
                following, coming, step = world.step(key, states, action, params)
                return (following, coming), (states, observation, coming, step)

            _, (states, observation, coming, step) = jax.lax.scan(one, (states, first), (step_keys, actions))
            return Sample(states, observation, actions, step, coming, step.info)

        compiled = jax.jit(run)
        given = (self.keys("random reset", lanes), self.keys("random steps", self.length))
        actions = self.actions("random actions", self.length, lanes)
        sample = jax.block_until_ready(compiled(*given, actions, self.params))
        fixed = constant_actions(self.env.action_space, self.key("constants"), self.sizes.corners)
        fixed = fixed[np.linspace(0, len(fixed) - 1, lanes).astype(int)]
        extreme = jnp.broadcast_to(fixed, actions.shape)
        began = time.perf_counter()
        other = jax.block_until_ready(compiled(*given, extreme, self.params))
        return sample, other.step, time.perf_counter() - began

    @cached_property
    def sample(self) -> Sample:
        """Random actions in `sizes.lanes` environments with auto-reset, leaves `[T, N, …]`, on the host."""
        return jax.tree.map(_to_host, self._runs[0])

    @cached_property
    def extreme(self) -> Step:
        """What the steps told, `[T, N, …]`, as in `sample`, where each environment has a constant action of its own,
        the extreme ones among them."""
        return jax.tree.map(_to_host, replace(self._runs[1], info={}))

    @property
    def one_step(self) -> bool:
        """Whether every episode has a single step."""
        return bool(self.sample.ended.all())

    @property
    def steps_per_s(self) -> float:
        return self.length * self.sizes.lanes / self._runs[2]

    @cached_property
    def picked(self) -> tuple[Any, Array]:
        """States `[S, …]` of the random run in which an episode goes on (any where none does), at times spread over it,
        and the next key."""
        goes_on = ~self.sample.ended | self.one_step
        times, lanes = np.nonzero(goes_on)
        chosen = np.linspace(0, len(times) - 1, self.sizes.states).astype(int)
        # not always the same lane: they follow one another in the second index
        chosen = (chosen + np.arange(len(chosen)) % goes_on.shape[1]) % len(times)
        pick = jax.jit(lambda tree, t, n: jax.tree.map(lambda leaf: leaf[t, n], tree))
        return pick(self._runs[0].state, times[chosen], lanes[chosen]), self.keys("picked", len(chosen))

    @cached_property
    def follow(self) -> Any:
        """Compiled: `(state, keys [K], actions [K, A], params)` of one environment -> observations and rewards."""

        def run(state: Any, keys: Array, actions: Array, params: Any) -> tuple[Array, Array]:
            def one(state: Any, given: Any) -> Any:
                state, step = self.env.step(given[0], state, given[1], params)
                return state, (step.observation, step.reward)

            return jax.lax.scan(one, state, (keys, actions))[1]

        return jax.jit(run)

    @cached_property
    def held(self) -> Held:
        """From each picked state each of the actions held for `sizes.hold` steps, or until the episode ends, all with
        the same keys."""

        def one(state: Any, key: Array, action: Array, params: Any) -> tuple[Array, Array]:
            def advance(loop: Any, key: Array) -> Any:
                state, alive, total = loop
                following, step = self.env.step(key, state, action, params)
                total = total + jnp.where(alive, step.reward, 0.0)
                following = jax.tree.map(lambda new, old: jnp.where(alive, new, old), following, state)
                alive = alive & ~(step.terminated | step.truncated)
                return (following, alive, total), numbers(self.plant(following))

            begin = (state, jnp.bool_(True), jnp.float32(0.0))
            (_, _, total), states = jax.lax.scan(advance, begin, jax.random.split(key, self.sizes.hold))
            return jnp.concatenate([states[0], states[-1]]), total

        space = self.env.action_space
        actions, groups = held_actions(space)
        actions = np.concatenate([actions, random_actions(space, self.key("reward"), (RANDOM,))])
        inner = jax.vmap(one, in_axes=(None, None, 0, None))
        plant, total = jax.jit(jax.vmap(inner, in_axes=(0, 0, None, None)))(*self.picked, actions, self.params)
        return Held(actions, groups, np.asarray(plant, np.float64), np.asarray(total, np.float64))

    @cached_property
    def contest(self) -> Contest:
        """What constant actions, random linear policies and rules earn on the same episodes."""
        return hold(self)

    @cached_property
    def trials(self) -> Trials:
        """The same short runs with the params as they are, and with each number of the world changed in turn: under
        random actions, and with the first and the last of the extreme ones held, which reach limits."""
        leaves, structure = jax.tree_util.tree_flatten_with_path(self.params)
        moved = [i for i, (_, leaf) in enumerate(leaves) if is_number(leaf)]
        batch = [
            jnp.stack([jnp.asarray(leaf), *(v for j in moved for v in (changed(leaf) if i == j else (leaf, leaf)))])
            if i in moved
            else leaf
            for i, (_, leaf) in enumerate(leaves)
        ]
        axes = structure.unflatten([0 if i in moved else None for i in range(len(leaves))])
        length, lanes = self.sizes.trial, min(self.sizes.lanes, TRIAL_LANES)
        fixed = constant_actions(self.env.action_space, self.key("trial constants"), self.sizes.corners)
        ends = [jnp.broadcast_to(action, (length, *action.shape)) for action in (fixed[0], fixed[-1])]
        actions = jnp.stack([self.actions("trial actions", length), *ends])
        run = jax.vmap(self._trial, in_axes=(0, None, None))
        run = jax.vmap(jax.vmap(run, in_axes=(None, 0, None)), in_axes=(None, None, axes), axis_size=1 + 2 * len(moved))
        run = jax.jit(run)
        told = run(self.keys("trial", lanes), actions, structure.unflatten(batch))
        return Trials([path_name(leaves[i][0]) for i in moved], jax.tree.map(_to_host, told))

    def _trial(self, key: Array, actions: Array, params: Any) -> dict[str, Array]:
        """What one environment tells of a run with these actions: observations, rewards, info, the plant at last."""
        reset_key, run_key = jax.random.split(key)
        state, first = self.env.reset(reset_key, params)

        def one(state: Any, given: Any) -> Any:
            state, step = self.env.step(given[0], state, given[1], params)
            return state, numbers(step)

        state, told = jax.lax.scan(one, state, (jax.random.split(run_key, len(actions)), actions))
        return {"first": numbers(first), "told": told, "last": numbers(self.plant(state))}


@struct.dataclass
class Sample:
    """A random run, leaves `[T, N, …]`: state and observation before each step, the action, what the step told, the
    observation to act on next, and what `_Recorder` noted."""

    state: Any
    observation: Array
    action: Array
    step: Step
    coming: Array
    noted: Any

    @property
    def ended(self) -> np.ndarray:
        return np.asarray(self.step.terminated | self.step.truncated)

    @property
    def info(self) -> dict[str, Any]:
        return self.noted["info"]


@dataclass(frozen=True)
class Trials:
    """`names` of the J changed numbers; `told`: figures `[1 + 2 J, 3, N, …]`, those of the unchanged world first, then
    each number changed a little and much, and of random actions before extreme ones."""

    names: list[str]
    told: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Recorder:
    """An environment whose info also holds what auto-reset hides: the observation and the clocks at the true end, the
    residuals, and whether a number of the state is NaN."""

    environment: Any
    residual: Any

    def reset(self, key: Array, params: Any, start: Any = None) -> Any:
        return self.environment.reset(key, params, start)

    def step(self, key: Array, state: Any, action: Array, params: Any) -> Any:
        following, step = self.environment.step(key, state, action, params)
        noted = {
            "info": step.info,
            "observation": step.observation,
            "clocks": clocks(following),
            "residual": {} if self.residual is None else self.residual(state, step, params),
            "nan": jnp.isnan(numbers(following)).any(),
        }
        return following, replace(step, info=noted)


def _wider(name: str) -> list[str]:
    """What a name belongs to: `a.b.c` to `a.b` and `a`, `price_3` to `price`."""
    stem, _, last = name.rpartition("_")
    parts = name.split(".")
    return [*([stem] if last.isdigit() else []), *(".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1))]


def _to_host(leaf: Array) -> Any:
    return leaf if is_key(leaf) else np.asarray(leaf)
