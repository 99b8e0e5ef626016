"""The live board of a comparison: what waits, runs, is done or failed; a table on a terminal, else lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from vmax.commands.jobs import Job, Progress, progress

STYLES = {"running": "cyan", "done": "green", "failed": "bold red", "interrupted": "yellow", "waiting": "dim"}


class Board:
    """A context manager; `update` as often as one likes. Where there is no terminal it prints a line for each change of
    a job's state, and one for each running job every `every_s` seconds."""

    def __init__(self, jobs: Sequence[Job], folder: Path, every_s: float = 30.0) -> None:
        self.jobs, self.folder, self.every_s = jobs, folder, every_s
        self.console = Console(file=sys.stderr)
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.told: dict[str, str] = {job.name: job.state for job in jobs}
        self.last = time.monotonic()

    def __enter__(self) -> Board:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()

    def update(self) -> None:
        """Shows where the jobs stand."""
        running = {job.name: self._progress(job) for job in self.jobs if job.state == "running"}
        if self.live is not None:
            self.live.update(self._table(running), refresh=True)
            return
        for job in self.jobs:
            if self.told[job.name] != job.state:
                self.told[job.name] = job.state
                self._say(f"{job.name}: {job.state}{'' if job.reason is None else f' ({job.reason})'}")
        if time.monotonic() - self.last >= self.every_s:
            self.last = time.monotonic()
            for job in self.jobs:
                if job.state == "running":
                    self._say(f"{job.name}: {_told(job, running[job.name])}")
            self._say(summary(self.jobs, running))

    def _progress(self, job: Job) -> Progress | None:
        with suppress(OSError, ValueError, IndexError):  # a row may be half-written at this very moment
            return progress(job, self.folder / job.name)
        return None

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _table(self, running: Mapping[str, Progress | None]) -> Table:
        table = Table(title=summary(self.jobs, running), title_justify="left")
        for heading in ("run", "state", "progress"):
            table.add_column(heading, no_wrap=heading == "run")
        for job in self.jobs:
            told = _told(job, running.get(job.name)) if job.state == "running" else job.reason or ""
            table.add_row(job.name, job.state, told, style=STYLES[job.state])
        return table


def summary(jobs: Sequence[Job], running: Mapping[str, Progress | None]) -> str:
    """How many jobs are in which state, and when all may be done."""
    counts = {state: sum(job.state == state for job in jobs) for state in STYLES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    left_s = time_left_s(jobs, running)
    return told if left_s is None else f"{told}; ETA {timedelta(seconds=round(left_s))}"


def time_left_s(jobs: Sequence[Job], running: Mapping[str, Progress | None]) -> float | None:
    """Seconds until all jobs are done, if those that wait take as long as those that are done; None: nobody knows."""
    done = [job.seconds for job in jobs if job.state == "done" and job.seconds > 0]
    typical_s = sum(done) / len(done) if done else None
    waiting = sum(job.state == "waiting" for job in jobs)
    rest = [seen.left_s if seen is not None else None for seen in running.values()]
    known = [typical_s if left is None else left for left in rest]
    if not running or None in known or (waiting and typical_s is None):
        return None
    side_by_side = max(len(running), 1)
    return max(float(left or 0.0) for left in known) + waiting * (typical_s or 0.0) / side_by_side


def _told(job: Job, seen: Progress | None) -> str:
    """How far a running job is, in one line."""
    if seen is None:
        return "starting"
    share = f" ({100 * seen.step / job.steps:.0f} %)" if job.steps else ""
    parts = [f"step {seen.step:,}{share}"]
    parts += [] if seen.score is None else [f"validation {seen.score:.3f}"]
    parts += [] if seen.steps_per_s is None else [f"{seen.steps_per_s:,.0f} steps/s"]
    parts += [] if seen.left_s is None else [f"ETA {timedelta(seconds=round(seen.left_s))}"]
    return ", ".join(parts)
