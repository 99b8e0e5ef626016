"""Plotly figures as dictionaries of `data` and `layout`; colours like `@ink` are the page's, see page.js."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vmax.evaluation.evaluate import NOTHINGS
from vmax.evaluation.plots import score_range
from vmax.evaluation.report.series import compact, policy_colour

Figure = dict[str, Any]
STEPS = {"title": {"text": "environment steps"}, "tickformat": "~s"}
MOST_POINTS = 1500
"""Of a curve so many points are drawn at most, evenly chosen."""


def learning_curve(metrics: pd.DataFrame, references: Mapping[str, float], best_step: int | None, label: str) -> Figure:
    """Validation score over environment steps, with the scores of baselines as lines and the chosen checkpoint."""
    curve = metrics.reindex(columns=["step", "eval/score"]).dropna()
    steps, scores = curve["step"].tolist(), curve["eval/score"].tolist()
    data = reference_lines({name: value for name, value in references.items() if name not in NOTHINGS}, steps)
    data.append(line(steps, scores, "learned", policy_colour("best"), mode="lines+markers", marker={"size": 5}))
    if best_step in steps:
        chosen = [scores[steps.index(best_step)]]
        marker = {"symbol": "star", "size": 13, "color": policy_colour("best")}
        data.append(
            {"type": "scatter", "mode": "markers", "name": "best", "x": [best_step], "y": chosen, "marker": marker}
        )
    return {"data": data, "layout": {"xaxis": STEPS, "yaxis": score_axis([scores], references, label)}}


def reference_lines(references: Mapping[str, float], steps: Sequence[float]) -> list[Figure]:
    """A dashed line for each baseline, as long as the curves."""
    ends = [min(steps, default=0), max(steps, default=1)]
    return [
        line(ends, [value, value], name, policy_colour(name), width=1.3, dash="dash", hover="%{y:.4g}")
        for name, value in sorted(references.items(), key=lambda item: -item[1])
    ]


def metric_curves(metrics: pd.DataFrame) -> dict[str, Figure]:
    """Every logged quantity but the score over environment steps, by name, those of the training first; what is never a
    number is left out."""
    found = {}
    thinned = metrics.iloc[:: max(1, -(-len(metrics) // MOST_POINTS))]
    shown = [name for name in metrics.columns if "/" in name and name != "eval/score"]
    for name in sorted(shown, key=lambda name: (not name.startswith("train/"), name)):
        curve = thinned.reindex(columns=["step", name]).dropna()
        if len(curve):
            y = [float(f"{value:.5g}") for value in curve[name]]
            drawn = line(
                curve["step"].tolist(), y, name, policy_colour("best"), mode="lines+markers", marker={"size": 4}
            )
            found[name] = {
                "data": [{**drawn, "showlegend": False}],
                "layout": {"xaxis": STEPS, "yaxis": {"title": {"text": name}}},
            }
    return found


def monthly_profit(policies: Mapping[str, Mapping[str, Any]], currency: str, labels: Mapping[str, str]) -> Figure:
    """Bars of profit by month for some policies, in thousands."""
    months = sorted({month for values in policies.values() for month in values["profit_eur_by_month"]})
    data = [
        {
            "type": "bar",
            "name": labels.get(name, name),
            "x": months,
            "y": compact(np.array([values["profit_eur_by_month"].get(month, 0.0) / 1000 for month in months]), 3),
            "marker": {"color": policy_colour(name)},
            "hovertemplate": "%{y:.2f}",
        }
        for name, values in policies.items()
    ]
    layout = {
        "barmode": "group",
        "hovermode": "x unified",
        "xaxis": {"type": "category"},
        "yaxis": {"title": {"text": f"thousand {currency}"}},
    }
    return {"data": data, "layout": layout}


def gap_to_optimum(daily: pd.DataFrame, optimum: str, labels: Mapping[str, str]) -> Figure:
    """What policies earned less than the optimum up to each day: where a line is steep, money was left."""
    days = [str(day.date()) for day in daily.index]
    data = [
        line(days, compact((daily[optimum] - daily[name]).cumsum().to_numpy(), 0), label, policy_colour(name))
        for name, label in labels.items()
        if name != optimum
    ]
    layout = {"hovermode": "x unified", "xaxis": {"type": "date"}, "yaxis": {"rangemode": "tozero"}}
    return {"data": data, "layout": layout}


def season_days(table: pd.DataFrame, zone: str, currency: str) -> Figure:
    """Power, charge and price of one day of each season, side by side over local hours."""
    data: list[Figure] = []
    titles: list[Figure] = []
    years: dict[str, None] = {}
    for number, season in enumerate(dict.fromkeys(table["season"])):
        day, start = table.loc[(table["season"] == season).to_numpy()], 30.0 * number
        discharge, charge, soc, price = (
            np.asarray(day[name], np.float64) for name in ("discharge_mw", "charge_mw", "soc", "price_eur_per_mwh")
        )
        hour = compact(start + np.linspace(0.0, 24.0, len(day), endpoint=False), 2)
        learned = policy_colour("best")
        for y, shade, axis, shape, unit in (
            (compact(discharge - charge, 3), learned, "y", "hv", "MW"),
            (compact(100.0 * soc, 1), learned, "y2", "linear", "%"),
            (compact(price, 2), "@ink", "y3", "hv", f"{currency}/MWh"),
        ):
            drawn = line(hour, y, str(season), shade, hover=f"%{{y:.2f}} {unit}", yaxis=axis, showlegend=False)
            data.append({**drawn, "line": {**drawn["line"], "shape": shape}})
        begins = pd.Timestamp(np.asarray(day["utc"])[0]).tz_convert(zone)
        text = f"{season}<br>{begins:%d %b}"
        years[f"{begins:%Y}"] = None
        titles.append({"text": text, "x": start, "y": 1.0, "yref": "paper", "align": "left", "showarrow": False,
                       "xanchor": "left", "yanchor": "bottom"})  # fmt: skip
    hours = [(30 * number + hour, str(hour)) for number in range(len(titles)) for hour in (0, 12)]
    ticks = {"tickvals": [at for at, _ in hours], "ticktext": [hour for _, hour in hours]}
    layout = {
        "annotations": titles,
        "margin": {"l": 56, "r": 16, "t": 40, "b": 44},
        "xaxis": {
            **ticks,
            "anchor": "y3",
            "title": {"text": f"local hour, {', '.join(years)}"},
            "tickangle": 0,
        },
        "yaxis": {"domain": [0.7, 1.0], "title": {"text": "MW"}},
        "yaxis2": {"domain": [0.36, 0.64], "title": {"text": "charge, %"}, "range": [0, 100]},
        "yaxis3": {"domain": [0.0, 0.3], "title": {"text": f"{currency}/MWh"}},
    }
    return {"data": data, "layout": layout}


def calibration(pairs: pd.DataFrame) -> Figure:
    """What the critics said beside what came, with the diagonal on which a right critic would lie."""
    value, returned = (pairs[name].to_numpy(np.float64) for name in ("q", "return"))
    ends = compact(np.array([min(value.min(), returned.min()), max(value.max(), returned.max())]), 4)
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": "a day or episode",
        "x": compact(value, 4),
        "y": compact(returned, 4),
        "marker": {"size": 6, "opacity": 0.6, "color": policy_colour("last")},
    }
    layout = {
        "xaxis": {"title": {"text": "value said by the critics"}},
        "yaxis": {"title": {"text": "discounted return that followed"}},
    }
    return {"data": [line(ends, ends, "right", "@ink", width=1.2, dash="dash"), points], "layout": layout}


def returns(episodes: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """How often episodes of each policy had which return."""
    values = episodes["return"].to_numpy(np.float64)
    size = float(np.ptp(values)) / 24 or 1.0
    data = [
        {
            "type": "histogram",
            "name": label,
            "x": compact(episodes.loc[episodes["policy"] == name, "return"].to_numpy(), 3),
            "xbins": {"start": float(values.min()), "end": float(values.max()) + size, "size": size},
            "marker": {"color": policy_colour(name)},
            "opacity": 0.75,
        }
        for name, label in labels.items()
    ]
    layout = {
        "barmode": "overlay",
        "xaxis": {"title": {"text": "return"}},
        "yaxis": {"title": {"text": "episodes"}},
    }
    return {"data": data, "layout": layout}


def score_axis(curves: Sequence[Sequence[float]], references: Mapping[str, float], label: str) -> Figure:
    """The axis of learning curves."""
    limits = score_range(curves, references)
    return {"title": {"text": label}, **({} if limits is None else {"range": list(limits)})}


def line(
    x: Sequence[Any], y: Sequence[Any], name: str, colour: str, width: float = 1.8, dash: str = "solid",
    hover: str = "%{y:.4~g}", **more: Any,
) -> Figure:  # fmt: skip
    """A line of one colour."""
    style = {"color": colour, "width": width, "dash": dash}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": style,
            "hovertemplate": hover, **more}  # fmt: skip
