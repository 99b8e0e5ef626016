"""Units of columns: what names say, what is set, what is refused, and money that does not depend on the unit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from data_config import SHIPPED

from vmax.config import compose, load
from vmax.data.series import load_series
from vmax.data.units import CAPACITIES, ENERGIES, factor_of, named_unit
from vmax.envs.bess.scenarios import pv_per_mw
from vmax.errors import UserError

HOURS = pd.date_range("2023-03-01", periods=960, freq="h")
PRICE = 50.0 + 20.0 * np.sin(np.arange(960) / 4.0)


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def series(columns, mapped, **settings):
    """The series of a file with these columns; `mapped`: role to column."""
    pd.DataFrame({"utc": HOURS, **columns}).to_csv("prices.csv", index=False)
    return load_series(replace(SHIPPED, path="prices.csv", columns=replace(SHIPPED.columns, **mapped), **settings))


def refused(columns, mapped, **settings):
    with pytest.raises(UserError) as error:
        series(columns, mapped, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("price_ct_per_kwh", "ct_per_kwh"), ("ct/kWh", "ct_per_kwh"), ("Price (p/kWh)", "p_per_kwh"),
        ("EUR/kWh", "eur_per_kwh"), ("$/MWh", "$_per_mwh"), ("Day-ahead Price [EUR/MWh]", "eur_per_mwh"),
        ("Deutschland/Luxemburg [€/MWh] Originalauflösungen", "€_per_mwh"), ("price_eur_per_mwh", "eur_per_mwh"),
        ("Strompreis ct kWh", "ct_per_kwh"), ("Preis in EUR pro MWh", "eur_per_mwh"), ("price", None), ("LMP", None),
        ("shkwh", None), ("price per kWh", "price_per_kwh"), ("sek_kwh", "sek_per_kwh"),
    ],
)  # fmt: skip
def test_the_unit_in_a_name_is_seen(name, unit):
    assert named_unit(name, ENERGIES) == unit


@pytest.mark.parametrize(
    ("unit", "factor"), [("eur_per_mwh", 1.0), ("eur_per_kwh", 1000.0), ("ct_per_kwh", 10.0), ("öre_per_kwh", 10.0)]
)
def test_units_have_their_factor(unit, factor):
    assert factor_of(unit, "env.data.price_unit", ENERGIES) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("column", "unit", "scale"),
    [("price_ct_per_kwh", "ct_per_kwh", 0.1), ("EUR/kWh", "eur_per_kwh", 1e-3), ("price", "ct_per_kwh", 0.1),
     ("price", "gbp_per_kwh", 1e-3), ("price_per_kwh", "eur_per_kwh", 1e-3), ("price_eur_per_mwh", None, 1.0)],
)  # fmt: skip
def test_prices_are_the_same_in_every_unit(column, unit, scale):
    found = series({column: PRICE * scale}, {"price": column}, price_unit=unit)
    np.testing.assert_allclose(found.values["price"], PRICE, rtol=1e-9)
    assert found.done[1:-1] == (() if scale == 1.0 else (f"{column}: times {1 / scale:g}, the unit",))


@pytest.mark.parametrize(
    ("column", "unit", "scale", "said"),
    [
        ("price_ct_per_kwh", None, 0.1, "says ct_per_kwh, but prices are taken per MWh; set env.data.price_unit=ct_p"),
        ("EUR/kWh", None, 1.0, "says eur_per_kwh, but prices are taken per MWh; set env.data.price_unit=eur_per_kwh"),
        ("EUR/MWh", "ct_per_kwh", 1.0, "says eur_per_mwh, but env.data.price_unit=ct_per_kwh; set env.data.price_unit"),
        ("price", None, 1e-3, "outside of 1 to 5000 per MWh; set env.data.price_unit=eur_per_kwh if they are per kWh"),
        ("price", None, 1e3, "outside of 1 to 5000 per MWh; set env.data.price_scale_ok=true if the currency has such"),
        ("price", "per_mwh", 1.0, "env.data.price_unit=per_mwh: must be a unit such as eur_per_mwh, ct_per_mwh"),
    ],
)  # fmt: skip
def test_a_unit_that_cannot_be_right_is_refused(column, unit, scale, said):
    assert said in refused({column: PRICE * scale}, {"price": column}, price_unit=unit)


def test_a_currency_of_large_prices_is_taken_once_it_is_said():
    found = series({"price": PRICE * 300.0}, {"price": "price"}, currency="JPY", price_scale_ok=True)
    assert found.values["price"].max() > 20_000


def test_imbalance_prices_far_from_the_day_ahead_ones_are_in_another_unit():
    columns, mapped = {"price": PRICE, "imbalance": PRICE / 1000}, {"price": "price", "imbalance": "imbalance"}
    assert "is one of them per kWh? set env.data.imbalance_unit=eur_per_kwh" in refused(columns, mapped)
    found = series(columns, mapped, imbalance_unit="eur_per_kwh")
    np.testing.assert_allclose(found.values["imbalance"], PRICE)
    assert series(columns, mapped, imbalance_unit="eur_per_mwh").values["imbalance"].max() < 0.1


def test_reserve_prices_may_be_per_kilowatt():
    mapped = {"price": "price", "reserve_up": "up_eur_per_kw"}
    columns = {"price": PRICE, "up_eur_per_kw": PRICE / 1000}
    assert "set env.data.reserve_unit=eur_per_kw" in refused(columns, mapped)
    np.testing.assert_allclose(series(columns, mapped, reserve_unit="eur_per_kw").values["reserve_up"], PRICE)
    assert factor_of("eur_per_kw", "", CAPACITIES) == 1000.0


def sunny(peak):
    return np.maximum(np.sin((np.arange(960) % 24 - 6) / 12 * np.pi), 0.0) * peak


@pytest.mark.parametrize(
    ("column", "unit", "peak"),
    [("pv_mw", None, 3.6), ("pv", None, 3.6), ("pv_kw", "kW", 3600.0), ("pv", "W", 3.6e6), ("pv", "per_unit", 0.9),
     ("pv", "MW", 3.6)],
)  # fmt: skip
def test_output_is_the_same_share_of_the_plant_in_every_unit(column, unit, peak):
    found = series({"price": PRICE, column: sunny(peak)}, {"price": "price", "pv": column}, pv_unit=unit)
    solar = load(compose(["algorithm=sac", "env=bess"])).env.solar
    np.testing.assert_allclose(pv_per_mw(found, solar, 4.0), sunny(0.9), atol=1e-9)


@pytest.mark.parametrize(("column", "peak"), [("pv", 3600.0), ("pv", 0.7), ("pv", 4.3)])
def test_output_that_does_not_fit_the_plant_asks_for_its_unit(column, peak):
    found = series({"price": PRICE, column: sunny(peak)}, {"price": "price", "pv": column})
    solar = load(compose(["algorithm=sac", "env=bess"])).env.solar
    with pytest.raises(
        UserError, match=r"the PV column reaches .* set env.data.pv_unit= to its unit \(MW, kW, W, per_un"
    ):
        pv_per_mw(found, solar, 4.0)


def test_a_name_in_kilowatts_asks_before_anything_is_scaled():
    said = refused({"price": PRICE, "pv_kw": sunny(3.6)}, {"price": "price", "pv": "pv_kw"})
    assert "says kW, but MW are taken; set env.data.pv_unit=kW, or rename the column" in said


def test_what_inverters_draw_at_night_is_zero_and_counted():
    standby = np.where(sunny(4.0) == 0.0, -0.003, sunny(4.0))
    found = series({"price": PRICE, "pv": standby}, {"price": "price", "pv": "pv"})
    count = int((standby < 0).sum())
    assert found.values["pv"].min() == 0.0 and found.done[1:-1] == (
        f"pv: {count} values below 0, down to -0.003 MW, set to 0",
    )
    said = refused({"price": PRICE, "pv": standby - 0.2}, {"price": "price", "pv": "pv"})
    assert "falls to -0.203 MW; PV output must be at least 0, but for the little that inverters draw" in said


def test_codes_for_missing_values_are_refused_by_name_or_read_as_what_they_are():
    price = PRICE.copy()
    price[[100, 101, 500]] = -9999.0
    said = refused({"price": price}, {"price": "price"})
    assert "row 102 (2023-03-05 04:00:00): -9999 in column 'price' is a code for a missing value" in said
    assert "the first of 3; set 'env.data.missing_codes=[-9999]', or [] if it is meant" in said
    again = refused({"price": price}, {"price": "price"}, missing_codes=(-9999.0,))
    assert "set env.data.missing=interpolate" in again
    found = series({"price": price}, {"price": "price"}, missing_codes=(-9999.0,), missing="interpolate")
    assert found.bridged_values == 3 and found.values["price"].min() > 0.0
    assert found.done[1:-1] == ("price: 3 missing values interpolated",)
    assert series({"price": price}, {"price": "price"}, missing_codes=()).values["price"].min() == -9999.0


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            "imbalance",
            "env.data.columns.imbalance=x: nothing reads it with env.market.kind=spot; set env.market.kind=imb",
        ),
        (
            "reserve_up",
            "env.data.columns.reserve_up=x: nothing reads it with env.reserve.product=none; set env.reserve.",
        ),
    ],
)
def test_a_column_that_nothing_reads_is_refused(column, said):
    with pytest.raises(UserError, match=said):
        load(compose(["algorithm=sac", "env=bess", f"env.data.columns.{column}=x"]))
