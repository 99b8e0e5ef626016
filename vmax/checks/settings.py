"""What conf/check.yaml sets: how much is run, and the thresholds of every check."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vmax.checks.finding import BOUNDS
from vmax.conversion import convert, show, unknown_key
from vmax.errors import UserError

Thresholds = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Scaling:
    """What a learner does about the size of rewards: the override that divides them by their running deviation, and
    whether it is on."""

    override: str
    on: bool


SCALING = "algorithm.normalize_rewards=true"
BY_ENVIRONMENT_ALONE = Scaling(SCALING, False)
"""Where no learner is known."""


def scaling_of(algorithm: Any) -> Scaling:
    """That of an algorithm's settings; one without such a setting has no override to name."""
    on = getattr(algorithm, "normalize_rewards", None)
    return Scaling("", False) if on is None else Scaling(SCALING, on)


@dataclass(frozen=True)
class SizesConfig:
    """How much the checks run.

    Attributes:
      lanes: environments side by side in the random run. steps: at least so many in it, two episodes and some more
        where they fit into `most_steps`.
      hold: steps for which an action is held when its effect is measured. states: from so many of the random run.
      trial: steps of the run in which numbers of the world are changed one by one.
      episodes: for each policy of the comparison, `linear` linear ones among them in each of `rounds`, and `corners`
        random constant ones where there are too many to try all.
    """

    lanes: int
    steps: int
    most_steps: int
    hold: int
    states: int
    trial: int
    episodes: int
    linear: int
    rounds: int
    corners: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = {"lanes": 2, "steps": 10, "states": 2, "trial": 2, "episodes": 2, "linear": 2}.get(name, 1)
            if value < least:
                raise UserError(f"sizes.{name}={value}: must be at least {least}")
        if self.most_steps < self.steps:
            raise UserError(f"sizes.most_steps={self.most_steps}: must be at least sizes.steps={self.steps}")

    def eased(self, share: float) -> SizesConfig:
        """The same with that share of the comparison's policies and of their episodes, at least two each."""
        less = {name: max(2, round(share * getattr(self, name))) for name in ("episodes", "linear", "corners")}
        return replace(self, **less) if share < 1.0 else self


def exemptions_of(value: Any, known: Collection[str]) -> dict[str, str]:
    """Checks to leave out and why, `{check: reason, check/what it names: reason}`; None: none.

    Raises UserError for what is no check of the `known` ones, and for a check without a reason.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"exempt={show(value)}: must be null or checks with a reason each: {{headroom: why}}")
    for name, reason in value.items():
        if str(name).partition("/")[0] not in known:
            raise UserError(f"exempt: {name}: is no check; there are {', '.join(known)}")
        if not isinstance(reason, str) or not reason.strip():
            raise UserError(f"exempt: {name}: {show(reason)}: must be the reason, a text")
    return {str(name): reason for name, reason in value.items()}


def thresholds_of(mapping: Any, shipped: Mapping[str, Mapping[str, float]] | None = None) -> Thresholds:
    """The thresholds by check and bound. With those that are `shipped`, no others may be there.

    Raises UserError that names the key, what was found and what is allowed.
    """
    if not isinstance(mapping, Mapping):
        raise UserError(f"thresholds={show(mapping)}: must be a group of keys, one for each check")
    found: Thresholds = {}
    for check, limits in mapping.items():
        if shipped is not None and check not in shipped:
            raise unknown_key(f"thresholds.{check}", [f"thresholds.{name}" for name in shipped])
        if not isinstance(limits, Mapping):
            raise UserError(f"thresholds.{check}={show(limits)}: must be a group of keys ({', '.join(BOUNDS)})")
        allowed = BOUNDS if shipped is None else tuple(shipped[check])
        for name in limits:
            if name not in allowed:
                raise unknown_key(f"thresholds.{check}.{name}", [f"thresholds.{check}.{other}" for other in allowed])
        found[check] = {name: convert(float, value, f"thresholds.{check}.{name}") for name, value in limits.items()}
    for check in shipped or ():
        for name in (shipped or {})[check]:
            if name not in found.get(check, {}):
                raise UserError(f"thresholds.{check}.{name}: missing; it can be set, not removed")
    return found
