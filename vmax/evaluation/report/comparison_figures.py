"""Plotly figures of a comparison, as dictionaries; see `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vmax.evaluation.comparison import Comparison, curve
from vmax.evaluation.evaluate import NOTHINGS
from vmax.evaluation.report.figures import STEPS, Figure, line, reference_lines, score_axis
from vmax.evaluation.report.series import compact, policy_colour
from vmax.evaluation.statistics import performance_profile


def scores(
    groups: Mapping[str, np.ndarray],
    described: Mapping[str, Any],
    names: Sequence[str],
    colours: Mapping[str, str],
    baselines: Mapping[str, float],
    label: str,
) -> Figure:
    """Every run's score, each group's IQM with its interval, and the baselines near them as lines."""
    data: list[Figure] = []
    for place, name in enumerate(names):
        values, row, colour = groups[name].ravel(), described[name], colours[name]
        points = line(compact(values, 6), [place] * len(values), name, colour, hover="%{x:.4~g}")
        marker = {"size": 9, "color": colour, "opacity": 0.55}
        data.append({**points, "mode": "markers", "marker": marker, "showlegend": False})
        if row["ci95"] is not None:
            ends = line(row["ci95"], [place, place], f"{name}: 95 %", colour, width=8, hover="%{x:.4~g}")
            data.append({**ends, "opacity": 0.35, "showlegend": False})
        if row["iqm"] is not None:
            bar = line(
                [row["iqm"]] * 2, [place - 0.27, place + 0.27], f"{name}: IQM", colour, width=3, hover="%{x:.4~g}"
            )
            data.append({**bar, "showlegend": False})
    data += _marks(groups, baselines, [-0.5, len(names) - 0.5])
    axis = {"tickvals": list(range(len(names))), "ticktext": list(names), "range": [len(names) - 0.5, -0.5]}
    layout = {"xaxis": {"title": {"text": f"{label} on the test split"}}, "yaxis": {**axis, "showgrid": False}}
    return {"data": data, "layout": layout}


def profiles(
    groups: Mapping[str, np.ndarray],
    names: Sequence[str],
    colours: Mapping[str, str],
    baselines: Mapping[str, float],
    label: str,
) -> Figure:
    """Share of each group's runs above each score, with the baselines near them as lines."""
    everything = _values(groups)
    if not len(everything):
        return {"data": [], "layout": {}}
    margin = 0.05 * max(float(np.ptp(everything)), 1e-6)
    levels = np.linspace(everything.min() - margin, everything.max() + margin, 200)
    x = [float(f"{level:.6g}") for level in levels]
    data = [
        line(x, compact(performance_profile(groups[name], levels), 4), name, colours[name], hover="%{y:.2f}")
        for name in names
        if groups[name].size
    ]
    layout = {
        "xaxis": {"title": {"text": f"{label} τ"}},
        "yaxis": {"title": {"text": "share of runs above τ"}, "range": [0, 1.03]},
    }
    return {"data": data + _marks(groups, baselines, [0, 1]), "layout": layout}


def learning(comparison: Comparison, task: str, colours: Mapping[str, str], references: Mapping[str, float]) -> Figure:
    """Validation score over environment steps: the median of each group's runs, and their range as a band."""
    data: list[Figure] = []
    steps: list[float] = []
    ranges: list[list[float]] = []
    for group, colour in colours.items():
        curves = [curve(run.folder) for run in comparison.runs if run.group == group and run.task == task]
        curves = [one.set_index("step")["score"] for one in curves if len(one)]
        if not curves:
            continue
        together = pd.concat(curves, axis=1).sort_index().interpolate(limit_area="inside").dropna()
        x = together.index.tolist()
        least, median, most = (
            [float(f"{value:.5g}") for value in found]
            for found in (together.min(axis=1), together.median(axis=1), together.max(axis=1))
        )
        band = {"type": "scatter", "mode": "lines", "name": group, "x": [*x, *x[::-1]], "y": [*most, *least[::-1]],
                "fill": "toself", "fillcolor": f"{colour}26", "line": {"width": 0}}  # fmt: skip
        data.append({**band, "hoverinfo": "skip", "showlegend": False})
        data.append(line(x, median, group, colour, mode="lines+markers", marker={"size": 5}))
        steps += x
        ranges += [least, most]
    shown = {name: value for name, value in references.items() if name not in NOTHINGS}
    layout = {"xaxis": STEPS, "yaxis": score_axis(ranges, shown, "score")}
    return {"data": [*reference_lines(shown, steps), *data] if data else [], "layout": layout}


def _marks(groups: Mapping[str, np.ndarray], baselines: Mapping[str, float], ends: Sequence[float]) -> list[Figure]:
    """The baselines as upright lines; those far from all runs would make these unreadable and are left out."""
    everything = _values(groups)
    if not len(everything):
        return []
    margin = max(float(np.ptp(everything)), 0.02 * float(np.abs(everything).max()), 1e-6)
    low, high = everything.min() - 2 * margin, everything.max() + 2 * margin
    near = {name: value for name, value in baselines.items() if low <= value <= high}
    return [
        line([value, value], ends, name, policy_colour(name), width=1.3, dash="dash", hover="%{x:.4~g}")
        for name, value in sorted(near.items(), key=lambda item: -item[1])
    ]


def _values(groups: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([values.ravel() for values in groups.values()] or [np.zeros(0)])
