"""No check fails on a shipped environment, and each that warns is named here and explained in docs/checks.md."""

import pytest
import small_bess

from vmax import make_env
from vmax.checks import dynamics
from vmax.checks.finding import Measured
from vmax.checks.registry import run_checks
from vmax.checks.report import outcome
from vmax.checks.settings import SizesConfig, thresholds_of
from vmax.checks.subject import Subject
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


SLOW = ("auction", "reserve", "microgrid", "microgrid_sockets", "traffic_signal", "cartpole")
MARKED = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ENVIRONMENTS]


@pytest.mark.parametrize("name", MARKED)
def test_no_check_fails(name):
    make, expected = ENVIRONMENTS[name]
    findings = run_checks(make(), SIZES, SHIPPED, SHIPPED)
    told = {found.id: (found.status, found.detail) for found in findings if found.status in ("FAIL", "WARN")}
    assert outcome(findings) == expected, told


WEAR = [
    *((model, "false") for model in ("throughput", "cardo_miota", "cardo_miota_linear", "rainflow", "xu")),
    *((model, "true") for model in ("rainflow", "xu")),
]


@pytest.mark.parametrize(
    ("model", "feedback"),
    [pytest.param(*one, marks=[pytest.mark.slow] * (one != ("rainflow", "false"))) for one in WEAR],
)
def test_every_number_of_a_model_of_wear_lives_or_has_its_reason(model, feedback):
    """What the model does not read is told; `env.battery.wear_eur_per_mwh` is then the planners' price of wear."""
    overrides = (f"env.degradation.model={model}", f"env.degradation.feedback={feedback}")
    env = small_bess.bess_on(small_bess.wavy_prices(), *overrides)
    found = dynamics.param_live(Subject(env, SIZES))
    assert isinstance(found, Measured) and found.value == 0, found
    read_by_planners = "param_live/site.wear_eur_per_mwh" in env.checks.exempt
    assert read_by_planners == (model != "throughput")


def test_a_number_that_a_step_reads_is_not_excused():
    """Energy that is left is paid after wear where an episode is settled; then its price lives under every model."""
    overrides = ("env.degradation.model=rainflow", "env.episode.end=settled", "env.reward.shaping=none")
    env = small_bess.bess_on(small_bess.wavy_prices(), *overrides)
    assert "param_live/site.wear_eur_per_mwh" not in env.checks.exempt
    warm = small_bess.bess_on(small_bess.wavy_prices(), "env.degradation.model=xu", "env.degradation.temperature_c=35")
    assert "param_live/wear.model.k_temperature" not in warm.checks.exempt
