"""Findings as a table for people and as checks.json for programs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vmax.checks.finding import Finding

COLOURS = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red", "SKIP": "dim"}


def outcome(findings: Sequence[Finding], exempt: Collection[str] = ()) -> str:
    """All of it in a line: `pass`, `warn: headroom, obs_live`, `fail: finite; warn: headroom; exempt: seeding`."""
    parts = [
        f"{status.lower()}: {', '.join(found.id for found in findings if found.status == status)}"
        for status in ("FAIL", "WARN")
        if any(found.status == status for found in findings)
    ]
    relaxed = [found.id for found in findings if found.relaxed]
    parts = parts or ["pass"]
    further = {"relaxed": relaxed, "exempt": exempt}
    return "; ".join([*parts, *(f"{what}: {', '.join(names)}" for what, names in further.items() if names)])


def record(env: Any, findings: Sequence[Finding], seed: int, exempt: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The content of checks.json; `relaxed` lists thresholds that are looser than the shipped ones, `exempt` what the
    user left out, with the reasons."""
    return {
        "env": env.name,
        "seed": seed,
        "outcome": outcome(findings, exempt or {}),
        "exempt": dict(exempt or {}),
        "relaxed": {found.id: found.relaxed for found in findings if found.relaxed},
        "checks": [found.plain() for found in findings],
    }


def table(name: str, findings: Sequence[Finding]) -> Table:
    """One line for each check: what it measured, its threshold, what it saw, and a hint where it did not pass."""
    shown = Table(title=f"Checks of {name}", title_justify="left")
    for column in ("check", "status", "measured", "threshold", "note"):
        shown.add_column(column, no_wrap=column in ("check", "status"))
    for found in findings:
        measured = "" if found.value is None else f"{figure(found.value)} {found.unit}"
        threshold = found.threshold + (" (relaxed)" if found.relaxed else "")
        notes = [part for part in (found.detail, found.hint) if part]
        shown.add_row(
            found.id,
            f"[{COLOURS[found.status]}]{found.status}[/]",
            measured,
            threshold or "reported",
            escape(" → ".join(notes)),
        )
    return shown


def figure(value: float) -> str:
    """A measured value, short: counts whole, large ones with separators."""
    if value == int(value) if value == value and abs(value) < 1e15 else False:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.3g}"


def show(name: str, findings: Sequence[Finding], exempt: Mapping[str, str] | None = None) -> None:
    """Prints the table, a line that sums it up, and what the user relaxed or left out."""
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table(name, findings))
    counts = {status: sum(found.status == status for found in findings) for status in COLOURS}
    print(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    for found in findings:
        for bound, value in found.relaxed.items():
            print(f"relaxed: {found.id}.{bound}={value['set']:g} (shipped: {value['shipped']:g})")
    for check, reason in (exempt or {}).items():
        print(f"exempt: {check}: {reason}")
