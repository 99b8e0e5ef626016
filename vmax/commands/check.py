"""`check`: is an environment what it says, and is there anything to learn? Also what a training run starts with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vmax import devices
from vmax.commands.cli import CRASH, JobFailed, hydra_main
from vmax.config import compose, to_mapping
from vmax.conversion import build, convert
from vmax.errors import UserError
from vmax.files import write_json

FAILED = CRASH
"""Exit status where a check fails."""


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "check")


def run(composed: DictConfig) -> None:
    """One job of the command: prints the table and writes checks.json. Raises JobFailed where a check fails."""
    mapping = to_mapping(composed)
    device = convert(Literal["auto", "cpu", "gpu"], mapping["device"], "device")
    devices.configure(device, convert(int | None, mapping["threads"], "threads"))
    seed = convert(int, mapping["seed"], "seed")
    if not 0 <= seed < 2**31:
        raise UserError(f"seed={seed}: must be from 0 to {2**31 - 1}")
    env = _environment(mapping)
    devices.verify(device)
    from vmax.checks import report

    exempt = _exempt(mapping["exempt"])
    findings = _find(env, mapping, seed, exempt)
    path = Path(HydraConfig.get().runtime.output_dir) / "checks.json"
    report.show(env.name, findings, exempt)
    write_json(path, report.record(env, findings, seed, exempt))
    print(f"file: {path}", flush=True)
    if any(found.status == "FAIL" for found in findings):
        raise JobFailed(FAILED)


def before_training(config: Any, mapping: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the checks of a run's environment, from memory where it has passed before; None with checks=off.

    Prints one line, and what did not pass. Raises UserError where a check fails.
    """
    if config.checks == "off":
        return None
    from vmax import envs
    from vmax.checks import memory, report
    from vmax.checks.settings import scaling_of

    shipped, exempt, scaling = to_mapping(compose([], "check")), _exempt(config.exempt), scaling_of(config.algorithm)
    settings = {name: shipped[name] for name in ("sizes", "thresholds", "seed")}
    key = memory.fingerprint(mapping["env"], {**settings, "exempt": exempt, "scaling": vars(scaling)})
    record = memory.passed(key)
    if record is not None:
        print(f"checks: {record['outcome']} (as before)", flush=True)
        return record
    print(f"checks of {config.env.name} before training …", flush=True)
    env = envs.make(config.env)
    findings = _find(env, shipped, shipped["seed"], exempt, scaling=scaling)
    record = report.record(env, findings, shipped["seed"], exempt)
    failed = [found for found in findings if found.status == "FAIL"]
    if failed:
        report.show(env.name, [found for found in findings if found.status in ("FAIL", "WARN")], exempt)
        names = ", ".join(found.id for found in failed)
        raise UserError(
            f"checks: {names} failed; see scripts/check.py env={env.name}. To leave one out: "
            f"exempt={{{failed[0].id}: REASON}}; all: checks=off"
        )
    memory.remember(key, record)
    print(f"checks: {record['outcome']}", flush=True)
    return record


def _environment(mapping: Mapping[str, Any]) -> Any:
    """The environment that the configuration describes. Raises UserError."""
    from vmax import envs

    section = mapping.get("env")
    if not isinstance(section, Mapping) or "name" not in section:
        raise UserError("env: must be one of the files in conf/env (see --help)")
    return envs.make(build(envs.config_class(section["name"]), section, "env"))


def _exempt(value: Any) -> dict[str, str]:
    """The checks that a configuration leaves out. Raises UserError."""
    from vmax.checks.registry import BY_ID
    from vmax.checks.settings import exemptions_of

    return exemptions_of(value, BY_ID)


def _find(env: Any, mapping: Mapping[str, Any], seed: int, exempt: Mapping[str, str], **learner: Any) -> list[Any]:
    """The findings with the sizes and thresholds of a configuration of this command. Raises UserError."""
    from vmax.checks.registry import run_checks
    from vmax.checks.settings import SizesConfig, thresholds_of

    shipped = thresholds_of(to_mapping(compose([], "check"))["thresholds"])
    sizes = build(SizesConfig, mapping.get("sizes"), "sizes")
    thresholds = thresholds_of(mapping.get("thresholds"), shipped)
    return run_checks(env, sizes, thresholds, shipped, seed, exempt, **learner)
