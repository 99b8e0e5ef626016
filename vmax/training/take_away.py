"""A run's policy as the folder `policy/`: at its end, or later from one of its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from vmax.config import RunConfig
from vmax.envs.environment import Environment
from vmax.errors import UserError
from vmax.evaluation.policies import Learned
from vmax.export.folder import Format, write_policy
from vmax.run_folder import RunFolder, Which


def take_away(
    folder: RunFolder,
    config: RunConfig,
    env: Environment,
    step: int,
    policy: Learned,
    which: Which,
    result: Mapping[str, Any],
    format: Format | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Writes RUN/policy from the policy of a checkpoint, and says so. Raises: UserError, DiskFull.

    Args:
      step: of the checkpoint. result: what the run's result.json holds, for the KPIs; empty where there is none.
    """
    began = time.monotonic()
    notes = write_policy(folder.policy, env, policy, facts(config, step, which, result), format)
    for note in notes:
        say(f"warning: {note}")
    say(f"policy: {folder.policy} ({which}, step {step}; {time.monotonic() - began:.1f} s)")


def offer(say: Callable[[str], None], *arguments: Any) -> None:
    """`take_away` at the end of a run, which has its figures already: a policy that cannot be exported is a warning."""
    try:
        take_away(*arguments, say=say)
    except UserError as error:
        say(f"warning: {error}; the run has no policy/")


def facts(config: RunConfig, step: int, which: Which, result: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says of the run. KPIs are those of this checkpoint on the test split, where it was evaluated."""
    evaluation = result.get("evaluation", {})
    return {
        "name": config.name,
        "algorithm": config.algorithm.name,
        "env": config.env.name,
        "network": config.network.name,
        "seed": config.seed,
        "checkpoint": which,
        "step": step,
        "kpis": evaluation.get("policies", {}).get(str(which)),
        "kpis_split": "test" if evaluation else None,
        "trained": {k: v for k, v in result.get("run", {}).items() if k in ("env_steps", "gradient_updates", "status")},
    }
