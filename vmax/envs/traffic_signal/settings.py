"""What the config says of the environment `traffic_signal`; what each value means stands in
conf/env/traffic_signal.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vmax.conversion import InputFile
from vmax.envs.traffic_signal.actions import Kind
from vmax.envs.traffic_signal.arrays import VehicleClass
from vmax.envs.traffic_signal.demand import Pattern
from vmax.envs.traffic_signal.diagram import PowerLaw, Triangular
from vmax.envs.traffic_signal.models import Model, OneClass, TwoClass
from vmax.envs.traffic_signal.network import shipped
from vmax.envs.traffic_signal.signals import Timing
from vmax.errors import UserError
from vmax.spaces import Number

LEVELS = {"light": 0.6, "moderate": 0.8, "heavy": 1.0, "saturated": 1.25}
"""Shares of the demand that a network's file gives."""
NetworkFile = Annotated[str, "a network's name or file", InputFile(shipped)]
TERMS = ("delay", "queue", "pressure", "throughput", "switches")
"""What the reward may be made of, in the order of every vector of them."""


@dataclass(frozen=True)
class FlowConfig:
    """The model of traffic flow and its sizes."""

    model: Literal["ctm", "lwr", "arz", "arz2"]
    dx_m: float
    dt_s: float
    fifo: bool
    exponent: float
    pressure_scale: float
    backward_wave_kmh: float

    def __post_init__(self) -> None:
        for name in ("dx_m", "dt_s", "exponent", "backward_wave_kmh"):
            if getattr(self, name) <= 0:
                raise UserError(f"env.flow.{name}={getattr(self, name)}: must be above 0")
        if not 0.0 < self.pressure_scale <= 1.0:
            raise UserError(f"env.flow.pressure_scale={self.pressure_scale}: must be above 0 and at most 1")

    def made(self, classes: tuple[VehicleClass, ...]) -> Model:
        """The model of these classes."""
        if self.model == "arz2":
            return TwoClass(tuple(kind.beta for kind in classes))
        if self.model == "ctm":
            return OneClass(Triangular(self.backward_wave_kmh / classes[0].speed_kmh), adapts=False)
        scale = self.pressure_scale if self.model == "arz" else 1.0
        return OneClass(PowerLaw(self.exponent, scale), adapts=self.model == "arz")


@dataclass(frozen=True)
class DemandConfig:
    """Who comes. `level` is a share of the file's demand or a name of `LEVELS`; a range is drawn for each episode. In
    training it is drawn from `train_spread` around it, as a share."""

    pattern: Pattern
    level: Number | str
    train_spread: float
    period_s: float
    by_hour: tuple[float, ...]
    poisson: bool
    shares: tuple[float, ...]
    share_spread: float

    def __post_init__(self) -> None:
        if isinstance(self.level, str) and self.level not in LEVELS:
            raise UserError(f"env.demand.level={self.level}: must be a number, a range or one of {', '.join(LEVELS)}")
        low, high = self.levels
        if not 0.0 <= low <= high:
            raise UserError(f"env.demand.level={self.level}: must be at least 0, a range [least, greatest]")
        if not 0.0 <= self.train_spread <= 1.0:
            raise UserError(f"env.demand.train_spread={self.train_spread}: must be within [0, 1]")
        if self.period_s <= 0:
            raise UserError(f"env.demand.period_s={self.period_s}: must be above 0")
        if len(self.by_hour) != 24 or min(self.by_hour) < 0:
            raise UserError(f"env.demand.by_hour: {len(self.by_hour)} numbers; must be 24, all at least 0")
        if min(self.shares) < 0 or abs(sum(self.shares) - 1.0) > 1e-6:
            raise UserError(f"env.demand.shares={list(self.shares)}: must be at least 0 and add up to 1")
        if not 0.0 <= self.share_spread <= 1.0:
            raise UserError(f"env.demand.share_spread={self.share_spread}: must be within [0, 1]")

    @property
    def levels(self) -> tuple[float, float]:
        """The least and the greatest level of an episode."""
        if isinstance(self.level, str):
            return LEVELS[self.level], LEVELS[self.level]
        return self.level if isinstance(self.level, tuple) else (self.level, self.level)

    @property
    def train_levels(self) -> tuple[float, float]:
        """The same in training."""
        low, high = self.levels
        return (1.0 - self.train_spread) * low, (1.0 + self.train_spread) * high


@dataclass(frozen=True)
class SignalConfig:
    """Seconds between decisions, and of yellow, all-red, least and most green. `action`: see
    `vmax.envs.traffic_signal.actions`."""

    decide_s: float
    yellow_s: float
    all_red_s: float
    min_green_s: float
    max_green_s: float
    action: Kind

    def __post_init__(self) -> None:
        if self.decide_s <= 0:
            raise UserError(f"env.signals.decide_s={self.decide_s}: must be above 0")
        _ = self.timing

    @property
    def timing(self) -> Timing:
        return Timing(self.yellow_s, self.all_red_s, self.min_green_s, self.max_green_s)


@dataclass(frozen=True)
class EpisodeConfig:
    """Minutes of an episode of an evaluation, how many of them pass before anything is counted, and how many demand
    seeds the splits have; the shortest episode of training as a share. `other_levels`: of demand, at which policies are
    judged besides."""

    minutes: float
    warm_up_minutes: float
    shortest_share: float
    seeds: int
    other_levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.minutes <= self.warm_up_minutes or self.warm_up_minutes < 0:
            raise UserError(
                f"env.episode.minutes={self.minutes}: must be above "
                f"env.episode.warm_up_minutes={self.warm_up_minutes}, which is at least 0"
            )
        if not 0.0 < self.shortest_share <= 1.0:
            raise UserError(f"env.episode.shortest_share={self.shortest_share}: must be above 0 and at most 1")
        if self.seeds < 1:
            raise UserError(f"env.episode.seeds={self.seeds}: must be at least 1")
        if any(level < 0 for level in self.other_levels) or len(set(self.other_levels)) < len(self.other_levels):
            raise UserError(f"env.episode.other_levels={list(self.other_levels)}: must be at least 0, none twice")


@dataclass(frozen=True)
class TermsConfig:
    """What each term counts in the reward."""

    delay: float
    queue: float
    pressure: float
    throughput: float
    switches: float

    def __post_init__(self) -> None:
        if not any(self.vector) or min(self.vector) < 0:
            raise UserError("env.reward.weights: must be at least 0, and one of them above 0")

    @property
    def vector(self) -> tuple[float, ...]:
        """In the order of `TERMS`."""
        return (self.delay, self.queue, self.pressure, self.throughput, self.switches)


@dataclass(frozen=True)
class RewardConfig:
    """The weighted sum of `TERMS`, in vehicles, over `scale_veh`."""

    weights: TermsConfig
    scale_veh: float

    def __post_init__(self) -> None:
        if self.scale_veh <= 0:
            raise UserError(f"env.reward.scale_veh={self.scale_veh}: must be above 0")


@dataclass(frozen=True)
class ObservationConfig:
    """Names of `observation.FEATURES`, in order; and in how many groups of cells `profile` counts vehicles."""

    features: tuple[str, ...]
    groups: int

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise UserError(f"env.observation.groups={self.groups}: must be at least 1")


@dataclass(frozen=True)
class EmissionProxyConfig:
    """Grams of CO2 that a second of delay and a stop are taken to cost, mean over all vehicles."""

    delay_g_per_s: float
    stop_g: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise UserError(f"env.emission_proxy.{name}={value}: must be at least 0")


@dataclass(frozen=True)
class RulesConfig:
    """Numbers of the rules to compare with; null: tuned on training seeds."""

    fixed_green_s: float
    gap: float | None
    actuated_max_s: float | None
    sotl_theta: float | None


@dataclass(frozen=True)
class TrafficSignalConfig:
    """Everything that the config says of the environment."""

    name: str
    network: NetworkFile | tuple[NetworkFile, ...]
    vehicles: tuple[VehicleClass, ...]
    flow: FlowConfig
    demand: DemandConfig
    signals: SignalConfig
    episode: EpisodeConfig
    observation: ObservationConfig
    reward: RewardConfig
    rules: RulesConfig
    emission_proxy: EmissionProxyConfig

    def __post_init__(self) -> None:
        count = len(self.vehicles)
        if (self.flow.model == "arz2") != (count == 2):
            raise UserError(
                f"env.flow.model={self.flow.model}: of {count} classes of env.vehicles; arz2 has two, else one"
            )
        if len(self.demand.shares) != count:
            raise UserError(
                f"env.demand.shares={list(self.demand.shares)}: must be {count}, one for each of env.vehicles"
            )
        ratio = self.signals.decide_s / self.flow.dt_s
        if abs(ratio - round(ratio)) > 1e-9:
            raise UserError(
                f"env.signals.decide_s={self.signals.decide_s:g}: must be a multiple of "
                f"env.flow.dt_s={self.flow.dt_s:g}"
            )

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that episodes draw from."""
        return (self.network,) if isinstance(self.network, str) else self.network

    @property
    def substeps(self) -> int:
        """Sub-steps of flow between decisions."""
        return round(self.signals.decide_s / self.flow.dt_s)
