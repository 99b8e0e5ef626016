"""Parts of a page that runs and comparisons share: tables of policies, groups of days, checks, versions."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from vmax.evaluation.evaluate import OPTIMUM
from vmax.evaluation.report.markup import Html, code, folded, paragraph, shaded, table, tag
from vmax.evaluation.report.series import MOST_STEPS, policy_colour
from vmax.evaluation.report.source import Source
from vmax.evaluation.report.words import Card, number
from vmax.evaluation.table import BOUNDS, LEARNED, comparison_rows, ordered, worded, world_rows
from vmax.run_folder import differences, digest, history

QUARTILES = {
    "price_spread": {"q1": "q1, calmest", "q4": "q4, widest"},
    "pv": {"q1": "q1, dullest", "q4": "q4, brightest"},
}
PLACE = ("hydra.run.dir=", "hydra.sweep.", "compare.folder=", "resume=")
"""How overrides begin that say where a run is written, not what it is."""


def named(policy: str, label: str | None = None, colour: str | None = None) -> Html:
    """A policy's name with its colour before it."""
    shade = colour or policy_colour(policy)
    shade = "var(--ink)" if shade == "@ink" else shade
    return tag("span", tag("span", class_="swatch", style=f"background:{shade}"), label or policy)


def cards(found: Iterable[Card]) -> Html:
    """Headline figures side by side."""
    parts = (("name", "name"), ("value", "value"), ("range", "beside"))
    shown = [tag("div", *(tag("div", getattr(c, at), class_=name) for name, at in parts), class_="card") for c in found]
    return tag("div", *shown, class_="cards")


def key_figures(evaluation: Mapping[str, Any], currency: str) -> list[Html]:
    """All policies with what they earned, and what the columns mean."""
    headings, rows = comparison_rows(evaluation, currency)
    body = [[named(name), *cells] for name, cells in rows.items()]
    rules = evaluation.get("rules", {})
    shown = lambda value: value if isinstance(value, str) else f"{value:.4g}"  # noqa: E731
    told = tag("dl", *(tag(kind, text) for name, text in rules.items() for kind, text in (("dt", name), ("dd", text))))
    settings = [
        f"{name}: {', '.join(f'{k} = {shown(v)}' for k, v in values.items())}"
        for name, values in evaluation.get("baseline_settings", {}).items()
        if isinstance(values, Mapping)
    ]
    chosen = evaluation.get("baseline_settings", {}).get("chosen_on")
    notes = [paragraph(f"Settings of the baselines (chosen on {chosen}): {'; '.join(settings)}.", class_="note")]
    return [
        table(["policy", *headings], body, [name in LEARNED for name in rows]),
        *(notes if settings and chosen else []),
        *([folded("What the figures mean", told)] if rules else []),
    ]


def other_worlds(evaluation: Mapping[str, Any]) -> list[Html]:
    """What counts of policies in other worlds, with intervals; nothing where they were judged in one."""
    if not evaluation.get("other_worlds"):
        return []
    worlds, rows = world_rows(evaluation)
    body = [[named(name), *cells] for name, cells in rows.items()]
    return [
        tag("h3", "In other worlds"),
        table(["policy", *worlds], body, [name in LEARNED for name in rows]),
        paragraph(f"{evaluation['judged_by']}, with 95\u00a0% intervals.", class_="note"),
    ]


def day_groups(evaluation: Mapping[str, Any], currency: str) -> list[Html]:
    """What share of the optimum policies reach in each season and at each price spread; nothing for episodes."""
    found, policies = [], evaluation["policies"]
    for key, groups in evaluation.get("day_groups", {}).items():
        names = list(groups["days"])
        titles = [
            tag("span", QUARTILES.get(key, {}).get(name, name), tag("br"), f"{groups['days'][name]} days")
            for name in names
        ]
        rows, marked = [], []
        for policy in ordered(policies):
            if policy in BOUNDS:
                continue
            values = policies[policy][f"by_{key}"]
            cells = [shaded(number(values[name]["capture"]), values[name]["capture"]) for name in names]
            rows.append([named(policy), *cells])
            marked.append(policy in LEARNED)
        optimum = policies[OPTIMUM][f"by_{key}"]
        earned = [shaded(f"{optimum[name]['uplift_eur']:,.0f}", None) for name in names]
        rows.append([named(OPTIMUM, f"{OPTIMUM}, {currency}"), *earned])
        found += [tag("h3", f"By {worded(key)}"), table(["capture", *titles], rows, [*marked, False])]
        if edges := groups.get("edges_eur_per_mwh"):
            told = ", ".join(f"{edge:.0f}" for edge in edges)
            found.append(paragraph(f"Quartiles of the days by their highest price minus their lowest; edges at {told} "
                                   f"{currency}/MWh.", class_="note"))  # fmt: skip
    return found


def dispatch(view: Mapping[str, Any], name: str = "dispatch") -> list[Html]:
    """The interactive dispatch and how to use it."""
    cut = view["left_out"]
    return [
        tag("div", data_view=name),
        paragraph(
            f"Clock of {view['zone']}. Choose policies above; drag in a panel to zoom, double-click to see everything, "
            "or drag the handles under the price."
            + (f" Only the first {MOST_STEPS:,} steps are shown, {cut:,} are left out." if cut else ""),
            class_="note",
        ),
    ]


def checks(found: Mapping[str, Any]) -> list[Html]:
    """The checks before training as a table; where there are none, that is said."""
    findings = [one for one in found.get("checks", []) if isinstance(one, Mapping)]
    if not findings:
        return [paragraph("No checks are on record for this run.", class_="note")]
    order = {"FAIL": 0, "WARN": 1}
    rows = []
    for one in sorted(findings, key=lambda one: order.get(str(one.get("status")), 2)):
        status, value = str(one.get("status", "")), one.get("value")
        known = status if status in ("PASS", "WARN", "FAIL", "SKIP") else ""
        measured = "–" if value is None else f"{value:.4g}" if isinstance(value, int | float) else str(value)
        limit = one.get("threshold") or "reported"
        told = [part for part in (one.get("detail"), one.get("hint")) if part]
        relaxed = " (relaxed)" if one.get("relaxed") else ""
        rows.append([
            one.get("id", ""), tag("span", status, class_=f"status {known}"),
            f"{measured} {one.get('unit', '')}".strip(), f"{limit}{relaxed}", " → ".join(map(str, told)),
        ])  # fmt: skip
    counts = {
        kind: sum(str(one.get("status")) == kind for one in findings) for kind in ("FAIL", "WARN", "PASS", "SKIP")
    }
    line = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    shown = tag("div", table(["check", "status", "measured", "threshold", "note"], rows, texts=5), class_="wide")
    left_out = found.get("exempt") or {}
    told = [tag("li", tag("code", name), f": {reason}") for name, reason in left_out.items()]
    listed = [paragraph("Left out by the user:"), tag("ul", *told)] if told else []
    return [paragraph(f"{line}."), *listed, shown]


def origin(source: Source) -> list[Html]:
    """When, with what and on what the run was made."""
    record, hardware = source.record, source.record.get("hardware", {})
    git = record.get("git")
    facts = {
        "status": source.status + (f": {record['reason']}" if record.get("reason") else ""),
        "started": record.get("started"),
        "ended": record.get("ended"),
        "resumed": "; ".join(_resumed(record)) or None,
        "revision": None if git is None else git.rstrip("+") + (", with changes" if git.endswith("+") else ""),
        "hardware": ", ".join(f"{key} {value}" for key, value in hardware.items()) or None,
        "versions": ", ".join(f"{key} {value}" for key, value in record.get("versions", {}).items()) or None,
        "files": ", ".join(files_read(source)) or None,
        "data": "; ".join(record.get("data", [])) or None,
        "command": record.get("command"),
    }
    told = [(key, value) for key, value in facts.items() if value]
    return [tag("dl", *(tag(kind, text) for pair in told for kind, text in zip(("dt", "dd"), pair, strict=True)))]


def _resumed(record: Mapping[str, Any]) -> list[str]:
    """When the run was resumed, from which step on, and what was other then than before."""
    worked = history(record)
    if len(worked) == 1:  # one from before each process was on record
        return list(record.get("resumed", []))
    other = [", ".join(differences(*pair)) for pair in pairwise(worked)]
    return [
        f"{part['started']} at step {part['step']:,}" + (f" with {told}" if told else "")
        for part, told in zip(worked[1:], other, strict=True)
    ]


def files_read(source: Source) -> list[str]:
    """The files that the run read, by setting, each with what stands for its content."""
    return [f"{key}={one['path']} (sha256 {digest(one['files'])})" for key, one in source.folder.input_files().items()]


def reproduce(source: Source) -> list[Html]:
    """The commands that do the run again."""
    git = source.record.get("git") or ""
    threads = source.config.get("threads")
    lines = [
        *([f"git checkout {shlex.quote(git.rstrip('+'))}"] if git else []),
        "pip install -c constraints.txt -e .",
        command("scripts/train.py", source.overrides, threads),
    ]
    notes = []
    if git.endswith("+"):
        notes.append("The checkout had changes that are not in this revision.")
    if source.record.get("resumed"):
        alike = not any(differences(*pair) for pair in pairwise(history(source.record)))
        same = (
            "the same figures"
            if alike
            else "perhaps others in the last digits: code, packages or hardware changed (above)"
        )
        notes.append(f"The run was resumed; one that goes through without a break gives {same}.")
    if source.folder.input_files():
        notes.append("Copies of the files that it read, but for large ones, are in its folder inputs.")
    notes.append("Equal to the last bit on the same kind of processor with the same number of threads and devices.")
    return [code("\n".join(lines)), paragraph(" ".join(notes), class_="note")]


def command(script: str, overrides: Sequence[str], threads: int | None = None) -> str:
    """The command line with these overrides, but for those that say where it is written; with the number of threads."""
    kept = [override for override in overrides if not override.lstrip("+~").startswith(PLACE)]
    if threads is not None and not any(override.startswith("threads=") for override in kept):
        kept.append(f"threads={threads}")
    return f"python {script} {shlex.join(kept)}".strip()
