"""What the config says of reserve: the product, its rules and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vmax.errors import UserError

CALL_PATH_STEPS = 2**18
BIDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "simple": (),
    "up": ("reserve_up",),
    "down": ("reserve_down",),
    "symmetric": ("reserve",),
    "up_and_down": ("reserve_up", "reserve_down"),
}
"""The components that a product adds to the action."""
SELLS_UP, SELLS_DOWN = ("simple", "up", "symmetric", "up_and_down"), ("down", "symmetric", "up_and_down")


@dataclass(frozen=True)
class ActivationConfig:
    """Calls: with probability `share` a step has one, over a Beta-distributed part `called` [a, b] of the committed
    power (mean over the step), independent from step to step; two-way products are called either way equally often.
    """

    share: float
    called: tuple[float, float]
    premium_eur_per_mwh: float
    seed: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise UserError(f"env.reserve.activation.share={self.share}: must be within [0, 1]")
        if min(self.called) <= 0.0:
            raise UserError(f"env.reserve.activation.called={list(self.called)}: must be two numbers above 0")
        for name in ("premium_eur_per_mwh", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"env.reserve.activation.{name}={getattr(self, name)}: must be at least 0")


@dataclass(frozen=True)
class ReserveConfig:
    """The product that is sold beside energy, and its rules."""

    product: Literal["none", "simple", "up", "down", "symmetric", "up_and_down"]
    backing_h: float
    block_h: int
    penalty_eur_per_mwh: float
    activation: ActivationConfig
    price_level: float
    price_seed: int

    def __post_init__(self) -> None:
        if not 0.0 < self.backing_h <= 24.0:
            raise UserError(f"env.reserve.backing_h={self.backing_h}: must be above 0 and at most 24")
        if self.block_h < 1 or 24 % self.block_h:
            raise UserError(f"env.reserve.block_h={self.block_h}: must be a divisor of 24, in hours")
        for name in ("penalty_eur_per_mwh", "price_level", "price_seed"):
            if getattr(self, name) < 0:
                raise UserError(f"env.reserve.{name}={getattr(self, name)}: must be at least 0")
        if self.product == "simple" and self.activation.share > 0:
            raise UserError(f"env.reserve.activation.share={self.activation.share}: must be 0 with product=simple")

    @property
    def sold(self) -> bool:
        return self.product != "none"

    @property
    def called(self) -> bool:
        """Whether what is sold is ever called."""
        return self.sold and self.activation.share > 0

    def calls(self) -> np.ndarray:
        """One long path of calls, `[CALL_PATH_STEPS]`: share of the committed power, upward positive, 0: no call.

        An episode's offset places it on the path, as with forecast errors, so that every policy meets the same calls.
        """
        draw = np.random.default_rng([self.activation.seed, 1])
        part = draw.beta(*self.activation.called, CALL_PATH_STEPS)
        part *= draw.random(CALL_PATH_STEPS) < self.activation.share
        upward = draw.random(CALL_PATH_STEPS) < 0.5
        sign = np.where(upward, 1.0, -1.0) if self.product in SELLS_UP and self.product in SELLS_DOWN else 1.0
        return np.asarray(-part if self.product == "down" else part * sign, np.float32)

    def expected_call(self) -> tuple[float, float]:
        """Mean upward and downward call of a step, shares of the committed power."""
        a, b = self.activation.called
        mean = self.activation.share * a / (a + b)
        if self.product == "down":
            return 0.0, mean
        return (0.5 * mean, 0.5 * mean) if self.product in SELLS_DOWN else (mean, 0.0)
