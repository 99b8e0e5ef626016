"""Pictures of a run that are the same for every environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from vmax.evaluation.evaluate import NOTHINGS, Evaluation
from vmax.plotting import Picture, canvas, colour


def evaluation_figures(env: Any, evaluation: Evaluation) -> dict[str, Picture]:
    """The pictures of an evaluation over a whole split or by trials, by name; none for episodes."""
    if env.assessment is None:
        return own_figures(env, evaluation)
    return {
        **own_figures(env, evaluation),
        "monthly_profit": monthly_profit(evaluation.result["policies"], env.assessment.currency),
    }


def own_figures(env: Any, evaluation: Evaluation) -> dict[str, Picture]:
    """Those that the environment itself draws."""
    if env.assessment is None:
        return dict(evaluation.pictures())
    return env.assessment.figures(evaluation.timeseries, list(evaluation.result["policies"]))


def score_label(env: Any) -> str:
    """What the score of an environment's policies is called."""
    if env.assessment is not None:
        return "capture"
    return "mean return" if env.trials is None else f"-{env.trials.judged_by}"


def learning_curve(
    metrics: Path, references: Mapping[str, float], label: str = "capture", column: str = "eval/score"
) -> Figure:
    """The validation score, called `label`, over environment steps from metrics.csv, with those of baselines as
    lines."""
    curve = pd.read_csv(metrics).reindex(columns=["step", column]).dropna()
    with canvas(9, 4.5) as (figure, axes):
        axes.plot(curve["step"], curve[column], color=colour("best"), marker="o", markersize=3.5, linewidth=1.8)
        for names, value in _together(references):
            name = names[-1]
            axes.axhline(value, color=colour(name), linewidth=1.2, linestyle="--")
            axes.annotate(
                "\n".join(names), (1.0, value), xycoords=("axes fraction", "data"), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=8, color=colour(name), annotation_clip=True,
            )  # fmt: skip
        axes.set(title="Learning curve, validation split", xlabel="environment steps", ylabel=label)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        limits = score_range([curve[column].tolist()], references)
        if limits is not None:
            axes.set_ylim(*limits)
    return figure


MOVING = 0.15
"""Share of a training curve over which its moving average is taken."""


def training_curves(metrics: Path) -> Figure:
    """Every quantity that training logged over environment steps, with its moving average."""
    table = pd.read_csv(metrics)
    names = [name for name in table.dropna(axis="columns", how="all").columns if name.startswith("train/")]
    names.sort(key=lambda name: (name != "train/episode_return", name != "train/episode_length", name))
    columns = min(4, max(len(names), 1))
    rows = max(1, -(-len(names) // columns))
    with canvas(3.4 * columns, 2.2 * rows + 0.4, rows=rows, ncols=columns, squeeze=False) as (figure, axes):
        for axis, name in zip(axes.flat, names, strict=False):
            curve = table[["step", name]].dropna()
            axis.plot(curve["step"], curve[name], color=colour("last"), linewidth=0.9)
            window = max(2, round(MOVING * len(curve)))
            mean = pd.Series(curve[name]).rolling(window, min_periods=1).mean()
            axis.plot(curve["step"], mean, color=colour("best"), linewidth=1.7)
            axis.set_title(name.removeprefix("train/"))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        for axis in list(axes.flat)[len(names) :]:
            axis.set_axis_off()
        figure.suptitle(f"Training; dark: mean over {MOVING:.0%} of the points", fontsize=10)
    return figure


def score_range(curves: Sequence[Sequence[float]], references: Mapping[str, float]) -> tuple[float, float] | None:
    """What a picture of learning curves shows: the baselines but for doing nothing, and the scores without the first
    quarter of each curve, which may lie far below what matters. None without scores."""
    later = [score for scores in curves for score in scores[len(scores) // 4 :]]
    if not later:
        return None
    seen = [*(value for name, value in references.items() if name not in NOTHINGS), *later]
    margin = 0.06 * ((max(seen) - min(seen)) or 1.0)
    return min(seen) - margin, max(seen) + margin


def _together(references: Mapping[str, float], apart: float = 0.01) -> list[tuple[list[str], float]]:
    """The baselines with their values; those whose values are nearer than `apart` under one label."""
    groups: list[tuple[list[str], float]] = []
    for name, value in sorted(references.items(), key=lambda item: item[1]):
        if groups and value - groups[-1][1] < apart:
            groups[-1][0].append(name)
        else:
            groups.append(([name], value))
    return groups


def monthly_profit(policies: Mapping[str, Mapping[str, Any]], currency: str) -> Figure:
    """Bars of profit by month for every policy that earned or spent anything."""
    profits = {name: values["profit_eur_by_month"] for name, values in policies.items()}
    shown = {name: values for name, values in profits.items() if any(values.values())}
    months = sorted({month for values in shown.values() for month in values})
    place, width = np.arange(len(months)), 0.85 / max(len(shown), 1)
    with canvas(12, 4.8) as (figure, axes):
        for i, (name, values) in enumerate(shown.items()):
            height = [values.get(month, 0.0) / 1000 for month in months]
            axes.bar(place + (i - (len(shown) - 1) / 2) * width, height, width, color=colour(name), label=name)
        axes.set_xticks(place, months)
        axes.set(title="Profit by month", ylabel=f"thousand {currency}")
        axes.grid(False, axis="x")
        axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    return figure
