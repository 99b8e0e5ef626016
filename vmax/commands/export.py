"""`export`: the policy of a run's checkpoint as files that work without vmax."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from vmax import devices
from vmax.commands.cli import hydra_main, only
from vmax.config import load, to_mapping
from vmax.conversion import convert
from vmax.errors import UserError
from vmax.files import expect_writable
from vmax.run_folder import RunFolder, Which
from vmax.training.inputs import reading

KEYS = ("run", "checkpoint", "format", "device")
Format = Literal["stablehlo", "onnx"]
Device = Literal["auto", "cpu", "gpu"]


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "export")


def run(composed: DictConfig) -> None:
    """One job of the command."""
    mapping = only(to_mapping(composed), KEYS)
    if mapping["run"] is None:
        raise UserError("run=null: name the folder of a run, as in run=outputs/2026-01-31/12-00-00-000000")
    export_run(
        convert(str, mapping["run"], "run"),
        mapping["checkpoint"],
        convert(Format | None, mapping["format"], "format"),
        convert(Device, mapping["device"], "device"),
    )


def export_run(
    run: str | Path, checkpoint: Which = "best", format: Format | None = None, device: Device = "auto"
) -> Path:
    """Writes RUN/policy anew from a checkpoint of the run in the folder `run`; returns its path. Raises UserError.

    A run that was interrupted before its first evaluation has no best checkpoint: the last one is then taken.
    """
    checkpoint = convert(Which, checkpoint, "checkpoint")
    folder = RunFolder.open(run)
    read = reading(folder)
    config = load(read.mapping)
    expect_writable(folder.policy, f"run={run}")
    devices.configure(device, None)
    devices.verify(device)
    read.say()
    from vmax.checkpoint import Checkpoints
    from vmax.training.finish import restore_policy
    from vmax.training.take_away import take_away

    if checkpoint == "best" and not Checkpoints(folder.checkpoints).best_steps():
        print("the run has no best checkpoint yet; the last one is taken", flush=True)
        checkpoint = "last"
    env, step, policy = restore_policy(folder, config, checkpoint)
    result = json.loads(folder.result.read_text(encoding="utf-8")) if folder.result.exists() else {}
    take_away(folder, config, env, step, policy, checkpoint, result, format)
    return folder.policy
