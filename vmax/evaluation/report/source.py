"""What a run's folder holds, read once for a page: what is missing is empty, and nothing is made up for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from vmax.errors import UserError
from vmax.evaluation.evaluate import IDLE, NOTHINGS, OPTIMUM
from vmax.evaluation.report.series import daily_value_eur, in_mw, read_timeseries
from vmax.evaluation.table import LEARNED, whole_split
from vmax.run_folder import RunFolder, read_metrics

PLANNERS = ("mpc", "lp_")
"""How the names of baselines begin that plan ahead; the others are rules."""
SPLIT = "test"
MOST_SEASONS = 16


@dataclass(frozen=True)
class Source:
    """A run as its folder tells it."""

    folder: RunFolder
    record: dict[str, Any]
    result: dict[str, Any]
    config: dict[str, Any]
    overrides: list[str]

    @classmethod
    def open(cls, path: Path) -> Source:
        """Raises UserError where there is no run, or one of its files cannot be read."""
        folder = RunFolder.open(path)
        try:
            return cls(
                folder=folder,
                record=folder.record(),
                result=_json(folder.result),
                config=folder.composed(),
                overrides=[str(override) for override in folder.given_overrides()],
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error

    @property
    def run(self) -> dict[str, Any]:
        """The section `run` of result.json."""
        return self.result.get("run", {})

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The section `evaluation` of result.json; None for a run that was not evaluated."""
        return self.result.get("evaluation")

    @property
    def status(self) -> str:
        return self.record.get("status", "not started")

    @property
    def algorithm(self) -> str:
        """What learned: the algorithm, and its network where that is no plain one."""
        network = self.config.get("network", {}).get("name", "mlp")
        return self.config["algorithm"]["name"].upper() + ("" if network == "mlp" else f" with {network.upper()}")

    @property
    def env(self) -> str:
        return self.config["env"]["name"]

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def title(self) -> str:
        """The run's own name, or what it is."""
        return self.config.get("name") or self.what

    @property
    def what(self) -> str:
        """Algorithm, environment and seed."""
        return f"{self.algorithm} on {self.env}, seed {self.seed}"

    @property
    def zone(self) -> str:
        """The time zone of the market, UTC where there is none."""
        return self.config.get("env", {}).get("data", {}).get("timezone") or "UTC"

    @property
    def currency(self) -> str:
        return (self.evaluation or {}).get("currency", "EUR")

    @property
    def judged_by_money(self) -> bool:
        return self.evaluation is not None and whole_split(self.evaluation)

    @property
    def trials(self) -> bool:
        """Whether policies were judged by trials."""
        return self.evaluation is not None and "trials" in self.evaluation

    @property
    def learned(self) -> str:
        """The learned policy that stands for the run."""
        policies = (self.evaluation or {}).get("policies", {})
        return next((name for name in LEARNED if name in policies), LEARNED[0])

    @cached_property
    def rivals(self) -> list[str]:
        """Rules and planners, the best first; neither doing nothing nor the optimum is one."""
        if self.evaluation is None or not self.judged_by_money:
            return []
        policies = self.evaluation["policies"]
        names = [name for name in policies if name not in (*LEARNED, *NOTHINGS, OPTIMUM, IDLE)]
        return sorted(names, key=lambda name: -policies[name]["uplift_eur"])

    def best_rival(self, planner: bool) -> str | None:
        """The best of the planners, or of the rules."""
        return next((name for name in self.rivals if name.startswith(PLANNERS) == planner), None)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv as numbers; what is empty there is no number."""
        header, rows = read_metrics(self.folder.metrics)
        columns = zip(*rows, strict=True) if rows else [() for _ in header]
        numbers = {
            name: pd.to_numeric(pd.Series(column), "coerce") for name, column in zip(header, columns, strict=True)
        }
        return pd.DataFrame(numbers)

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """calibration.csv, or nothing."""
        return pd.read_csv(self.folder.calibration) if self.folder.calibration.exists() else pd.DataFrame()

    @cached_property
    def season_days(self) -> dict[int, pd.DataFrame]:
        """How the fixed days of the seasons were dispatched, by step of the training; of many steps a few."""
        steps = self.folder.season_steps()
        chosen = steps[:: -max(1, -(-len(steps) // MOST_SEASONS))][::-1]
        return {step: in_mw(pd.read_csv(self.folder.season_days(step))) for step in chosen}

    @cached_property
    def timeseries(self) -> pd.DataFrame:
        """The time series of the test split, or nothing. Raises OSError or ValueError where it cannot be read."""
        return read_timeseries(self.folder.evaluation(SPLIT) / "timeseries.csv")

    @cached_property
    def episodes(self) -> pd.DataFrame:
        """The episodes of the test split, or nothing."""
        path = self.folder.evaluation(SPLIT) / "episodes.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()

    @cached_property
    def daily_eur(self) -> pd.DataFrame:
        """What policies earned by local day of the test split, or nothing."""
        return daily_value_eur(self.timeseries, self.zone) if len(self.timeseries) else pd.DataFrame()

    @cached_property
    def checks(self) -> dict[str, Any]:
        """checks.json of the run, or nothing; an unreadable one counts as none."""
        try:
            found = _json(self.folder.checks)
        except ValueError:
            return {}
        return {"checks": found} if isinstance(found, list) else found

    @property
    def yaml(self) -> str:
        """The composed configuration as it is saved."""
        return OmegaConf.to_yaml(OmegaConf.create(self.config))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
