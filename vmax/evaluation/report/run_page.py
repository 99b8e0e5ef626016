"""The page of one run."""

from __future__ import annotations

from typing import Any

import numpy as np

from vmax.evaluation.evaluate import OPTIMUM
from vmax.evaluation.report import figures, parts, words
from vmax.evaluation.report.markup import Html, Page, Section, code, figure, folded, paragraph, table, tag
from vmax.evaluation.report.series import Shown, dispatch_view, policy_colour
from vmax.evaluation.report.source import Source
from vmax.evaluation.table import comparison_rows


def run_page(source: Source) -> Page:
    """Everything that the run's folder holds, as a page. Raises OSError or ValueError for files that cannot be read."""
    drawn: dict[str, Any] = {}
    views: dict[str, Any] = {}
    sections = [
        _summary(source),
        _learning(source, drawn, views),
        _dispatch(source, views),
        _policies(source, drawn),
        _groups(source),
        _calibration(source, drawn),
        Section("checks", "Checks before training", "Checks", parts.checks(source.checks)),
        _configuration(source),
        Section("origin", "Versions and hardware", "Versions", parts.origin(source)),
        Section("reproduce", "How to reproduce", "Reproduce", parts.reproduce(source)),
    ]
    facts = [
        source.what if source.title != source.what else "",
        source.status.replace("_", " "),
        (source.record.get("started") or "")[:10],
        str(source.folder.path),
    ]
    return Page(source.title, " · ".join(filter(None, facts)), [one for one in sections if one.content], drawn, views)


def compared(source: Source) -> dict[str, str]:
    """The policies that figures show, with what they are called: the learned one, the best rule, the best planner and
    the optimum."""
    if not source.judged_by_money or source.evaluation is None:
        return {}
    rule, planner = source.best_rival(planner=False), source.best_rival(planner=True)
    labels = {source.learned: f"learned ({source.learned})"}
    labels |= {rule: f"best rule ({rule})"} if rule else {}
    labels |= {planner: f"best planner ({planner})"} if planner else {}
    return labels | ({OPTIMUM: "optimum"} if OPTIMUM in source.evaluation["policies"] else {})


def _summary(source: Source) -> Section:
    verdict, *more = words.summary(source)
    found = words.cards(source)
    content = [paragraph(verdict, class_="verdict"), *([parts.cards(found)] if found else []), *map(paragraph, more)]
    return Section("summary", "Summary", "Summary", content)


def _learning(source: Source, drawn: dict[str, Any], views: dict[str, Any]) -> Section:
    content: list[Html] = []
    metrics = source.metrics
    if metrics.reindex(columns=["eval/score"]).count().sum():
        references = {name: float(x) for name, x in source.run.get("validation_baselines", {}).items() if x is not None}
        label = "capture" if source.judged_by_money else "mean return"
        label = f"-{source.evaluation['judged_by']}" if source.trials and source.evaluation else label
        drawn["learning"] = figures.learning_curve(metrics, references, source.run.get("best_step"), label)
        beside = " Dashed: the baselines on the same split." if references else ""
        content.append(
            figure("learning", f"Score on the validation split during training; the star is ‘best’.{beside}")
        )
    if curves := figures.metric_curves(metrics):
        views["metrics"] = {"kind": "chooser", "label": "Quantity", "height": 300, "options": curves}
        content += [tag("h3", "Everything that was logged"), tag("div", data_view="metrics")]
    if days := source.season_days:
        options = {
            f"after {step:,} steps": figures.season_days(table, source.zone, source.currency)
            for step, table in reversed(days.items())
        }
        views["seasons"] = {"kind": "chooser", "label": "Step of the training", "height": 420, "options": options}
        told = "The same day of each season of the validation split, as the policy dispatched it during training."
        content += [tag("h3", "A day of each season"), tag("div", data_view="seasons"), paragraph(told, class_="note")]
    return Section("learning", "Learning", "Learning", content)


def _dispatch(source: Source, views: dict[str, Any]) -> Section:
    labels, series = compared(source), source.timeseries
    present = set(series["policy"].unique()) if len(series) else set()
    opened = {source.learned, OPTIMUM}
    shown = [
        Shown(name, label, policy_colour(name), series, on=name in opened)
        for name, label in labels.items()
        if name in present
    ]
    view = dispatch_view(shown, source.zone, source.currency) if shown else None
    if view is None:
        return Section("dispatch", "Dispatch", "Dispatch", [])
    views["dispatch"] = view
    return Section("dispatch", "Dispatch", "Dispatch", parts.dispatch(view))


def _policies(source: Source, drawn: dict[str, Any]) -> Section:
    if source.evaluation is None:
        return Section("policies", "Policies", "Policies", [])
    evaluation, labels = source.evaluation, compared(source)
    title = f"All policies on the {evaluation['split']} split"
    if source.trials:
        found = [*parts.key_figures(evaluation, source.currency), *parts.other_worlds(evaluation)]
        return Section("policies", title, "Policies", found)
    if not source.judged_by_money:
        return Section("policies", title, "Policies", _episodes(source, drawn))
    content = parts.key_figures(evaluation, source.currency)
    monthly = {name: evaluation["policies"][name] for name in labels}
    if all("profit_eur_by_month" in values for values in monthly.values()):
        drawn["monthly"] = figures.monthly_profit(monthly, source.currency, labels)
        content += [tag("h3", "Profit by month"), figure("monthly", "Local months of the market.", 320)]
    daily = source.daily_eur
    if OPTIMUM in daily and set(labels) <= set(daily):
        drawn["gap"] = figures.gap_to_optimum(daily, OPTIMUM, labels)
        told = (
            f"{source.currency} that each policy had earned less than the optimum by that day: steep is where it loses."
        )
        content += [tag("h3", "Behind the optimum"), figure("gap", told, 320)]
    return Section("policies", title, "Policies", content)


def _episodes(source: Source, drawn: dict[str, Any]) -> list[Html]:
    assert source.evaluation is not None
    headings, rows = comparison_rows(source.evaluation, source.currency)
    content = [table(["policy", *headings], [[parts.named(name), *cells] for name, cells in rows.items()])]
    episodes = source.episodes
    if "return" in episodes and len(episodes):
        drawn["returns"] = figures.returns(episodes, {name: name for name in rows})
        content += [tag("h3", "Returns of the episodes"), figure("returns", "How many episodes had which return.", 320)]
    return content


def _groups(source: Source) -> Section:
    found = [] if source.evaluation is None else parts.day_groups(source.evaluation, source.currency)
    if found:
        found.insert(
            0, paragraph("Share of the optimum's uplift on these days that each policy reached.", class_="note")
        )
    return Section("groups", "By group of days", "Seasons", found)


def _calibration(source: Source, drawn: dict[str, Any]) -> Section:
    pairs = source.calibration
    if not {"q", "return"} <= set(pairs.columns) or len(pairs) < 2:
        return Section("calibration", "Calibration of the critics", "Calibration", [])
    drawn["calibration"] = figures.calibration(pairs)
    values = pairs[["q", "return"]].to_numpy(np.float64)
    told = f" Correlation: {np.corrcoef(values.T)[0, 1]:.3f}." if values.std(axis=0).all() else ""
    caption = (
        "Each point is the first decision of a day or episode of the validation split; a right critic lies on the "
        f"dashed line.{told} Values of SAC hold an entropy bonus, and those of a post-decision critic leave out what "
        "is known already, so a shift is no error by itself."
    )
    return Section("calibration", "Calibration of the critics", "Calibration", [figure("calibration", caption, 400)])


def _configuration(source: Source) -> Section:
    given = "\n".join(source.overrides) or "nothing: all values are the defaults"
    content = [paragraph("Given on the command line:"), code(given), folded("All settings", code(source.yaml))]
    return Section("configuration", "Configuration", "Configuration", content)
