"""Weights & Biases and MLflow beside the run's own files: the same scalars, the settings, and how the run ended.

Both are optional (extras `wandb`, `mlflow`) and write to files of their own unless their environment variables say
where else: WANDB_MODE=online, MLFLOW_TRACKING_URI=http://…. A resumed run goes on with the same record. What goes wrong
there is told once and does not touch the run.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from vmax.errors import UserError
from vmax.files import write_json
from vmax.run_folder import RunFolder, Status

Kind = Literal["wandb", "mlflow"]
MODULES: dict[Kind, str] = {"wandb": "wandb", "mlflow": "mlflow.tracking"}
ENDED = {"completed": "FINISHED", "stopped_early": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class Tracker(Protocol):
    """Where figures of a run go besides."""

    def record(self, step: int, scalars: Mapping[str, float]) -> None: ...

    def end(self, status: Status, figures: Mapping[str, float]) -> None:
        """`figures`: those that stand for the run, on the test split, `test/…`."""
        ...


class Safe:
    """A tracker that is given up at its first error, with one warning."""

    def __init__(self, tracker: Tracker, warn: Callable[[str], None]) -> None:
        self.tracker: Tracker | None = tracker
        self.warn = warn

    def record(self, step: int, scalars: Mapping[str, float]) -> None:
        self._try(lambda tracker: tracker.record(step, scalars))

    def end(self, status: Status, figures: Mapping[str, float]) -> None:
        self._try(lambda tracker: tracker.end(status, figures))

    def _try(self, do: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            do(self.tracker)
        except Exception as error:
            self.tracker = None
            self.warn(f"tracker: {(str(error).splitlines() or [type(error).__name__])[0]}; it is given up for this run")


class WandB:
    """A run of Weights & Biases, kept in the run's folder; offline unless WANDB_MODE says otherwise."""

    def __init__(self, folder: RunFolder, project: str, settings: Mapping[str, Any], known: str | None) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self.run = wandb.init(
            project=project,
            name=str(settings.get("name") or folder.path.name),
            dir=str(folder.path),
            config=dict(settings),
            mode=os.environ.get("WANDB_MODE", "offline"),  # pyright: ignore[reportArgumentType]
            id=known,
            resume="allow" if known else None,
            settings=wandb.Settings(silent=True),
        )
        self.identity = str(self.run.id)

    def record(self, step: int, scalars: Mapping[str, float]) -> None:
        self.run.log(dict(scalars), step=step)

    def end(self, status: Status, figures: Mapping[str, float]) -> None:
        self.run.summary.update({"status": status, **figures})
        self.run.finish(exit_code=0 if ENDED[status] == "FINISHED" else 1)


class MLflow:
    """A run of MLflow, in outputs/mlflow.db unless MLFLOW_TRACKING_URI says otherwise."""

    def __init__(self, folder: RunFolder, project: str, settings: Mapping[str, Any], known: str | None) -> None:
        from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]
        from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            Path("outputs").mkdir(exist_ok=True)
            uri = "sqlite:///outputs/mlflow.db"
        self.client, self.metric = MlflowClient(uri), Metric
        if known is not None:
            self.identity = known
            self.client.update_run(known, status="RUNNING")
            return
        experiment = self.client.get_experiment_by_name(project)
        number = self.client.create_experiment(project) if experiment is None else experiment.experiment_id
        name = str(settings.get("name") or folder.path.name)
        self.identity = self.client.create_run(number, run_name=name).info.run_id
        params = [Param(key, str(value)[:6000]) for key, value in settings.items()]
        for first in range(0, len(params), 100):  # the most that one batch takes
            self.client.log_batch(self.identity, params=params[first : first + 100])
        self.client.set_tag(self.identity, "folder", str(folder.path))

    def record(self, step: int, scalars: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self.client.log_batch(self.identity, metrics=[self.metric(k, v, now, step) for k, v in scalars.items()])

    def end(self, status: Status, figures: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self.metric(name, value, now, 0) for name, value in figures.items()]
        self.client.log_batch(self.identity, metrics=metrics)
        self.client.set_terminated(self.identity, ENDED[status])


def tracker(kind: Kind | None, folder: RunFolder, project: str, warn: Callable[[str], None]) -> Safe | None:
    """The tracker that was asked for, new or of the run that goes on; None for none. Raises UserError where its package
    is not installed."""
    if kind is None:
        return None
    try:
        importlib.import_module(MODULES[kind])
    except ImportError as error:
        raise UserError(f'logging.tracker={kind}: is not installed; pip install -e ".[{kind}]"') from error
    record = folder.path / "tracker.json"
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    identity = known.get("run") if known.get("kind") == kind else None
    try:
        made = (WandB if kind == "wandb" else MLflow)(folder, project, flat(folder.composed()), identity)
    except Exception as error:
        warn(f"tracker: {(str(error).splitlines() or [type(error).__name__])[0]}; the run goes on without")
        return None
    write_json(record, {"kind": kind, "project": project, "run": made.identity})
    return Safe(made, warn)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one mapping of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
