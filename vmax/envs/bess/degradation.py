"""Wear of the battery: what a step costs in EUR and in share of capacity (ΔSOH). One interface, several models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.bess.battery import Dispatch, Site
from vmax.errors import UserError

Array = jax.Array


@dataclass(frozen=True)
class DegradationConfig:
    """Which model, and what a worn-out battery costs: `replacement_eur_per_mwh` buys back `end_of_life_loss`."""

    model: Literal["throughput"]
    replacement_eur_per_mwh: float
    end_of_life_loss: float

    def __post_init__(self) -> None:
        if not self.replacement_eur_per_mwh > 0.0:
            raise UserError(f"env.degradation.replacement_eur_per_mwh={self.replacement_eur_per_mwh}: must be above 0")
        if not 0.0 < self.end_of_life_loss < 1.0:
            raise UserError(f"env.degradation.end_of_life_loss={self.end_of_life_loss}: must be within (0, 1)")


@struct.dataclass
class WearNumbers:
    """The numbers of the wear models that change no shape."""

    replacement_eur_per_mwh: Array
    end_of_life_loss: Array

    @classmethod
    def of(cls, config: DegradationConfig) -> WearNumbers:
        """The numbers of the config."""
        return cls(jnp.float32(config.replacement_eur_per_mwh), jnp.float32(config.end_of_life_loss))


@struct.dataclass
class WearStep:
    """Wear of one step: its cost, and the share of the new battery's capacity that is lost."""

    cost_eur: Array
    soh_loss: Array


class WearModel(Protocol):
    """A model of wear: hashable, its numbers in `WearNumbers`, what it remembers in a pytree (`memory`)."""

    @property
    def observed_size(self) -> int:
        """How many numbers of the memory a decision has to know."""
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
        """Wear of a step from charge `soc`; `starts_half`: a local half-day begins with it."""
        ...

    def observed(self, memory: Any, soc: Array) -> Array:
        """What a decision has to know of the memory, `[observed_size]` within [-1, 1]."""
        ...

    def recover(self, seen: Array, soc: Array) -> Any:
        """A memory from which wear goes on as from the one `observed`; makes sense of any numbers in [-1, 1]."""
        ...


def by_cost(numbers: WearNumbers, site: Site, cost_eur: Array) -> WearStep:
    """ΔSOH that a cost stands for: cost = replacement cost · ΔSOH / loss at the end of life."""
    replacement_eur = numbers.replacement_eur_per_mwh * site.capacity_mwh
    return WearStep(cost_eur, cost_eur * numbers.end_of_life_loss / replacement_eur)


@dataclass(frozen=True)
class Throughput:
    """A price on every MWh at the AC terminals, each way: `battery.wear_eur_per_mwh`. It remembers nothing."""

    observed_size = 0

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
        cost_eur = (flows.charge_mw + flows.discharge_mw) * dt_h * site.wear_eur_per_mwh
        return memory, by_cost(numbers, site, cost_eur)

    def observed(self, memory: Any, soc: Array) -> Array:
        return jnp.zeros(0)

    def recover(self, seen: Array, soc: Array) -> tuple[()]:
        return ()


def make_wear(config: DegradationConfig) -> WearModel:
    """The model that a config names."""
    return {"throughput": Throughput}[config.model]()
