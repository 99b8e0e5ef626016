"""Run folders written by hand, with figures that are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vmax.envs.bess.assessment import COLUMNS
from vmax.evaluation.writing import write_table
from vmax.files import write_csv, write_json
from vmax.run_folder import RunFolder

CONFIG = {
    "algorithm": {"name": "sac"},
    "env": {"name": "bess", "data": {"timezone": "Europe/Amsterdam"}},
    "network": {"name": "lstm"},
    "seed": 3,
    "threads": 2,
    "name": None,
}
DAY_EUR = {"best": 10.0, "gated_two_cycle": 8.0, "mpc": 12.0, "do_nothing": 0.0, "perfect_foresight": 20.0}
"""What each policy earns on every day."""


def battery_run(
    path: Path,
    day_eur: dict[str, float] = DAY_EUR,
    days: int = 21,
    minutes: int = 60,
    noise_eur: float = 0.0,
    seed: int = 3,
    **config: Any,
) -> Path:
    """A finished run of a battery from 11 March 2024 on, a Monday, twice over each day (two draws of errors).

    `noise_eur`: how far the learned policy is above and below its mean on every other fortnight.
    """
    folder = RunFolder(path)
    overrides = ["algorithm=sac", "network=lstm", "env=bess", f"seed={seed}", "hydra.run.dir=/somewhere/else"]
    folder.save_config({**CONFIG, "seed": seed, **config}, config.get("overrides", overrides))
    folder.start(seed, {"platform": "cpu", "threads": 2})
    series = timeseries(day_eur, days, minutes, noise_eur)
    write_table(series, folder.evaluation("test") / "timeseries.csv")
    rows = [["100", "1.0", "0.5", "", "0.1"], ["200", "2.0", "0.4", "0.45", ""], ["300", "3.0", "0.3", "0.5", "0.2"]]
    write_csv(folder.metrics, ["step", "time_s", "train/critic_loss", "eval/score", "eval/q_mean"], rows)
    for step in (200, 300):
        one = series.query("policy == 'best' and lane == 0").head(24 * 60 // minutes)
        write_table(one.assign(season="spring", soc=step / 1000), folder.season_days(step))
    write_csv(folder.calibration, ["q", "return"], [[1.0, 2.0], [2.0, 2.5], [3.0, 4.0]])
    write_json(folder.result, {"run": facts(seed), "evaluation": evaluation(day_eur, days)})
    folder.finish("completed")
    return path


def pendulum_run(path: Path, mean: float = -150.0, **config: Any) -> Path:
    """A finished run that was judged by episodes."""
    folder = RunFolder(path)
    folder.save_config({**CONFIG, "env": {"name": "pendulum"}, **config}, ["env=pendulum", "seed=3"])
    folder.start(3, {})
    values = {"return_mean": mean, "return_std": 20.0, "episodes": 100, "length_mean": 200.0}
    judged = {"split": "test", "start": None, "end": None, "policies": {"best": values, "last": values}}
    write_json(folder.result, {"run": {**facts(3), "env": "pendulum"}, "evaluation": judged})
    episodes = pd.DataFrame({"policy": "best", "episode": range(4), "return": [-140.0, -150.0, -150.0, -160.0]})
    write_table(episodes, folder.evaluation("test") / "episodes.csv")
    folder.finish("completed")
    return path


def facts(seed: int) -> dict[str, Any]:
    return {
        "algorithm": "sac",
        "env": "bess",
        "seed": seed,
        "env_steps": 300,
        "gradient_updates": 40,
        "best_step": 300,
        "best_validation_score": 0.5,
        "validation_baselines": {"perfect_foresight": 1.0, "do_nothing": 0.0, "mpc": 0.6},
        "training_time_s": 150.0,
    }


def timeseries(day_eur: dict[str, float], days: int, minutes: int, noise_eur: float = 0.0) -> pd.DataFrame:
    """Every policy on local days from 11 March 2024 on, twice: the second time it earns two less, then two more."""
    clock = pd.date_range("2024-03-11", periods=days + 1, freq="D", tz="Europe/Amsterdam")
    utc = pd.date_range(clock[0], clock[-1], freq=f"{minutes}min", inclusive="left").tz_convert("UTC").tz_localize(None)
    hour = np.arange(len(utc)) * minutes / 60
    day = np.searchsorted(clock.tz_convert("UTC").tz_localize(None), utc, side="right") - 1
    first = np.append(True, np.diff(day) != 0)
    charge = np.where(hour % 24 < 3, 1.0, 0.0)
    tables = []
    for name, eur in day_eur.items():
        moves = 0.0 if name == "do_nothing" else 1.0
        for lane in (0, 1):
            swing = noise_eur * np.where(day // 14 % 2 == 0, 1, -1) if name == "best" else 0.0
            wave = (2.0 * lane - 1.0) * (name != "do_nothing")  # the mean of both draws is eur
            profit = np.where(first, eur + swing + wave, 0.0)
            step = pd.DataFrame({"utc": utc, "policy": name, "lane": lane})
            tables.append(
                step.assign(
                    price_eur_per_mwh=50 + 40 * np.sin(hour / 4) + day,
                    charge_mw=moves * charge,
                    discharge_mw=moves * np.roll(charge, 12 * 60 // minutes),
                    soc=0.1 + 0.8 * moves * (hour % 24 > 2),
                    profit_eur=profit,
                    terminal_value_eur=0.0,
                )
            )
    return pd.concat(tables, ignore_index=True)


def evaluation(day_eur: dict[str, float], days: int) -> dict[str, Any]:
    """What result.json says of them."""
    best = day_eur["perfect_foresight"]
    group = {"profit_eur": 1.0, "uplift_eur": 1.0, "capture": 0.5, "cycles_per_day": 1.0}
    policies = {}
    for name, eur in day_eur.items():
        capture = eur / best
        policies[name] = {
            "profit_eur": days * eur,
            "profit_eur_per_mw_year": 365 * eur,
            "uplift_eur": days * eur,
            "capture": capture,
            "ci95": {"profit_eur": [days * eur - 1, days * eur + 1], "capture": [capture - 0.01, capture + 0.01]},
            "cycles_per_day": 1.0,
            "wear_cost_eur": 5.0,
            "violations": 0,
            "profit_eur_by_month": {"2024-03": days * eur},
            "by_season": {"spring": group},
        }
    return {
        "split": "test",
        "currency": "EUR",
        "draws": 2,
        "start": "2024-03-10T23:00:00Z",
        "end": "2024-03-31T22:00:00Z",
        "rules": {"capture": "a share"},
        "optimum": {"kind": "optimum"},
        "columns": [column.described() for column in COLUMNS],
        "baseline_settings": {"chosen_on": "train", "gated_two_cycle": {"gate": 45.0}},
        "day_groups": {"season": {"days": {"spring": days}}},
        "policies": policies,
    }


def embedded(page: str) -> dict[str, Any]:
    """The data that a page holds."""
    return json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
