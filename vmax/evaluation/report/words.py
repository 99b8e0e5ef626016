"""The summary of a run in plain words and a few figures. Where a rule or a planner is ahead, that stands first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import pandas as pd

from vmax.evaluation.report.series import lead_eur
from vmax.evaluation.report.source import Source
from vmax.evaluation.statistics import COLLAPSE
from vmax.evaluation.table import LEARNED, comparison_rows, ordered
from vmax.run_folder import FINISHED

MOST_CARDS = 3
"""Of the columns of the table of policies, where an objective counts and not the profit."""
OF = {
    "optimum": "of what perfect foresight earns above doing nothing",
    "bound": "of an upper bound of what can be earned above doing nothing; perhaps nobody can earn as much",
    "plan": "of what a plan with every price known earns above doing nothing; others may earn more",
}


@dataclass(frozen=True)
class Card:
    """A figure with its name, and its interval or what belongs to it."""

    name: str
    value: str
    beside: str


def summary(source: Source) -> list[str]:
    """Sentences, the verdict first."""
    if source.evaluation is None:
        return [*_status(source), "It was not evaluated, so nothing is said of what its policy is worth."]
    by = _by_money if source.judged_by_money else _by_trials if source.trials else _by_episodes
    told = by(source)
    ending = [] if source.status in FINISHED and not source.record.get("reason") else _status(source)
    return [*told, *ending, _training(source)]


def cards(source: Source) -> list[Card]:
    """The headline figures."""
    if source.evaluation is None:
        return []
    values = source.evaluation["policies"][source.learned]
    seconds = source.run.get("training_time_s")
    time = [] if seconds is None else [Card("training", duration(seconds), f"{source.run['env_steps']:,} steps")]
    if source.trials:
        headings, cells = comparison_rows(source.evaluation, source.currency)
        shown = dict(zip(headings, cells[source.learned], strict=True))
        return [*(Card(name, shown[name], "") for name in headings[: MOST_CARDS + 1]), *time]
    if not source.judged_by_money:
        low, high = _mean_interval(values)
        mean = Card("mean return", f"{values['return_mean']:,.1f}", f"95\u00a0%: {low:,.1f} to {high:,.1f}")
        return [mean, Card("spread of returns", f"{values['return_std']:,.1f}", "standard deviation"), *time]
    currency, intervals = source.currency, values["ci95"]
    capture = Card("capture", number(values["capture"]), _range(intervals["capture"], 3))
    if not source.evaluation.get("in_money", True):
        headings, cells = comparison_rows(source.evaluation, currency)
        shown = dict(zip(headings, cells[source.learned], strict=True))
        return [capture, *(Card(name, shown[name], "") for name in headings[:MOST_CARDS]), *time]
    found = [
        capture,
        Card(f"profit, {currency}", f"{values['profit_eur']:,.0f}", _range(intervals["profit_eur"], 0)),
    ]
    if source.rivals and (lead := lead_eur(source.daily_eur, source.learned, source.rivals[0])) is not None:
        gap, (low, high) = lead
        side, gap, ends = ("ahead of", gap, [low, high]) if gap >= 0 else ("behind", -gap, [-high, -low])
        found.append(Card(f"{side} {source.rivals[0]}, {currency}", f"{gap:,.0f}", _range(ends, 0)))
    return [*found, Card("cycles per day", f"{values['cycles_per_day']:.2f}", ""), *time]


def number(share: float | None) -> str:
    """A capture; a dash where there is none."""
    return "–" if share is None else f"{share:.3f}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.{1 if seconds < 600 else 0}f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def listed(names: Sequence[str]) -> str:
    """Names in a row: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _by_money(source: Source) -> list[str]:
    assert source.evaluation is not None
    policies, learned = source.evaluation["policies"], source.learned
    ours, rivals = policies[learned], source.rivals
    ahead = [name for name in rivals if policies[name]["uplift_eur"] > ours["uplift_eur"]]
    behind = [name for name in rivals if name not in ahead]
    told = [_verdict(source, ahead)]
    kind = source.evaluation.get("optimum", {}).get("kind", "optimum")
    if ours["capture"] is not None:
        ci = ours["ci95"]["capture"]
        within = "" if ci is None else f" (95\u00a0% interval {ci[0]:.3f} to {ci[1]:.3f})"
        told.append(f"The learned policy captures {ours['capture']:.3f}{within} {OF[kind]}.")
    for names, side in ((ahead, "Ahead"), (behind, "Behind")):
        if names:
            shown = [f"{name} ({number(policies[name]['capture'])})" for name in names]
            told.append(f"{side} of it, by capture: {listed(shown)}.")
    violations = ours["violations"]
    told.append("No limit was violated." if not violations else f"Limits were violated in {violations:,} steps.")
    return [*told, _basis(source)]


def _verdict(source: Source, ahead: Sequence[str]) -> str:
    """Who earned most, by how much, and whether the period can tell them apart."""
    assert source.evaluation is not None
    policies, learned = source.evaluation["policies"], source.learned
    if not source.rivals:
        return "Only the optimum and doing nothing were evaluated beside the learned policy."
    rival = source.rivals[0]
    gap = policies[learned]["uplift_eur"] - policies[rival]["uplift_eur"]
    kind = "a planner" if rival == source.best_rival(planner=True) else "a rule"
    in_money = source.evaluation.get("in_money", True)
    by = f"{source.currency} {abs(gap):,.0f}" if in_money else f"{_share(source, gap)} of capture"
    if ahead:
        verdict = f"{rival}, {kind}, is ahead of the learned policy by {by}"
    else:
        verdict = f"The learned policy is ahead of every rule and planner: of {rival} by {by}"
    if not in_money:
        return f"{verdict}."
    lead = lead_eur(source.daily_eur, learned, rival)
    if lead is None:
        return f"{verdict}."
    low, high = sorted(lead[1] if gap >= 0 else [-lead[1][0], -lead[1][1]])
    unsure = "; this period cannot tell them apart" if low < 0 < high else ""
    return f"{verdict} (95\u00a0% interval {low:,.0f} to {high:,.0f}{unsure})."


def _share(source: Source, gap: float) -> str:
    """A gap between two uplifts as a share of the optimum's."""
    assert source.evaluation is not None
    best = source.evaluation["optimum"]["uplift_eur"]
    return f"{abs(gap) / best:.3f}" if best > 0 else f"{abs(gap):.3g}"


def _basis(source: Source) -> str:
    evaluation = source.evaluation
    assert evaluation is not None
    draws = evaluation.get("draws", 1)
    lanes = evaluation.get("lanes", "draws of forecast errors")
    mean = f" Figures are means over {draws} {lanes}." if draws > 1 else ""
    start, end = (pd.Timestamp(evaluation[key]).tz_convert(source.zone) for key in ("start", "end"))
    return (
        f"Judged on the {evaluation['split']} split, {start:%d %b %Y} to {end - pd.Timedelta(seconds=1):%d %b %Y}, "
        f"which was not used in training.{mean} Intervals are a block bootstrap over weeks of this one period; they "
        "say nothing of other years."
    )


def _by_trials(source: Source) -> list[str]:
    """Who has less of what counts on the same trials, and whether they can tell."""
    assert source.evaluation is not None
    evaluation, policies = source.evaluation, source.evaluation["policies"]
    counts, ours = evaluation["judged_by"], policies[source.learned]
    low, high = ours["ci95"][counts]
    others = [name for name in ordered(policies) if name not in LEARNED]
    told = []
    if others:
        rival = others[0]
        more = policies[rival]["more_than_learned"]
        unsure = "; these trials cannot tell them apart" if more["ci95"][0] <= 0 <= more["ci95"][1] else ""
        side = "ahead of every rule: of" if more["mean"] > 0 else "behind"
        ends = sorted(abs(x) for x in more["ci95"]) if not unsure else more["ci95"]
        told.append(
            f"The learned policy is {side} {rival} by {abs(more['mean']):.3g} in {counts} "
            f"(95\u00a0% interval {ends[0]:.3g} to {ends[1]:.3g}{unsure})."
        )
    told.append(f"Its {counts} is {ours[counts]:.4g} (95\u00a0% interval {low:.4g} to {high:.4g}).")
    told.append(
        f"Judged on {evaluation['trials']} {evaluation['lanes']} of the {evaluation['split']} split, the same for all, "
        "none of which was used in training. Another seed of the training may lie outside the intervals."
    )
    return told


def _by_episodes(source: Source) -> list[str]:
    assert source.evaluation is not None
    policies = source.evaluation["policies"]
    values = policies[source.learned]
    low, high = _mean_interval(values)
    return [
        f"The learned policy has a mean return of {values['return_mean']:,.1f} (95\u00a0% interval {low:,.1f} to "
        f"{high:,.1f}) over {values['episodes']} greedy episodes.",
        "This environment has no baselines to compare with. The interval is that of the mean over episodes (normal "
        "approximation); another seed of the training may lie outside it.",
    ]


def _mean_interval(values: dict[str, Any]) -> tuple[float, float]:
    half = 1.96 * values["return_std"] / sqrt(values["episodes"])
    return values["return_mean"] - half, values["return_mean"] + half


def _training(source: Source) -> str:
    run = source.run
    steps = f"{run.get('env_steps', 0):,} environment steps and {run.get('gradient_updates', 0):,} gradient updates"
    time = run.get("training_time_s")
    took = "" if time is None else f", {duration(time)} of training"
    chosen = ""
    if source.learned == LEARNED[0] and run.get("best_validation_score") is not None:
        chosen = (
            f" Of its checkpoints the one of step {run['best_step']:,} stands for it, chosen by the score on the "
            f"validation split ({run['best_validation_score']:,.4g})."
        )
    if run.get("evaluations"):
        times = f"{run['collapsed']} of" if run["collapsed"] else "None of"
        chosen += (
            f" {times} {run['evaluations']} evaluations during training found a collapsed policy (worse than the best "
            f"before it by more than {COLLAPSE:.0%} of its score)."
        )
    return f"{steps}{took}.{chosen}"


def _status(source: Source) -> list[str]:
    reason = source.record.get("reason")
    words = {"stopped_early": "stopped early", "running": "still running, or ended without a word"}
    return [f"The run is {words.get(source.status, source.status)}{f': {reason}' if reason else ''}."]


def _range(ends: Sequence[float] | None, digits: int) -> str:
    return "no interval" if ends is None else f"95\u00a0%: {ends[0]:,.{digits}f} to {ends[1]:,.{digits}f}"
