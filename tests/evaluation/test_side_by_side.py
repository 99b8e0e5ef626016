"""Groups of runs beside baselines: medians and ranges of what a run's table shows, and two objectives as points."""

from pathlib import Path

import numpy as np

from vmax.evaluation.comparison import Comparison, Finished
from vmax.evaluation.side_by_side import key_figures, table, trade_off

COLUMNS = [
    {"heading": "cost {currency}", "key": "cost", "digits": 0},
    {"heading": "winter", "key": "by_season.winter", "digits": 2},
    {"heading": "95 % CI", "key": "ci95.capture", "digits": 3},
]


def finished(group: str, seed: int, cost: float, env: str = "site", columns=COLUMNS) -> Finished:
    best = {"cost": cost, "co2_kg": 10.0 * seed, "by_season": {"winter": 0.5}, "ci95": {"capture": [0.1, 0.2]}}
    policies = {
        "best": best, "last": best, "mpc": {"cost": 3000.4, "co2_kg": 1.0, "by_season": {}, "uplift_eur": 1.0},
        "no_control": {"cost": 9000.0, "co2_kg": 2.0, "by_season": {"winter": 0.0}, "uplift_eur": 0.0},
    }  # fmt: skip
    evaluation = {"currency": "USD", "columns": columns, "policies": policies, "fronted": ["co2_kg", "cost"]}
    result = {"run": {"wall_time_s": 60.0 * (seed + 1)}, "evaluation": evaluation}
    baselines = {"mpc": 0.9, "no_control": 0.0}
    return Finished(f"{group}{seed}", group, env, seed, Path(), "capture", 0.5, baselines, result)


def test_groups_show_median_and_range_and_baselines_their_figure():
    runs = [
        finished("sac", 0, 1000.0),
        finished("sac", 1, 3000.0),
        finished("sac", 2, 1200.0),
        finished("td3", 0, 2000.0),
    ]
    headings, rows = key_figures(Comparison.of(runs))
    assert headings == ["cost USD", "winter", "minutes"]
    assert rows == {
        "sac": ["1,200 (1,000 – 3,000)", "0.50", "2.0 (1.0 – 3.0)"],
        "td3": ["2,000", "0.50", "1.0"],
        "mpc": ["3,000", "-", ""],
        "no_control": ["9,000", "0.00", ""],
    }
    shown = table(Comparison.of(runs))
    assert shown is not None and shown.row_count == 4
    figure = trade_off(Comparison.of(runs))
    assert figure is not None
    (axes,) = figure.axes
    labels = [str(drawn.get_label()) for drawn in axes.collections]
    assert labels == ["sac", "td3", "mpc"] and np.shape(axes.collections[0].get_offsets()) == (3, 2)


def test_nothing_is_shown_of_runs_that_are_judged_otherwise():
    two = Comparison.of([finished("sac", 0, 1.0), finished("sac", 0, 1.0, env="other")])
    assert key_figures(two) == ([], {}) and table(two) is None and trade_off(two) is None
    unlike = Comparison.of([finished("sac", 0, 1.0), finished("td3", 0, 1.0, columns=COLUMNS[:1])])
    assert key_figures(unlike) == ([], {})
