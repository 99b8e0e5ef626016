"""All checks in the order in which they run, and how they are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmax.checks import determinism, dynamics, information, ranges, reward, structure, termination
from vmax.checks.finding import Finding, judge
from vmax.checks.settings import BY_ENVIRONMENT_ALONE, Scaling, SizesConfig, Thresholds
from vmax.checks.shapes import verify
from vmax.checks.subject import Subject

CHECKS = (
    *structure.CHECKS,
    *determinism.CHECKS,
    *ranges.CHECKS,
    *dynamics.CHECKS,
    *reward.CHECKS,
    *termination.CHECKS,
    *information.CHECKS,
)
BY_ID = {check.id: check for check in CHECKS}


def run_checks(
    env: Any,
    sizes: SizesConfig,
    thresholds: Thresholds,
    shipped: Mapping[str, Mapping[str, float]],
    seed: int = 0,
    exempt: Mapping[str, str] | None = None,
    scaling: Scaling = BY_ENVIRONMENT_ALONE,
) -> list[Finding]:
    """All checks on an environment, but for what is `exempt` besides what it exempts itself (`exemptions_of`).

    Args: `scaling` is what the learner does about the size of rewards.
    Raises: UserError where its data cannot be used, or what it tells has not the declared form (`shapes.verify`).
    """
    subject = Subject(env, sizes, seed, exempt or {}, scaling)
    verify(env, subject.params)
    return [judge(check, subject, thresholds.get(check.id, {}), shipped.get(check.id, {})) for check in CHECKS]
