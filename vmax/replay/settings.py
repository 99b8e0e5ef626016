"""What a user may set of the replay; free of JAX, so that it can be read before the device is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmax.errors import UserError


@dataclass(frozen=True)
class SequenceConfig:
    """What a network with memory learns from.

    Attributes:
      length: steps of a sequence, the burn-in included.
      kind: `episode`: from the beginning of an episode; `window`: from a step whose carry is kept.
      stride: rows between two kept carries; windows overlap where it is less than their length.
      burn_in: the first so many steps of a window only warm the memory up, unless its episode begins there.
    """

    length: int
    kind: Literal["episode", "window"]
    stride: int
    burn_in: int

    def __post_init__(self) -> None:
        key = "training.sequences"
        if self.length < 1:
            raise UserError(f"{key}.length={self.length}: must be at least 1")
        if not 0 <= self.burn_in < self.length:
            raise UserError(f"{key}.burn_in={self.burn_in}: must be within [0, {self.length - 1}]")
        if not 1 <= self.stride <= self.length - self.burn_in:
            most = f"{self.length - self.burn_in}, {key}.length less the burn-in"
            raise UserError(f"{key}.stride={self.stride}: must be within [1, {most}], or steps would never be learned")


@dataclass(frozen=True)
class PriorityConfig:
    """How much more often a replay draws what surprised the critics.

    Attributes:
      exponent: a place is drawn in proportion to (|δ| + offset)^exponent; 0: all alike, no priorities are kept.
      correction: what share of that is taken back by weights in the losses, at the start; it rises to 1 at the end.
      offset: added to |δ|, so that what was learned well still comes up.
      max_share: of the largest |δ| in the priority of a sequence; the rest is their mean.
    """

    exponent: float
    correction: float
    offset: float
    max_share: float

    def __post_init__(self) -> None:
        for name in ("exponent", "correction", "max_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"training.priorities.{name}={getattr(self, name)}: must be within [0, 1]")
        if self.offset <= 0:
            raise UserError(f"training.priorities.offset={self.offset}: must be above 0")
