"""`evaluate`: a checkpoint of a run on one split, beside all baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from vmax import devices
from vmax.commands.cli import hydra_main, only
from vmax.config import EvaluationConfig, load, to_mapping
from vmax.conversion import build, convert, show
from vmax.errors import UserError
from vmax.files import expect_writable, to_plain
from vmax.run_folder import RunFolder, Which
from vmax.training.inputs import Files, reading

KEYS = ("run", "checkpoint", "split", "device", "files", "evaluation")
Split = Literal["train", "validation", "test"]
Device = Literal["auto", "cpu", "gpu"]


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "evaluate")


def run(composed: DictConfig) -> None:
    """One job of the command: prints the table and where the files are."""
    mapping = only(to_mapping(composed), KEYS)
    if mapping["run"] is None:
        raise UserError("run=null: name the folder of a run, as in run=outputs/2026-01-31/12-00-00-000000")
    evaluate_run(
        convert(str, mapping["run"], "run"),
        mapping["checkpoint"],
        convert(Split, mapping["split"], "split"),
        device=convert(Device, mapping["device"], "device"),
        evaluation=mapping["evaluation"],
        files=mapping["files"],
    )


def evaluate_run(
    run: str | Path,
    checkpoint: Which = "best",
    split: Split = "test",
    device: Device = "auto",
    evaluation: dict[str, Any] | None = None,
    files: Files = "recorded",
) -> dict[str, Any]:
    """Evaluates a checkpoint of the run in the folder `run`, prints the table and writes RUN/evaluation/SPLIT.

    `evaluation` are settings that replace those of the run where they are not None. `files`: whether prices, networks
    and the like are read as the run was started with them, or as they are now. The run's own result.json and its own
    evaluation stay as they are (`place`). Returns what stands in the new result.json. Raises UserError.
    """
    checkpoint = convert(Which, checkpoint, "checkpoint")
    convert(Split, split, "split")
    folder = RunFolder.open(run)
    read = reading(folder, files=convert(Files, files, "files"), remedy=", or set files=current")
    config = load(read.mapping)
    if not isinstance(evaluation, dict | None):
        raise UserError(f"evaluation={show(evaluation)}: must be a group of keys")
    given = {name: value for name, value in (evaluation or {}).items() if value is not None}
    settings = build(EvaluationConfig, {**vars(config.evaluation), **given}, "evaluation")
    devices.configure(device, None)
    devices.verify(device)
    target = place(folder, checkpoint, split, config.evaluation, settings, files == "current" and bool(read.changes))
    expect_writable(target, f"run={folder.path}")
    read.say()
    return _evaluate(folder, config, checkpoint, split, settings, target, read.changes)


def _evaluate(
    folder: RunFolder,
    config: Any,
    checkpoint: Which,
    split: Split,
    settings: Any,
    target: Path,
    changes: Sequence[str],
) -> dict[str, Any]:
    from vmax.evaluation.evaluate import evaluate
    from vmax.evaluation.table import print_comparison, print_groups, print_worlds
    from vmax.evaluation.writing import write_evaluation
    from vmax.training.finish import currency, restore_policy

    env, step, policy = restore_policy(folder, config, checkpoint)
    evaluation = evaluate(
        env,
        {_label(checkpoint): policy},
        split,
        error_draws=settings.error_draws,
        bootstrap=settings.bootstrap,
        days=settings.days,
        seed=config.seed,
        max_episode_steps=settings.max_episode_steps,
    )
    trained = json.loads(folder.result.read_text(encoding="utf-8")) if folder.result.exists() else {}
    facts = {**trained.get("run", {}), "folder": str(folder.path), "checkpoint": checkpoint, "checkpoint_step": step}
    facts |= {"changed_files": list(changes)} if changes else {}
    write_evaluation(env, evaluation, target, facts, settings.plots)
    print_comparison(evaluation.result, currency(env))
    print_groups(evaluation.result)
    print_worlds(evaluation.result)
    kept = "" if target == folder.evaluation(split) else f" (the run's own stay in {folder.evaluation(split)})"
    print(f"files: {target}{kept}", flush=True)
    return to_plain({"run": facts, "evaluation": evaluation.result})


def place(
    folder: RunFolder,
    checkpoint: Which,
    split: Split,
    own: EvaluationConfig,
    settings: EvaluationConfig,
    other_files: bool = False,
) -> Path:
    """Where a later evaluation is written: evaluation/SPLIT, or beside it where the run's own evaluation is there, or
    where files are read that are not those of the run.

    Beside it the name says the checkpoint, and days and error draws that differ from the run's: `test-best-28days`.
    """
    usual = folder.evaluation(split)
    if not other_files and not _made_by_the_run(usual / "result.json"):
        return usual
    values = {"days": (settings.days, own.days), "draws": (settings.error_draws, own.error_draws)}
    differing = [f"{now}{name}" for name, (now, then) in values.items() if now != then]
    differing += ["current_files"] if other_files else []
    return folder.evaluation("-".join([split, _label(checkpoint), *differing]))


def _label(checkpoint: Which) -> str:
    """What a policy is called in tables and folders: `best`, `last` or `step_STEP`."""
    return f"step_{checkpoint}" if isinstance(checkpoint, int) else checkpoint


def _made_by_the_run(result: Path) -> bool:
    """Whether a result.json is there and is no later evaluation's, which names its checkpoint."""
    return result.exists() and "checkpoint" not in json.loads(result.read_text(encoding="utf-8"))["run"]
