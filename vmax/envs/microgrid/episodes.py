"""Where episodes of a microgrid begin: drawn for training, named for evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from vmax.envs.microgrid.chargers import Vehicles, arrive
from vmax.envs.microgrid.objectives import Imports
from vmax.envs.microgrid.state import Start, State

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid
    from vmax.envs.microgrid.params import MicrogridParams

Array = jax.Array

DAYS_A_YEAR = 365


def begin(env: Microgrid, key: Array, params: MicrogridParams, start: Start | None) -> State:
    """The state at the beginning of an episode: see `Microgrid.reset`."""
    data, weights, highest_kw = params.data, params.valued.weights, jnp.zeros(2)
    if start is None:
        start_key, highest_key, weights_key = jax.random.split(key, 3)
        start = _drawn(env, start_key, params)
        low, high = params.start_peak[0], params.start_peak[1]
        highest_kw = params.peak_reference_kw * jax.random.uniform(highest_key, (2,), minval=low, maxval=high)
        highest_kw = jnp.where(data.month_begins[start.year, start.time], 0.0, highest_kw)
        if env.config.reward.conditioned:
            weights = jax.random.dirichlet(weights_key, jnp.ones(len(weights)))
    at, sockets = (start.year, start.time), sum(env.groups.sizes)
    held = jnp.zeros(sockets) if env.config.action.v2g else None
    nobody = Vehicles(jnp.zeros(sockets), jnp.zeros(sockets, jnp.int32), held)
    last_kw = jnp.maximum(data.mall_kw[at] - data.pv_kw[at], 0.0)
    return State(
        year=start.year,
        time=start.time,
        end=start.end,
        soc=start.soc,
        vehicles=arrive(nobody, data.need_kwh[at], data.stay_steps[at]),
        imports=Imports(highest_kw[0], highest_kw[1], last_kw),
        weights=weights,
    )


def _drawn(env: Microgrid, key: Array, params: MicrogridParams) -> Start:
    """A midnight of some year from which an episode fits into it, at some charge."""
    year_key, day_key, soc_key = jax.random.split(key, 3)
    if params.data.start_days is None:
        year = jax.random.randint(year_key, (), 0, params.data.pv_kw.shape[0])
        day = jax.random.randint(day_key, (), 0, DAYS_A_YEAR - env.config.episode.days + 1)
    else:
        year, day = params.data.start_days[jax.random.randint(day_key, (), 0, len(params.data.start_days))]
    share = jax.random.uniform(soc_key, (), minval=params.start_soc[0], maxval=params.start_soc[1])
    soc = params.battery.soc_min + share * (params.battery.soc_max - params.battery.soc_min)
    time = jnp.minimum(params.data.day_begins[year, day], env.year_steps - env.min_episode_steps)
    return Start(year, time, time + env.min_episode_steps, soc)
