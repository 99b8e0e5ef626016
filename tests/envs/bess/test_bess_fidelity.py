"""Golden: the hourly dispatch of another simulator, replayed through the functions that the environment is made of.

The file that the environment variable `VMAX_REFERENCE_DISPATCH` names holds the hours of four policies over six days;
without it some of its rows stand here as figures. All in 64-bit floats. What differs by intention: docs/fidelity.md.
"""

import io
import os
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from known_day import known_at
from small_bess import bess_on, wavy_prices

from vmax.config import compose, load
from vmax.envs.battery import Site, Switches
from vmax.envs.bess import action as actions
from vmax.envs.bess import market, reserve
from vmax.envs.bess.degradation import WearNumbers, make_wear
from vmax.envs.environment import Day

TOLERANCE = 1e-6
"""Relative, and absolute near zero."""
TWO_CYCLES = "PV+DA (Two Cycles)"
"""Its rows book no reserve revenue, although reserve power × price is positive and `reward` contains it."""
REWARD_EUR = 200.0

INPUTS = """test_day hour action price_em price_as p_pv_raw soc_before
2025-01-11 0 0 108.67 0.151164082 0 0.5
2025-01-11 1 0.999810755 99.83 0.0991636375 0 0.5
2025-01-11 2 0.942058086 96.21 0.148745456 0 0.888
2025-01-11 3 0.822569013 91.95 0.193490024 0 0.89964
2025-01-11 4 0.939767718 91.26 0.191071399 0 0.8999892
2025-01-11 5 0.995004594 92.53 0.2007459 0 0.899999676
2025-01-11 6 0.999998093 94.03 0.403910426 0 0.89999999
2025-01-11 7 0.999999642 117.21 0.696564088 0 0.458174618
2025-01-11 8 0.999997735 114.99 5.90023643 1.01279398 0.1
2025-01-11 9 0.994202793 106 5.31976636 3.3299193 0.1
2025-01-11 10 0.99128294 104.2 6.43838056 5.70041176 0.513304304
2025-06-14 12 0.418438941 -23.34 9.83529179 10.3250118 0.397816565
2025-06-14 13 0.520348608 -25.64 11.7111786 10.0353494 0.57176761
2025-06-14 14 0.558894813 -27.79 13.339778 9.2480546 0.78808396
"""
EXPECTED = """\
soc p_battery p_pv_grid p_bess_em p_reserve revenue_pv revenue_energy revenue_reserve degradation_cost reward
0.5 0 0 0 1.4 0 -4.47467039e-11 0.211629714 0 0.00105814857
0.888 -1.4 0 -1.4 1.4 0 -139.762 0.138829092 12.25 -0.759365855
0.89964 -0.042 0 -0.042 1.5 0 -4.04082 0.223118184 0.3675 -0.0209260091
0.8999892 -0.00126 0 -0.00126 1.5 0 -0.115857 0.290235037 0.011025 0.000816765183
0.899999676 -3.78e-05 0 -3.78e-05 1.5 0 -0.003449628 0.286607099 0.00033075 0.0014141336
0.89999999 -1.134e-06 0 -1.134e-06 1.5 0 -0.00010492902 0.30111885 9.9225e-06 0.00150501999
0.458174618 1.49999714 0 1.49999714 2.86102295e-06 0 141.044731 1.155597e-06 16.4062187 0.623192567
0.1 1.25361116 0 1.25361116 0.246388837 0 146.935764 0.171625616 27.4227442 0.598423229
0.1 0 1.01279398 0 0 116.46118 0 0 0 0.582305898
0.513304304 -1.49130419 1.83861511 0 0 194.893202 0 0 32.6222791 0.811354615
0.888399129 -1.35343494 4.34697682 0 1.44656506 452.954985 0 9.31353638 29.6063892 2.16331066
0.57176761 -0.627658412 9.69735341 0 1.04235798 -226.336228 0 10.2518949 1.37300278 -1.08728668
0.78808396 -0.780522913 9.25482646 0 1.5 -237.293751 0 17.5667678 6.82957549 -1.13278279
0.896642519 -0.391706139 8.85634846 0 1.5 -246.117924 0 20.009667 4.28428589 -1.15196271
"""
DAY_PRICES = {
    "2025-01-11": [108.67, 99.83, 96.21, 91.95, 91.26, 92.53, 94.03, 117.21, 114.99, 106.0, 104.2, 99.79,
                   96.83, 93.15, 98.07, 106.15, 154.88, 155.18, 141.71, 155.63, 133.88, 124.35, 111.09, 105.89],
    "2025-06-14": [110.76, 93.07, 89.96, 83.36, 70.28, 64.32, 52.2, 22.19, 8.38, 0.0, -2.68, -10.36,
                   -23.34, -25.64, -27.79, -7.49, -0.68, 4.08, 89.47, 153.69, 211.0, 168.19, 158.64, 112.08],
}  # fmt: skip
"""EUR/MWh, of the days that the rows belong to."""


def figures() -> Any:
    """Rows of the file: charging from the grid and from PV, discharging with and without the clip, negative prices."""
    read = partial(pd.read_csv, sep=" ")
    rows: Any = pd.concat([read(io.StringIO(INPUTS)), read(io.StringIO(EXPECTED))], axis=1)
    return rows.assign(policy="TD3", price_of_day=[DAY_PRICES[day] for day in rows["test_day"]])


def file() -> Any:
    """All rows of the file."""
    rows: Any = pd.read_csv(os.environ["VMAX_REFERENCE_DISPATCH"])
    prices = {day: hours["price_em"].tolist() for day, hours in rows.groupby("test_day")}  # ordered by policy and hour
    return rows.assign(price_of_day=[prices[day][:24] for day in rows["test_day"]])


SOURCES = [
    figures,
    pytest.param(
        file, marks=pytest.mark.skipif("VMAX_REFERENCE_DISPATCH" not in os.environ, reason="VMAX_REFERENCE_DISPATCH")
    ),
]


@pytest.fixture(scope="module", autouse=True)
def in_64_bit():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def config() -> Any:
    return load(compose(["experiment=hu_pv_bess"])).env


def wide(struct: Any, values: dict[str, Any]) -> Any:
    """A struct of 32-bit numbers with those of the config at full width."""
    return replace(struct, **{n: jnp.asarray(v, jnp.float64) for n, v in values.items() if hasattr(struct, n)})


def site_of(config: Any, **switches: bool) -> Site:
    """The experiment's site with these switches."""
    site = wide(Site.of(config.battery, config.plant), {**vars(config.battery), **vars(config.plant)})
    return replace(site, switches=Switches(curtailment=config.plant.curtailment, **switches))


def replay(config: Any, site: Site, rows: Any) -> pd.DataFrame:
    """Consecutive hours of a day from the first one's charge, by vmax: the columns of the file, and the profit."""
    known = [known_at(hour, prices) for hour, prices in zip(rows["hour"], rows["price_of_day"], strict=True)]
    peak = [bool(actions.in_peak_window(k, 1.0)) for k in known]
    columns = rows[["action", "price_em", "price_as", "p_pv_raw"]].to_numpy().T
    hours = (*(jnp.asarray(column) for column in columns), jnp.asarray(peak), jnp.asarray(rows["hour"]) == 12)
    told = _replay(config, site, jnp.asarray(rows["soc_before"].iloc[0]), hours)
    return pd.DataFrame({name: np.asarray(values) for name, values in told.items()}, index=rows.index)


@partial(jax.jit, static_argnums=0)
def _replay(config: Any, site: Site, soc: jax.Array, hours: tuple[jax.Array, ...]) -> dict[str, jax.Array]:
    wear_of, rules = make_wear(config.degradation), config.reserve
    wear_numbers = WearNumbers.of(config.degradation)
    own = asdict(config.degradation.cardo_miota)
    wear_numbers = replace(wear_numbers, model={n: jnp.asarray(v, jnp.float64) for n, v in own.items()})
    reserve_numbers, nothing = reserve.ReserveNumbers.of(rules), jnp.zeros(())

    def hour(carry, row):
        soc, memory = carry
        share, price, reserve_price, pv_mw, peak, starts_half = row
        request_mw = actions.power_mw(config.action, 2.0 * share - 1.0, site, peak)
        done = reserve.operate(
            rules, reserve_numbers, site, soc, request_mw, (nothing, nothing), reserve.Commitment.none(),
            jnp.array(True), nothing, pv_mw, price, 1.0,
        )  # fmt: skip
        flows = done.flows
        memory, wear = wear_of.step(wear_numbers, memory, site, soc, flows, starts_half, 1.0)
        energy = market.settle(site, flows, price, wear.cost_eur, 1.0)
        sold = reserve.settle(reserve_numbers, done, (reserve_price, nothing), price, 1.0)
        bought_mw = jnp.maximum(flows.charge_mw - flows.pv_mw, 0.0)
        pv_to_grid_mw = jnp.maximum(flows.pv_mw - flows.charge_mw, 0.0)
        told = {
            "soc": flows.soc_end,
            "p_battery": flows.discharge_mw - flows.charge_mw,
            "p_pv_grid": pv_to_grid_mw,
            "p_bess_em": flows.discharge_mw - bought_mw,
            "p_reserve": done.commitment.up_mw,
            "revenue_pv": pv_to_grid_mw * price,
            "revenue_energy": energy.energy_revenue_eur - pv_to_grid_mw * price,
            "revenue_reserve": sold["reserve_revenue_eur"],
            "degradation_cost": wear.cost_eur,
            "profit": energy.profit_eur + sold["reserve_revenue_eur"],
        }
        return (flows.soc_end, memory), told

    return jax.lax.scan(hour, (soc, wear_of.initial(soc)), hours)[1]


def compared(config: Any, rows: Any, **switches: bool) -> tuple[Any, Any]:
    """What vmax says of each row and what the file says, with nothing where the file contradicts itself."""
    site = site_of(config, **switches)
    ours = pd.concat([replay(config, site, day) for _, day in rows.groupby(["policy", "test_day"], sort=False)])
    theirs = rows.assign(profit=rows["reward"] * REWARD_EUR)[list(ours)].astype(float)
    theirs.loc[rows["policy"] == TWO_CYCLES, "revenue_reserve"] = np.nan
    return ours.loc[rows.index], theirs


def clipped(rows: Any) -> Any:
    """Where the file's discharge takes more than is stored, so that its clip acts."""
    taken = rows["p_battery"].clip(lower=0.0) / 0.97 / 3.5
    return taken > rows["soc_before"] - 0.1 + 1e-9


def excess(ours: Any, theirs: Any) -> Any:
    """How far each figure is off, in units of what is allowed."""
    return (ours - theirs).abs() / (TOLERANCE * theirs.abs().clip(lower=1.0))


@pytest.mark.parametrize("source", SOURCES)
def test_with_both_flags_every_hour_agrees(config, source):
    rows = source()
    ours, theirs = compared(config, rows, compat_power_limit=True, compat_soc_clip=True)
    off = excess(ours, theirs)
    print(pd.DataFrame({"largest deviation": (ours - theirs).abs().max(), "share of what is allowed": off.max()}))
    assert off.max().max() <= 1.0
    assert clipped(rows).sum() >= 1 and (rows["price_em"] < 0).sum() >= 3


@pytest.mark.parametrize("source", SOURCES)
def test_with_the_limits_alone_every_hour_agrees_but_those_of_the_clip(config, source):
    rows = source()
    ours, theirs = compared(config, rows, compat_power_limit=True)
    where = clipped(rows)
    assert excess(ours, theirs)[~where].max().max() <= 1.0
    gift_mwh = rows["p_battery"] - (rows["soc_before"] - 0.1) * 3.5 * 0.97
    assert (ours - theirs)["p_battery"][where].to_numpy() == pytest.approx(-gift_mwh[where].to_numpy(), abs=1e-6)


@pytest.mark.parametrize("source", SOURCES)
def test_without_the_flags_it_is_another_battery(config, source):
    """The test can fail: physics fills the battery in one hour where the file's rule stops at 0.888."""
    rows = source()
    ours, theirs = compared(config, rows)
    assert excess(ours, theirs)["soc"].max() > 1e3


def test_the_experiment_is_a_day_of_24_hours_that_pays_its_profit():
    """20 features of the source, with the half-day's lowest and highest charge and its start for its depth."""
    with jax.enable_x64(False):
        env = bess_on(wavy_prices(), "experiment=hu_pv_bess", env="bess_pv")
        params = env.params("train")
        (day,) = np.asarray(params.scenarios.day_starts[:1])
        state, seen = env.reset(jax.random.key(0), params, Day(jnp.int32(day)))
        one = lambda state, action: env.step(jax.random.key(0), state, action[None], params)  # noqa: E731
        _, step = jax.lax.scan(one, state, jnp.linspace(-1.0, 1.0, 24))
    assert len(env.features) == 18 and seen.shape == (22,)
    inside = np.abs(np.concatenate([seen[None], step.observation])).max(axis=0)
    assert inside.max() <= 1.0 + 1e-5  # prices of 0 to 150 EUR lie within the source's ranges
    np.testing.assert_allclose(step.reward[:-1], step.info["profit_eur"][:-1] / REWARD_EUR, atol=1e-6)
    assert step.terminated.tolist() == [False] * 23 + [True]
    streams = step.info["energy_revenue_eur"] + step.info["reserve_revenue_eur"] - step.info["wear_cost_eur"]
    np.testing.assert_allclose(step.info["profit_eur"], streams, atol=1e-3)
    assert float(step.info["reserve_revenue_eur"].sum()) > 1.0 and float(step.info["wear_cost_eur"].sum()) > 1.0
