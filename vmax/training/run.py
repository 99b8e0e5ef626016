"""A run in progress: its counters and its parts, and how its compiled part is put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vmax import devices
from vmax.algorithms.algorithm import Spec
from vmax.checkpoint import Checkpoints
from vmax.config import RunConfig
from vmax.envs.environment import Environment
from vmax.evaluation.validation import Validation
from vmax.run_folder import RunFolder
from vmax.training.logger import Logger
from vmax.training.program import Program, Sizes
from vmax.training.progress import ProgressReport


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


@dataclass
class Run:
    """A run in progress: what was configured, the compiled parts, and where it stands."""

    config: RunConfig
    folder: RunFolder
    env: Any
    algorithm: Any
    program: Program
    params: Any
    validation: Validation
    checkpoints: Checkpoints
    logger: Logger
    counters: Counters
    began: float
    pending: tuple[int, Any] | None = None

    def say(self, line: str, report: ProgressReport | None = None) -> None:
        """Tells the user and train.log."""
        self.folder.append_log(line)
        if report is None:
            print(line, flush=True)
        else:
            report.message(line)


def build_program(config: RunConfig, env: Environment, algorithm: Any) -> Program:
    """The compiled part for this configuration; sizes are shared out over the devices."""
    t, n = config.training, devices.count()
    updates = (config.planned_steps - t.warmup_steps) // (t.num_envs * t.unroll) * t.updates_per_iteration
    context = None
    if getattr(config.algorithm, "post_decision_critic", False) and env.post_decision is not None:
        context = env.post_decision_context(env.params("train"))
    spec = Spec(
        observation_space=env.observation_space,
        action_space=env.action_space,
        total_updates=updates,
        axis=devices.AXIS,
        post_decision=env.post_decision,
        context=context,
        controlled=env.observation_space.entries(env.controlled),
    )
    sizes = Sizes(
        num_envs=t.num_envs // n,
        unroll=t.unroll,
        updates=t.updates_per_iteration,
        batch_size=t.batch_size // n,
        replay_capacity=t.replay_capacity // n,
        n_step=config.algorithm.n_step,
        discount=config.algorithm.discount,
    )
    return Program(env, algorithm, spec, sizes)
