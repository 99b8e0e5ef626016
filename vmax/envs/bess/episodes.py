"""Where episodes of a battery begin: drawn for training, named for evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from vmax.envs.bess import auction, reserve
from vmax.envs.bess.state import Start, State
from vmax.envs.environment import Day

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess
    from vmax.envs.bess.params import BessParams

Array = jax.Array

DRAWS_APART = 50_000
"""Steps between the forecast errors, or calls, of two draws on their one long path."""


def begin(env: Bess, key: Array, params: BessParams, start: Start | Day | None) -> State:
    """The state at the beginning of an episode: see `Bess.reset`."""
    keys = jax.random.split(key, 6)
    if isinstance(start, Start):
        middle = {name: 0.5 * (low + high) for name, (low, high) in _ranges(env, params).items()}
        soc, one, zero = start.soc, jnp.float32(1.0), jnp.float32(0.0)
        return State(start.time, start.end, soc, soc, soc, start.error_offset, one, zero, middle, **_new(env, soc))
    drawn = {
        name: jax.random.uniform(jax.random.fold_in(keys[0], i), (), minval=low, maxval=high)
        for i, (name, (low, high)) in enumerate(_ranges(env, params).items())
    }
    index = jax.random.randint(keys[1], (), 0, params.scenarios.starts.shape[0])
    time = params.scenarios.starts[index] if start is None else start.time
    soc = jax.random.uniform(keys[2], (), minval=params.start_soc[0], maxval=params.start_soc[1])
    site = replace(params.site, **drawn)
    soc = jnp.clip(soc, site.soc_min, site.soc_max)
    factor = jnp.exp(jax.random.uniform(keys[3], (), minval=params.log_factor[0], maxval=params.log_factor[1]))
    shift = jax.random.uniform(keys[4], (), minval=params.shift[0], maxval=params.shift[1])
    offset = jax.random.randint(keys[5], (), 0, 2**30)
    return State(time, time + env.episode_steps, soc, soc, soc, offset, factor, shift, drawn, **_new(env, soc))


def lanes(env: Bess, params: BessParams, split: str, error_draws: int, days: int | None) -> Start:
    """Lanes that cover the split, or its first `days`: one per gap-free block (and draw of forecast errors or of calls,
    where there are any).

    Each starts from SOC 0.5, or the nearest that the window allows.
    """
    drawn = env.config.information == "forecast" or env.config.reserve.called  # imbalance prices are data
    draws = error_draws if drawn else 1
    blocks = env.series.splits[split]
    stop = blocks[-1][1] if days is None else blocks[0][0] + days * env.steps_per_day
    covered = [(first, min(last, stop)) for first, last in blocks if first < stop]
    rows = [(first, last, draw) for draw in range(draws) for first, last in covered]
    first, last, draw = (jnp.asarray(column, jnp.int32) for column in zip(*rows, strict=True))
    soc = jnp.clip(0.5, jnp.mean(params.site.soc_min), jnp.mean(params.site.soc_max))
    return Start(first, last, jnp.full(len(rows), soc, jnp.float32), draw * DRAWS_APART)


def _ranges(env: Bess, params: BessParams) -> dict[str, Any]:
    """Low and high end of the site's numbers that are given as a range."""
    return {name: getattr(params.site, name) for name in env.ranged}


def _new(env: Bess, soc: Array) -> dict[str, Any]:
    """Entries of the state about wear, sales and reserve at the start of an episode."""
    return {
        "wear": env.wear.initial(soc),
        "soh_loss": jnp.zeros_like(soc) if env.config.degradation.feedback else None,
        "plan": auction.begin(soc) if env.sells_ahead else None,
        "reserve": reserve.Commitment.none() if env.config.reserve.sold else None,
    }
