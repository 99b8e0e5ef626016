"""The chunks of a run, one after the other: what is due between them, and what ends them.

The host reads the record of a chunk one chunk late, so it never waits; where something is due (evaluation, checkpoint,
an end) it catches up first, and what is not finite is neither evaluated nor saved.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax

from vmax import devices
from vmax.activity import doing
from vmax.algorithms.algorithm import Valuing
from vmax.errors import UserError
from vmax.evaluation.episodes import cut_message
from vmax.files import DiskFull
from vmax.training.finite import Fault, in_words, when
from vmax.training.program import DAYS, FAULT, RunState
from vmax.training.progress import ProgressReport
from vmax.training.run import Counters, Run
from vmax.training.signals import Stopped
from vmax.training.stopping import Deadline, Ending, early_ending


@dataclass(frozen=True)
class Pending:
    """A chunk whose figures are still to be logged: the environment steps and updates done after it, and its record
    (or, after a rescue, its figures)."""

    step: int
    updates: int
    record: Any
    figures: dict[str, float] | None = None


class Chunks:
    """The compiled chunk with the state that it moves on, and the record that is still to be read."""

    def __init__(self, run: Run, state: RunState, chunk: Any, rescued: dict[str, float] | None = None) -> None:
        """`rescued`: figures of the chunk after which an error ended the run, which is to be looked at first."""
        self.run, self.state, self.chunk = run, state, chunk
        self.rescued, self.pending = rescued, None
        self.unread: Pending | None = None
        self.before: Counters | None = None
        self.told_of_cuts = False
        self.started = time.monotonic()

    def go(self) -> Ending:
        """Chunks until the planned steps are done or something ends them before."""
        run, counters, end = self.run, self.run.counters, self.run.config.planned_steps
        deadline = Deadline(run.config.time_budget_s, run.process_began)
        with run.signals.saved_first(), ProgressReport(end) as report:
            try:
                self.started, ending = time.monotonic(), self._look_again()
                while ending is None and counters.step < end:
                    doing("chunk", f"after step {counters.step}")
                    late = self._advance()
                    self._read(late)
                    ending = self._look(run.signals.received, deadline)
                    report.update(counters.step, counters.updates, self._note())
            except Stopped as stopped:
                self._keep()
                return Ending("interrupted", stopped.args[0])
            except (UserError, DiskFull):
                raise
            except Exception:
                self._rescue()
                raise
        return ending or Ending("completed")

    def _advance(self) -> Pending | None:
        """Starts the next chunk; returns the record of the one before, if it is still to be read."""
        run, t = self.run, self.run.config.training
        self.state, record = self.chunk(self.state, run.stages.params)
        if devices.count() > 1 and jax.default_backend() == "cpu":  # queued collectives would starve each other
            jax.block_until_ready(record)
        per_chunk = t.log_every // (t.num_envs * t.unroll) * t.updates_per_iteration
        counters, late = run.counters, self.pending
        self.pending = Pending(counters.step + t.log_every, counters.updates + per_chunk, record)
        counters.step, counters.updates = self.pending.step, self.pending.updates
        return late

    def _read(self, late: Pending | None) -> None:
        """Logs a chunk with which nothing else was due."""
        self.unread = late
        if late is not None:
            figures = self._figures(late)
            self._lap()
            self._log(late, figures, {})
        self.unread = None

    def _look(self, signal: str | None, deadline: Deadline | None) -> Ending | None:
        """Evaluates, logs and saves where that is due; returns what ends the run here, if anything does."""
        run, config = self.run, self.run.config
        step = run.counters.step
        done, last = step - config.training.warmup_steps, step >= config.planned_steps
        ending = None if signal is None else Ending("interrupted", signal)
        if ending is None and deadline is not None and deadline.near() and not last:
            ending = Ending("interrupted", f"time_budget_s={config.time_budget_s:g}")
        evaluating = last or done % config.training.eval_every == 0
        saving = last or ending is not None or done % config.checkpoint.every == 0
        if self.pending is not None and (evaluating or saving):
            pending, figures = self.pending, self._figures(self.pending)
            self._lap()
            self.before = replace(run.counters, improvement=replace(run.counters.improvement))
            evaluated = self._evaluate() if evaluating else {}
            self._log(pending, figures, evaluated)
            self.pending = self.before = None
            if evaluating and not last:
                early = early_ending(config.stopping, run.counters.improvement, run.counters.last_score, step)
                ending = early or ending
            if saving or ending is not None:
                self._save({})
            self.started = time.monotonic()
        return None if last else ending

    def _look_again(self) -> Ending | None:
        """What was due when an error ended the run, and was not done."""
        counters = self.run.counters
        if self.rescued is None:
            return None
        self.pending = Pending(counters.step, counters.updates, None, self.rescued)
        return self._look(None, None)

    def _note(self) -> str:
        """What the progress tells besides."""
        counters, days = self.run.counters, self.run.days
        notes = [] if days is None else [days.progress(counters.step)]
        notes += [] if counters.last_score is None else [f"validation {counters.last_score:.3f}"]
        return ", ".join(notes)

    def _figures(self, pending: Pending) -> dict[str, float]:
        """The figures of a chunk; waits until it is computed.

        Raises UserError for what is not finite: what the environment gave, else the first figure.
        """
        if pending.figures is not None:
            return pending.figures
        read = devices.fetch({name: value for name, value in pending.record.items() if name != DAYS})
        self._check_environment(pending.step, read.pop(FAULT))
        figures = {name: float(value) for name, value in read.items()}
        finite = figures.pop("finite")
        bad = next((name for name, value in figures.items() if not math.isfinite(value)), None)
        if bad or not finite:
            raise self._diverged(pending.step, f"train/{bad}" if bad else "a parameter")
        return figures

    def _check_environment(self, step: int, fault: Fault) -> None:
        """Raises UserError if the environment gave something that is not finite, up to this step."""
        env = self.run.env
        said = in_words(fault, env.observation_space, math.prod(env.action_space.shape))
        if said is not None:
            raise UserError(f"step {when(fault, step, self.run.config.training.num_envs)}: {said}; {self._last_good()}")

    def _diverged(self, step: int, what: str) -> UserError:
        """What to do about learning that diverged: a resume keeps its settings, a new run may have others."""
        kept, smaller = self.run.checkpoints.steps(), "a smaller algorithm.learning_rate"
        begin = f"begin a new run with init_from={self.run.folder.path} and {smaller}" if kept else f"try {smaller}"
        return UserError(f"step {step}: {what} is not finite; {self._last_good()}; {begin}")

    def _last_good(self) -> str:
        kept = self.run.checkpoints.steps()
        return f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"

    def _lap(self) -> None:
        """Counts the time since the last lap as training."""
        now = time.monotonic()
        self.run.counters.training_time_s += now - self.started
        self.started = now

    def _log(self, pending: Pending, figures: dict[str, float], evaluated: dict[str, float]) -> None:
        """One row of metrics; its rates are those up to its own record, which was the last to be waited for."""
        run = self.run
        elapsed = max(run.counters.training_time_s, 1e-9)
        unknown = () if figures["episodes"] else ("episode_return", "episode_length")
        row = {f"train/{name}": value for name, value in figures.items() if name not in unknown}
        row |= {f"eval/{name}": value for name, value in evaluated.items()}
        if run.days is not None:
            row["train/epochs"] = run.days.done(pending.step) / run.days.per_epoch
            self._log_days(pending)
        row["speed/env_steps_per_s"] = (pending.step - run.config.training.warmup_steps) / elapsed
        row["speed/updates_per_s"] = pending.updates / elapsed
        run.logger.record(pending.step, row)

    def _log_days(self, pending: Pending) -> None:
        run = self.run
        if run.days is not None and run.config.logging.days and pending.record is not None:
            run.logger.days(run.days.rows(pending.step, devices.gather(pending.record[DAYS])))

    def _evaluate(self) -> dict[str, float]:
        """Figures of the current policy on the validation split; the best one is saved. Raises UserError, Stopped."""
        run, learner = self.run, self.state.learner
        doing("evaluation on the validation split", f"step {run.counters.step}")
        policy = devices.fetch(run.algorithm.policy(learner, averaged=True))
        valuing = isinstance(run.algorithm, Valuing)
        with run.signals.cut_short():
            figures = run.validation(policy, devices.fetch(run.algorithm.critics(learner)) if valuing else None)
        if figures.get("episodes_cut") and not self.told_of_cuts:
            self.told_of_cuts = True
            run.say(f"warning: {cut_message(int(figures['episodes_cut']), run.validation.longest)}")
        if run.validation.calibration is not None:
            run.validation.calibration.write(run.folder.calibration)
        score, counters = figures["score"], run.counters
        if not math.isfinite(score):
            raise UserError(
                f"step {counters.step}: eval/score is not finite, though all parameters are: the environment gives "
                f"something that is not on the validation split; {self._last_good()}"
            )
        counters.last_score = score
        counters.improvement.note(score, run.config.stopping.min_improvement)
        if counters.best_score is None or score > counters.best_score:
            counters.best_score, counters.best_step = score, counters.step
            run.checkpoints.save_best(counters.step, {"policy": policy}, {"score": score})
        every = run.config.checkpoint.policy_every
        if every is not None and (counters.step - run.config.training.warmup_steps) % every == 0:
            run.checkpoints.save_policy(counters.step, {"policy": policy}, {"score": score})
        if run.seasons is not None:
            run.seasons.record(counters.step, policy)
        run.folder.append_log(f"step {counters.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
        return figures

    def _save(self, meta: dict[str, Any]) -> None:
        """A checkpoint from which the run goes on exactly as if it had not stopped."""
        run = self.run
        doing("checkpoint", f"step {run.counters.step}")
        run.counters.wall_time_s = time.monotonic() - run.began
        meta = {**meta, "counters": asdict(run.counters), "log_bytes": run.folder.log_bytes()}
        run.checkpoints.save(run.counters.step, items(run, self.state), meta)

    def _rescue(self) -> None:
        """After an unforeseen error: saves what has been learned, if it is whole; what was due is done by a resume."""
        run = self.run
        with suppress(Exception):
            if self.pending is None or self.unread is not None:  # saved already, or a row of metrics would be missing
                return
            self._keep()
            run.say(f"saved at step {run.counters.step}; go on with resume={run.folder.path}")

    def _keep(self) -> None:
        """Saves the chunk that is still to be looked at: a resume evaluates and logs it first."""
        assert self.pending is not None
        self.run.counters = self.before or self.run.counters  # as before an evaluation that broke off
        figures = self._figures(self.pending)
        self._log_days(self.pending)
        self._save({"rescued": figures})


def items(run: Run, state: RunState) -> dict[str, Any]:
    """What a checkpoint holds of a state."""
    policy = devices.fetch(run.algorithm.policy(state.learner, averaged=True))
    parts = {"state": replace(state, replay=None), "policy": policy}
    keeps = run.config.checkpoint.save_replay and state.replay is not None
    return parts | ({"replay": state.replay} if keeps else {})
