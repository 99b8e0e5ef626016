"""Reserve prices of a split and what may be known of them: published like day-ahead prices, whatever else is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.data.reserve_prices import generate_reserve_prices
from vmax.data.series import Series
from vmax.envs.bess.reserve_rules import SELLS_DOWN, SELLS_UP, ReserveConfig
from vmax.errors import UserError

Array = jax.Array


@struct.dataclass
class ReserveScenarios:
    """Reserve prices and blocks of one split on the device, padded like every array of `Scenarios`.

    Attributes:
      up_eur_per_mw_h, down_eur_per_mw_h: what one MW of the product is paid for either direction (0: not sold).
      known_until: first step whose reserve price is not known yet.
      opens: whether a block begins with the step. left: share of the block that is left at its start.
    """

    up_eur_per_mw_h: Array
    down_eur_per_mw_h: Array
    known_until: Array
    opens: Array
    left: Array

    def prices(self, row: Array) -> tuple[Array, Array]:
        """What a MW is paid upward and downward in the step of a row."""
        return self.up_eur_per_mw_h[row], self.down_eur_per_mw_h[row]


@struct.dataclass
class KnownReserve:
    """What is known of the reserve market at a step: prices `[W]` (0: unknown), those of the last 24 hours `[H]`, mask
    and block starts `[W]`, and the share of the running block that is left `[]`."""

    up_eur_per_mw_h: Array
    down_eur_per_mw_h: Array
    past_up_eur_per_mw_h: Array
    past_down_eur_per_mw_h: Array
    mask: Array
    opens: Array
    left: Array

    def scaled(self, scale: Callable[[Array], Array]) -> KnownReserve:
        """The same with its prices as they are in an episode."""
        return replace(self, **{name: scale(value) for name, value in vars(self).items() if "eur" in name})


def look_at_reserve(scenarios: ReserveScenarios, time: Array, row: Array, window: int, history: int) -> KnownReserve:
    """What is known at `time`, which stands in `row`."""
    ahead = lambda values: jax.lax.dynamic_slice(values, (row,), (window,))  # noqa: E731
    behind = lambda values: jax.lax.dynamic_slice(values, (row - history,), (history,))  # noqa: E731
    mask = time + jnp.arange(window) < scenarios.known_until[row]
    return KnownReserve(
        up_eur_per_mw_h=jnp.where(mask, ahead(scenarios.up_eur_per_mw_h), 0.0),
        down_eur_per_mw_h=jnp.where(mask, ahead(scenarios.down_eur_per_mw_h), 0.0),
        past_up_eur_per_mw_h=behind(scenarios.up_eur_per_mw_h),
        past_down_eur_per_mw_h=behind(scenarios.down_eur_per_mw_h),
        mask=mask,
        opens=ahead(scenarios.opens) > 0.5,
        left=scenarios.left[row],
    )


def reserve_scenarios(
    series: Series, config: ReserveConfig, known_until: np.ndarray, put: Callable[[np.ndarray], Any]
) -> ReserveScenarios:
    """The arrays of the split that ends with `known_until` `[stop]` (first unknown step of each); `put` pads them."""
    stop = len(known_until)
    up, down = payments(series, config)
    opens = block_starts(series, config.block_h)
    start = np.flatnonzero(opens)
    ends = np.append(start[1:], len(opens))[np.cumsum(opens) - 1]
    left = (ends - np.arange(len(opens))) * series.dt_h / config.block_h
    return ReserveScenarios(
        put(up[:stop]), put(down[:stop]), put(known_until).astype(jnp.int32), put(opens[:stop]), put(left[:stop])
    )


def block_starts(series: Series, block_h: int) -> np.ndarray:
    """Whether a block begins with the step, bool `[T]`: by the local clock from midnight, and behind a gap."""
    block = series.local_day * 24.0 + series.local_hour // block_h * block_h
    return np.concatenate([[True], (np.diff(block) != 0) | (np.diff(series.segment) != 0)])


def payments(series: Series, config: ReserveConfig) -> tuple[np.ndarray, np.ndarray]:
    """What one MW is paid upward and downward, EUR per MW and hour, `[T]` each: from the file, else generated.

    `simple` is paid the mean of both prices, as its source does, and `symmetric` both; with one column, that one alone.
    Raises UserError where the product needs a column that is not given.
    """
    given = quoted(series, config)
    nothing = np.zeros(len(series.utc))
    if config.product == "simple":
        return np.mean(list(given.values()), axis=0), nothing
    if config.product == "symmetric":
        return given.get("up", nothing), given.get("down", nothing)
    sold = {"up": config.product in SELLS_UP, "down": config.product in SELLS_DOWN}
    for role, needed in sold.items():
        if needed and role not in given:
            raise UserError(
                f"env.reserve.product={config.product}: needs the column of {role}ward prices; set "
                f"env.data.columns.reserve_{role}=, or null for both to generate them"
            )
    return given["up"] if sold["up"] else nothing, given["down"] if sold["down"] else nothing


def quoted(series: Series, config: ReserveConfig) -> dict[str, np.ndarray]:
    """Prices of reserve by direction, `up` and `down`, `[T]`: the file's columns, of which one may lack, else both
    generated."""
    given = {role: series.values[f"reserve_{role}"] for role in ("up", "down") if f"reserve_{role}" in series.values}
    return given or dict(zip(("up", "down"), _generated(series, config.price_level, config.price_seed), strict=True))


@lru_cache(maxsize=8)
def _generated(series: Series, level: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return generate_reserve_prices(series.utc, series.timezone, series.values["price"], series.dt_h, level, seed)
