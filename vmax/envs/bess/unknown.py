"""The world as it might go on from a moment: every datum changed that nobody can know then, all known ones kept.

For the check that nothing of it can be seen (`vmax.checks.information.leak`). The changed data passes through all that
makes params from a series, so a statistic that looks ahead is found as well as a feature that does.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from vmax.envs.bess.params import BessParams, with_series
from vmax.envs.bess.reserve_market import quoted
from vmax.envs.bess.scenarios import pv_per_mw, row_of, settlement_prices, span_steps

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess
    from vmax.envs.bess.state import State

CHANGE_EUR = 60.0
"""Standard deviation of what is added to prices."""


def altered(env: Bess, state: State, params: BessParams, seed: int) -> BessParams:
    """Host-side: the params of the training split with all changed that is unknown in this state.

    Where decisions are taken on forecasts, the actual prices change and the errors with them, so that the forecasts in
    the window, which are known, stay.
    """
    config, series, scenarios = env.config, env.series, params.scenarios
    draw, row = np.random.default_rng(seed), int(row_of(state.time, env.dt_h))
    now = int(state.time)
    told = now if scenarios.issued is None else int(scenarios.issued[row])  # all later is unknown in an auction
    published = int(scenarios.known_until[row])
    values = {name: np.array(value) for name, value in series.values.items()}
    pv = np.array(pv_per_mw(series, config.solar, config.plant.pv_capacity_mw))
    # measured now; in an auction up to the gate of the day before
    ahead = round((24 - config.market.gate_hour) / env.dt_h)
    seen_pv = now + 1 if scenarios.issued is None else max(told - ahead, 0)
    pv[seen_pv:] = np.clip(pv[seen_pv:] + draw.uniform(-0.5, 0.5, len(pv) - seen_pv), 0.0, 1.0)
    if config.reserve.sold:
        assert scenarios.reserve is not None
        reserve_published = int(scenarios.reserve.known_until[row])
        for role, price in quoted(series, config.reserve).items():
            values[f"reserve_{role}"] = _changed(price, reserve_published, draw, least=0.0)
    if config.market.kind == "imbalance":
        settled, _ = settlement_prices(series, config.market)
        values["imbalance"] = _changed(settled, now, draw)
    first = told if config.information != "day_ahead" else published
    values["price"] = _changed(values["price"], first, draw)
    source = row if scenarios.issued is None else int(row_of(told, env.dt_h))
    for role in (role for role in values if role.startswith("forecast[")):
        values[role] = _changed(values[role], int(scenarios.known_until[source]), draw)
    for role in (role for role in values if role.startswith("exogenous.")):
        assert scenarios.exogenous_until is not None
        size = float(np.std(values[role])) / CHANGE_EUR
        values[role] = size * _changed(values[role] / size, int(scenarios.exogenous_until[source]), draw)
    other = replace(series, values=MappingProxyType(values))
    changed = with_series(config, params, other, pv, env.features, scenarios.error_path)
    if config.information == "forecast":
        changed = _with_same_forecasts(params, changed, state, told, env.dt_h)
    if params.reserve is not None and params.reserve.calls is not None:
        changed = replace(changed, reserve=_other_calls(params, state, draw))
    return changed


def _changed(values: np.ndarray, first: int, draw: Any, least: float = -np.inf) -> np.ndarray:
    """The values `[T]` with noise from step `first` on."""
    values = np.array(values, np.float64)
    values[first:] = np.maximum(values[first:] + draw.normal(0.0, CHANGE_EUR, len(values) - first), least)
    return values


def _with_same_forecasts(params: BessParams, changed: BessParams, state: State, first: int, dt_h: float) -> BessParams:
    """The changed params with errors that leave every forecast from step `first` on as it was.

    A forecast is the actual price + factor · unit error · trailing spread (`vmax.envs.bess.known.forecast_errors`).
    """
    path = np.array(params.scenarios.error_path, np.float64)
    # the path ends with a repetition of its beginning that is as long as a look, so that a look never wraps
    begin = (first - 1 + int(state.error_offset)) % (len(path) - span_steps(params.scenarios, dt_h) - 1) + 1
    length = min(len(changed.scenarios.price_eur_per_mwh) - row_of(first, dt_h), len(path) - begin)
    rows, place = row_of(first, dt_h) + np.arange(length), begin + np.arange(length)
    was, now = ([np.asarray(x, np.float64)[rows] for x in (s.price_eur_per_mwh, s.spread_eur_per_mwh)]
                for s in (params.scenarios, changed.scenarios))  # fmt: skip
    factor = float(params.forecast_factor)
    error = was[0] + factor * path[place] * was[1] - now[0]
    path[place] = error / (factor * now[1])
    return replace(changed, scenarios=replace(changed.scenarios, error_path=jnp.asarray(path, jnp.float32)))


def _other_calls(params: BessParams, state: State, draw: Any) -> Any:
    """The reserve's numbers with other calls from this step on: all of the path but the call that came last."""
    assert params.reserve is not None
    calls = np.asarray(params.reserve.calls)
    other = draw.permutation(calls)
    last = (int(state.time) - 1 + int(state.error_offset)) % len(calls)
    other[last] = calls[last]
    return replace(params.reserve, calls=jnp.asarray(other))
