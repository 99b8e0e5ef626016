"""How actions of the microgrid are read: the battery's first, where it has one, then those of the chargers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp

from vmax.envs.microgrid.balance import held
from vmax.envs.microgrid.chargers import (
    Groups,
    Limits,
    Vehicles,
    could_give,
    could_take,
    given_back,
    must_take,
    share_out,
    within_limits,
)
from vmax.envs.microgrid.settings import ActionConfig
from vmax.spaces import Box, Feature

Array = jax.Array


@dataclass(frozen=True)
class Actions:
    """Reads vectors in [-1, 1] `[A]`. `names`: of the charger groups; `rated_kw`: the battery's power."""

    config: ActionConfig
    groups: Groups
    names: tuple[str, ...]
    rated_kw: float
    dt_h: float

    @cached_property
    def space(self) -> Box:
        battery = {"import_target": [Feature("import_target", "largest target")], "power": [Feature("power", "rated")]}
        chargers = {
            "group": [Feature(f"charge_{name}", "what can be taken") for name in self.names],
            "socket": [Feature("charge", "what can be taken", size=sum(self.groups.sizes))],
            "arrival": [],
        }
        return Box((*battery.get(self.config.battery, []), *chargers[self.config.chargers]))

    @property
    def first_charger(self) -> int:
        """Where the actions of the chargers begin."""
        return 0 if self.config.battery == "rule" else 1

    @property
    def charger_count(self) -> int:
        """How many actions the chargers have."""
        return self.space.size - self.first_charger

    # --- chargers ---------------------------------------------------------------------------------------------------

    def charging(self, vehicles: Vehicles, limits: Limits, action: Array) -> Array:
        """Power of each socket `[S]` that an action asks for, within all limits."""
        could, must = could_take(vehicles, limits, self.dt_h), must_take(vehicles, limits, self.dt_h)
        if self.config.chargers == "socket":
            wanted = could * self.share(action[self.first_charger :])
            if self.config.guarantee:
                wanted = jnp.maximum(wanted, must)
            group = self.groups.total(wanted)
            return wanted * self.groups.spread(within_limits(group, limits) / jnp.maximum(group, 1e-9))
        wanted = self.wanted(action, self.groups.total(could), self.groups.total(must))
        return share_out(within_limits(wanted, limits), could, must, self.groups)

    def wanted(self, action: Array, could_kw: Array, must_kw: Array) -> Array:
        """Power that an action asks for its groups, `[G]`, before the limits."""
        if self.config.chargers == "arrival":
            return could_kw
        share = self.share(action[self.first_charger :])
        return must_kw + share * (could_kw - must_kw) if self.config.guarantee else share * could_kw

    def giving_back(self, vehicles: Vehicles, limits: Limits, action: Array, deficit_kw: Array) -> Array:
        """Power that each socket gives back `[S]` where the site is short of `deficit_kw` with its charging."""
        could = could_give(vehicles, limits, self.config.v2g_efficiency, self.dt_h)
        share = self.back_share(action[self.first_charger :])
        wanted = could * (share if self.config.chargers == "socket" else self.groups.spread(share))
        group = self.groups.total(wanted)
        return wanted * self.groups.spread(given_back(group, deficit_kw, limits) / jnp.maximum(group, 1e-9))

    def share(self, action: Array) -> Array:
        """What share of what could be taken an action means; with V2G none below 0."""
        upper = action if self.config.v2g else 0.5 * (action + 1.0)
        return jnp.clip(upper / (1.0 - self.config.full_band), 0.0, 1.0)

    def back_share(self, action: Array) -> Array:
        """What share of what could be given back an action means."""
        return jnp.clip(-action / (1.0 - self.config.full_band), 0.0, 1.0)

    # --- battery ----------------------------------------------------------------------------------------------------

    def requested_kw(self, action: Array, deficit_kw: Array) -> Array:
        """The battery's power, discharge positive, that an action asks for, before the limits."""
        if self.config.battery == "power":
            return action[0] * self.rated_kw
        return held(deficit_kw, self.target_kw(action[0]))

    def target_kw(self, action: Array) -> Array:
        """The import that an action asks the battery to hold: 0 at -1, `target_max_kw` at 1, between them the share of
        the range to the power `target_exponent`. A rule or a plan may ask for more, with an action beyond 1."""
        return self.config.target_max_kw * (0.5 * jnp.maximum(action + 1.0, 0.0)) ** self.config.target_exponent

    def target_share(self, target_kw: Array) -> Array:
        """The share of the action's range that asks for an import target."""
        return jnp.maximum(target_kw / self.config.target_max_kw, 0.0) ** (1.0 / self.config.target_exponent)

    def action_for(self, battery_kw: Array, charge_share: Array, deficit_kw: Array) -> Array:
        """The action `[A]` that asks for this battery power (discharge positive) and this share of what each group, or
        socket, could take (`[G]` or `[S]`).

        As an import target a power is only met where it leaves an import of at least 0. It may lie beyond 1.
        """
        battery = {
            "import_target": lambda: 2.0 * self.target_share(deficit_kw - battery_kw) - 1.0,
            "power": lambda: battery_kw / self.rated_kw,
        }
        first = [battery[self.config.battery]()[None]] if self.config.battery in battery else []
        upper = (1.0 - self.config.full_band) * charge_share
        last = [] if self.config.chargers == "arrival" else [upper if self.config.v2g else 2.0 * upper - 1.0]
        return jnp.concatenate([*first, *last])
