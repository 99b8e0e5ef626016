"""Training runs as jobs of a comparison: each a process of its own, watched from outside through what it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vmax.run_folder import FINISHED, RunFolder, read_metrics

State = Literal["waiting", "running", "done", "failed", "interrupted"]
PROGRAM = "from vmax.commands.train import main; main()"
GRACE_S = 20.0
"""What a process is given to save and end before it is killed."""


@dataclass
class Job:
    """One run. `name` is that of its folder, `group` that of the runs that differ in their seeds alone (None: by
    algorithm and network); `steps` are what it is to do, None: known from its data only."""

    name: str
    group: str | None
    overrides: tuple[str, ...]
    steps: int | None
    state: State = "waiting"
    reason: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """What a running job has written so far: environment steps, last validation score, steps per second, seconds to
    go."""

    step: int
    score: float | None
    steps_per_s: float | None
    left_s: float | None


@dataclass
class Process:
    """A job that runs in `folder`, and when it last gave a sign of life."""

    job: Job
    folder: Path
    popen: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    killed: str | None = None

    @classmethod
    def start(cls, job: Job, folder: Path, threads: int | None) -> Process:
        """Starts the job, or goes on with what was begun of it; what it prints goes to FOLDER.log."""
        run = RunFolder(folder)
        begun = run.run_json.exists()
        overrides = [f"resume={folder}"] if begun else [*job.overrides, f"hydra.run.dir={folder}"]
        if threads is not None and not begun and not any(o.startswith("threads=") for o in overrides):
            overrides.append(f"threads={threads}")
        job.state, job.reason = "running", None
        with Path(f"{folder}.log").open("ab") as log:
            popen = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *overrides],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        return cls(job, folder, popen)

    def silent_s(self) -> float:
        """Seconds since anything was written into the run's folder or its log."""
        places = [Path(f"{self.folder}.log"), *self.folder.glob("*"), *self.folder.glob("*/*")]
        latest = max((_modified(path) for path in places), default=0.0)
        return min(time.time() - latest, time.monotonic() - self.began)

    def ended(self, stall_timeout_s: float) -> bool:
        """Whether the job is over; one that has been silent for too long is made to be."""
        if self.popen.poll() is None and self.silent_s() > stall_timeout_s:
            self.killed = f"no sign of life for {stall_timeout_s:g} s"
            self.stop()
        if self.popen.poll() is None:
            return False
        self.job.seconds += time.monotonic() - self.began
        self.job.state, self.job.reason = self._outcome()
        return True

    def stop(self) -> None:
        """Asks the process to save and end, and kills it where it does not."""
        self._signal(signal.SIGTERM)
        try:
            self.popen.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.popen.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def _outcome(self) -> tuple[State, str | None]:
        folder = RunFolder(self.folder)
        record = folder.record()
        status = record.get("status")
        if status in FINISHED and (self.popen.returncode == 0 or self.killed is not None):
            return "done", None
        if self.killed is not None:
            if record:
                folder.finish("failed", self.killed)
            return "failed", self.killed
        if status == "interrupted":
            return "interrupted", record.get("reason")
        reason = record.get("reason") if status == "failed" else None
        return "failed", reason or last_line(Path(f"{self.folder}.log")) or f"exit status {self.popen.returncode}"


def is_finished(folder: Path) -> bool:
    """Whether an earlier run in the folder needs nothing more."""
    return RunFolder(folder).record().get("status") in FINISHED


def progress(job: Job, folder: Path) -> Progress | None:
    """What the run has written of itself, or None before its first record."""
    columns, rows = read_metrics(folder / "metrics.csv")
    if not rows:
        return None
    at = {name: columns.index(name) for name in ("step", "time_s", "eval/score") if name in columns}
    step = int(rows[-1][at["step"]])
    scores = [row[at["eval/score"]] for row in rows if row[at["eval/score"]]] if "eval/score" in at else []
    span_s = float(rows[-1][at["time_s"]]) - float(rows[0][at["time_s"]])
    speed = (step - int(rows[0][at["step"]])) / span_s if span_s > 0 else None
    left_s = max(job.steps - step, 0) / speed if speed and job.steps is not None else None
    return Progress(step, float(scores[-1]) if scores else None, speed, left_s)


def last_line(path: Path) -> str | None:
    """The last line of a log that is not empty, without the word `error:` before it."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else None


def folder_name(overrides: Sequence[str]) -> str:
    """A name for a run's folder from what tells it from the others: `algorithm-sac_seed-0`."""
    plain = "_".join(override.replace("=", "-") for override in overrides)
    return "".join(letter if letter.isalnum() or letter in "-_.+" else "-" for letter in plain) or "run"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0
