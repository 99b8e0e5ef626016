"""What the config says of the environment `microgrid`; the meaning of each value stands in conf/env/microgrid.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from vmax.envs.microgrid.data_settings import DataConfig
from vmax.errors import UserError

TERMS = ("co2", "solar", "cost", "ev", "grid")
"""The objectives, in the order of every vector of them."""
Forecast = Literal["weather", "last_day", "perfect_pv"]
"""What PV is expected by: the last hours, by time of the day (`weather.py`), the last 24 hours alone, or what comes."""
PRESETS = {
    "co2_focus": (0.50, 0.20, 0.15, 0.10, 0.05),
    "cost_focus": (0.10, 0.05, 0.70, 0.10, 0.05),
    "ev_focus": (0.20, 0.10, 0.20, 0.45, 0.05),
    "grid_focus": (0.15, 0.10, 0.20, 0.10, 0.45),
    "balanced": (0.20, 0.20, 0.20, 0.20, 0.20),
}


@dataclass(frozen=True)
class BatteryConfig:
    """The battery; `round_trip` is shared by both ways."""

    capacity_kwh: float
    power_kw: float
    soc_min: float
    soc_max: float
    round_trip: float
    wear_per_kwh: float

    def __post_init__(self) -> None:
        for name in ("capacity_kwh", "power_kw"):
            if getattr(self, name) <= 0:
                raise UserError(f"env.battery.{name}={getattr(self, name)}: must be above 0")
        if not 0.0 <= self.soc_min < self.soc_max <= 1.0:
            raise UserError(
                f"env.battery.soc_min={self.soc_min}: must be at least 0 and below env.battery.soc_max={self.soc_max}, "
                "which is at most 1"
            )
        if not 0.1 <= self.round_trip <= 1.0:
            raise UserError(f"env.battery.round_trip={self.round_trip}: must be within [0.1, 1]")
        if self.wear_per_kwh < 0:
            raise UserError(f"env.battery.wear_per_kwh={self.wear_per_kwh}: must be at least 0")


@dataclass(frozen=True)
class GridConfig:
    """The connection: limits in kW (None: none), and what a kWh fed in is paid."""

    import_limit_kw: float | None
    export_limit_kw: float | None
    export_price_per_kwh: float

    def __post_init__(self) -> None:
        for name in ("import_limit_kw", "export_limit_kw"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UserError(f"env.grid.{name}={value}: must be at least 0, or null")
        if self.export_price_per_kwh < 0:
            raise UserError(f"env.grid.export_price_per_kwh={self.export_price_per_kwh}: must be at least 0")


ENERGY_PRICES = {"peak_per_kwh": 0.45, "offpeak_per_kwh": 0.28, "flat_per_kwh": 0.20}
DEFAULT_TARIFF = {
    **ENERGY_PRICES, "currency": "USD", "local_per_unit": 3.75, "peak_hours": (18, 22),
    "demand_peak_per_kw": 48.5, "demand_excess_per_kw": 22.8,
}  # fmt: skip
"""The default site's, where nothing else is said."""
OF_A_FILE = {
    **dict.fromkeys(ENERGY_PRICES, 0.0), "currency": "units", "local_per_unit": 1.0, "peak_hours": (0, 0),
    "demand_peak_per_kw": 0.0, "demand_excess_per_kw": 0.0,
}  # fmt: skip
"""What a tariff file comes with, where nothing else is said: its prices are taken as they are, and nothing beside."""


@dataclass(frozen=True)
class TariffConfig:
    """The tariff. `local_per_unit` is how much of the tariff's money one unit of `currency` is.

    `time_of_use`: an energy price in the peak hours and one in the others, and for each month demand charges on the
    highest import of the peak hours, and on what the highest of the others exceeds it by. `flat`: one energy price.
    None is the default site's value, or what `OF_A_FILE` says where a file gives the prices.
    """

    kind: Literal["time_of_use", "flat"]
    currency: str | None
    local_per_unit: float | None
    peak_hours: tuple[int, int] | None
    peak_per_kwh: float | None
    offpeak_per_kwh: float | None
    demand_peak_per_kw: float | None
    demand_excess_per_kw: float | None
    flat_per_kwh: float | None

    def __post_init__(self) -> None:
        if self.local_per_unit is not None and self.local_per_unit <= 0:
            raise UserError(f"env.tariff.local_per_unit={self.local_per_unit}: must be above 0")
        if self.peak_hours is not None and not 0 <= self.peak_hours[0] < self.peak_hours[1] <= 24:
            raise UserError(f"env.tariff.peak_hours={list(self.peak_hours)}: must be [first, last] within 0 and 24")
        for name in (*ENERGY_PRICES, "demand_peak_per_kw", "demand_excess_per_kw"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UserError(f"env.tariff.{name}={value}: must be at least 0")

    def settled(self, file: str | None) -> Tariff:
        """The tariff that holds, beside a file of prices or without one. Raises UserError for what would not count."""
        given = {name: value for name, value in vars(self).items() if name != "kind" and value is not None}
        for name in ENERGY_PRICES:
            if file is not None and name in given:
                raise UserError(f"env.tariff.{name}={given[name]}: does not count beside env.data.files.tariff={file}")
        for name in ("demand_peak_per_kw", "demand_excess_per_kw"):
            if file is not None and given.get(name, 0.0) > 0.0 and self.peak_hours is None:
                raise UserError(f"env.tariff.{name}={given[name]}: needs env.tariff.peak_hours= beside a tariff file")
        return Tariff(kind=self.kind, **(DEFAULT_TARIFF if file is None else OF_A_FILE) | given)


@dataclass(frozen=True)
class Tariff:
    """A tariff whose every number is said; see `TariffConfig`. Without peak hours both of them are 0."""

    kind: Literal["time_of_use", "flat"]
    currency: str
    local_per_unit: float
    peak_hours: tuple[int, int]
    peak_per_kwh: float
    offpeak_per_kwh: float
    demand_peak_per_kw: float
    demand_excess_per_kw: float
    flat_per_kwh: float


@dataclass(frozen=True)
class ActionConfig:
    """How actions are read.

    `battery`: `import_target`: an import up to `target_max_kw` that the battery holds; `power`: its power as a share of
    rated power, discharge positive; `rule`: the priority rules dispatch it. `chargers`: `group`: one action for each
    group, the share of what its vehicles could take; `socket`: one for each socket; `arrival`: vehicles charge on
    arrival and there is no action. `full_band`: the share of the action range at its upper end that means all.
    `guarantee`: what a vehicle must take now to leave served is charged whatever the action. `v2g`: below 0 the action
    of chargers is the share of what vehicles could give back, with `v2g_efficiency`, and `v2g_per_kwh` paid to the
    owners.
    """

    battery: Literal["import_target", "power", "rule"]
    chargers: Literal["group", "socket", "arrival"]
    target_max_kw: float
    target_exponent: float
    full_band: float
    guarantee: bool
    v2g: bool
    v2g_efficiency: float
    v2g_per_kwh: float

    def __post_init__(self) -> None:
        if self.v2g and self.chargers == "arrival":
            raise UserError("env.action.v2g=true: needs env.action.chargers=group or socket")
        if not 0.0 < self.v2g_efficiency <= 1.0:
            raise UserError(f"env.action.v2g_efficiency={self.v2g_efficiency}: must be above 0 and at most 1")
        if self.v2g_per_kwh < 0:
            raise UserError(f"env.action.v2g_per_kwh={self.v2g_per_kwh}: must be at least 0")
        if self.target_max_kw <= 0:
            raise UserError(f"env.action.target_max_kw={self.target_max_kw}: must be above 0")
        if not 1.0 <= self.target_exponent <= 4.0:
            raise UserError(f"env.action.target_exponent={self.target_exponent}: must be within [1, 4]")
        if not 0.0 <= self.full_band < 1.0:
            raise UserError(f"env.action.full_band={self.full_band}: must be at least 0 and below 1")
        if self.battery == "rule" and self.chargers == "arrival":
            raise UserError("env.action.battery=rule: leaves nothing to decide with env.action.chargers=arrival")


@dataclass(frozen=True)
class RulesConfig:
    """Numbers of the priority rules: charges to reach before, in and after the tariff's peak, and their limits."""

    soc_before_peak: float
    soc_in_peak: float
    soc_normal: float
    soc_for_mall: float
    ev_limit_kw: float
    mall_limit_kw: float
    hours_before_peak: int


@dataclass(frozen=True)
class WeightsConfig:
    """What share of the objective each term is."""

    co2: float
    solar: float
    cost: float
    ev: float
    grid: float

    def __post_init__(self) -> None:
        total = sum(self.vector)
        if min(self.vector) < 0 or abs(total - 1.0) > 1e-6:
            shown = ",".join(f"{name}:{value:g}" for name, value in vars(self).items())
            raise UserError(f"env.reward.weights={{{shown}}}: must be at least 0 and sum to 1, not {total:g}")

    @property
    def vector(self) -> tuple[float, ...]:
        return (self.co2, self.solar, self.cost, self.ev, self.grid)


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the objectives, which sum to 1 (a `preset` replaces them), and what the reward is multiplied by.

    `conditioned`: each training episode draws its weights, uniformly over all that sum to 1, and the policy observes
    them. `shaping`: share of the value of stored energy that is a potential Φ: γ Φ' - Φ is added, γ is
    `shaping_discount`.
    `clip`: bound of each term of a step, in units of no control's mean step; None: none.
    """

    weights: WeightsConfig
    preset: Literal["co2_focus", "cost_focus", "ev_focus", "grid_focus", "balanced"] | None
    conditioned: bool
    scale: float
    shaping: float
    shaping_discount: float
    clip: float | None

    def __post_init__(self) -> None:
        if not 0.0 < self.shaping_discount <= 1.0:
            raise UserError(f"env.reward.shaping_discount={self.shaping_discount}: must be above 0 and at most 1")
        if self.scale <= 0:
            raise UserError(f"env.reward.scale={self.scale}: must be above 0")
        if self.clip is not None and self.clip <= 0:
            raise UserError(f"env.reward.clip={self.clip}: must be above 0, or null")

    @property
    def vector(self) -> tuple[float, ...]:
        """The weights in the order of `TERMS`."""
        return self.weights.vector if self.preset is None else PRESETS[self.preset]


@dataclass(frozen=True)
class MpcConfig:
    """The plan made anew at every step: what of the expected PV it counts on, what of the worth of the energy that is
    left at the end of its window, and what it expects PV by."""

    pv_factor: float
    end_factor: float
    forecast: Forecast

    def __post_init__(self) -> None:
        for name in ("pv_factor", "end_factor"):
            if not 0.0 <= getattr(self, name) <= 2.0:
                raise UserError(f"env.mpc.{name}={getattr(self, name)}: must be within [0, 2]")


@dataclass(frozen=True)
class EpisodeConfig:
    """Training episodes: days, the range of charges to start from, and the highest import of the month so far that is
    drawn with it, as a share of no control's mean monthly peak."""

    days: int
    start_soc: tuple[float, float]
    start_peak: tuple[float, float]

    def __post_init__(self) -> None:
        if self.days < 1:
            raise UserError(f"env.episode.days={self.days}: must be at least 1")
        for name in ("start_soc", "start_peak"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high:
                raise UserError(f"env.episode.{name}={[low, high]}: must be [low, high] with 0 <= low <= high")


@dataclass(frozen=True)
class MicrogridConfig:
    """Everything that the config says of the environment."""

    name: str
    data: DataConfig
    battery: BatteryConfig
    grid: GridConfig
    tariff: TariffConfig
    action: ActionConfig
    rules: RulesConfig
    mpc: MpcConfig
    reward: RewardConfig
    episode: EpisodeConfig

    def __post_init__(self) -> None:
        self.tariff.settled(self.data.files.path_of("tariff"))  # what does not go together is said at once

    @cached_property
    def billing(self) -> Tariff:
        """The tariff that holds."""
        return self.tariff.settled(self.data.files.path_of("tariff"))
