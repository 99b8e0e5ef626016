import io
import os
import signal
import subprocess
import sys
import threading

import pytest

from vmax.training.progress import ProgressReport
from vmax.training.signals import STOPPING, Signals, Stopped

STUCK = """
import contextlib, os, signal, sys, threading, time
import jax, jax.numpy as jnp
from vmax.training import signals
signals.GRACE_S = 1.0
endless = jax.jit(lambda x: jax.lax.while_loop(lambda x: x >= 0, lambda x: x * 0, x)).lower(jnp.int32(0)).compile()
times, stretch = int(sys.argv[2]), sys.argv[3]

def send():
    for _ in range(times):
        time.sleep(0.5)
        os.kill(os.getpid(), int(sys.argv[1]))

with signals.Signals(lambda reason: print("on record:", reason, flush=True)) as taken:
    with taken.saved_first() if stretch == "chunk" else contextlib.nullcontext():
        threading.Thread(target=send).start()
        jax.block_until_ready(endless(jnp.int32(0)))
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_a_line_comes_now_and_then_and_at_the_end():
    stream = io.StringIO()
    with ProgressReport(400, stream, every_s=1000.0) as report:
        for step in (100, 200, 300, 400):
            report.update(step, step // 10, "capture 0.90")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0] == "step 100/400 (25 %), capture 0.90"
    assert lines[1].startswith("step 400/400 (100 %), ")
    assert all(word in lines[1] for word in ("steps/s", "updates/s", "ETA 0:00:00", "capture 0.90"))


def test_rates_of_a_resumed_run_count_from_where_it_went_on(monkeypatch):
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("vmax.training.progress.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    report = ProgressReport(2000, stream, every_s=0.0)
    report.update(1000, 50)
    report.update(1200, 70)
    assert stream.getvalue().splitlines()[1] == "step 1200/2000 (60 %), 100 steps/s, 10 updates/s, ETA 0:00:08"


def test_on_a_terminal_there_is_a_bar():
    stream = Terminal()
    with ProgressReport(400, stream) as report:
        report.update(400, 10, "capture 0.90")
    assert "100 %" in stream.getvalue() and "capture 0.90" in stream.getvalue()


def test_within_a_stretch_that_saves_the_first_signal_is_noted_and_the_second_ends_it():
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        with pytest.raises(SystemExit) as end, signals.saved_first():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.received == "SIGTERM"
            os.kill(os.getpid(), signal.SIGTERM)
        assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_every_signal_that_asks_to_stop_is_taken_and_given_back(number):
    before = signal.getsignal(number)
    with Signals() as signals, signals.saved_first():
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number.name
    assert signal.getsignal(number) is before


def test_what_can_be_broken_off_is():
    with Signals() as signals, signals.saved_first():
        with pytest.raises(Stopped, match="SIGINT"), signals.cut_short():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped, match="SIGINT"), signals.cut_short():  # nor is anything else begun
            pass


def test_what_cannot_be_saved_is_ended_as_by_the_signal_itself():
    for number, error in {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}.items():
        with pytest.raises(error), Signals():
            os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "times", "stretch"),
    [(signal.SIGINT, 1, "compile"), (signal.SIGTERM, 1, "compile"), (signal.SIGUSR2, 2, "chunk")],
)
def test_a_process_whose_main_thread_waits_for_a_program_for_ever_ends_within_seconds(number, times, stretch):
    done = subprocess.run(
        [sys.executable, "-c", STUCK, str(int(number)), str(times), stretch],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 128 + number, done.stderr
    assert f"on record: ended by {number.name} without saving" in done.stdout
    assert ("the run is saved after this chunk" in done.stdout) == (stretch == "chunk")


def test_outside_the_main_thread_signals_are_left_alone():
    seen = []

    def enter():
        with Signals() as signals:
            seen.append(signals.received)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [None]
