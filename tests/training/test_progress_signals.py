import io
import os
import signal
import subprocess
import sys
import threading

import pytest

from vmax.training.progress import ProgressReport
from vmax.training.signals import StopRequest, terminated_as_exit

TWO_SIGNALS = """
import os, signal, time
from vmax.training.signals import StopRequest
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell starts with SIGINT ignored
with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    print(stop.received, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
print("went on")
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


def test_a_signal_is_noted_and_the_former_behaviour_returns():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == "SIGTERM"
        assert signal.getsignal(signal.SIGTERM) is before
    with StopRequest():
        pass
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_the_process():
    done = subprocess.run(
        [sys.executable, "-c", TWO_SIGNALS],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "SIGINT\n" and done.returncode != 0 and "KeyboardInterrupt" in done.stderr


def test_outside_the_main_thread_signals_are_left_alone():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(StopRequest().__enter__().received))
    thread.start()
    thread.join()
    assert seen == [None]


def test_sigterm_outside_the_loop_ends_the_run_in_order():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, terminated_as_exit():
        os.kill(os.getpid(), signal.SIGTERM)
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
