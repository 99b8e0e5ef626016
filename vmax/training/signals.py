"""Signals that ask a process to stop, in every phase of a run.

Python runs a signal's handler in the main thread between two instructions, so never while that thread waits for a
compiled program. The operating system's own handler, however, writes the signal's number to a file descriptor at once.
A thread reads it: it says that the signal came, and ends a process whose main thread does not come back.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'TERM')}")
STOPPING = tuple(dict.fromkeys(getattr(signal, name) for name in NAMES if hasattr(signal, name)))
"""Ctrl-C, and what schedulers send before they take a machine away; submitit may be told to send another."""
SAVING = "the run is saved after this chunk"
GRACE_S = 5.0
"""How long the main thread has to come back before the process ends without it."""


class Stopped(BaseException):
    """A signal ended what was under way after a chunk; what has been learned can be saved. Its argument is the name."""


def as_exit(name: str) -> BaseException:
    """What a signal that is not waited for raises: KeyboardInterrupt after Ctrl-C, else SystemExit(128 + number)."""
    return KeyboardInterrupt() if name == "SIGINT" else SystemExit(128 + signal.Signals[name])


class Signals:
    """While entered, a signal of `STOPPING` ends what is under way by `as_exit`, so that what is open can be closed.

    Within `saved_first` the first signal only sets `received`, and within `cut_short` it raises `Stopped`; a second one
    ends the process. Where the main thread does not come back within `GRACE_S` the process is ended from another
    thread, after `last_words(reason)`. Outside the main thread signals are left alone: nothing is ever received.
    """

    def __init__(
        self, last_words: Callable[[str], None] | None = None, numbers: Sequence[signal.Signals] = STOPPING
    ) -> None:
        """`numbers`: the signals that are taken over."""
        self.received: str | None = None
        self._numbers = tuple(numbers)
        self.last_words = last_words
        self._former: dict[signal.Signals, Any] = {}
        self._waiting = self._cutting = False
        self._says = SAVING
        self._came = self._handled = 0
        self._raised = threading.Event()
        self._pipe: tuple[int, int] | None = None
        self._wakeup = -1
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._former = {number: signal.signal(number, self._handle) for number in self._numbers}
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, args=(self._pipe[0],), name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pipe is None or self._thread is None:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._raised.set()
        os.write(self._pipe[1], b"\0")  # no signal has this number: the thread ends
        self._thread.join()
        for end in self._pipe:
            os.close(end)
        self._pipe = None

    @contextmanager
    def saved_first(self, says: str = SAVING) -> Iterator[None]:
        """A stretch that looks at `received` by itself, often enough, and then saves; what it `says` at a signal."""
        self._waiting, self._says = True, says
        try:
            yield
        finally:
            self._waiting = False

    @contextmanager
    def cut_short(self) -> Iterator[None]:
        """Within `saved_first`: what can be broken off, since all that it needs is kept. Raises Stopped."""
        if self.received is not None:
            raise Stopped(self.received)
        self._cutting = True
        try:
            yield
        finally:
            self._cutting = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """In the main thread. Several signals that came while it waited may be one call."""
        self._handled += 1
        name = signal.Signals(number).name
        self.received = self.received or name
        if self._waiting and max(self._came, self._handled) == 1:
            if not self._cutting:
                return
            self._raised.set()
            raise Stopped(name)
        self._raised.set()
        raise as_exit(name)

    def _watch(self, source: int) -> None:
        """In a thread of its own: reads the numbers of the signals that come."""
        while (number := os.read(source, 1)[0]) != 0:
            if number not in self._numbers:
                continue
            name = signal.Signals(number).name
            self._came += 1
            if self._waiting and self._came == 1:
                self.received = self.received or name
                print(f"{name}: {self._says}; a second signal ends it at once", flush=True)
            elif not self._raised.wait(GRACE_S):
                self._end(name)

    def _end(self, name: str) -> None:
        """Ends a process whose main thread waits for a compiled program."""
        with suppress(Exception):
            if self.last_words is not None:
                self.last_words(f"ended by {name} without saving")
        print(f"{name}: ended without saving", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(128 + signal.Signals[name])
