"""What the config says of the environment `bess`; the meaning of each value stands in conf/env/bess.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vmax.data.series import DataConfig
from vmax.data.solar import SolarConfig, check_place
from vmax.envs.battery import BatteryConfig, PlantConfig
from vmax.envs.bess import observation
from vmax.envs.bess.action import ActionConfig
from vmax.envs.bess.degradation_config import DegradationConfig
from vmax.envs.bess.market import MarketConfig, RewardConfig
from vmax.envs.bess.reserve_rules import ReserveConfig
from vmax.envs.bess.scenarios import ForecastConfig
from vmax.errors import UserError
from vmax.spaces import Number


@dataclass(frozen=True)
class EpisodeConfig:
    """Training episodes: length in days, the state of charge to start from (a range: drawn), and how they end.

    `end`: `cut`: looking stops, and the value goes on (truncation); `settled`: the episode terminates, and the energy
    left is paid at the trailing mean price after fees, wear and losses, unless shaping has paid for it as it came in.
    """

    days: int
    start_soc: Number
    end: Literal["cut", "settled"]

    def __post_init__(self) -> None:
        if self.days < 1:
            raise UserError(f"env.episode.days={self.days}: must be at least 1")
        low, high = self.start_soc if isinstance(self.start_soc, tuple) else (self.start_soc, self.start_soc)
        if not 0.0 <= low <= high <= 1.0:
            raise UserError(f"env.episode.start_soc={self.start_soc}: must be shares of the capacity within [0, 1]")


@dataclass(frozen=True)
class AugmentationConfig:
    """Per training episode, prices become factor · price + shift; both drawn uniformly (factor: on a log scale)."""

    price_factor: tuple[float, float]
    price_shift_eur_per_mwh: tuple[float, float]

    @property
    def changes_prices(self) -> bool:
        """Whether any episode's prices are others than those of the series."""
        return self.price_factor != (1.0, 1.0) or self.price_shift_eur_per_mwh != (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("price_factor", "price_shift_eur_per_mwh"):
            low, high = getattr(self, name)
            if low > high or (name == "price_factor" and low <= 0):
                raise UserError(f"env.augmentation.{name}={[low, high]}: a range is [low, high], factors above 0")


@dataclass(frozen=True)
class ObservationConfig:
    """The named features of the observation, and the ranges that those in plain prices are scaled by.

    `of_forecasts`: those that come to them where the data has forecasts of its own.
    """

    features: tuple[str, ...]
    of_forecasts: tuple[str, ...]
    price_range_eur_per_mwh: tuple[float, float]
    reserve_price_range_eur_per_mw_h: tuple[float, float]

    @property
    def ranges(self) -> observation.Ranges:
        return observation.Ranges(self.price_range_eur_per_mwh, self.reserve_price_range_eur_per_mw_h)

    def __post_init__(self) -> None:
        for name in ("price_range_eur_per_mwh", "reserve_price_range_eur_per_mw_h"):
            low, high = getattr(self, name)
            if low >= high:
                raise UserError(f"env.observation.{name}={[low, high]}: a range is [low, high] with low < high")
        allowed = (*observation.OWN, *observation.EXOGENOUS, *observation.OF_FORECASTS)
        for setting in ("features", "of_forecasts"):
            names = getattr(self, setting)
            for name in names:
                if names.count(name) > 1:
                    raise UserError(f"env.observation.{setting}: '{name}' stands there twice")
                if name not in allowed:
                    raise UserError(f"env.observation.{setting}: '{name}' is unknown; allowed: {', '.join(allowed)}")


@dataclass(frozen=True)
class BessConfig:
    """Everything that the config says of the environment."""

    name: str
    battery: BatteryConfig
    plant: PlantConfig
    degradation: DegradationConfig
    data: DataConfig
    solar: SolarConfig
    information: Literal["day_ahead", "forecast", "provided"]
    market: MarketConfig
    forecast: ForecastConfig
    reserve: ReserveConfig
    episode: EpisodeConfig
    action: ActionConfig
    reward: RewardConfig
    augmentation: AugmentationConfig
    observation: ObservationConfig

    def __post_init__(self) -> None:
        fitting = {"auction": ("forecast", "provided"), "imbalance": ("day_ahead",)}.get(self.market.kind)
        if fitting is not None and self.information not in fitting:
            raise UserError(
                f"env.market.kind={self.market.kind}: needs env.information={' or '.join(fitting)}, not "
                f"{self.information}"
            )
        self._check_forecasts()

        if self.market.kind == "auction" and self.reserve.sold:
            raise UserError(f"env.reserve.product={self.reserve.product}: must be none with env.market.kind=auction")
        columns = self.data.mapped
        if "pv" not in columns and np.max(self.plant.pv_capacity_mw) > 0:
            check_place("env.solar", self.solar.latitude, self.solar.longitude, self.data.timezone)
        if "imbalance" in columns and self.market.kind != "imbalance":
            raise UserError(
                f"env.data.columns.imbalance={columns['imbalance']}: nothing reads it with env.market.kind="
                f"{self.market.kind}; set env.market.kind=imbalance, or null"
            )
        for role in ("reserve_up", "reserve_down"):
            if role in columns and not self.reserve.sold:
                raise UserError(
                    f"env.data.columns.{role}={columns[role]}: nothing reads it with env.reserve.product=none; set "
                    "env.reserve.product=, or null"
                )
        for name in self.observation.features:
            if name in observation.OF_RESERVE and not self.reserve.sold:
                raise UserError(f"env.observation.features: '{name}' needs a product; set env.reserve.product=")

    def _check_forecasts(self) -> None:
        """Raises UserError for forecasts that are needed and not there, or there and not read."""
        provided, given = self.information == "provided", self.data.forecasts
        if provided and not given:
            raise UserError(
                "env.information=provided: needs forecasts of the price; set env.data.columns.forecast=[a,b,...] to "
                "their columns"
            )
        if given and not provided:
            raise UserError(
                "env.data.columns.forecast: nothing reads it with env.information="
                f"{self.information}; set env.information=provided, or null"
            )
        for name in self.data.exogenous:
            if name in observation.OWN or name in observation.Outside(0, ()):
                raise UserError(f"env.data.columns.exogenous: '{name}' is a feature already; choose another name")
        for name in self.observation.features:
            if name in observation.OF_FORECASTS and not provided:
                raise UserError(f"env.observation.features: '{name}' needs env.information=provided")

    @property
    def outside(self) -> observation.Outside:
        """The features of the outside world that there are."""
        return observation.Outside(self.data.forecasts, self.data.exogenous)

    @property
    def uncertain(self) -> bool:
        """Whether energy is settled at prices that are not known when it is decided on."""
        return self.information != "day_ahead" or self.market.kind == "imbalance"
