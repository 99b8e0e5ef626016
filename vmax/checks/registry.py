"""All checks in the order in which they run, and how they are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmax.checks import determinism, dynamics, information, ranges, reward, structure, termination
from vmax.checks.finding import Finding, judge
from vmax.checks.settings import SizesConfig, Thresholds
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
    env: Any, sizes: SizesConfig, thresholds: Thresholds, shipped: Mapping[str, Mapping[str, float]], seed: int = 0
) -> list[Finding]:
    """All checks on an environment. Raises UserError where its data cannot be used."""
    subject = Subject(env, sizes, seed)
    return [judge(check, subject, thresholds.get(check.id, {}), shipped.get(check.id, {})) for check in CHECKS]
