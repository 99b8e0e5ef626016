"""The one training loop: place, warm up, run chunks, evaluate, log, save, and end with the comparison.

The host reads the record of a chunk one chunk late, so it never waits; where something is due (evaluation, checkpoint,
a signal) it catches up first. Everything that random numbers follow from is in the saved state, so a run that was
killed and resumed equals one that was not.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from omegaconf import DictConfig, OmegaConf

from vmax import devices, envs
from vmax.algorithms import make_algorithm
from vmax.checkpoint import Checkpoints, disk_need
from vmax.config import RunConfig
from vmax.errors import UserError
from vmax.evaluation.validation import Validation
from vmax.run_folder import DiskFull, RunFolder, Status
from vmax.training.finish import conclude
from vmax.training.logger import Logger
from vmax.training.program import Program, RunState
from vmax.training.progress import ProgressReport
from vmax.training.run import Counters, Run, build_program
from vmax.training.signals import StopRequest, terminated_as_exit


def train(config: RunConfig, folder_path: Path, composed: DictConfig) -> dict[str, Any]:
    """Run, or resume, what `config` says in `folder_path`; returns the content of result.json.

    Raises: UserError (bad input, or a run that went non-finite), DiskFull. The folder's run.json says how it ended.
    """
    began, folder = time.monotonic(), RunFolder(folder_path)
    env = envs.make(config.env)
    algorithm = make_algorithm(config.algorithm, config.network)
    program = build_program(config, env, algorithm)
    params = devices.replicate(env.params("train"), devices.count())
    checkpoints = Checkpoints(folder.checkpoints, config.checkpoint.keep, warn=lambda line: _warn(folder, line))
    counters, state = Counters(), None
    if config.resume is not None:  # refused or not, before run.json says that the run goes on
        counters, state = _restore(config, folder, checkpoints, program, params)
        settings = {str(key): value for key, value in composed.items()}
        folder.save_config(settings, [], new=False)  # total_steps may have been raised
    folder.start(config.seed, devices.hardware(), name=config.name)
    try:
        with terminated_as_exit():
            validation = Validation(env, algorithm, "validation", config.evaluation.error_draws)
            began -= counters.wall_time_s
            logger = Logger(folder)
            run = Run(config, folder, env, algorithm, program, params, validation, checkpoints, logger, counters, began)
            return _train(run, state, composed)
    except (KeyboardInterrupt, SystemExit):
        folder.finish("interrupted", "ended by a signal without saving")
        raise
    except Exception as error:
        with suppress(DiskFull):  # a full disk may not take this record either
            folder.finish("failed", (str(error).splitlines() or [type(error).__name__])[0])
        raise


def _train(run: Run, state: RunState | None, composed: DictConfig) -> dict[str, Any]:
    """Everything from the warm-up to result.json."""
    counters = run.counters
    state, chunk = _prepare(run, state)
    run.say(_introduction(run, state))
    status = _loop(run, state, chunk)
    counters.wall_time_s = time.monotonic() - run.began
    run.logger.flush()
    result = conclude(run, status, OmegaConf.to_container(composed))
    run.logger.close()
    run.folder.finish(status, None if status == "completed" else f"stopped at step {counters.step}; go on with resume=")
    return result


def _prepare(run: Run, restored: RunState | None) -> tuple[RunState, Any]:
    """The warmed-up state (fresh, or restored) and the compiled chunk."""
    t = run.config.training
    block = t.num_envs * t.unroll
    initialise, warm_up, chunk = run.program.compiled(t.log_every // block, t.warmup_steps // block)
    fresh = restored is None
    state: Any = restored
    if fresh:
        keys = devices.replicate(jax.random.key(run.config.seed), devices.count())
        state = initialise(keys, run.params)
    if fresh or not run.config.checkpoint.save_replay:
        state = warm_up(state, run.params)
        run.counters.step = t.warmup_steps if fresh else run.counters.step
    started = time.monotonic()
    chunk = chunk.lower(state, run.params).compile()
    run.counters.compile_time_s += time.monotonic() - started
    return state, chunk


def _loop(run: Run, state: RunState, chunk: Any) -> Status:
    """Chunks until the planned steps are done or a signal asks to stop; returns the status."""
    config, counters = run.config, run.counters
    t = config.training
    per_chunk = t.log_every // (t.num_envs * t.unroll) * t.updates_per_iteration
    emulated = devices.count() > 1 and jax.default_backend() == "cpu"
    end = config.planned_steps
    with StopRequest() as stop, ProgressReport(end) as report:
        while counters.step < end and not stop.received:
            started = time.monotonic()
            state, record = chunk(state, run.params)
            if emulated:  # queued collectives would starve each other of threads
                jax.block_until_ready(record)
            late = run.pending
            run.pending = (counters.step + t.log_every, record)
            counters.step += t.log_every
            counters.updates += per_chunk
            done = counters.step - t.warmup_steps
            last = counters.step >= end
            if late is not None:
                _log(run, *late)
            if not (last or stop.received or done % t.eval_every == 0 or done % config.checkpoint.every == 0):
                counters.training_time_s += time.monotonic() - started
            else:
                jax.block_until_ready(record)
                counters.training_time_s += time.monotonic() - started
                evaluated = _evaluate(run, state) if last or done % t.eval_every == 0 else {}
                _catch_up(run, evaluated)
                if last or stop.received or done % config.checkpoint.every == 0:
                    _save(run, state)
            note = "" if counters.last_score is None else f"validation {counters.last_score:.3f}"
            report.update(counters.step, counters.updates, note)
    if stop.received and counters.step < end:
        run.say(f"{stop.received}: saved at step {counters.step}; go on with resume={run.folder.path}")
        return "interrupted"
    return "completed"


def _log(run: Run, step: int, record: Any, more: dict[str, float] | None = None) -> None:
    """One row of metrics. Raises UserError for the first figure that is not finite."""
    figures = {name: float(value) for name, value in devices.fetch(record).items()}
    finite = figures.pop("finite")
    bad = next((name for name, value in figures.items() if not math.isfinite(value)), None)
    if bad or not finite:
        what = f"train/{bad} is not finite" if bad else "a parameter is not finite"
        kept = run.checkpoints.steps()
        last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        raise UserError(f"step {step}: {what}; {last}; try a smaller algorithm.learning_rate")
    if not figures["episodes"]:
        for name in ("episode_return", "episode_length"):
            figures.pop(name)
    c = run.counters
    elapsed = max(c.training_time_s, 1e-9)
    speed = {
        "speed/env_steps_per_s": (c.step - run.config.training.warmup_steps) / elapsed,
        "speed/updates_per_s": c.updates / elapsed,
    }
    run.logger.record(step, {**{f"train/{k}": v for k, v in figures.items()}, **(more or {}), **speed})


def _catch_up(run: Run, evaluated: dict[str, float]) -> None:
    """Logs the record that is still to come, with the evaluation at the same step if there was one."""
    if run.pending is not None:
        step, record = run.pending
        run.pending = None
        _log(run, step, record, {f"eval/{name}": value for name, value in evaluated.items()})
        run.logger.flush()


def _evaluate(run: Run, state: RunState) -> dict[str, float]:
    """Figures of the current policy on the validation split; the best one is saved."""
    policy = devices.fetch(run.algorithm.policy(state.learner, averaged=True))
    figures = run.validation(policy)
    score, counters = figures["score"], run.counters
    counters.last_score = score
    if counters.best_score is None or score > counters.best_score:
        counters.best_score, counters.best_step = score, counters.step
        run.checkpoints.save_best(counters.step, {"policy": policy}, {"score": score})
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
    config: RunConfig, folder: RunFolder, checkpoints: Checkpoints, program: Program, params: Any
) -> tuple[Counters, RunState]:
    """The newest whole checkpoint, as counters and state; the folder is cut back to it. Raises UserError.

    The learner's numbers are those of the configuration: with other total_steps its schedules end elsewhere.
    """
    initialise = program.compiled(1, 1)[0]
    keys = devices.replicate(jax.random.key(config.seed), devices.count())
    shapes = jax.eval_shape(initialise, keys, params)
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=devices.sharding()), shapes)
    targets = {"state": target.replace(replay=None)}
    if config.checkpoint.save_replay:
        targets["replay"] = target.replay
    restored = checkpoints.restore(targets)
    counters = Counters(**restored.meta["counters"])
    planned = config.planned_steps
    if counters.step >= planned and folder.record().get("status") == "completed":
        raise UserError(
            f"resume={folder.path}: the run is done at step {counters.step} of {planned}; raise total_steps to go on"
        )
    folder.cut_back(counters.step, restored.meta["log_bytes"])
    checkpoints.discard_after(counters.step)
    state = restored.items["state"]
    replay = restored.items.get("replay")
    if replay is None:
        empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), target.replay)
        replay = devices.shard(empty)
    hyper = devices.parallel(lambda key: program.algorithm.init(key, program.spec).hyper)(keys)
    folder.append_log(f"resumed from step {counters.step}")
    return counters, replace(state, replay=replay, learner=replace(state.learner, hyper=hyper))


def _introduction(run: Run, state: RunState) -> str:
    items = _items(run, state)
    need = disk_need(items, {"policy": items["policy"]}, run.config.checkpoint.keep)
    marks = ", ".join(f"{name} {score:.3f}" for name, score in run.validation.references.items())
    return (
        f"{run.algorithm.name} on {run.env.name}: {run.config.planned_steps:,} steps with "
        f"{run.config.training.num_envs} environments on {devices.count()} device(s); "
        f"checkpoints need up to {need / 2**20:,.0f} MiB in {run.folder.path}"
        + (f"; on the validation split: {marks}" if marks else "")
    )


def _warn(folder: RunFolder, line: str) -> None:
    folder.append_log(f"warning: {line}")
    print(f"warning: {line}", flush=True)
