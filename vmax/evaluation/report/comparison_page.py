"""The page of several runs side by side: scores by group with statistics over seeds, and what the groups do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from vmax.evaluation import side_by_side
from vmax.evaluation.comparison import Finished
from vmax.evaluation.evaluate import OPTIMUM
from vmax.evaluation.report import comparison_figures as figures
from vmax.evaluation.report import parts
from vmax.evaluation.report.compared import Compared
from vmax.evaluation.report.markup import Html, Page, Section, code, figure, folded, paragraph, shaded, table, tag
from vmax.evaluation.report.series import Shown, dispatch_view, policy_colour
from vmax.evaluation.report.words import duration, listed, number
from vmax.evaluation.table import worded

MOST_SHOWN = 4
"""Courses in a dispatch view."""


def comparison_page(of: Compared) -> Page:
    """All that is to be said of the runs. Raises OSError or ValueError for files that cannot be read."""
    drawn: dict[str, Any] = {}
    views: dict[str, Any] = {}
    sections = [
        _summary(of),
        _scores(of, drawn),
        _learning(of, drawn),
        _dispatch(of, views),
        _groups(of),
        _runs(of),
        _configuration(of),
        _versions(of),
        Section("reproduce", "How to reproduce", "Reproduce", _reproduce(of)),
    ]
    runs, tasks = of.comparison.runs, listed(list(dict.fromkeys(run.task for run in of.comparison.runs)))
    title = (
        f"{listed(of.best_first)} on {tasks}" if len(of.best_first) <= 4 else f"{len(of.best_first)} groups on {tasks}"
    )
    left = f", {len(of.left)} left out" if of.left else ""
    return Page(title, f"Comparison of {len(runs)} runs{left}", [one for one in sections if one.content], drawn, views)


def _summary(of: Compared) -> Section:
    described, order, score = of.described["groups"], of.best_first, of.described["score"]
    leader = order[0]
    row = described[leader]
    ahead = [name for name, value in of.rivals.items() if row["iqm"] is not None and value > row["iqm"]]
    if ahead:
        first = f"{ahead[0]} ({_value(of.rivals[ahead[0]])}) is ahead of"
        verdict = f"{first} {leader}" if len(order) == 1 else f"{first} every group; of these {leader} is the best"
    else:
        verdict = leader if len(order) == 1 else f"{leader} has the highest {score} of the groups"
    chances = row["probability_of_improvement_over"].items()
    told = [f"A run of {leader} beats one of {other} with probability {chance:.2f}." for other, chance in chances]
    content = [
        paragraph(f"{verdict}: IQM {_value(row['iqm'])}{_interval(row)}.", class_="verdict"),
        *map(paragraph, [*told, *of.cautions]),
    ]
    return Section("summary", "Summary", "Summary", content)


def _scores(of: Compared, drawn: dict[str, Any]) -> Section:
    described, names = of.described["groups"], of.best_first
    colours, score = {name: of.colour(name) for name in names}, of.described["score"]
    drawn["scores"] = figures.scores(of.comparison.groups, described, names, colours, of.baselines, score)
    drawn["profiles"] = figures.profiles(of.comparison.groups, names, colours, of.baselines, score)
    told = (
        "Points: runs. Bar: interquartile mean (IQM) and its 95\u00a0% interval, a stratified bootstrap over runs. "
        "Dashed: baselines that are near."
    )
    content = [figure("scores", told, 150 + 62 * len(names)), _statistics(of), *_key_figures(of)]
    if len(names) > 1:
        told = "How likely a run of the group on the left scores above one of the group on top; ties count half."
        content += [tag("h3", "Probability of improvement"), _matrix(of), paragraph(told, class_="note")]
    told = "Share of a group's runs that score above each level; a curve further right and higher is better."
    content += [tag("h3", "Performance profiles"), figure("profiles", told, 330)]
    return Section("scores", f"Scores on the test split: {score}", "Scores", content)


def _statistics(of: Compared) -> Html:
    """A row for each group, then the baselines."""
    rows: list[list[object]] = []
    for name in of.best_first:
        row = of.described["groups"][name]
        cells = [_value(row[key]) for key in ("iqm", "least", "greatest")]
        interval = _interval(row, bare=True)
        rows.append([parts.named(name, colour=of.colour(name)), str(row["runs"]), cells[0], interval, *cells[1:]])
    marked = len(rows)
    for name, value in sorted(of.baselines.items(), key=lambda item: -item[1]):
        rows.append([parts.named(name), "", _value(value), "", "", ""])
    headings = ["group or baseline", "runs", "IQM", "95\u00a0% over seeds", "least", "greatest"]
    return table(headings, rows, [place < marked for place in range(len(rows))])


def _key_figures(of: Compared) -> list[Html]:
    """What the table of a run shows, for groups and baselines."""
    headings, rows = side_by_side.key_figures(of.comparison)
    if not rows:
        return []
    groups = set(of.best_first)
    named = [parts.named(name, colour=of.colour(name)) if name in groups else parts.named(name) for name in rows]
    cells = [[name, *row] for name, row in zip(named, rows.values(), strict=True)]
    told = "Groups: the median of the runs, with the least and the greatest. Minutes: a whole run."
    return [
        tag("h3", "Key figures"),
        table(["group or baseline", *headings], cells, [name in groups for name in rows]),
        paragraph(told, class_="note"),
    ]


def _matrix(of: Compared) -> Html:
    described, names = of.described["groups"], of.best_first
    rows = []
    for name in names:
        chances = described[name]["probability_of_improvement_over"]
        cells = [shaded("–", None) if other not in chances else shaded(f"{chances[other]:.2f}", chances[other])
                 for other in names]  # fmt: skip
        rows.append([parts.named(name, colour=of.colour(name)), *cells])
    return table(["", *names], rows)


def _learning(of: Compared, drawn: dict[str, Any]) -> Section:
    colours = {name: of.colour(name) for name in of.best_first}
    references = of.sources[of.comparison.runs[0].name].run.get("validation_baselines", {}) if of.baselines else {}
    known = {name: float(value) for name, value in references.items() if value is not None}
    content: list[Html] = []
    for task in of.comparison.tasks:
        found = figures.learning(of.comparison, task, colours, known if len(of.comparison.tasks) == 1 else {})
        if found["data"]:
            drawn[f"learning {task}"] = found
            told = "validation score, the median of each group's runs, with the least and the greatest as a band"
            content.append(figure(f"learning {task}", f"{task}: {told}."))
    return Section("learning", "Learning", "Learning", content)


def _dispatch(of: Compared, views: dict[str, Any]) -> Section:
    """The median run of each group beside the optimum, where all were judged on the same steps."""
    empty = Section("dispatch", "Dispatch", "Dispatch", [])
    if len({run.task for run in of.comparison.runs}) > 1:
        return empty
    shown, last = [], None
    for group in of.best_first[: MOST_SHOWN - 1]:
        run = of.median_run(group)
        source = of.sources[run.name]
        if not len(source.timeseries) or source.learned not in set(source.timeseries["policy"]):
            continue
        last = source
        renamed = source.timeseries[source.timeseries["policy"] == source.learned].assign(policy=group)
        label = f"{group} ({run.name})" if group != run.name else group
        shown.append(Shown(group, label, of.colour(group), renamed, on=len(shown) < 2))
    if last is None:
        return empty
    if OPTIMUM in set(last.timeseries["policy"]):
        shown.append(Shown(OPTIMUM, "optimum", policy_colour(OPTIMUM), last.timeseries, on=len(shown) < 2))
    view = dispatch_view(shown, last.zone, last.currency)
    if view is None:
        return empty
    views["dispatch"] = view
    told = "Of each group the run with the median score."
    return Section("dispatch", "Dispatch", "Dispatch", [paragraph(told, class_="note"), *parts.dispatch(view)])


def _groups(of: Compared) -> Section:
    """Capture by season and price spread of each group's median run."""
    content: list[Html] = []
    chosen = {group: of.median_run(group) for group in of.best_first}
    evaluations = {group: run.result["evaluation"] for group, run in chosen.items()}
    first = next(iter(evaluations.values()))
    for key, groups in first.get("day_groups", {}).items():
        names = list(groups["days"])
        if any(list(e.get("day_groups", {}).get(key, {}).get("days", {})) != names for e in evaluations.values()):
            continue
        rows = []
        for group, evaluation in evaluations.items():
            values = evaluation["policies"]["best"][f"by_{key}"]
            cells = [shaded(number(values[name]["capture"]), values[name]["capture"]) for name in names]
            rows.append([parts.named(group, colour=of.colour(group)), *cells])
        content += [tag("h3", f"By {worded(key)}"), table(["capture", *names], rows)]
    if content:
        content.insert(0, paragraph("Of each group the run with the median score.", class_="note"))
    return Section("groups", "By group of days", "Seasons", content)


def _runs(of: Compared) -> Section:
    rows: list[list[object]] = []
    for run in sorted(of.comparison.runs, key=lambda run: -run.score):
        facts, record = run.result["run"], of.sources[run.name].record
        time = facts.get("training_time_s")
        rows.append([
            _link(of, run), run.group, run.task, str(run.seed), record.get("status", ""), _value(run.score),
            f"{facts.get('env_steps', 0):,}", None if time is None else duration(time),
        ])  # fmt: skip
    for one in of.left:
        rows.append([one.name, "", "", "", one.state + (f": {one.reason}" if one.reason else ""), "", "", ""])
    headings = ["run", "group", "environment", "seed", "status", "score", "steps", "training"]
    return Section("runs", "Runs", "Runs", [table(headings, rows, texts=5)])


def _link(of: Compared, run: Finished) -> Html:
    """The run's name; where it has a page of its own, leading there."""
    page = run.folder / "report.html"
    if not page.exists():
        return tag("span", run.name)
    return tag("a", run.name, href=f"./{quote(os.path.relpath(page, of.folder).replace(os.sep, '/'))}")


def _configuration(of: Compared) -> Section:
    content = [paragraph("What was given on the command line:")]
    content.append(code("\n".join(f"{name}: {' '.join(s.overrides) or '-'}" for name, s in of.sources.items())))
    for group in of.best_first:
        run = of.median_run(group)
        content.append(folded(f"All settings of {run.name}", code(of.sources[run.name].yaml)))
    return Section("configuration", "Configuration", "Configuration", content)


def _versions(of: Compared) -> Section:
    """What the runs were made with; where that differs between them, all of it."""
    content: list[Html] = []
    seen: dict[str, list[str]] = {}
    for name, source in of.sources.items():
        record = source.record
        packages = ", ".join(f"{key} {value}" for key, value in record.get("versions", {}).items())
        hardware = ", ".join(f"{key} {value}" for key, value in record.get("hardware", {}).items())
        seen.setdefault(f"revision {record.get('git') or 'unknown'}; {hardware}; {packages}", []).append(name)
    content += [paragraph(f"{line[0].upper()}{line[1:]}.") for line in of.comparison.differing_files()]
    if len(seen) > 1:
        content.append(paragraph("Not all runs were made with the same code, packages or hardware."))
    for told, names in seen.items():
        content.append(tag("dl", tag("dt", "all runs" if len(seen) == 1 else listed(names)), tag("dd", told)))
    return Section("origin", "Versions and hardware", "Versions", content)


def _reproduce(of: Compared) -> list[Html]:
    commands = [
        parts.command("scripts/train.py", source.overrides, source.config.get("threads"))
        for source in of.sources.values()
    ]
    return [code(of.command or "\n".join(commands))]


def _value(value: float | None) -> str:
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    return f"{value:.4f}" if value == 0 or 0.01 <= abs(value) < 10 else f"{value:.4g}"


def _interval(row: Mapping[str, Any], bare: bool = False) -> str:
    ends = row["ci95"]
    if ends is None:
        return "–" if bare else " (one run: no interval)"
    told = f"{_value(ends[0])} to {_value(ends[1])}"
    return told if bare else f" (95\u00a0% interval {told}, {row['runs']} runs)"
