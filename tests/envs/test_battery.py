"""The battery's physics: laws for every input, and numbers worked by hand."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmax.envs.battery import (
    BatteryConfig,
    Site,
    Switches,
    dispatch,
    energy_residual_mwh,
    feasible_power,
    next_soc,
    stored_per_charge,
)
from vmax.errors import UserError


def make_site(**changes: float) -> Site:
    numbers = {
        "capacity_mwh": 3.5, "power_mw": 1.5, "soc_min": 0.1, "soc_max": 0.9, "eta_charge": 0.97, "eta_discharge": 0.97,
        "quadratic_loss": 0.0, "self_discharge_per_h": 0.0, "wear_eur_per_mwh": 15.0, "pv_capacity_mw": 0.0,
        "inverter_mw": 0.0, "import_limit_mw": 5.0, "export_limit_mw": 5.0, "import_fee_eur_per_mwh": 0.0,
        "export_fee_eur_per_mwh": 0.0,
    }  # fmt: skip
    return Site(**{k: jnp.float32(v) for k, v in {**numbers, **changes}.items()})


def test_a_full_hour_of_charging_by_hand():
    charge, discharge = feasible_power(make_site(), jnp.float32(0.5), jnp.float32(-9.0), dt_h=1.0)
    soc, standby = next_soc(make_site(), jnp.float32(0.5), charge, discharge, dt_h=1.0)
    assert float(charge) == pytest.approx(1.4 / 0.97)  # 0.4 · 3.5 MWh of room, through 0.97; below the rated 1.5
    assert float(discharge) == 0.0 and float(standby) == 0.0
    assert float(soc) == pytest.approx(0.9, abs=1e-6)


def test_discharge_stops_at_the_lower_limit():
    charge, discharge = feasible_power(make_site(), jnp.float32(0.2), jnp.float32(1.5), dt_h=1.0)
    assert float(charge) == 0.0
    assert float(discharge) == pytest.approx(0.35 * 0.97)  # 0.1 · 3.5 MWh above the limit, through 0.97


def test_self_discharge_at_the_lower_limit_is_covered_by_the_grid_and_booked():
    site = make_site(self_discharge_per_h=0.01)
    soc, standby = next_soc(site, jnp.float32(0.1), jnp.float32(0.0), jnp.float32(0.0), dt_h=1.0)
    assert float(soc) == pytest.approx(0.1)
    assert float(standby) == pytest.approx(0.1 * 0.01 * 3.5 / 0.97, rel=1e-4)


def test_discharge_gives_way_to_pv_and_pv_without_room_is_curtailed():
    site = make_site(pv_capacity_mw=5.0, inverter_mw=4.5, export_limit_mw=4.0)
    flows = dispatch(site, jnp.float32(0.5), jnp.float32(1.5), jnp.float32(4.8), jnp.float32(50.0), dt_h=1.0)
    assert float(flows.discharge_mw) == 0.0
    assert float(flows.pv_mw) == pytest.approx(4.0)
    assert float(flows.curtailed_mw) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("price", "limit", "used_mw"),
    [
        (50.0, 5.0, 3.0),  # all is sold
        (4.0, 5.0, 1.0),  # selling does not pay the fee of 5, buying costs: what the battery takes
        (-2.0, 5.0, 1.0),  # taking from the grid is paid 2 and costs a fee of 3
        (-4.0, 5.0, 0.0),  # taking from the grid is paid for
        (-4.0, 0.4, 0.6),  # as far as the connection allows
    ],
)
def test_pv_is_used_where_that_pays(price, limit, used_mw):
    fees = {"export_fee_eur_per_mwh": 5.0, "import_fee_eur_per_mwh": 3.0}
    site = make_site(pv_capacity_mw=5.0, inverter_mw=5.0, import_limit_mw=limit, **fees)
    flows = dispatch(site, jnp.float32(0.5), jnp.float32(-1.0), jnp.float32(3.0), jnp.float32(price), dt_h=1.0)
    assert float(flows.charge_mw) == pytest.approx(1.0)
    assert float(flows.pv_mw) == pytest.approx(used_mw)
    assert float(flows.curtailed_mw) == pytest.approx(3.0 - used_mw)


@given(
    soc=st.floats(0.1, 0.9), request_mw=st.floats(-10, 10), loss=st.sampled_from([0.0, 0.05, 0.3]),
    leak=st.sampled_from([0.0, 0.001]), pv_mw=st.floats(0, 6), price=st.sampled_from([-50.0, 50.0]),
    dt_h=st.sampled_from([0.25, 0.5, 1.0]),
)  # fmt: skip
def test_energy_is_conserved_and_limits_hold(soc, request_mw, loss, leak, pv_mw, price, dt_h):
    site = make_site(quadratic_loss=loss, self_discharge_per_h=leak, inverter_mw=5.0, export_limit_mw=2.0)
    soc = jnp.float32(soc)
    flows = dispatch(site, soc, jnp.float32(request_mw), jnp.float32(pv_mw), jnp.float32(price), dt_h)
    assert abs(float(energy_residual_mwh(site, soc, flows, dt_h))) < 2e-6
    assert 0.1 - 1e-6 <= float(flows.soc_end) <= 0.9 + 1e-6
    assert min(float(flows.charge_mw), float(flows.discharge_mw)) == 0.0
    assert max(float(flows.charge_mw), float(flows.discharge_mw)) <= 1.5
    net = float(flows.pv_mw + flows.discharge_mw - flows.charge_mw)
    assert -5.0 - 1e-5 <= net <= 2.0 + 1e-5
    assert float(flows.pv_mw) >= -1e-6 and float(flows.curtailed_mw) >= -1e-6


@given(soc=st.floats(0.1, 0.9), request_mw=st.floats(-2, 2))
def test_no_clip_acts_after_the_limits(soc, request_mw):
    site = make_site(quadratic_loss=0.1)
    charge, discharge = feasible_power(site, jnp.float32(soc), jnp.float32(request_mw), dt_h=1.0)
    moved = stored_per_charge(site, charge) - (discharge / 0.97 + 0.1 * discharge**2 / 1.5)
    free = soc + float(moved) / 3.5
    assert 0.1 - 1e-6 <= free <= 0.9 + 1e-6


def test_round_trip_loses_what_the_efficiencies_say():
    site = make_site()
    soc, _ = next_soc(site, jnp.float32(0.5), jnp.float32(1.0), jnp.float32(0.0), 1.0)
    back = (soc - 0.5) * 3.5 * 0.97
    np.testing.assert_allclose(back, 0.97 * 0.97, rtol=1e-5)


def test_limits_that_cross_are_refused():
    with pytest.raises(UserError, match=r"env.battery.soc_min=0.95: must be below env.battery.soc_max=0.9"):
        BatteryConfig(3.5, 1.5, 0.95, 0.9, 0.97, 0.97, 0.0, 0.0, 15.0, False, False)


def with_switches(**switches) -> Site:
    return replace(make_site(), switches=Switches(**switches))


def test_limits_without_the_efficiency_by_hand():
    """Hours 1 and 7 of the reference's first day: 0.4 · 3.5 MWh of room, and 0.258 · 3.5 MWh above the lower limit."""
    site = with_switches(compat_power_limit=True)
    flows = dispatch(site, jnp.float32(0.5), jnp.float32(-1.5), jnp.float32(0), jnp.float32(50), 1.0)
    assert float(flows.charge_mw) == pytest.approx(1.4)  # 1.4 / 0.97 fills it
    assert float(flows.soc_end) == pytest.approx(0.5 + 1.4 * 0.97 / 3.5)
    clipped = with_switches(compat_power_limit=True, compat_soc_clip=True)
    for where, power_mw in ((site, 0.25 * 3.5 * 0.97), (clipped, 0.25 * 3.5)):
        flows = dispatch(where, jnp.float32(0.35), jnp.float32(1.5), jnp.float32(0), jnp.float32(50), 1.0)
        assert float(flows.discharge_mw) == pytest.approx(power_mw)
        assert float(flows.soc_end) == pytest.approx(0.1)


@given(soc=st.floats(0.1, 0.9), request_mw=st.floats(-2, 2), clip=st.booleans(), limit=st.booleans())
def test_energy_appears_where_the_clip_acts_and_nowhere_else(soc, request_mw, clip, limit):
    site = with_switches(compat_power_limit=limit, compat_soc_clip=clip)
    soc = jnp.float32(soc)
    flows = dispatch(site, soc, jnp.float32(request_mw), jnp.float32(0), jnp.float32(50), 1.0)
    stored_mwh = (float(soc) - 0.1) * 3.5
    taken_mwh = min(max(request_mw, 0.0), 1.5, stored_mwh) / 0.97
    gift_mwh = max(taken_mwh - stored_mwh, 0.0) if clip and limit else 0.0
    assert float(energy_residual_mwh(site, soc, flows, 1.0)) == pytest.approx(gift_mwh, abs=3e-6)
    assert 0.1 - 1e-6 <= float(flows.soc_end) <= 0.9 + 1e-6


@pytest.mark.parametrize(("price", "limit_mw", "used_mw"), [(-50.0, 5.0, 3.0), (-50.0, 2.0, 2.0), (50.0, 2.0, 2.0)])
def test_pv_that_is_curtailed_for_want_of_room_alone(price, limit_mw, used_mw):
    site = replace(
        make_site(pv_capacity_mw=5.0, inverter_mw=5.0, export_limit_mw=limit_mw), switches=Switches(curtailment="limit")
    )
    flows = dispatch(site, jnp.float32(0.8), jnp.float32(1.5), jnp.float32(3.0), jnp.float32(price), dt_h=1.0)
    assert float(flows.pv_mw) == pytest.approx(used_mw)
    assert float(flows.discharge_mw) == pytest.approx(min(1.5, limit_mw - used_mw))
