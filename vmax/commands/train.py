"""`train`: starts a training run, or goes on with one."""

from __future__ import annotations

import json
import os
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
from vmax.commands.cli import JobFailed, flat, hydra_main, typed
from vmax.commands.sweep import ranked
from vmax.config import RunConfig, check_devices, compose, load, to_mapping
from vmax.conversion import convert, show
from vmax.errors import UserError
from vmax.files import held, write_json
from vmax.run_folder import FINISHED, RunFolder
from vmax.training.inputs import keep, placed, reading
from vmax.training.signals import Signals, as_exit

LENGTH = {"steps": "total_steps", "epochs": "training.epochs"}
"""What a resumed run may change, by its schedule: the key that says how long it is."""

CHANGEABLE = ("time_budget_s", "watchdog_s", "stopping.")
"""What it may change besides, whatever its schedule: a key, or all that begins so."""

AUTO = "auto"
"""As `resume`: goes on with the run in the job's own folder where there is one, else begins it."""

UNCHOSEN = ("mode", "experiment")
"""Groups from which nothing is chosen unless it is said."""
REMEDY = ", or begin a new run with its networks (init_from)"
"""What can be done where a run cannot go on with the files that it was started with."""
ABSENT = object()
"""Stands for the value of a key that is not there; null is a value."""


def main() -> None:
    """Entry point of the command."""
    with ranked():
        hydra_main(run, "train")


def run(composed: DictConfig) -> float | None:
    """One job of the command: its folder and overrides are Hydra's. Returns the best score on the validation split,
    which sweepers look for.

    A job that a scheduler starts again goes on with its run. One that a signal stopped has not done its work, though
    all is saved: raises JobFailed, or KeyboardInterrupt inside a multirun, which the signal was meant for as a whole.
    """
    job = HydraConfig.get()
    if "resume" in composed and composed.resume is None and restarted():
        composed.resume = AUTO
    try:
        result = train(composed, Path(job.runtime.output_dir), typed(job))
    except SystemExit as end:  # a signal where there was nothing to save
        if isinstance(end.code, int) and end.code > 128:
            hand_on(signal.Signals(end.code - 128))
        raise
    stopped = stopped_by(result["run"])
    if stopped is None:
        return result["run"]["best_validation_score"]
    hand_on(stopped)
    if job.mode == RunMode.MULTIRUN and not of_submitit():
        raise KeyboardInterrupt("no further job of this multirun is started")
    raise JobFailed(128 + stopped, result["run"]["reason"])


def of_submitit() -> bool:
    """Whether this process is a job that submitit started: it has one run, in a folder that was given to it alone."""
    return "SUBMITIT_EXECUTOR" in os.environ


def restarted() -> bool:
    """Whether a scheduler may have started this job before. Submitit does not tell its jobs, so it counts always."""
    return of_submitit() or os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def stopped_by(about: Mapping[str, Any]) -> signal.Signals | None:
    """The signal that stopped the run, None where it was something else, from the section `run` of its result."""
    name = str(about["reason"]).split()[0] if about["status"] == "interrupted" else ""
    return signal.Signals[name] if name in signal.Signals.__members__ else None


def hand_on(stopped: signal.Signals) -> None:
    """Lets whoever started this process do what it does at this signal, now that the run is saved.

    Submitit queues the job again (SystemExit), or tells why not (its UncompletedJobError). What stops a process by
    itself, SIGINT and SIGTERM, is left to the caller.
    """
    handler = signal.getsignal(stopped)
    if stopped not in (signal.SIGINT, signal.SIGTERM) and callable(handler):
        signal.raise_signal(stopped)


def run_from_python(overrides: Sequence[str], folder: str | None) -> dict[str, Any]:
    """What the command does with these overrides; returns the run's result. The folder is a new one by default.

    Raises KeyboardInterrupt after a run that Ctrl-C stopped and saved, SystemExit after another signal: a loop around
    it then ends too.
    """
    fresh = datetime.now().strftime("outputs/%Y-%m-%d/%H-%M-%S-%f")
    result = train(compose(overrides), Path(folder or fresh), overrides)
    stopped = stopped_by(result["run"])
    if stopped is not None:
        raise as_exit(stopped.name)
    return result


def train(composed: DictConfig, path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Trains by a composed configuration in the folder `path`, or goes on with the run that `resume` names.

    A mistake leaves nothing behind, whether found in the configuration or later, before the run started.
    Returns the result of the run (result.json). Raises UserError.
    """
    mapping = to_mapping(composed)
    resume = convert(str | None, mapping.get("resume"), "resume")
    if resume == AUTO:
        overrides = [override for override in overrides if _parts(override)[0] != "resume"]
        here = RunFolder(path)
        mapping["resume"] = resume = str(path) if here.config.exists() or here.run_json.exists() else None
        if resume is not None and not left_to_do(here, placed(mapping)):
            print(f"resume=auto: the run in {path} is {here.record()['status']}; nothing is left to do", flush=True)
            return json.loads(here.result.read_text(encoding="utf-8"))
    if resume is not None:
        if (Path(resume) / "multirun.yaml").exists():
            again = f"the same command with hydra.sweep.dir={resume} resume=auto goes on with it"
            raise UserError(f"resume={resume}: is the folder of a multirun; {again}")
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


def left_to_do(folder: RunFolder, mapping: Mapping[str, Any]) -> bool:
    """Whether the run in the folder, which must have the settings of `mapping`, has anything left to do.

    Raises UserError where another setting differs than those that may change. Threads that are not said are the run's.
    """
    saved = folder.composed()
    then, now = flat(saved), flat(mapping)
    differing = [key for key in now if key in then and now[key] != then[key] and key != "resume"]
    free = (*may_change(saved), *(("threads",) if now.get("threads") is None else ()))
    for key in differing:
        if not key.startswith(free):
            raise UserError(
                f"resume=auto: {folder.path} holds a run with {key}={show(then[key])}, here {show(now[key])}; "
                "name another folder (hydra.run.dir=, hydra.sweep.dir=)"
            )
    changed = any(key != "threads" for key in differing)
    return changed or folder.record().get("status") not in FINISHED


def may_change(saved: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys, or what they begin with, that a run with this configuration may change when it goes on."""
    return (LENGTH.get(saved.get("training", {}).get("schedule"), "total_steps"), *CHANGEABLE)


def resumed(folder: RunFolder, mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of the run in the folder, with what may change as it is given now: the key of `LENGTH` by the
    run's schedule, and `CHANGEABLE`.

    Raises UserError for any other override that differs from the run's own.
    """
    saved, given = folder.composed(), folder.given_overrides()
    changeable = may_change(saved)
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
