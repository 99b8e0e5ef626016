"""The reference tables: one year within a point of figures found elsewhere; a year that is not there is named."""

import pytest

import vmax
from vmax.commands.reproduce import price_table, shares
from vmax.errors import UserError

NL_2024 = {
    "cycles_per_day": 1.19,
    "hourly MPC": 0.998,
    "daily LP": 0.92,
    "gated rule": 0.940,
    "ungated": 0.881,
    "LP yesterday": 0.60,
}
"""1.5 MW / 3.5 MWh, wear 15 EUR/MWh each way, SOC 0.1-0.9, Dutch prices of 2024: by an independent program."""


def test_the_dutch_year_2024_is_as_it_was_found_elsewhere():
    found = shares(vmax.make_env("bess"), 2024)
    assert found.pop("optimum_eur") == pytest.approx(77_099, rel=1e-3)
    assert found == pytest.approx(NL_2024, abs=0.01)


def test_a_year_without_prices_is_named():
    with pytest.raises(UserError, match=r"years=\[2024, 2031\]: 2031 is not there; allowed: 2016 to 2024"):
        price_table([2024, 2031])
