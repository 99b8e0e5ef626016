"""The folder of one run: where everything lies, and what is on record of the run.

Whole files (JSON, tables, plots) are written at once (`files.py`). Growing files (train.log, metrics.csv,
metrics.jsonl, days.jsonl) are appended to; a resume cuts them back to its checkpoint.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from vmax.errors import UserError
from vmax.files import disk_guard, unwritable, write_csv, write_json, write_text

Status = Literal["running", "completed", "stopped_early", "interrupted", "failed"]
FINISHED = ("completed", "stopped_early")
"""Statuses of runs that were evaluated to the end."""
Which = Literal["best", "last"] | int
"""A checkpoint of a run: the best by the validation score, the last, or the one of a step."""
PACKAGES = ("vmax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "hydra-core", "numpy", "pandas", "highspy")

MACHINE = ("platform", "device", "devices", "processor", "threads")
"""What of the hardware the last digits of a run depend on."""


class RunFolder:
    """Paths and records of a run; `open` finds one that exists."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.run_json = self.path / "run.json"
        self.config = self.path / ".hydra" / "config.yaml"
        self.overrides = self.path / ".hydra" / "overrides.yaml"
        self.log = self.path / "train.log"
        self.metrics = self.path / "metrics.csv"
        self.metrics_jsonl = self.path / "metrics.jsonl"
        self.days = self.path / "days.jsonl"
        self.calibration = self.path / "calibration.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.result = self.path / "result.json"
        self.checks = self.path / "checks.json"
        self.plots = self.path / "plots"
        self.policy = self.path / "policy"
        self.inputs = self.path / "inputs"
        self.input_record = self.inputs / "manifest.json"

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A run that exists. Raises UserError where there is none."""
        folder = cls(path)
        if not folder.config.exists():
            raise UserError(f"{path}: is no run folder ({folder.config.relative_to(folder.path)} is missing)")
        return folder

    def save_config(self, config: Mapping[str, Any], overrides: Sequence[str], new: bool = True) -> None:
        """Writes the composed configuration, and for a new run its overrides.

        Raises UserError where a new run would go into the folder of another one, or nothing can be written.
        """
        if new and (self.run_json.exists() or self.config.exists()):
            raise UserError(f"hydra.run.dir={self.path}: holds a run; go on with resume={self.path} or name another")
        try:
            write_text(self.config, OmegaConf.to_yaml(OmegaConf.create({**config, "resume": None})))
            if new:
                write_text(self.overrides, OmegaConf.to_yaml(OmegaConf.create(list(overrides))))
        except OSError as error:
            raise unwritable(f"hydra.run.dir={self.path}", error) from error

    def discard_unstarted(self) -> None:
        """Takes `save_config` back for a run that never came to start; other files in the folder stay."""
        if self.run_json.exists():
            return
        for path in (self.config, self.overrides, self.checks):
            path.unlink(missing_ok=True)
        for key in self.input_files():
            shutil.rmtree(self.inputs / key, ignore_errors=True)
        self.input_record.unlink(missing_ok=True)
        for folder in (self.config.parent, self.inputs, self.path):
            with suppress(OSError):
                folder.rmdir()

    def checked(self) -> str:
        """What the checks before training found, in a word or two; `off` where there were none."""
        return json.loads(self.checks.read_text(encoding="utf-8"))["outcome"] if self.checks.exists() else "off"

    def composed(self) -> dict[str, Any]:
        """The configuration that the run was started with."""
        return _plain_yaml(self.config)

    def given_overrides(self) -> list[str]:
        """The overrides that the run was started with."""
        return _plain_yaml(self.overrides) if self.overrides.exists() else []

    def input_files(self) -> dict[str, Any]:
        """What is on record of the files that the run reads (`vmax.training.inputs`), by setting: `path`, `files` with
        `bytes` and `sha256` of each, `copied`. Empty for a run that reads none, and for one from before the record."""
        return json.loads(self.input_record.read_text(encoding="utf-8")) if self.input_record.exists() else {}

    def evaluation(self, name: str) -> Path:
        """The folder of an evaluation: `test` and other splits, or the name of one beside the run's own."""
        return self.path / "evaluation" / name

    def season_days(self, step: int) -> Path:
        """The table of the fixed days of the seasons, as the policy dispatched them after so many steps."""
        return self.path / "evaluation" / "seasons" / f"{step}.csv"

    def season_steps(self) -> list[int]:
        """The steps of those tables, ascending."""
        return sorted(int(path.stem) for path in self.season_days(0).parent.glob("*.csv") if path.stem.isdigit())

    def record(self) -> dict[str, Any]:
        """What run.json says; empty before the run has started."""
        return json.loads(self.run_json.read_text(encoding="utf-8")) if self.run_json.exists() else {}

    def start(self, seed: int, hardware: Mapping[str, Any], step: int = 0, **facts: Any) -> None:
        """Writes run.json with status `running`: what the run was started with, and in `history` each process that
        has worked on it since, from which step on and with what. `resumed`: when those after the first began."""
        known, part = self.record(), {"started": _now(), "step": step, **here(hardware)}
        fresh = {"started": part["started"], "command": shlex.join(sys.argv), "seed": seed, **here(hardware)}
        record = {**fresh, "checks": self.checked(), **known, **facts}
        record["history"] = [*history(known), part]
        record["resumed"] = [*known.get("resumed", []), part["started"]] if known else []
        write_json(self.run_json, {**record, "status": "running", "reason": None, "ended": None})

    def differences(self, hardware: Mapping[str, Any]) -> list[str]:
        """What is other here than where the run was last at work, each with both values: `jax 0.10.2 (was 0.4.0)`."""
        worked = history(self.record())
        return differences(worked[-1], here(hardware)) if worked else []

    def expect_devices(self, count: int) -> None:
        """Raises UserError where the run was started on another number of devices than `count`."""
        then = self.record().get("hardware", {}).get("devices", count)
        if then != count:
            raise UserError(f"resume={self.path}: the run was started on {then} device(s), here are {count}")

    @contextmanager
    def differences_told(self, hardware: Mapping[str, Any]) -> Iterator[None]:
        """Adds to a UserError inside what is other here than where the run was last at work: it may be why."""
        try:
            yield
        except UserError as error:
            if found := self.differences(hardware):
                raise UserError(f"{error}; here: {', '.join(found)}") from error
            raise

    def finish(self, status: Status, reason: str | None = None, **facts: Any) -> None:
        """Writes how the run ended into run.json."""
        write_json(self.run_json, {**self.record(), **facts, "status": status, "reason": reason, "ended": _now()})

    def append_log(self, line: str) -> None:
        """Adds one line with its time to train.log. Raises DiskFull."""
        with disk_guard(self.log), self.log.open("a", encoding="utf-8") as file:
            file.write(f"{_now()} {line}\n")

    def log_bytes(self) -> int:
        """The length of train.log, to be kept in a checkpoint for `cut_back`."""
        return self.log.stat().st_size if self.log.exists() else 0

    def cut_back(self, step: int, log_bytes: int) -> None:
        """Takes the files that grow with the run back to a checkpoint: what was written after it is removed."""
        if self.log_bytes() > log_bytes:
            os.truncate(self.log, log_bytes)
        header, rows = read_metrics(self.metrics)
        if header:
            write_csv(self.metrics, header, [row for row in rows if int(row[0]) <= step])
        for path in (self.metrics_jsonl, self.days):
            _cut_lines(path, step)
        for later in self.season_steps():
            if later > step:
                self.season_days(later).unlink()


def read_metrics(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of metrics.csv; a row that was cut off in the middle is left out. The first column is `step`."""
    if not path.exists():
        return [], []
    text = path.read_text(encoding="utf-8")
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    return (lines[0], [row for row in lines[1:] if len(row) == len(lines[0])]) if lines else ([], [])


def _cut_lines(path: Path, step: int) -> None:
    """Ends a file of JSON lines before the first with a later `step`, or one that was cut off in the middle."""
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
            kept += len(line)
    os.truncate(path, kept)


def here(hardware: Mapping[str, Any]) -> dict[str, Any]:
    """What a process works with: code, packages and machine."""
    return {"git": git_revision(), "hardware": dict(hardware), "versions": versions()}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is other in the second of two parts of a run's history, of what the first has on record, with both values:
    `jax 0.10.2 (was 0.4.0)`."""
    old, new = _compared(then), _compared(now)
    pairs = {name: (old[name], new.get(name, "none")) for name in sorted(old)}
    return [f"{name} {new} (was {old})" for name, (old, new) in pairs.items() if old != new]


def _compared(part: Mapping[str, Any]) -> dict[str, Any]:
    """What of a part of a run's history its numbers may depend on."""
    machine = {name: value for name, value in part.get("hardware", {}).items() if name in MACHINE}
    git = {"git": (part["git"] or "none")[:12] + (part["git"] or "")[40:]} if "git" in part else {}
    return {**part.get("versions", {}), **machine, **git}


def history(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The processes that have worked on a run; of one from before they were on record the last."""
    if not record or "history" in record:
        return list(record.get("history", []))
    part = {name: record[name] for name in ("started", "git", "hardware", "versions") if name in record}
    return [{**part, "step": 0}]


def digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Stands for what the files of a setting hold: eight digits of the sha256 of the only one, or of all."""
    if len(files) == 1:
        return next(iter(files.values()))["sha256"][:8]
    told = "".join(f"{name} {file['sha256']}\n" for name, file in sorted(files.items()))
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def unlike_files(runs: Mapping[str, Path]) -> list[str]:
    """One line for each file that held other things for some of these runs (folders by name) than for others."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, folder in runs.items():
        for key, one in RunFolder(folder).input_files().items():
            found.setdefault(f"{key}={one['path']}", {}).setdefault(digest(one["files"]), []).append(name)
    told = {
        file: "; ".join(f"sha256 {held} in {', '.join(names)}" for held, names in contents.items())
        for file, contents in found.items()
        if len(contents) > 1
    }
    return [f"runs were made with unlike content of {file}: {contents}" for file, contents in told.items()]


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The commit of a checkout, with `+` where files differ from it; None for an installed package."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        return _git(checkout, "rev-parse", "HEAD") + ("+" if _git(checkout, "status", "-s", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(checkout: Path, *words: str) -> str:
    call = ["git", "-C", str(checkout), *words]
    return subprocess.run(call, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _plain_yaml(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path), resolve=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
