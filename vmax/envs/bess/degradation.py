"""Wear of the battery: what a step costs in EUR and in share of capacity (ΔSOH). One interface, five models.

Cost and loss go together in every model: cost = replacement cost · ΔSOH / loss at the end of life. Formulas and their
sources stand in `depth_stress.py`, models that count cycles in `cycle_ageing.py`, how to choose in docs/wear.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy.optimize import brentq

from vmax.envs.battery import Dispatch, Site
from vmax.envs.bess import depth_stress
from vmax.envs.bess.cycle_ageing import Rainflow, Xu
from vmax.envs.bess.degradation_config import DegradationConfig

Array = jax.Array


@struct.dataclass
class WearNumbers:
    """The numbers of a wear model that change no shape.

    Attributes:
      start_loss: share of capacity lost before the episode.
      model: the chosen model's own, named as in the config; for `xu` also `start_stress`, which led to `start_loss`.
    """

    replacement_eur_per_mwh: Array
    end_of_life_loss: Array
    start_loss: Array
    temperature_c: Array
    model: dict[str, Array]

    @classmethod
    def of(cls, config: DegradationConfig) -> WearNumbers:
        """The numbers of the config."""
        group = config.model.removesuffix("_linear")
        own = {} if group == "throughput" else asdict(getattr(config, group))
        start_loss = 1.0 - config.start_soh
        if group == "xu":
            most = 1.0 - np.log(config.start_soh)  # the slow exponential alone has lost as much there
            own["start_stress"] = brentq(lambda f: depth_stress.xu_life(own, f) - start_loss, 0.0, most, xtol=1e-12)
        put = lambda value: jnp.asarray(value, jnp.float32)  # noqa: E731
        return cls(
            put(config.replacement_eur_per_mwh),
            put(config.end_of_life_loss),
            put(start_loss),
            put(config.temperature_c),
            {name: put(value) for name, value in own.items()},
        )

    def by_cost(self, capacity_mwh: Array, cost_eur: Array) -> WearStep:
        """The wear that a cost stands for."""
        return WearStep(cost_eur, cost_eur * self.end_of_life_loss / (self.replacement_eur_per_mwh * capacity_mwh))

    def by_loss(self, capacity_mwh: Array, soh_loss: Array, overflow: Array) -> WearStep:
        """The wear of a lost share of capacity."""
        cost_eur = self.replacement_eur_per_mwh * capacity_mwh * soh_loss / self.end_of_life_loss
        return WearStep(cost_eur, soh_loss, overflow)


@struct.dataclass
class WearStep:
    """Wear of one step: its cost, the share of the new battery's capacity lost, turning points that found no room."""

    cost_eur: Array
    soh_loss: Array
    overflow: Array | float = 0.0


class WearModel(Protocol):
    """A model of wear: hashable, its numbers in `WearNumbers`, what it remembers in a pytree (`memory`)."""

    @property
    def observed_size(self) -> int:
        """How many numbers of the memory a decision has to know."""
        ...

    @property
    def by_half_day(self) -> bool:
        """Whether it matters that a local half-day begins."""
        ...

    @property
    def stacked(self) -> bool:
        """Whether it counts cycles on a stack that can overflow."""
        ...

    def initial(self, soc: Array) -> Any:
        """The memory of a battery that has done nothing yet, at charge `soc`."""
        ...

    def step(
        self,
        numbers: WearNumbers,
        memory: Any,
        site: Site,
        soc: Array,
        flows: Dispatch,
        starts_half: Array,
        dt_h: float,
    ) -> tuple[Any, WearStep]:
        """Wear of a step from charge `soc`; `starts_half`: a local half-day (0-12, 12-24 h) begins with it."""
        ...

    def observed(self, memory: Any, soc: Array) -> Array:
        """What a decision has to know of the memory, `[observed_size]` within [-1, 1]."""
        ...

    def recover(self, seen: Array, soc: Array) -> Any:
        """A memory from which wear goes on as from the one `observed`; makes sense of any numbers in [-1, 1]."""
        ...

    def price_eur_per_mwh(self, numbers: WearNumbers, site: Site) -> Array | None:
        """What each MWh at the AC terminals costs, each way; None where it is no constant."""
        ...


class _Forgetful(ABC):
    """Wear that is a price on throughput: it remembers nothing."""

    observed_size, by_half_day, stacked = 0, False, False

    def initial(self, soc: Array) -> tuple[()]:
        return ()

    def step(
        self,
        numbers: WearNumbers,
        memory: Any,
        site: Site,
        soc: Array,
        flows: Dispatch,
        starts_half: Array,
        dt_h: float,
    ) -> tuple[Any, WearStep]:
        cost_eur = (flows.charge_mw + flows.discharge_mw) * dt_h * self.price_eur_per_mwh(numbers, site)
        return memory, numbers.by_cost(site.capacity_mwh, cost_eur)

    def observed(self, memory: Any, soc: Array) -> Array:
        return jnp.zeros(0)

    def recover(self, seen: Array, soc: Array) -> tuple[()]:
        return ()

    @abstractmethod
    def price_eur_per_mwh(self, numbers: WearNumbers, site: Site) -> Array: ...


@dataclass(frozen=True)
class Throughput(_Forgetful):
    """`battery.wear_eur_per_mwh` on every MWh at the AC terminals, each way."""

    def price_eur_per_mwh(self, numbers: WearNumbers, site: Site) -> Array:
        return site.wear_eur_per_mwh


@dataclass(frozen=True)
class CardoMiotaLinear(_Forgetful):
    """`CardoMiota`'s linear form: replacement cost / (mean depth · cycles) per MWh at the AC terminals, each way."""

    def price_eur_per_mwh(self, numbers: WearNumbers, site: Site) -> Array:
        return numbers.replacement_eur_per_mwh / (numbers.model["depth_mean"] * numbers.model["cycles_mean"])


@struct.dataclass
class Band:
    """Lowest and highest charge since the local half-day began, its first charge included."""

    low: Array
    high: Array


@dataclass(frozen=True)
class CardoMiota:
    """Depth buckets: a MWh costs the more, the wider the charge has swung since the local half-day began.

    The depth is highest minus lowest charge from the start of the half-day to the end of the step. The order of moves
    matters: only those after a deep one pay for it.
    """

    observed_size, by_half_day, stacked = 2, True, False

    def initial(self, soc: Array) -> Band:
        return Band(soc, soc)

    def step(
        self,
        numbers: WearNumbers,
        memory: Band,
        site: Site,
        soc: Array,
        flows: Dispatch,
        starts_half: Array,
        dt_h: float,
    ) -> tuple[Band, WearStep]:
        low, high = jnp.where(starts_half, soc, memory.low), jnp.where(starts_half, soc, memory.high)
        low = jnp.minimum(jnp.minimum(low, soc), flows.soc_end)
        high = jnp.maximum(jnp.maximum(high, soc), flows.soc_end)
        stress = depth_stress.bucket_stress(high - low, numbers.model["depth_limits"], numbers.model["stress"])
        power_mw = flows.charge_mw + flows.discharge_mw
        cost_eur = depth_stress.bucket_cost_eur(power_mw, dt_h, stress, cycle_cost_eur_per_mwh(numbers))
        return Band(low, high), numbers.by_cost(site.capacity_mwh, cost_eur)

    def observed(self, memory: Band, soc: Array) -> Array:
        """Lowest and highest charge up to the step before, as [-1, 1]; out of date where a half-day begins."""
        return 2.0 * jnp.stack([memory.low, memory.high]) - 1.0

    def recover(self, seen: Array, soc: Array) -> Band:
        low, high = 0.5 * (seen + 1.0)
        return Band(jnp.minimum(low, high), jnp.maximum(low, high))

    def price_eur_per_mwh(self, numbers: WearNumbers, site: Site) -> None:
        return None


def cycle_cost_eur_per_mwh(numbers: WearNumbers) -> Array:
    """C_cyc of Cardo-Miota et al. 2025: replacement cost / (largest depth · cycles)."""
    return numbers.replacement_eur_per_mwh / (numbers.model["depth_max"] * numbers.model["cycles"])


def make_wear(config: DegradationConfig) -> WearModel:
    """The model that a config names."""
    if config.model in ("rainflow", "xu"):
        return {"rainflow": Rainflow, "xu": Xu}[config.model](config.stack)
    return {"throughput": Throughput, "cardo_miota": CardoMiota, "cardo_miota_linear": CardoMiotaLinear}[config.model]()
