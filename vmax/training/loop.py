"""The one training loop: place, warm up, run chunks, evaluate, log, save, and end with the comparison.

The host reads the record of a chunk one chunk late, so it never waits; where something is due (evaluation, checkpoint,
a signal) it catches up first, and what is not finite is neither evaluated nor saved. Everything that random numbers
follow from is in the saved state, so a run that was killed and resumed equals one that was not.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from vmax import devices, envs
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Valuing
from vmax.checkpoint import Checkpoints, disk_need
from vmax.config import RunConfig
from vmax.errors import UserError
from vmax.evaluation.validation import Validation
from vmax.run_folder import DiskFull, RunFolder, Status
from vmax.training.day_plan import DayCount, in_days
from vmax.training.finish import conclude
from vmax.training.logger import Logger
from vmax.training.program import DAYS, RunState
from vmax.training.progress import ProgressReport
from vmax.training.run import Counters, Run, Stages, trace
from vmax.training.seasons import season_log
from vmax.training.signals import StopRequest, terminated_as_exit


@dataclass(frozen=True)
class Pending:
    """A chunk whose record is still to be read: the environment steps and updates done after it, and the record."""

    step: int
    updates: int
    record: Any


def train(config: RunConfig, folder_path: Path, composed: DictConfig) -> dict[str, Any]:
    """Run, or resume, what `config` says in `folder_path`; returns the content of result.json.

    Raises: UserError (bad input, or a run that went non-finite), DiskFull. The folder's run.json says how it ended.
    """
    began, folder = time.monotonic(), RunFolder(folder_path)
    env = envs.make(config.env)
    config = in_days(config, env)
    algorithm = make_algorithm(config.algorithm, config.network)
    stages = trace(config, env, algorithm)  # mistakes that only tracing finds, before anything is written
    checkpoints = Checkpoints(folder.checkpoints, config.checkpoint.keep, warn=lambda line: _warn(folder, line))
    counters, state = Counters(), None
    if config.resume is not None:  # refused or not, before run.json says that the run goes on
        if checkpoints.steps() or folder.record().get("status") == "completed":
            counters, state = _restore(config, folder, checkpoints, stages)
        else:
            _begin_anew(folder, checkpoints)
        settings = {str(key): value for key, value in composed.items()}
        folder.save_config(settings, [], new=False)  # total_steps may have been raised
    folder.start(config.seed, devices.hardware(), name=config.name)
    try:
        with terminated_as_exit():
            settings, spec = config.evaluation, stages.program.spec
            validation = Validation(env, algorithm, "validation", settings.error_draws, settings.days, spec=spec)
            began -= counters.wall_time_s
            logger, days = Logger(folder, config.logging.jsonl), DayCount.of(config, env)
            seasons = season_log(config, env, algorithm, folder, logger)
            run = Run(
                config, folder, env, algorithm, stages, validation, checkpoints, logger, counters, began, days, seasons
            )
            return _train(run, state)
    except (KeyboardInterrupt, SystemExit):
        folder.finish("interrupted", "ended by a signal without saving")
        raise
    except Exception as error:
        with suppress(DiskFull):  # a full disk may not take this record either
            folder.finish("failed", (str(error).splitlines() or [type(error).__name__])[0])
        raise


def _train(run: Run, state: RunState | None) -> dict[str, Any]:
    """Everything from the warm-up to result.json."""
    counters = run.counters
    state, chunk = _prepare(run, state)
    run.say(_introduction(run, state))
    status = _loop(run, state, chunk)
    counters.wall_time_s = time.monotonic() - run.began
    result = conclude(run, status)
    run.folder.finish(status, None if status == "completed" else f"stopped at step {counters.step}; go on with resume=")
    return result


def _prepare(run: Run, restored: RunState | None) -> tuple[RunState, Any]:
    """The warmed-up state (fresh, or restored) and the compiled chunk."""
    stages, fresh = run.stages, restored is None
    state: Any = stages.initialise(stages.keys, stages.params) if fresh else restored
    if fresh or not run.config.checkpoint.save_replay:
        state = stages.warm_up(state, stages.params)
        run.counters.step = run.config.training.warmup_steps if fresh else run.counters.step
    started = time.monotonic()
    chunk = stages.chunk.compile()
    run.counters.compile_time_s += stages.lowering_s + time.monotonic() - started
    return state, chunk


def _loop(run: Run, state: RunState, chunk: Any) -> Status:
    """Chunks until the planned steps are done or a signal asks to stop; returns the status."""
    config, counters = run.config, run.counters
    t, end = config.training, config.planned_steps
    per_chunk = t.log_every // (t.num_envs * t.unroll) * t.updates_per_iteration
    emulated = devices.count() > 1 and jax.default_backend() == "cpu"
    pending, stopping = None, None
    with StopRequest() as stop, ProgressReport(end) as report:
        started = time.monotonic()
        while counters.step < end:
            state, record = chunk(state, run.stages.params)
            if emulated:  # queued collectives would starve each other of threads
                jax.block_until_ready(record)
            late, pending = pending, Pending(counters.step + t.log_every, counters.updates + per_chunk, record)
            counters.step, counters.updates = pending.step, pending.updates
            if late is not None:
                figures = _figures(run, late)
                started = _lap(counters, started)
                _log(run, late, figures, {})
            stopping = stop.received
            done, last = counters.step - t.warmup_steps, counters.step >= end
            evaluating = last or done % t.eval_every == 0
            saving = last or stopping is not None or done % config.checkpoint.every == 0
            if evaluating or saving:
                figures = _figures(run, pending)
                _lap(counters, started)
                _log(run, pending, figures, _evaluate(run, state) if evaluating else {})
                pending = None
                if saving:
                    _save(run, state)
                started = time.monotonic()
            notes = [] if run.days is None else [run.days.progress(counters.step)]
            notes += [] if counters.last_score is None else [f"validation {counters.last_score:.3f}"]
            report.update(counters.step, counters.updates, ", ".join(notes))
            if stopping:
                break
    if stopping and counters.step < end:
        run.say(f"{stopping}: saved at step {counters.step}; go on with resume={run.folder.path}")
        return "interrupted"
    return "completed"


def _figures(run: Run, pending: Pending) -> dict[str, float]:
    """The figures of a chunk; waits until it is computed. Raises UserError for the first that is not finite."""
    scalars = {name: value for name, value in pending.record.items() if name != DAYS}
    figures = {name: float(value) for name, value in devices.fetch(scalars).items()}
    finite = figures.pop("finite")
    bad = next((name for name, value in figures.items() if not math.isfinite(value)), None)
    if bad or not finite:
        raise _not_finite(run, pending.step, f"train/{bad}" if bad else "a parameter")
    return figures


def _not_finite(run: Run, step: int, what: str) -> UserError:
    kept = run.checkpoints.steps()
    last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
    return UserError(f"step {step}: {what} is not finite; {last}; try a smaller algorithm.learning_rate")


def _lap(counters: Counters, started: float) -> float:
    """Counts the time since `started` as training; returns the time now."""
    now = time.monotonic()
    counters.training_time_s += now - started
    return now


def _log(run: Run, pending: Pending, figures: dict[str, float], evaluated: dict[str, float]) -> None:
    """One row of metrics; its rates are those up to its own record, which was the last to be waited for."""
    elapsed = max(run.counters.training_time_s, 1e-9)
    unknown = () if figures["episodes"] else ("episode_return", "episode_length")
    row = {f"train/{name}": value for name, value in figures.items() if name not in unknown}
    row |= {f"eval/{name}": value for name, value in evaluated.items()}
    if run.days is not None:
        row["train/epochs"] = run.days.done(pending.step) / run.days.per_epoch
        if run.config.logging.days:
            run.logger.days(run.days.rows(pending.step, devices.gather(pending.record[DAYS])))
    row["speed/env_steps_per_s"] = (pending.step - run.config.training.warmup_steps) / elapsed
    row["speed/updates_per_s"] = pending.updates / elapsed
    run.logger.record(pending.step, row)


def _evaluate(run: Run, state: RunState) -> dict[str, float]:
    """Figures of the current policy on the validation split; the best one is saved. Raises UserError."""
    policy = devices.fetch(run.algorithm.policy(state.learner, averaged=True))
    valuing = isinstance(run.algorithm, Valuing)
    figures = run.validation(policy, devices.fetch(run.algorithm.critics(state.learner)) if valuing else None)
    if run.validation.calibration is not None:
        run.validation.calibration.write(run.folder.calibration)
    score, counters = figures["score"], run.counters
    if not math.isfinite(score):
        raise _not_finite(run, counters.step, "eval/score")
    counters.last_score = score
    if counters.best_score is None or score > counters.best_score:
        counters.best_score, counters.best_step = score, counters.step
        run.checkpoints.save_best(counters.step, {"policy": policy}, {"score": score})
    if run.seasons is not None:
        run.seasons.record(counters.step, policy)
    run.folder.append_log(f"step {counters.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
    return figures


def _save(run: Run, state: RunState) -> None:
    """A checkpoint from which the run goes on exactly as if it had not stopped."""
    run.counters.wall_time_s = time.monotonic() - run.began
    meta = {"counters": vars(run.counters), "log_bytes": run.folder.log_bytes()}
    run.checkpoints.save(run.counters.step, _items(run, state), meta)


def _items(run: Run, state: RunState) -> dict[str, Any]:
    policy = devices.fetch(run.algorithm.policy(state.learner, averaged=True))
    items = {"state": replace(state, replay=None), "policy": policy}
    return items | ({"replay": state.replay} if run.config.checkpoint.save_replay else {})


def _restore(
    config: RunConfig, folder: RunFolder, checkpoints: Checkpoints, stages: Stages
) -> tuple[Counters, RunState]:
    """The newest whole checkpoint, as counters and state; the folder is cut back to it. Raises UserError.

    The learner's numbers are those of the configuration: with other total_steps its schedules end elsewhere.
    """
    here = devices.count()
    then = folder.record().get("hardware", {}).get("devices", here)
    if then != here:
        raise UserError(f"resume={folder.path}: the run was started on {then} device(s), here are {here}")
    program, shapes = stages.program, stages.shapes
    targets = {"state": replace(shapes, replay=None)}
    if config.checkpoint.save_replay:
        targets["replay"] = shapes.replay
    restored = checkpoints.restore(targets)
    counters = Counters(**restored.meta["counters"])
    planned = config.planned_steps
    if counters.step >= planned and folder.record().get("status") == "completed":
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
    return counters, replace(state, replay=replay, learner=replace(state.learner, hyper=hyper))


def _begin_anew(folder: RunFolder, checkpoints: Checkpoints) -> None:
    """Empties the folder of a run that ended before its first checkpoint: what it logged is done once more."""
    folder.cut_back(0, 0)
    checkpoints.sweep()
    checkpoints.discard_after(0)
    folder.append_log("begun anew: the run ended before its first checkpoint")


def _introduction(run: Run, state: RunState) -> str:
    items = _items(run, state)
    need = disk_need(items, {"policy": items["policy"]}, run.config.checkpoint.keep)
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
