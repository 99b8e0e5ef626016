"""A run in progress: its counters and its parts, and how its compiled part is put together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from vmax import devices
from vmax.algorithms.algorithm import Spec
from vmax.checkpoint import Checkpoints
from vmax.checks import shapes
from vmax.config import RunConfig
from vmax.envs.environment import Environment
from vmax.envs.rollout import Courseful, Policy
from vmax.errors import UserError
from vmax.evaluation.validation import Validation
from vmax.run_folder import RunFolder
from vmax.spaces import Discrete
from vmax.training.day_plan import DayCount, day_schedule
from vmax.training.guide import Guide
from vmax.training.logger import Logger
from vmax.training.program import Program, RunState, Sizes
from vmax.training.schedules import total_updates
from vmax.training.seasons import SeasonLog
from vmax.training.signals import Signals
from vmax.training.stopping import Improvement


@dataclass
class Counters:
    """What a run has done so far; kept in checkpoints. Times are those of the run, over all its processes."""

    step: int = 0
    updates: int = 0
    best_score: float | None = None
    best_step: int = 0
    last_score: float | None = None
    wall_time_s: float = 0.0
    training_time_s: float = 0.0
    compile_time_s: float = 0.0
    improvement: Improvement = field(default_factory=Improvement)

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Counters:
        """Those that a checkpoint holds."""
        return cls(**{**saved, "improvement": Improvement(**saved.get("improvement", {}))})


@dataclass(frozen=True)
class Stages:
    """The compiled part of a run: its functions over all devices, and what they are called with.

    Attributes:
      params, keys: of the environment on the training split and of the run, on every device.
      shapes: the state that `initialise` gives, as shapes with their places.
      chunk: traced and lowered for these shapes in `lowering_s` seconds; to be compiled.
    """

    program: Program
    params: Any
    keys: jax.Array
    shapes: RunState
    initialise: Any
    warm_up: Any
    chunk: Any
    lowering_s: float


@dataclass
class Run:
    """A run in progress: what was configured, the compiled parts, and where it stands.

    `began` and `process_began`: monotonic times since which the run, over all its processes, and this one took time.
    `days` counts the days of a run by days, `seasons` looks at the fixed days of the seasons; None: neither is done.
    """

    config: RunConfig
    folder: RunFolder
    env: Any
    algorithm: Any
    stages: Stages
    validation: Validation
    checkpoints: Checkpoints
    logger: Logger
    counters: Counters
    began: float
    process_began: float
    days: DayCount | None
    seasons: SeasonLog | None
    signals: Signals

    def say(self, line: str) -> None:
        """Tells the user and train.log."""
        self.folder.append_log(line)
        print(line, flush=True)


def trace(config: RunConfig, env: Environment, algorithm: Any) -> Stages:
    """The compiled part as far as it goes without a state. Raises UserError for settings that do not go together."""
    t, n = config.training, devices.count()
    block, params = t.num_envs * t.unroll, env.params("train")
    shapes.verify(env, params)
    program = build_program(config, env, algorithm)
    initialise, warm_up, chunk = program.compiled(t.log_every // block, t.warmup_steps // block)
    params = devices.replicate(params, n)
    keys = devices.replicate(jax.random.key(config.seed), n)
    place = devices.sharding()
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), jax.eval_shape(initialise, keys, params)
    )
    started = time.monotonic()
    lowered = chunk.lower(state, params)
    return Stages(program, params, keys, state, initialise, warm_up, lowered, time.monotonic() - started)


def build_program(config: RunConfig, env: Environment, algorithm: Any) -> Program:
    """The compiled part for a configuration from `in_days`; sizes are shared out over devices. Raises: UserError."""
    t, n = config.training, devices.count()
    context = None
    if getattr(config.algorithm, "post_decision_critic", False) and env.post_decision is not None:
        context = env.post_decision_context(env.params("train"))
    spec = Spec(
        observation_space=env.observation_space,
        action_space=env.action_space,
        total_updates=total_updates(config),
        axis=devices.AXIS,
        post_decision=env.post_decision,
        context=context,
        controlled=tuple(
            (entry, *limits)
            for name, limits in env.controlled.items()
            for entry in env.observation_space.entries((name,))
        ),
        news_moves=env.news_moves,
        allowed=_allowed(env),
        blocks=env.blocks,
    )
    sizes = Sizes(
        num_envs=t.num_envs // n,
        unroll=t.unroll,
        updates=t.updates_per_iteration,
        batch_size=t.batch_size // n,
        replay_capacity=t.replay_capacity // n,
        n_step=getattr(config.algorithm, "n_step", 1),
        sequences=t.sequences,
        priorities=t.priorities,
    )
    guide = _guide(t.warmup_rule, t.warmup_noise, env)
    learned = config.init_from is not None and guide is None
    return Program(env, algorithm, spec, sizes, guide, day_schedule(config, env), learned)


def _allowed(env: Environment) -> tuple[int, ...]:
    """The entries of the observation that say which choices are allowed. Raises UserError unless each has one."""
    space, entries = env.action_space, env.observation_space.entries(env.allowed)
    needed = space.size * space.count if isinstance(space, Discrete) else 0
    if entries and len(entries) != needed:
        raise UserError(
            f"env={env.name}: `allowed` names {len(entries)} entries of the observation; must be {needed}, one for "
            "each choice"
        )
    return entries


def _guide(name: str | None, noise: float, env: Environment) -> Guide | None:
    """The rule that acts during the warm-up. Raises UserError for a name that is no rule of this environment."""
    if name is None:
        return None
    known = {} if env.assessment is None else env.assessment.baselines()
    rules = [key for key, policy in known.items() if isinstance(policy, Policy) and not isinstance(policy, Courseful)]
    if name not in rules:
        raise UserError(f"training.warmup_rule={name}: must be null or one of {', '.join(rules) or 'none here'}")
    return Guide(known[name], noise)
