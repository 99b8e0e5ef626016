"""The settings of the simple rules, chosen by what they earn on training and validation years; never on test."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.bess.baselines import CheapDear, Rule, Threshold, TwoCycle
from vmax.envs.rollout import rollout_states

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

Array = jax.Array

PIECE_DAYS = 28
"""The years are cut into pieces of so many days, each from SOC 0.5 and valued at its end, that run side by side."""
CANDIDATES: dict[str, tuple[Callable[[Any], Rule], np.ndarray]] = {
    "gated_two_cycle": (TwoCycle, np.arange(0.0, 105.0, 5.0)),
    "n_cheap_n_dear": (CheapDear, np.arange(1.0, 9.0)),
    "threshold": (Threshold, np.arange(0.25, 3.25, 0.25)),
}


@lru_cache(maxsize=8)
def tuned_settings(env: Bess) -> dict[str, float]:
    """For each rule the candidate with the highest profit (with the value of stored energy)."""
    params, starts = tuning_lanes(env)
    length = int(np.max(np.asarray(starts.end) - np.asarray(starts.time)))
    best = {}
    for name, (make, candidates) in CANDIDATES.items():
        profit_eur = _profit_eur(env, make, jnp.asarray(candidates, jnp.float32), params, starts, length)
        best[name] = float(candidates[int(np.argmax(profit_eur))])
    return best


def tuning_lanes(env: Bess) -> tuple[Any, Any]:
    """Params and starts of all pieces of the training and validation blocks.

    The arrays of a split reach from the beginning of the series to the end of the split: the later split has both.
    """
    blocks = {split: env.series.splits[split] for split in ("train", "validation")}
    later = max(blocks, key=lambda split: blocks[split][-1][1])
    params, piece = env.params(later), PIECE_DAYS * env.steps_per_day
    spans = [
        (time, min(time + piece, last))
        for parts in blocks.values()
        for first, last in parts
        for time in range(first, last, piece)
    ]
    first, last = (jnp.asarray(column, jnp.int32) for column in zip(*spans, strict=True))
    one = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[0], (len(spans),)), env.evaluation_starts(params, later))
    return params, one.replace(time=first, end=last)


@partial(jax.jit, static_argnames=("env", "make", "length"))
def _profit_eur(
    env: Bess, make: Callable[[Any], Rule], candidates: Array, params: Any, starts: Any, length: int
) -> Array:
    """Profit with the value of stored energy over all lanes, for the rule with each of the settings, `[C]`."""

    def one(setting: Array) -> Array:
        info = rollout_states(env, make(setting), params, starts, length, trace=False).info
        valid = jnp.arange(length)[:, None] < starts.end - starts.time
        return jnp.sum(jnp.where(valid, info["profit_eur"] + info["terminal_value_eur"], 0.0))

    return jax.vmap(one)(candidates)
