"""What the config says of wear; the meaning and the unit of each number stand in conf/env/bess.yaml."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from vmax.errors import UserError

KEY = "env.degradation"


def _require(key: str, value: float, low: float, high: float = math.inf) -> None:
    """Raises UserError unless low < value <= high."""
    if not low < value <= high:
        allowed = f"above {low:g}" if high == math.inf else f"above {low:g} and at most {high:g}"
        raise UserError(f"{KEY}.{key}={value}: must be {allowed}")


@dataclass(frozen=True)
class CardoMiotaConfig:
    """Depth buckets: `stress` below each of the `depth_limits` and beyond the last; two prices of a cycle's energy."""

    depth_limits: tuple[float, ...]
    stress: tuple[float, ...]
    depth_max: float
    cycles: float
    depth_mean: float
    cycles_mean: float

    def __post_init__(self) -> None:
        key = f"{KEY}.cardo_miota"
        if not all(low < high for low, high in pairwise((0.0, *self.depth_limits, 1.0))):
            raise UserError(f"{key}.depth_limits={list(self.depth_limits)}: must ascend within (0, 1)")
        if len(self.stress) != len(self.depth_limits) + 1:
            raise UserError(f"{key}.stress={list(self.stress)}: must be one more than depth_limits")
        if min(self.stress) < 0.0 or not all(low <= high for low, high in pairwise(self.stress)):
            raise UserError(f"{key}.stress={list(self.stress)}: must be at least 0 and not descend")
        for name in ("depth_max", "depth_mean"):
            _require(f"cardo_miota.{name}", getattr(self, name), 0.0, 1.0)
        for name in ("cycles", "cycles_mean"):
            _require(f"cardo_miota.{name}", getattr(self, name), 0.0)


@dataclass(frozen=True)
class RainflowConfig:
    """Power law of depth: a cycle of depth δ takes the share `life_share_per_cycle` · δ^`exponent` of the life."""

    life_share_per_cycle: float
    exponent: float

    def __post_init__(self) -> None:
        _require("rainflow.life_share_per_cycle", self.life_share_per_cycle, 0.0, 1.0)
        if not 1.0 <= self.exponent <= 10.0:
            raise UserError(f"{KEY}.rainflow.exponent={self.exponent}: must be within [1, 10]")


@dataclass(frozen=True)
class XuConfig:
    """Constants of Xu et al. 2018: stress of depth (δ), charge, temperature and time; the film that forms early."""

    k_delta1: float
    k_delta2: float
    k_delta3: float
    k_soc: float
    soc_reference: float
    k_temperature: float
    temperature_reference_c: float
    k_time_per_s: float
    film_share: float
    film_rate: float

    def __post_init__(self) -> None:
        if not (self.k_delta2 < 0.0 < self.k_delta1 and self.k_delta1 + self.k_delta3 > 0.0):
            numbers = f"{KEY}.xu: k_delta1={self.k_delta1} k_delta2={self.k_delta2} k_delta3={self.k_delta3}"
            raise UserError(f"{numbers}: must be k_delta1 > 0 > k_delta2 and k_delta1 + k_delta3 > 0 (more with depth)")
        for name in ("k_soc", "k_temperature", "k_time_per_s"):
            if getattr(self, name) < 0.0:
                raise UserError(f"{KEY}.xu.{name}={getattr(self, name)}: must be at least 0")
        _require("xu.temperature_reference_c", self.temperature_reference_c, -100.0, 200.0)
        if not 0.0 <= self.film_share < 1.0:
            raise UserError(f"{KEY}.xu.film_share={self.film_share}: must be within [0, 1)")
        _require("xu.film_rate", self.film_rate, 1.0)


@dataclass(frozen=True)
class DegradationConfig:
    """Which model, what a worn-out battery costs (`replacement_eur_per_mwh` buys back `end_of_life_loss`), each model's
    numbers, and whether the loss shrinks the capacity (`feedback`)."""

    model: Literal["throughput", "cardo_miota", "cardo_miota_linear", "rainflow", "xu"]
    replacement_eur_per_mwh: float
    end_of_life_loss: float
    start_soh: float
    feedback: bool
    temperature_c: float
    stack: int
    cardo_miota: CardoMiotaConfig
    rainflow: RainflowConfig
    xu: XuConfig

    def __post_init__(self) -> None:
        _require("replacement_eur_per_mwh", self.replacement_eur_per_mwh, 0.0)
        if not 0.0 < self.end_of_life_loss < 1.0:
            raise UserError(f"{KEY}.end_of_life_loss={self.end_of_life_loss}: must be within (0, 1)")
        _require("start_soh", self.start_soh, 0.0, 1.0)
        _require("temperature_c", self.temperature_c, -100.0, 200.0)
        if not 4 <= self.stack <= 1024:
            raise UserError(f"{KEY}.stack={self.stack}: must be within [4, 1024]")
