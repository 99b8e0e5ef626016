"""No check fails on a shipped environment, and each that warns is named here and explained in docs/checks.md."""

import pytest
import small_bess

from vmax import make_env
from vmax.checks.registry import run_checks
from vmax.checks.report import outcome
from vmax.checks.settings import SizesConfig, thresholds_of
from vmax.config import compose, to_mapping

SHIPPED = thresholds_of(to_mapping(compose([], "check"))["thresholds"])
SIZES = SizesConfig(
    lanes=4, steps=100, most_steps=450, hold=12, states=12, trial=48, episodes=8, linear=16, rounds=2, corners=32
)


MICROGRID = ["env.data.train_years=2", "env.data.validation_years=1", "env.data.test_years=1", "env.episode.days=7"]
FEW_SOCKETS = [
    "env.data.chargers.groups=[{name:motos,sockets:3,power_kw:2.0,limit_kw:6.0}]",
    "env.data.chargers.limit_kw=6.0",
    "env.data.chargers.annual_kwh=10000.0",
]


def forecast(*overrides):
    return small_bess.bess_on(small_bess.wavy_prices(), "env.information=forecast", *overrides)


ENVIRONMENTS = {
    "pendulum": (lambda: make_env("pendulum"), "pass"),
    "cartpole": (lambda: make_env("cartpole"), "pass"),
    "bess": (small_bess.small_bess, "pass"),
    "auction": (lambda: forecast("env.market.kind=auction"), "pass"),
    "traffic_signal": (lambda: make_env("traffic_signal", ["env.episode.minutes=20"]), "pass"),
    "microgrid": (lambda: make_env("microgrid", MICROGRID), "pass"),
    "microgrid_sockets": (
        lambda: make_env(
            "microgrid_scarce",
            [*MICROGRID, "env.action.chargers=socket", "env.action.guarantee=false", *FEW_SOCKETS],
        ),
        "pass",
    ),
    "reserve": (
        lambda: small_bess.bess_on(
            small_bess.wavy_prices(),
            *("env.reserve.product=up_and_down", "env.reserve.activation.share=0.3", "env.reserve.block_h=4"),
            *("env.battery.capacity_mwh=[2,4]", "env.degradation.model=rainflow"),
            "env.observation.features=[soc,price_mean,price_scale,price_level,price_window,calendar,reserve_up_prices,"
            "reserve_down_prices,reserve_committed,reserve_block_left]",
            env="bess_pv",
        ),
        "warn: headroom",  # the price of reserve outweighs what trading brings
    ),
}


SLOW = ("auction", "reserve", "microgrid_sockets", "traffic_signal")
MARKED = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ENVIRONMENTS]


@pytest.mark.parametrize("name", MARKED)
def test_no_check_fails(name):
    make, expected = ENVIRONMENTS[name]
    findings = run_checks(make(), SIZES, SHIPPED, SHIPPED)
    told = {found.id: (found.status, found.detail) for found in findings if found.status in ("FAIL", "WARN")}
    assert outcome(findings) == expected, told
