"""Commands called as from a shell, in this process."""

import sys
from collections.abc import Callable
from typing import Any


def invoker(monkeypatch, capsys, main: Callable[[], None], *always: str) -> Callable[..., tuple[Any, str, str]]:
    """A function that runs the command with further arguments; it returns exit status, stdout and stderr."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["command.py", *always, *arguments])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return run
