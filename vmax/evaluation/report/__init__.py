"""Reports: one HTML page for a run or for several, everything inside, nothing requested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vmax.evaluation.report.compared import Compared
from vmax.evaluation.report.comparison_page import comparison_page
from vmax.evaluation.report.markup import render
from vmax.evaluation.report.run_page import run_page
from vmax.evaluation.report.source import Source
from vmax.files import DiskFull, write_text

NAME = "report.html"


def write_run_report(run: Path, folder: Path | None = None) -> Path:
    """Writes the page of the run in the folder `run`, by default into it; returns where.

    Raises UserError (no run, a file that cannot be read) and DiskFull.
    """
    return _write(render(run_page(Source.open(run))), folder or run)


def write_comparison_report(compared: Compared) -> Path:
    """Writes the page of several runs into `compared.folder`; returns where.

    Raises OSError or ValueError for files that cannot be read, and DiskFull.
    """
    return _write(render(comparison_page(compared)), compared.folder)


def attempted(write: Callable[[], Path]) -> str:
    """Writes a page that is not what a run is for: says where it lies or, whatever went wrong, why there is none."""
    try:
        return f"report: {write()}"
    except DiskFull as error:
        return f"warning: {error}; there is no {NAME}: try scripts/report.py"
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        return f"warning: no {NAME} ({type(error).__name__}: {reason}); try scripts/report.py"


def _write(text: str, folder: Path) -> Path:
    path = folder / NAME
    write_text(path, text)
    return path
