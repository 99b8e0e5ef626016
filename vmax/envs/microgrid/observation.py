"""The observation: the site's own entries, and the row of the table of the outside world."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from vmax.envs.microgrid.chargers import could_give, could_take, must_take
from vmax.envs.microgrid.settings import TERMS
from vmax.envs.microgrid.tables import LARGEST, outside
from vmax.spaces import Feature

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid
    from vmax.envs.microgrid.params import MicrogridParams
    from vmax.envs.microgrid.state import State

Array = jax.Array

OPEN_H = 4.0
"""Outstanding energy of a group is told in units of so many hours at its limit, of a socket at its power."""
LEFT_H = 12.0
LARGEST_IMPORT = 8.0
LARGEST_DRAWN = 1.2
"""Highest imports of the month, and last imports, up to which counterfactuals are drawn."""


def features(env: Microgrid) -> tuple[Feature, ...]:
    """The features of a configuration, in order."""
    groups, sockets = len(env.groups.sizes), sum(env.groups.sizes)
    own = (
        Feature("soc"),
        Feature("peak_so_far", "mall peak", 0.0, LARGEST_IMPORT),
        Feature("offpeak_so_far", "mall peak", 0.0, LARGEST_IMPORT),
        Feature("last_import", "mall peak", 0.0, LARGEST_IMPORT),
        Feature("ev_could", "group limit", 0.0, LARGEST, groups),
        Feature("ev_must", "group limit", 0.0, LARGEST, groups),
        Feature("ev_open", f"{OPEN_H:g} h at the limit", 0.0, LARGEST, groups),
    )
    if env.config.action.v2g:
        own += (Feature("ev_back", "group limit", 0.0, LARGEST, groups),)
    if env.config.action.chargers == "socket":
        own += (Feature("need", f"{OPEN_H:g} h at full power", 0.0, LARGEST, sockets),)
        own += (Feature("left", f"{LEFT_H:g} h, 0: nobody", 0.0, LARGEST, sockets),)
    if env.config.reward.conditioned:
        own += tuple(Feature(f"weight_{name}", "share", 0.0, 1.0) for name in TERMS)
    return (*own, *outside(env.config))


def observe(env: Microgrid, state: State, params: MicrogridParams) -> Array:
    """The observation `[D]`."""
    battery, limits, vehicles, dt_h = params.battery, params.limits, state.vehicles, env.dt_h
    most_kw = env.config.data.mall.peak_kw
    span = battery.soc_max - battery.soc_min
    could, must = could_take(vehicles, limits, dt_h), must_take(vehicles, limits, dt_h)
    imports = jnp.stack([state.imports.peak_kw, state.imports.offpeak_kw, state.imports.last_kw]) / most_kw
    imports = jnp.minimum(imports, LARGEST_IMPORT)
    own = [
        2.0 * (state.soc - battery.soc_min)[None] / span - 1.0,
        imports,
        jnp.minimum(env.groups.total(could) / limits.group_kw, LARGEST),
        jnp.minimum(env.groups.total(must) / limits.group_kw, LARGEST),
        jnp.minimum(env.groups.total(vehicles.need_kwh) / (OPEN_H * limits.group_kw), LARGEST),
    ]
    if env.config.action.v2g:
        back = could_give(vehicles, limits, env.config.action.v2g_efficiency, dt_h)
        own.append(jnp.minimum(env.groups.total(back) / limits.group_kw, LARGEST))
    if env.config.action.chargers == "socket":
        own.append(jnp.minimum(vehicles.need_kwh / (OPEN_H * limits.socket_kw), LARGEST))
        own.append(jnp.minimum(vehicles.left_steps * dt_h / LEFT_H, LARGEST))
    if env.config.reward.conditioned:
        own.append(state.weights)
    table = params.data.table
    world = table[state.year, jnp.minimum(state.time, table.shape[1] - 1)]
    return jnp.concatenate([*own, world]).astype(jnp.float32)
