"""What a check is, what it finds, and how a measured value becomes PASS, WARN or FAIL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from vmax.errors import UserError

if TYPE_CHECKING:
    from vmax.checks.subject import Subject

Status = Literal["PASS", "WARN", "FAIL", "SKIP"]
BOUNDS = ("fail_above", "fail_below", "warn_above", "warn_below")
"""The thresholds that a check may have. One relaxes by rising where it is an upper one, by falling where a lower."""


@dataclass(frozen=True)
class Measured:
    """The one number that a check measures, and what it saw: names of the worst, figures beside it."""

    value: float
    detail: str = ""
    remedy: str = ""
    """What else mends it, where that hangs on the run: a setting of the learner."""


@dataclass(frozen=True)
class Skip:
    """Why a check does not apply here."""

    reason: str


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
      id: its name in the configuration and in every output. kind: the group it belongs to.
      unit: of the value that it measures. hint: what to look at where it does not pass.
      measure: gives that value.
      named: whether it finds names of which single ones can be exempt.
    """

    id: str
    kind: str
    unit: str
    hint: str
    measure: Callable[[Subject], Measured | Skip]
    named: bool = False


@dataclass(frozen=True)
class Finding:
    """What a check found. `threshold` in words; `relaxed`: thresholds that are looser than the shipped ones."""

    id: str
    kind: str
    status: Status
    value: float | None
    unit: str
    threshold: str
    detail: str
    hint: str
    relaxed: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """As it stands in checks.json."""
        return asdict(self)


def judge(check: Check, subject: Subject, limits: Mapping[str, float], shipped: Mapping[str, float]) -> Finding:
    """Runs one check. What it raises is a FAIL that says what was raised; a UserError passes through."""
    reason = subject.hooks.exempt.get(check.id)
    try:
        found = Skip(reason) if reason is not None else check.measure(subject)
    except UserError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        found = Measured(float("nan"), f"could not be measured: {type(error).__name__}: {first}"[:300])
    relaxed = {
        name: {"set": limits[name], "shipped": shipped[name]} for name in limits if _looser(name, limits, shipped)
    }
    if isinstance(found, Skip):
        return Finding(check.id, check.kind, "SKIP", None, check.unit, in_words(limits), found.reason, "", relaxed)
    status = status_of(found.value, limits)
    hint = "; ".join(part for part in (check.hint, found.remedy) if part) if status in ("WARN", "FAIL") else ""
    if status == "FAIL":
        hint += f"; to leave it out: exempt={{{check.id}{'/NAME' * check.named}: REASON}}"
    words = in_words(limits)
    return Finding(check.id, check.kind, status, found.value, check.unit, words, found.detail, hint, relaxed)


def status_of(value: float, limits: Mapping[str, float]) -> Status:
    """What a value means; what is no number is a FAIL."""
    order: tuple[tuple[Status, str], ...] = (("FAIL", "fail"), ("WARN", "warn"))
    for status, bound in order:
        high, low = limits.get(f"{bound}_above"), limits.get(f"{bound}_below")
        if value != value or (high is not None and value > high) or (low is not None and value < low):
            return status
    return "PASS"


def in_words(limits: Mapping[str, float]) -> str:
    """The thresholds as a table shows them: `FAIL > 1e-05, WARN < 0.1`."""
    signs = {"above": ">", "below": "<"}
    parts = (name.split("_") for name in BOUNDS if name in limits)
    return ", ".join(f"{status.upper()} {signs[side]} {limits[f'{status}_{side}']:g}" for status, side in parts)


def _looser(name: str, limits: Mapping[str, float], shipped: Mapping[str, float]) -> bool:
    change = limits[name] - shipped[name]
    return change > 0 if name.endswith("above") else change < 0


def listed(names: Any, most: int = 4) -> str:
    """Some names in a row, and how many more there are."""
    names = list(names)
    shown = ", ".join(map(str, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
