"""What the config says of the environment `bess`; the meaning of each value stands in conf/env/bess.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmax.data.series import DataConfig
from vmax.data.solar import SolarConfig
from vmax.envs.bess import observation
from vmax.envs.bess.battery import BatteryConfig, PlantConfig
from vmax.envs.bess.degradation import DegradationConfig
from vmax.envs.bess.market import RewardConfig
from vmax.envs.bess.reserve_rules import ReserveConfig
from vmax.envs.bess.scenarios import ForecastConfig
from vmax.errors import UserError
from vmax.spaces import Number


@dataclass(frozen=True)
class EpisodeConfig:
    """Training episodes: length in days and the state of charge to start from (a range: drawn)."""

    days: int
    start_soc: Number

    def __post_init__(self) -> None:
        if self.days < 1:
            raise UserError(f"env.episode.days={self.days}: must be at least 1")
        low, high = self.start_soc if isinstance(self.start_soc, tuple) else (self.start_soc, self.start_soc)
        if not 0.0 <= low <= high <= 1.0:
            raise UserError(f"env.episode.start_soc={self.start_soc}: must be shares of the capacity within [0, 1]")


@dataclass(frozen=True)
class ActionConfig:
    """Shares of the action range: `dead_band` around 0 means idle, `full_band` at either end means rated power."""

    dead_band: float
    full_band: float

    def __post_init__(self) -> None:
        for name in ("dead_band", "full_band"):
            if not 0.0 <= getattr(self, name) < 0.5:
                raise UserError(f"env.action.{name}={getattr(self, name)}: must be within [0, 0.5)")


@dataclass(frozen=True)
class AugmentationConfig:
    """Per training episode, prices become factor · price + shift; both drawn uniformly (factor: on a log scale)."""

    price_factor: tuple[float, float]
    price_shift_eur_per_mwh: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("price_factor", "price_shift_eur_per_mwh"):
            low, high = getattr(self, name)
            if low > high or (name == "price_factor" and low <= 0):
                raise UserError(f"env.augmentation.{name}={[low, high]}: a range is [low, high], factors above 0")


@dataclass(frozen=True)
class ObservationConfig:
    """The named features of the observation."""

    features: tuple[str, ...]

    def __post_init__(self) -> None:
        allowed = {**observation.OWN, **observation.EXOGENOUS}
        for name in self.features:
            if name not in allowed:
                raise UserError(f"env.observation.features: '{name}' is unknown; allowed: {', '.join(allowed)}")


@dataclass(frozen=True)
class BessConfig:
    """Everything that the config says of the environment."""

    name: str
    battery: BatteryConfig
    plant: PlantConfig
    degradation: DegradationConfig
    data: DataConfig
    solar: SolarConfig
    information: Literal["day_ahead", "forecast"]
    forecast: ForecastConfig
    reserve: ReserveConfig
    episode: EpisodeConfig
    action: ActionConfig
    reward: RewardConfig
    augmentation: AugmentationConfig
    observation: ObservationConfig

    def __post_init__(self) -> None:
        for name in self.observation.features:
            if name in observation.OF_RESERVE and not self.reserve.sold:
                raise UserError(f"env.observation.features: '{name}' needs a product; set env.reserve.product=")
