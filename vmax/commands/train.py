"""`train`: starts a training run, or goes on with one."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vmax import devices
from vmax.activity import Watchdog, doing
from vmax.commands.check import before_training
from vmax.commands.cli import hydra_main, typed
from vmax.config import RunConfig, check_devices, compose, load, to_mapping
from vmax.conversion import convert, show
from vmax.errors import UserError
from vmax.files import held, write_json
from vmax.run_folder import RunFolder
from vmax.training.inputs import keep, placed, reading
from vmax.training.signals import Signals, as_exit

LENGTH = {"steps": "total_steps", "epochs": "training.epochs"}
"""What a resumed run may change, by its schedule: the key that says how long it is."""

CHANGEABLE = ("time_budget_s", "watchdog_s", "stopping.")
"""What it may change besides, whatever its schedule: a key, or all that begins so."""

UNCHOSEN = ("mode", "experiment")
"""Groups from which nothing is chosen unless it is said."""
REMEDY = ", or begin a new run with its networks (init_from)"
"""What can be done where a run cannot go on with the files that it was started with."""
ABSENT = object()
"""Stands for the value of a key that is not there; null is a value."""


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "train")


def run(composed: DictConfig) -> float | None:
    """One job of the command: its folder and overrides are Hydra's. Returns the best score on the validation split,
    which sweepers look for.

    Raises KeyboardInterrupt after a job of a multirun that a signal stopped: it was meant for all of them.
    """
    job = HydraConfig.get()
    result = train(composed, Path(job.runtime.output_dir), typed(job))
    stopped = result["run"]["status"] == "interrupted" and not result["run"]["reason"].startswith("time_budget_s")
    if job.mode == RunMode.MULTIRUN and stopped:
        raise KeyboardInterrupt("no further job of this multirun is started")
    return result["run"]["best_validation_score"]


def run_from_python(overrides: Sequence[str], folder: str | None) -> dict[str, Any]:
    """What the command does with these overrides; returns the run's result. The folder is a new one by default.

    Raises KeyboardInterrupt after a run that Ctrl-C stopped and saved, SystemExit after another signal: a loop around
    it then ends too.
    """
    fresh = datetime.now().strftime("outputs/%Y-%m-%d/%H-%M-%S-%f")
    result = train(compose(overrides), Path(folder or fresh), overrides)
    name = str(result["run"]["reason"]).partition(" ")[0]
    if result["run"]["status"] == "interrupted" and name in signal.Signals.__members__:
        raise as_exit(name)
    return result


def train(composed: DictConfig, path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Trains by a composed configuration in the folder `path`, or goes on with the run that `resume` names.

    A mistake leaves nothing behind, whether found in the configuration or later, before the run started.
    Returns the result of the run (result.json). Raises UserError.
    """
    mapping = to_mapping(composed)
    resume = convert(str | None, mapping.get("resume"), "resume")
    if resume is not None:
        mapping = resumed(RunFolder.open(resume), placed(mapping), overrides)
    device = convert(Literal["auto", "cpu", "gpu"], mapping.get("device"), "device")
    mapping["threads"] = devices.configure(device, convert(int | None, mapping.get("threads"), "threads"))
    config = load(mapping if resume is None else reading(RunFolder(resume), mapping, remedy=REMEDY).mapping)
    count = devices.verify(config.device)
    if resume is not None:
        RunFolder(resume).expect_devices(count)
    check_devices(config, count)
    if resume is not None:
        with held(Path(resume), f"resume={resume}"):
            return _train(config, RunFolder(resume), mapping)
    with Signals(), Watchdog(path, config.watchdog_s, lambda line: print(f"warning: {line}", flush=True)):
        doing("checks of the environment")
        checks = before_training(config, placed(mapping))
    with held(path, f"hydra.run.dir={path}"):
        return _new(config, RunFolder(path), mapping, overrides, checks)


def _new(
    config: RunConfig,
    folder: RunFolder,
    mapping: Mapping[str, Any],
    overrides: Sequence[str],
    checks: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Trains in a folder that has no run yet, and takes all back where the run cannot start. Raises UserError."""
    folder.save_config(placed(mapping), overrides)
    try:
        keep(folder, placed(mapping))
        if checks is not None:
            write_json(folder.checks, checks)
        return _train(config, folder, mapping)
    except BaseException:
        folder.discard_unstarted()
        raise


def _train(config: RunConfig, folder: RunFolder, mapping: Mapping[str, Any]) -> dict[str, Any]:
    from vmax.training.loop import train as train_loop

    try:
        return train_loop(config, folder.path, OmegaConf.create(dict(mapping)))
    finally:
        devices.drop_programs()


def resumed(folder: RunFolder, mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of the run in the folder, with what may change as it is given now: the key of `LENGTH` by the
    run's schedule, and `CHANGEABLE`.

    Raises UserError for any other override that differs from the run's own.
    """
    saved, given = folder.composed(), folder.given_overrides()
    length = LENGTH.get(saved.get("training", {}).get("schedule"), "total_steps")
    changeable = (length, *CHANGEABLE)
    named = ", ".join(changeable[:-1]) + f" and {changeable[-1].rstrip('.')}"
    for override in overrides:
        key, typed = _parts(override)
        if key.startswith(changeable):
            *sections, name = key.split(".")
            within = saved
            for section in sections:
                within = within[section]
            within[name] = _value(mapping, key)
        if key == "resume" or key.startswith((*changeable, "hydra")) or override in given:
            continue
        now, then = _value(mapping, key), _value(saved, key)
        if now is ABSENT:  # a group that leaves no key of its own, as mode does
            now, then = typed, _chosen(given, key)
        if then is ABSENT:
            raise UserError(f"resume: {override}: the run has no {key}; only {named} may change")
        if now != then:
            raise UserError(f"resume: {key}={show(now)} differs from the run's {show(then)}; only {named} may change")
    return {**saved, "resume": str(folder.path)}


def _value(mapping: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; the name of the choice for a group; ABSENT where there is no such key."""
    value: Any = mapping
    for part in key.split("."):
        value = value.get(part, ABSENT) if isinstance(value, Mapping) else ABSENT
    return value.get("name") if isinstance(value, Mapping) else value


def _parts(override: str) -> tuple[str, str]:
    """Key and value of an override as it was typed."""
    key, _, typed = override.lstrip("+~").partition("=")
    return key, typed


def _chosen(given: Sequence[str], group: str) -> str:
    """What a run's overrides chose of a group, the last that they say."""
    chosen = [typed for key, typed in map(_parts, given) if key == group]
    return chosen[-1] if chosen else "null" if group in UNCHOSEN else "own choice"
