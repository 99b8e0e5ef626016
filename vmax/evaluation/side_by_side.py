"""The key figures of groups of runs beside those of the baselines, and a picture of two objectives."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from vmax.evaluation.comparison import PALETTE, Comparison
from vmax.evaluation.front import draw
from vmax.evaluation.table import LEARNED, figure_of, ordered, shown
from vmax.plotting import canvas, colour


def key_figures(comparison: Comparison) -> tuple[list[str], dict[str, list[str]]]:
    """Headings, and cells by name: of each group the median of its runs, with the least and the greatest, in the order
    of the groups; then the baselines. Nothing where runs are of several environments or were judged by episodes."""
    columns = _columns(comparison)
    if not columns:
        return [], {}
    first = comparison.runs[0].result["evaluation"]
    headings = [column["heading"].format(currency=first["currency"], share="capture") for column in columns]
    rows = {}
    for group in comparison.groups:
        runs = [run for run in comparison.runs if run.group == group]
        each = [
            [figure_of(run.result["evaluation"]["policies"]["best"], column["key"]) for run in runs]
            for column in columns
        ]
        seconds = [run.result["run"].get("wall_time_s") for run in runs]
        minutes = [None if one is None else one / 60.0 for one in seconds]
        digits = [column["digits"] for column in columns]
        rows[group] = [_range(values, place) for values, place in zip([*each, minutes], [*digits, 1], strict=True)]
    for name in ordered(first["policies"]):
        if name not in LEARNED:
            values = (figure_of(first["policies"][name], column["key"]) for column in columns)
            rows[name] = [*(shown(x, column["digits"]) for x, column in zip(values, columns, strict=True)), ""]
    return [*headings, "minutes"], rows


def table(comparison: Comparison) -> Table | None:
    """The same for the terminal; None where there is nothing to show."""
    headings, rows = key_figures(comparison)
    if not rows:
        return None
    found = Table(title="median of the runs (least – greatest); minutes: a whole run", title_justify="left")
    found.add_column("", no_wrap=True)
    for heading in headings:
        found.add_column(heading, justify="right", no_wrap=True)
    for name, cells in rows.items():
        style = "bold cyan" if name in comparison.groups else None
        found.add_row(name, *(cell.replace(" (", "\n(") for cell in cells), style=style)
    return found


def trade_off(comparison: Comparison) -> Figure | None:
    """Two objectives of every run and baseline; None for an environment without a pair of them."""
    if len(comparison.tasks) != 1:
        return None
    first = comparison.runs[0].result["evaluation"]
    axes_of = first.get("fronted", [])
    if not axes_of:
        return None
    both = lambda values: [values[key] for key in axes_of]  # noqa: E731
    found = {group: [run for run in comparison.runs if run.group == group] for group in comparison.groups}
    groups = {
        group: np.array([both(run.result["evaluation"]["policies"]["best"]) for run in runs])
        for group, runs in found.items()
    }
    others = {name: np.array([both(values)]) for name, values in first["policies"].items() if name not in LEARNED}
    shades = {group: PALETTE[number % len(PALETTE)] for number, group in enumerate(groups)}
    with canvas(8.5, 5.5) as (figure, axes):
        draw(axes, groups, others, shades | {name: colour(name) for name in others}, tuple(axes_of), first["currency"])
    return figure


def _columns(comparison: Comparison) -> list[dict[str, Any]]:
    """What the table of a run shows, where all runs show the same, without intervals."""
    told = [run.result["evaluation"].get("columns", []) for run in comparison.runs]
    if len(comparison.tasks) != 1 or any(columns != told[0] for columns in told):
        return []
    return [column for column in told[0] if not column["key"].startswith("ci95")]


def _range(values: list[Any], digits: int) -> str:
    """The median with the least and the greatest of several; one as it is."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return shown(known[0] if known else None, digits)
    least, median, greatest = (shown(float(f(known)), digits) for f in (np.min, np.median, np.max))
    return median if least == greatest else f"{median} ({least} – {greatest})"
