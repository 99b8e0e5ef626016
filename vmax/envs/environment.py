"""The environment contract and its two wrappers: auto-reset and episode statistics.

An environment is a frozen dataclass of static settings with pure methods. Everything that is an array or a number that
changes no shape is in `params`, which is always passed in. One instance describes one world; batches are the caller's
`vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.counters import counted
from vmax.envs.natural import Natural
from vmax.spaces import Box, Discrete, Feature

Array = jax.Array
Params = Any
State = Any


@struct.dataclass
class Step:
    """What one step of an environment tells.

    `observation` is the one that the step led to, also at the end of an episode (the true final observation).
    `terminated`: the world ended, nothing follows. `truncated`: we stopped looking; the value goes on.
    A step that is both is terminated. `info` holds named scalars, declared in `Environment.info_space`.
    """

    observation: Array
    reward: Array
    terminated: Array
    truncated: Array
    info: dict[str, Array]


@struct.dataclass
class Day:
    """A start that `reset` takes in training: where a local day begins. All else is drawn as for any other episode."""

    time: Array


class Days(Protocol):
    """The local days of an environment, for training that passes them one after the other.

    All have `steps` steps. An episode that `reset(key, params, day)` begins is truncated after exactly so many and
    never terminated: environments side by side begin and end their days together.
    """

    @property
    def steps(self) -> int: ...

    @property
    def totals(self) -> tuple[str, ...]:
        """The entries of the info that add up over a day: money by stream, and the like."""
        ...

    def starts(self, params: Params) -> Day:
        """The days of the split that these params hold, in calendar order, `[D]`."""
        ...

    def dates(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Host-side: the dates of these days, and of the days of the split that are left out, datetime64[D]."""
        ...

    def figures(self, state: State, info: dict[str, Array]) -> dict[str, Array]:
        """What else a record of a day holds, of one environment: from the state before its last step and that step."""
        ...


HELD_LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Values of one component of an action that the checks hold, to see whether each of them does something else."""


@dataclass(frozen=True)
class Checks:
    """What an environment tells the checks before training (docs/checks.md). All of it is optional.

    Attributes:
      reward_terms: entries of the info that the reward is made of.
      kpi: entries of the info and weights: their weighted sum over an episode is what counts, more is better.
      load: entries of the info that say what the world asks of the plant: prices, demand.
      rules: feedback rules by name (`vmax.envs.rollout.Policy`) that ought to do better than any constant action.
      residual: `(state before the step, step, params) -> {law: residual}` of one environment; residuals as shares of a
        natural size (capacity, total mass), 0 but for rounding.
      altered: host-side, `(state, params of the split train, seed) -> params`: the same with all data changed that
        nobody can know in this state; what is known stays.
      plant: the part of a state that actions and numbers of the world have to reach, without what only echoes them (a
        controller's own clock, what an episode has drawn); None: all of it.
      effort: share of the policies and episodes of the comparison that are run; below 1 where a step takes long.
      quicker: the same world with shorter steps, to see what is lost by deciding so seldom.
      exempt: what is as it is for a reason: `check` or `check/what it names` -> the reason, which is then shown.
    """

    reward_terms: tuple[str, ...] = ()
    kpi: Mapping[str, float] = field(default_factory=dict)
    load: tuple[str, ...] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    residual: Callable[[State, Step, Params], dict[str, Array]] | None = None
    altered: Callable[[State, Params, int], Params] | None = None
    plant: Callable[[State], Any] | None = None
    quicker: Any = None
    effort: float = 1.0
    exempt: Mapping[str, str] = field(default_factory=dict)


class Environment(Protocol):
    """What every environment offers. What is optional, the last twelve, is explained and has its default in `Plain`."""

    @property
    def name(self) -> str: ...

    @property
    def observation_space(self) -> Box: ...

    @property
    def action_space(self) -> Box | Discrete:
        """Continuous actions are within [-1, 1]; the environment maps them to units."""
        ...

    @property
    def info_space(self) -> tuple[Feature, ...]: ...

    @property
    def min_episode_steps(self) -> int:
        """No episode is truncated before so many steps. Where that is not true, the replay keeps fewer of them."""
        ...

    def params(self, split: str) -> Params:
        """Host-side: the arrays and numbers of a split, `train`, `validation` or `test`."""
        ...

    def reset(self, key: Array, params: Params, start: Any = None) -> tuple[State, Array]:
        """A fresh episode, its start drawn.

        `start` names one instead. A `Day` (one of `days.starts`) is for training: it fixes the time alone, and charge,
        price factors and whatever else an episode draws are drawn. Anything else is the environment's own and for
        evaluation, reports and debugging: nothing is drawn then.
        """
        ...

    def step(self, key: Array, state: State, action: Array, params: Params) -> tuple[State, Step]: ...

    @property
    def assessment(self) -> Any: ...

    @property
    def trials(self) -> Any: ...

    @property
    def post_decision(self) -> Callable[[Array, Array, Any], tuple[Array, Array]] | None: ...

    def post_decision_context(self, params: Params) -> Any: ...

    @property
    def controlled(self) -> Mapping[str, tuple[float, float]]: ...

    @property
    def news_moves(self) -> bool: ...

    @property
    def allowed(self) -> tuple[str, ...]: ...

    @property
    def max_episode_steps(self) -> int | None: ...

    @property
    def blocks(self) -> bool: ...

    @property
    def days(self) -> Days | None: ...

    @property
    def data_notes(self) -> tuple[str, ...]: ...

    def natural(self, params: Params) -> Natural | None: ...

    @property
    def checks(self) -> Checks: ...


class Plain:
    """What an environment has that offers none of the optional things: subclass it and override what you offer."""

    @property
    def assessment(self) -> Any:
        """How policies are judged over whole splits (`vmax.evaluation.evaluate.Assessment`); None: by episodes."""
        return None

    @property
    def trials(self) -> Any:
        """How policies are judged on many drawn worlds (`vmax.evaluation.trials.Trials`); None: by episodes."""
        return None

    @property
    def post_decision(self) -> Callable[[Array, Array, Any], tuple[Array, Array]] | None:
        """`(observation, action, context) -> (known reward, post-decision observation)`, of one sample; None: none.

        What is certain the moment a decision is taken, differentiable in the action, and the features that remain.
        """
        return None

    def post_decision_context(self, params: Params) -> Any:
        """A pytree of the numbers that `post_decision` reads."""
        return None

    @property
    def controlled(self) -> Mapping[str, tuple[float, float]]:
        """Features of the observation that only decisions move, and the range of each in which critics should know what
        it is worth: whatever their values, all others go the same way."""
        return {}

    @property
    def news_moves(self) -> bool:
        """Whether what happens after a decision moves the `controlled` features as well, by as much wherever they are.

        The post-decision reward then leaves out what that brings."""
        return False

    @property
    def allowed(self) -> tuple[str, ...]:
        """Features of the observation that say which choices are allowed, 1 or 0 for each in turn; none: all are.

        A learner then asks for no other; `step` takes any and does what it says of those that are not allowed. Where
        an observation forbids all choices, all count as allowed."""
        return ()

    @property
    def max_episode_steps(self) -> int | None:
        """No episode has more steps; None: that is not known, and evaluations cut episodes at a setting."""
        return None

    @property
    def blocks(self) -> bool:
        """Whether the observation is as many blocks of equal build as there are choices at once, one for each in turn.

        A learner may then share one network among the choices, each of which reads its own block and no other."""
        return False

    @property
    def days(self) -> Days | None:
        """The local days that training may pass in turn (`training.schedule=epochs`); None: there are none.

        Raises UserError where this configuration's episodes are no days.
        """
        return None

    @property
    def data_notes(self) -> tuple[str, ...]:
        """What was done to the values of the user's files, in words: every run prints and records it."""
        return ()

    def natural(self, params: Params) -> Natural | None:
        """How observation and action read in the units of the world, for an exported policy; None: as they are."""
        return None

    @property
    def checks(self) -> Checks:
        """What the checks before training are told; by default nothing, and those that need it are skipped."""
        return Checks()


@dataclass(frozen=True)
class AutoReset:
    """N environments side by side: where an episode ends, a new one starts in that very step.

    It starts from a fresh draw, or from a start that the caller hands over. `step` returns the observations to act on
    next apart from `Step.observation`, which stay the true final ones.
    """

    environment: Environment

    def reset(self, keys: Array, params: Params, starts: Any = None) -> tuple[State, Array]:
        """States and observations `[N, D]` for keys `[N]` and starts (leaves `[N]`; None: drawn)."""
        return jax.vmap(self.environment.reset, in_axes=(0, None, 0))(keys, params, starts)

    def step(
        self, key: Array, states: State, actions: Array, params: Params, coming: Callable[[], Any] | None = None
    ) -> tuple[State, Array, Step]:
        """One step of all: `(states, next observations, step)`. Nothing is drawn where no episode ends.

        `coming()` gives the starts of the episodes that come next (leaves `[N]`, read where one has ended); it is
        computed only in steps where one has. None: they are drawn.
        """
        count = len(actions)
        states, step = jax.vmap(self.environment.step, in_axes=(0, 0, 0, None))(
            _keys(key, count, 0), states, actions, params
        )
        done = step.terminated | step.truncated

        def renew(states: State, observations: Array) -> tuple[State, Array]:
            fresh = self.reset(_keys(key, count, 1), params, None if coming is None else coming())
            where = jax.vmap(lambda done, a, b: jax.tree.map(partial(jnp.where, done), a, b))
            return where(done, fresh, (states, observations))

        states, observations = jax.lax.cond(done.any(), renew, lambda *as_is: as_is, states, step.observation)
        return states, observations, step


def _keys(key: Array, count: int, which: int) -> Array:
    """The first or second key of each of `count` environments."""
    return jax.vmap(lambda own: jax.random.split(own)[which])(jax.random.split(key, count))


@struct.dataclass
class EpisodeState:
    """States of N wrapped environments and the running figures of their episodes, `[N]`."""

    inner: Any
    episode_return: Array
    episode_length: Array


@dataclass(frozen=True)
class EpisodeStatistics:
    """Adds `episode_return` and `episode_length` to the info: those of the episode up to and with this step."""

    environment: AutoReset

    def reset(self, keys: Array, params: Params, starts: Any = None) -> tuple[EpisodeState, Array]:
        """States and observations `[N, D]` for keys `[N]`, as `AutoReset.reset`."""
        inner, observations = self.environment.reset(keys, params, starts)
        return EpisodeState(inner, jnp.zeros(len(keys)), jnp.zeros(len(keys), jnp.int32)), observations

    def step(
        self, key: Array, state: EpisodeState, actions: Array, params: Params, coming: Callable[[], Any] | None = None
    ) -> tuple[EpisodeState, Array, Step]:
        """One step of all, as `AutoReset.step`."""
        inner, observations, step = self.environment.step(key, state.inner, actions, params, coming)
        total, length = state.episode_return + step.reward, counted(state.episode_length, 1)
        info = {**step.info, "episode_return": total, "episode_length": length}
        goes_on = ~(step.terminated | step.truncated)
        state = EpisodeState(inner, jnp.where(goes_on, total, 0.0), jnp.where(goes_on, length, 0))
        return state, observations, replace(step, info=info)
