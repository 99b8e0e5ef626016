"""vmax: reinforcement learning for infrastructure that runs on schedules and prices.

`train`, `evaluate` and `make_env` take the overrides that the commands take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

__version__ = "0.1.0"


def make_env(name: str, overrides: Sequence[str] = ()) -> Any:
    """An environment with its defaults from conf/env and the overrides `env.…=…` that the commands take.

    Raises UserError for a name, key or value that does not fit.
    """
    from vmax import config, envs
    from vmax.conversion import build

    section = config.to_mapping(config.compose([f"env={name}", "~pair", *overrides]))["env"]
    return envs.make(build(envs.config_class(section["name"]), section, "env"))


def train(overrides: Sequence[str] = (), folder: str | None = None) -> dict[str, Any]:
    """Train as `scripts/train.py` does with the same overrides; returns what stands in result.json.

    `folder` is the run folder, by default a new one under outputs/. Raises UserError before anything is written.
    """
    from vmax.commands.train import run_from_python

    return run_from_python(overrides, folder)


def evaluate(
    run: str, checkpoint: Literal["best", "last"] | int = "best", split: Literal["train", "validation", "test"] = "test"
) -> dict[str, Any]:
    """Evaluate a checkpoint (`best`, `last`, or the step of a policy that was kept) of a run, beside all baselines.

    Writes RUN/evaluation/SPLIT, or SPLIT-CHECKPOINT beside the run's own, and returns what stands in its result.json.
    """
    from vmax.commands.evaluate import evaluate_run

    return evaluate_run(run, checkpoint, split)
