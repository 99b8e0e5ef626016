"""The world as it might go on: what is known in a state stays, the first datum that is unknown changes."""

from typing import Any

import jax
import numpy as np
import pytest
import small_bess

from vmax.envs.bess.scenarios import row_of
from vmax.envs.bess.unknown import altered

CASES = {
    "day_ahead": (),
    "forecast": ("env.information=forecast",),
    "auction": ("env.information=forecast", "env.market.kind=auction"),
    "imbalance": ("env.market.kind=imbalance",),
    "provided": small_bess.PROVIDED,
    "provided_auction": (*small_bess.PROVIDED, "env.market.kind=auction"),
    "calls": ("env.reserve.product=up", "env.reserve.activation.share=0.5"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_known_stays_and_what_is_not_changes(case):
    prices = small_bess.with_forecasts() if case.startswith("provided") else small_bess.wavy_prices()
    env = small_bess.bess_on(prices, *CASES[case])
    params: Any = env.params("train")
    state, seen = env.reset(jax.random.key(4), params)
    other: Any = altered(env, state, params, seed=0)
    known, otherwise = env.known(state, params), env.known(state, other)
    for a, b in zip(jax.tree.leaves(known), jax.tree.leaves(otherwise), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(env.observe(state, other), seen, atol=1e-4)
    time, row = int(state.time), int(row_of(state.time, env.dt_h))
    scenarios = params.scenarios
    published = int(scenarios.known_until[row]) - time
    told = time if scenarios.issued is None else int(scenarios.issued[row])
    first = {"day_ahead": published, "calls": published, "auction": told - time, "provided_auction": told - time}.get(
        case, 0
    )
    was, now = (
        np.asarray(s.price_eur_per_mwh)[row + first - 1 : row + first + 1] for s in (scenarios, other.scenarios)
    )
    assert was[0] == now[0] and abs(was[1] - now[1]) > 0.1  # settled at: known up to here, and then no more
    if case.startswith("provided"):
        end = int(scenarios.known_until[row_of(told, env.dt_h)])
        for name in ("forecasts_eur_per_mwh", "exogenous", "quoted_eur_per_mwh"):
            was, now = (
                np.asarray(getattr(s, name))[row_of(end, env.dt_h) - 1 :][:2] for s in (scenarios, other.scenarios)
            )
            assert (was[0] == now[0]).all() and (was[1] != now[1]).all(), name
    if case == "imbalance":
        was, now = (np.asarray(s.quoted_eur_per_mwh)[row + published - 1 :][:2] for s in (scenarios, other.scenarios))
        assert was[0] == now[0] and abs(was[1] - now[1]) > 0.1
    if case == "calls":
        at = time + int(state.error_offset) + np.arange(-1, 200)
        was, now = (np.take(np.asarray(p.reserve.calls), at, mode="wrap") for p in (params, other))
        assert was[0] == now[0] and (was[1:] != now[1:]).mean() > 0.2
        known_until = int(scenarios.reserve.known_until[row]) - time
        was, now = (
            np.asarray(s.reserve.up_eur_per_mw_h)[row:][: known_until + 24] for s in (scenarios, other.scenarios)
        )
        assert (was[:known_until] == now[:known_until]).all() and (was[known_until:] != now[known_until:]).any()
