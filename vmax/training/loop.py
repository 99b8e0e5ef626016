"""A training run from end to end: place, warm up, run chunks, and end with the comparison.

Everything that random numbers follow from is in the saved state, so a run that was killed and resumed equals one that
was not. What happens between chunks stands in `chunks.py`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from vmax import devices, envs
from vmax.activity import Watchdog, doing, under_way
from vmax.algorithms import make_algorithm
from vmax.checkpoint import Checkpoints, disk_need
from vmax.config import RunConfig
from vmax.errors import UserError
from vmax.evaluation.validation import Validation
from vmax.files import DiskFull
from vmax.run_folder import FINISHED, RunFolder
from vmax.training.chunks import Chunks, items
from vmax.training.day_plan import DayCount, in_days
from vmax.training.finish import conclude, fail
from vmax.training.logger import Logger
from vmax.training.program import RunState
from vmax.training.run import Counters, Run, Stages, trace
from vmax.training.schedules import new_rate
from vmax.training.seasons import season_log
from vmax.training.signals import Signals
from vmax.training.stopping import early_ending
from vmax.training.trackers import tracker
from vmax.training.warm_start import begin_with, changed_since, networks_of


@dataclass(frozen=True)
class Beginning:
    """Where a run begins: at a checkpoint, or (no state) before its first step.

    `learned`: networks of another run that it begins with. `rescued`: figures of the chunk after which an error ended
    it.
    """

    counters: Counters
    state: RunState | None = None
    learned: Any = None
    rescued: dict[str, float] | None = None


def train(config: RunConfig, folder_path: Path, composed: DictConfig) -> dict[str, Any]:
    """Run, or resume, what `config` says in `folder_path`; returns the content of result.json.

    Raises: UserError (bad input, or a run that went non-finite), DiskFull. The folder's run.json says how it ended.
    """
    process_began, folder = time.monotonic(), RunFolder(folder_path)
    signals = Signals(lambda reason: _ended(folder, reason))
    with signals, Watchdog(folder_path, config.watchdog_s, lambda line: _warn(folder, line)):
        return _train_watched(config, folder, composed, signals, process_began)


def _ended(folder: RunFolder, reason: str) -> None:
    """Puts on record that a run under way was ended."""
    if folder.record().get("status") == "running":
        folder.finish("interrupted", reason)


def _train_watched(
    config: RunConfig, folder: RunFolder, composed: DictConfig, signals: Signals, process_began: float
) -> dict[str, Any]:
    """As `train`, with signals taken over and something that notices where nothing moves."""
    doing("environment and data")
    env = envs.make(config.env)
    config = in_days(config, env)
    algorithm = make_algorithm(config.algorithm, config.network)
    doing("tracing the training program")
    stages = trace(config, env, algorithm)  # mistakes that only tracing finds, before anything is written
    checkpoints = _checkpoints(config, folder)
    beginning = _beginning(config, folder, checkpoints, stages, composed)
    for line in changed_since(config, folder, beginning.learned is not None):
        _warn(folder, line)
    folder.start(config.seed, devices.hardware(), beginning.counters.step, name=config.name, data=list(env.data_notes))
    run = None
    try:
        doing("baselines on the validation split")
        settings, spec, counters = config.evaluation, stages.program.spec, beginning.counters
        validation = Validation(
            env, algorithm, "validation", settings.error_draws, settings.days, spec=spec,
            max_episode_steps=settings.max_episode_steps,
        )  # fmt: skip
        told = tracker(config.logging.tracker, folder, config.logging.project, lambda line: _warn(folder, line))
        logger, days = Logger(folder, config.logging.jsonl, told), DayCount.of(config, env)
        seasons = season_log(config, env, algorithm, folder, logger)
        began = process_began - counters.wall_time_s
        run = Run(
            config, folder, env, algorithm, stages, validation, checkpoints, logger, counters, began, process_began,
            days, seasons, signals,
        )  # fmt: skip
        return _train(run, beginning)
    except (KeyboardInterrupt, SystemExit):
        saved = checkpoints.steps()
        how = f"go on with resume= from step {saved[-1]}" if saved else "nothing was saved before"
        _ended(folder, f"ended by {signals.received or 'a signal'} during: {under_way()}; {how}")
        raise
    except Exception as error:
        with suppress(DiskFull):  # a full disk may not take this record either
            fail(folder, run, (str(error).splitlines() or [type(error).__name__])[0])
        raise


def _checkpoints(config: RunConfig, folder: RunFolder) -> Checkpoints:
    return Checkpoints(folder.checkpoints, config.checkpoint.keep, warn=lambda line: _warn(folder, line))


def _beginning(
    config: RunConfig, folder: RunFolder, checkpoints: Checkpoints, stages: Stages, composed: DictConfig
) -> Beginning:
    """Where the run begins; a resumed one is refused, if it is, before run.json says that it goes on."""
    if config.resume is None:
        return Beginning(Counters(), learned=networks_of(config, stages))
    if checkpoints.steps() or folder.record().get("status") in FINISHED:
        beginning = _restore(config, folder, checkpoints, stages)
    else:
        beginning = Beginning(Counters(), learned=networks_of(config, stages))
        _begin_anew(folder, checkpoints)
    settings = {str(key): value for key, value in composed.items()}
    folder.save_config(settings, [], new=False)  # total_steps and the like may have been changed
    return beginning


def _train(run: Run, beginning: Beginning) -> dict[str, Any]:
    """Everything from the warm-up to result.json."""
    state, chunk = _prepare(run, beginning)
    run.say(_introduction(run, state))
    for note in run.env.data_notes:
        run.say(f"data: {note}")
    ending = Chunks(run, state, chunk, beginning.rescued).go()
    run.counters.wall_time_s = time.monotonic() - run.began
    return conclude(run, ending)


def _prepare(run: Run, beginning: Beginning) -> tuple[RunState, Any]:
    """The warmed-up state (fresh, or restored) and the compiled chunk."""
    stages, fresh = run.stages, beginning.state is None
    doing("first state and warm-up")
    state: Any = stages.initialise(stages.keys, stages.params) if fresh else beginning.state
    if fresh and beginning.learned is not None:
        state = begin_with(state, beginning.learned)
    if fresh or not run.config.checkpoint.save_replay:
        state = stages.warm_up(state, stages.params)
        run.counters.step = run.config.training.warmup_steps if fresh else run.counters.step
    doing("compiling the training program")
    started = time.monotonic()
    chunk = stages.chunk.compile()
    run.counters.compile_time_s += stages.lowering_s + time.monotonic() - started
    return state, chunk


def _restore(config: RunConfig, folder: RunFolder, checkpoints: Checkpoints, stages: Stages) -> Beginning:
    """The newest whole checkpoint; the folder is cut back to it. Raises UserError.

    The learner's numbers are those of the configuration: with other total_steps its schedules end elsewhere.
    """
    program, shapes = stages.program, stages.shapes
    targets = {"state": replace(shapes, replay=None)}
    if config.checkpoint.save_replay:
        targets["replay"] = shapes.replay
    with folder.differences_told(devices.hardware()):
        restored = checkpoints.restore(targets)
    counters = Counters.of(restored.meta["counters"])
    planned, status = config.planned_steps, folder.record().get("status")
    early = early_ending(config.stopping, counters.improvement, counters.last_score, counters.step)
    if early is not None and status == "stopped_early":
        raise UserError(f"resume={folder.path}: stopped early ({early.reason}); change stopping to go on")
    if counters.step >= planned and status == "completed":
        longer = "total_steps" if config.training.schedule == "steps" else "training.epochs"
        raise UserError(
            f"resume={folder.path}: the run is done at step {counters.step} of {planned}; raise {longer} to go on"
        )
    folder.cut_back(counters.step, restored.meta["log_bytes"])
    checkpoints.sweep()
    checkpoints.discard_after(counters.step)
    state = restored.items["state"]
    replay = restored.items.get("replay")
    if replay is None:
        empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes.replay)
        replay = devices.shard(empty)
    hyper = devices.parallel(lambda key: program.algorithm.init(key, program.spec).hyper, donate=())(stages.keys)
    folder.append_log(f"resumed from step {counters.step}")
    if changed := new_rate(config, state.learner, hyper, counters.step):
        _warn(folder, changed)
    state = replace(state, replay=replay, learner=replace(state.learner, hyper=hyper))
    return Beginning(counters, state, rescued=restored.meta.get("rescued"))


def _begin_anew(folder: RunFolder, checkpoints: Checkpoints) -> None:
    """Empties the folder of a run that ended before its first checkpoint: what it logged is done once more."""
    folder.cut_back(0, 0)
    checkpoints.sweep()
    checkpoints.discard_after(0)
    folder.append_log("begun anew: the run ended before its first checkpoint")


def _introduction(run: Run, state: RunState) -> str:
    parts = items(run, state)
    need = disk_need(parts, {"policy": parts["policy"]}, run.config.checkpoint.keep)
    marks = ", ".join(f"{name} {score:.3f}" for name, score in run.validation.references.items())
    return (
        f"{run.algorithm.name} on {run.env.name}: {run.config.planned_steps:,} steps"
        f"{f' ({run.days.introduction()})' if run.days else ''} with "
        f"{run.config.training.num_envs} environments on {devices.count()} device(s); "
        f"checkpoints need up to {need / 2**20:,.0f} MiB in {run.folder.path}"
        + (f"; on the validation split: {marks}" if marks else "")
    )


def _warn(folder: RunFolder, line: str) -> None:
    folder.append_log(f"warning: {line}")
    print(f"warning: {line}", flush=True)
