"""The comparison of all policies as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

LEARNED = ("best", "last")
BOUNDS = ("do_nothing", "perfect_foresight")
"""Between them capture is measured."""
WIDTH = 120
"""Characters of a line where the output is no terminal."""


def print_comparison(evaluation: Mapping[str, Any], currency: str = "EUR") -> None:
    """Prints the table for `evaluation` of a result.json: learned policies on top, then by what they earned.

    Money and capture for whole splits, returns for episodes.
    """
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(_table(evaluation, currency))


def print_groups(evaluation: Mapping[str, Any]) -> None:
    """Prints what share of the optimum policies reach in each group of days; nothing for episodes."""
    if "day_groups" not in evaluation:
        return
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(_group_table(evaluation))


def _group_table(evaluation: Mapping[str, Any]) -> Table:
    groups = evaluation["day_groups"]
    table = Table(title="capture by season and by quartile of the day's price spread", title_justify="left")
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


def ordered(policies: Mapping[str, Any]) -> list[str]:
    """Learned policies first, then by what they earned."""
    return sorted(policies, key=lambda name: (name not in LEARNED, -policies[name].get("uplift_eur", 0.0)))


def _table(evaluation: Mapping[str, Any], currency: str) -> Table:
    period = f", {evaluation['start'][:10]} to {evaluation['end'][:10]} UTC" if evaluation["start"] else ""
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
    kind = evaluation.get("optimum", {}).get("kind")
    share = {"bound": "of bound", "plan": "of plan"}.get(kind, "capture")
    money = whole_split(evaluation)
    headings = _MONEY_HEADINGS if money else ("return, mean", "return, sd", "episodes")
    cells = _money_cells if money else _return_cells
    return (
        [heading.format(currency=currency, share=share) for heading in headings],
        {name: cells(policies[name]) for name in ordered(policies)},
    )


_MONEY_HEADINGS = (
    "profit {currency}",
    "{currency}/MW/a",
    "uplift {currency}",
    "{share}",
    "95 % CI",
    "cycles/day",
    "wear {currency}",
    "violations",
)


def _money_cells(values: Mapping[str, Any]) -> list[str]:
    capture, interval = values["capture"], values["ci95"]["capture"]
    return [
        f"{values['profit_eur']:,.0f}",
        f"{values['profit_eur_per_mw_year']:,.0f}",
        f"{values['uplift_eur']:,.0f}",
        "-" if capture is None else f"{capture:.3f}",
        "-" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}",
        f"{values['cycles_per_day']:.2f}",
        f"{values['wear_cost_eur']:,.0f}",
        str(values["violations"]),
    ]


def _return_cells(values: Mapping[str, Any]) -> list[str]:
    return [f"{values['return_mean']:.1f}", f"{values['return_std']:.1f}", str(values["episodes"])]
