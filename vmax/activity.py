"""What this process is doing, and a watchdog that says so where nothing has moved for long.

`doing` is called wherever something moves: it costs next to nothing. One process does one thing at a time, so there is
one record of it.
"""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STACKS = "stacks.txt"
"""The file of a run folder that gets the stacks."""


@dataclass(frozen=True)
class Activity:
    """What is under way (`evaluation`), how far it is, and the monotonic time at which that was said."""

    what: str
    detail: str
    since: float

    def __str__(self) -> str:
        return f"{self.what} ({self.detail})" if self.detail else self.what


_now = Activity("start", "", time.monotonic())


def doing(what: str, detail: str = "") -> None:
    """Says what begins now, or how far it has come."""
    global _now
    _now = Activity(what, detail, time.monotonic())


def under_way() -> Activity:
    """What was said last."""
    return _now


class Watchdog:
    """While entered, says what a process waits for when nothing has moved for `limit_s` seconds, and writes the stacks
    of all Python threads to `folder`; again after twice, four times … as long. The process itself goes on.

    `limit_s` None: nothing is watched. `say` is given the line.
    """

    def __init__(self, folder: Path, limit_s: float | None, say: Callable[[str], None]) -> None:
        self.folder, self.limit_s, self.say = folder, limit_s, say
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watchdog:
        doing("start")
        if self.limit_s is not None:
            self._thread = threading.Thread(target=self._watch, args=(self.limit_s,), name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, limit_s: float) -> None:
        seen, due_s = under_way(), limit_s
        while not self._end.wait(min(limit_s / 10, 5.0)):
            if under_way() is not seen:
                seen, due_s = under_way(), limit_s
            elif time.monotonic() - seen.since >= due_s:
                self._report(seen, due_s)
                due_s *= 2

    def _report(self, seen: Activity, waited_s: float) -> None:
        path = self.folder / STACKS
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"nothing has moved for {waited_s:g} s: {seen}\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        self.say(f"nothing has moved for {waited_s:g} s: {seen}; stacks: {path}; the run goes on if it can")
