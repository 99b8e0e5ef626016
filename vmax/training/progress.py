"""What the user sees while a run trains: a bar on a terminal, else one plain line every few seconds."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressReport:
    """A context manager; `update` after each chunk. Rates are over the time since the first update of this process."""

    def __init__(self, total_steps: int, stream: TextIO | None = None, every_s: float = 5.0) -> None:
        self.total_steps = total_steps
        self.stream = stream or sys.stderr
        self.every_s = every_s
        self.start: tuple[float, int, int] | None = None
        self.last_line = float("-inf")
        self.bar = self._bar() if self.stream.isatty() else None
        self.task = self.bar.add_task("train", total=total_steps, status="compiling") if self.bar else None

    def __enter__(self) -> ProgressReport:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, step: int, updates: int, note: str = "") -> None:
        """Shows where the run is: environment steps and gradient updates so far, and a note (say the last capture)."""
        now = time.monotonic()
        self.start = self.start or (now, step, updates)
        status = self._status(now, step, updates, note)
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=step, status=status)
        elif now - self.last_line >= self.every_s or step >= self.total_steps:
            self.last_line = now
            share = 100 * step / self.total_steps
            print(f"step {step}/{self.total_steps} ({share:.0f} %), {status}", file=self.stream, flush=True)

    def _status(self, now: float, step: int, updates: int, note: str) -> str:
        """Rates, time to go and the note, as far as they are known."""
        begin, first_step, first_updates = self.start or (now, step, updates)
        parts = []
        if now > begin and step > first_step:
            steps_per_s = (step - first_step) / (now - begin)
            left = timedelta(seconds=round((self.total_steps - step) / steps_per_s))
            parts = [
                f"{steps_per_s:,.0f} steps/s",
                f"{(updates - first_updates) / (now - begin):,.0f} updates/s",
                f"ETA {left}",
            ]
        return ", ".join([*parts, note] if note else parts) or "first chunk done"

    def _bar(self) -> Progress:
        columns = (
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[status]}"),
        )
        return Progress(*columns, console=Console(file=self.stream))
