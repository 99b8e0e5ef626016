"""The comparison of all policies as a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from vmax.evaluation.episodes import cut_message
from vmax.evaluation.evaluate import NOTHINGS, OPTIMUM

LEARNED = ("best", "last")
BOUNDS = (*NOTHINGS, OPTIMUM)
"""Between them capture is measured."""
SIGNIFICANT = 3
"""Figures that the largest number of a column shows at least."""
WIDTH = 120
"""Characters of a line where the output is no terminal."""


def print_comparison(evaluation: Mapping[str, Any], currency: str = "EUR") -> None:
    """Prints the table for `evaluation` of a result.json: learned policies on top, then by what they earned.

    Money and capture for whole splits, what counts for trials, returns for episodes.
    """
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(_table(evaluation, currency))
    for name, figures in evaluation["policies"].items():
        if figures.get("episodes_cut"):
            print(
                f"warning: {name}: {cut_message(figures['episodes_cut'], evaluation['max_episode_steps'])}", flush=True
            )


def print_groups(evaluation: Mapping[str, Any]) -> None:
    """Prints what share of the optimum policies reach in each group of days; nothing for episodes."""
    if "day_groups" not in evaluation:
        return
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(_group_table(evaluation))


def print_worlds(evaluation: Mapping[str, Any]) -> None:
    """Prints what counts of policies in other worlds; nothing where they were judged in one."""
    if not evaluation.get("other_worlds"):
        return
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    worlds, rows = world_rows(evaluation)
    table = Table(title=f"{evaluation['judged_by']} in other worlds", title_justify="left")
    table.add_column("policy", no_wrap=True)
    for world in worlds:
        table.add_column(world, justify="right")
    for name, cells in rows.items():
        table.add_row(name, *cells, style="bold cyan" if name in LEARNED else None)
    console.print(table)


def world_rows(evaluation: Mapping[str, Any]) -> tuple[list[str], dict[str, list[str]]]:
    """The other worlds, and for each policy what counts in each of them, with its interval."""
    worlds, by = evaluation["other_worlds"], evaluation["judged_by"]
    digits = next((column["digits"] for column in evaluation["columns"] if column["key"] == by), 2)
    cell = lambda found: f"{shown(found[by], digits)} ({shown(found['ci95'][by], digits)})"  # noqa: E731
    names = ordered(next(iter(worlds.values())))
    return list(worlds), {name: [cell(found[name]) for found in worlds.values()] for name in names}


def _group_table(evaluation: Mapping[str, Any]) -> Table:
    groups = evaluation["day_groups"]
    table = Table(title=f"capture by {' and '.join(map(worded, groups))}", title_justify="left")
    table.add_column("policy", no_wrap=True)
    columns = [(f"by_{key}", name) for key, found in groups.items() for name in found["days"]]
    for _, name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name in ordered(evaluation["policies"]):
        if name in BOUNDS:
            continue
        values = evaluation["policies"][name]
        captures = [values[key][group]["capture"] for key, group in columns]
        cells = ["-" if capture is None else f"{capture:.3f}" for capture in captures]
        table.add_row(name, *cells, style="bold cyan" if name in LEARNED else None)
    return table


def worded(group: str) -> str:
    """What days are grouped by, in words."""
    return {"price_spread": "quartile of the day's price spread", "pv": "quartile of the day's PV"}.get(group, group)


def ordered(policies: Mapping[str, Any]) -> list[str]:
    """Learned policies first, then by what they earned."""
    worth = lambda values: values.get("uplift_eur", values.get("score", 0.0))  # noqa: E731
    return sorted(policies, key=lambda name: (name not in LEARNED, -worth(policies[name])))


def _table(evaluation: Mapping[str, Any], currency: str) -> Table:
    period = f", {evaluation['start'][:10]} to {evaluation['end'][:10]} UTC" if evaluation["start"] else ""
    if "trials" in evaluation:
        period = f", {evaluation['trials']} {evaluation['lanes']}"
    table = Table(title=f"{evaluation['split']} split{period}", title_justify="left", title_style="bold")
    table.add_column("policy", no_wrap=True)
    headings, rows = comparison_rows(evaluation, currency)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, cells in rows.items():
        table.add_row(name, *cells, style="bold cyan" if name in LEARNED else None)
    return table


def whole_split(evaluation: Mapping[str, Any]) -> bool:
    """Whether policies were judged over a whole split, by money, and not by episodes."""
    return any("capture" in values for values in evaluation["policies"].values())


def comparison_rows(evaluation: Mapping[str, Any], currency: str) -> tuple[list[str], dict[str, list[str]]]:
    """Headings, and the cells of every policy, for `evaluation` of a result.json, in the order of `ordered`."""
    policies = evaluation["policies"]
    columns = evaluation.get("columns") or (FALLBACK if whole_split(evaluation) else None)
    if columns is None:
        return list(_RETURN_HEADINGS), {name: _return_cells(policies[name]) for name in ordered(policies)}
    kind = evaluation.get("optimum", {}).get("kind")
    share = {"bound": "of bound", "plan": "of plan"}.get(kind, "capture")
    columns = [{**column, "digits": _digits(policies, column)} for column in columns]
    return (
        [column["heading"].format(currency=currency, share=share) for column in columns],
        {name: [_cell(policies[name], column) for column in columns] for name in ordered(policies)},
    )


def _digits(policies: Mapping[str, Any], column: Mapping[str, Any]) -> int:
    """Decimals of a column: as it declares, and more where its figures are so small that they would not show, as the
    money and power of a home are."""
    found = [figure_of(values, column["key"]) for values in policies.values()]
    sizes = [abs(value) for value in found if isinstance(value, int | float) and value]
    if not sizes or all(float(size).is_integer() for size in sizes):
        return column["digits"]
    return max(column["digits"], SIGNIFICANT - 1 - math.floor(math.log10(max(sizes))))


FALLBACK = (
    {"heading": "profit {currency}", "key": "profit_eur", "digits": 0},
    {"heading": "{share}", "key": "capture", "digits": 3},
    {"heading": "95 % CI", "key": "ci95.capture", "digits": 3},
)
"""For results of versions that did not say what their table shows."""
_RETURN_HEADINGS = ("return, mean", "return, sd", "episodes")


def _cell(values: Mapping[str, Any], column: Mapping[str, Any]) -> str:
    """The figure of a policy that a column shows; a dash where there is none."""
    return shown(figure_of(values, column["key"]), column["digits"])


def figure_of(values: Mapping[str, Any], key: str) -> Any:
    """The figure that a key with dots leads to; None where there is none."""
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def shown(value: Any, digits: int) -> str:
    """A number, or an interval, for people; a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else "-".join(f"{x:,.{digits}f}" for x in value)


def _return_cells(values: Mapping[str, Any]) -> list[str]:
    return [f"{values['return_mean']:.1f}", f"{values['return_std']:.1f}", str(values["episodes"])]
