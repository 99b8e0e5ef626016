"""Key figures from a time series made by hand, and faults planted into it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from vmax.envs.battery import Site
from vmax.envs.bess.kpis import COLUMNS, daily_eur, key_figures

SITE = Site(
    **{
        **dict(capacity_mwh=4.0, power_mw=1.0, soc_min=0.25, soc_max=0.75, eta_charge=1.0, eta_discharge=0.5),
        **dict(quadratic_loss=0.0, self_discharge_per_h=0.0, wear_eur_per_mwh=3.0, pv_capacity_mw=0.0, inverter_mw=0.0),
        **dict(import_limit_mw=1.0, export_limit_mw=1.0, import_fee_eur_per_mwh=0.0, export_fee_eur_per_mwh=0.0),
    }  # pyright: ignore[reportArgumentType]
)
UTC = np.arange("2024-02-29T22", "2024-03-01T02", dtype="datetime64[h]").astype("datetime64[s]")
SERIES = SimpleNamespace(utc=UTC, timezone="UTC", local_day=np.array([5, 5, 6, 6]))


def four_hours() -> pd.DataFrame:
    """Charge 1 MW at 10 and 20, discharge 0.5 MW at 100 and 50: 0.5 → 1.0 of the window and back."""
    table = pd.DataFrame({"utc": UTC, "policy": "made", "lane": 0})
    values = dict.fromkeys(COLUMNS, np.zeros(4))
    values |= {
        "price_eur_per_mwh": np.array([10.0, 20.0, 100.0, 50.0]),
        "charge_mw": np.array([0.5, 0.5, 0.0, 0.0]),
        "discharge_mw": np.array([0.0, 0.0, 0.5, 0.5]),
        "soc": np.array([0.5, 0.625, 0.75, 0.5]),
        "soc_end": np.array([0.625, 0.75, 0.5, 0.25]),
        "energy_revenue_eur": np.array([-5.0, -10.0, 50.0, 25.0]),
        "wear_cost_eur": np.full(4, 1.5),
        "profit_eur": np.array([-6.5, -11.5, 48.5, 23.5]),
        "terminal_value_eur": np.array([0.0, 0.0, 0.0, -7.0]),
    }
    return table.assign(**values)


def figures(table: pd.DataFrame) -> dict:
    return key_figures(table, [SITE], 1.0, 1, SERIES)  # pyright: ignore[reportArgumentType]


def test_figures_of_four_hours():
    found = figures(four_hours())
    assert found["profit_eur"] == 54.0
    assert found["terminal_value_eur"] == -7.0
    assert found["wear_cost_eur"] == 6.0
    assert found["profit_eur_per_mw_year"] == pytest.approx(54.0 * 8760 / 4)
    assert found["cycles_per_day"] == pytest.approx(1.0 / 2.0 * 6)  # 1 MWh of 2 usable ones in a sixth of a day
    assert found["profit_eur_by_month"] == {"2024-02": -18.0, "2024-03": 72.0}
    assert found["profit_eur_by_season"] == {"spring": 72.0, "winter": -18.0}
    assert (found["violations"], found["max_energy_residual_mwh"]) == (0, 0.0)


def test_lanes_over_the_same_period_are_averaged():
    two = pd.concat([four_hours(), four_hours().assign(lane=1)])
    assert key_figures(two, [SITE, SITE], 1.0, 2, SERIES)["profit_eur"] == 54.0  # pyright: ignore[reportArgumentType]
    assert daily_eur(two, 2, SERIES, "profit_eur").tolist() == [-18.0, 72.0]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [
        ("soc_end", 3, 0.2),  # below the window
        ("soc", 0, 0.8),  # above the window
        ("soc", 2, 0.7),  # not where the step before ended
        ("charge_mw", 0, 1.1),  # more than rated, and more than the connection takes
        ("discharge_mw", 0, 0.1),  # both directions at once
        ("pv_mw", 2, 0.6),  # with the battery more than may be exported
        ("curtailed_mw", 1, -0.1),  # PV from nowhere
    ],
)
def test_each_fault_is_found(column, row, value):
    table = four_hours()
    table.loc[row, column] = value
    assert figures(table)["violations"] > 0


def test_energy_from_nowhere_is_measured():
    table = four_hours()
    table.loc[2, "discharge_mw"] = 0.6  # 0.2 MWh more than left the cells
    assert figures(table)["max_energy_residual_mwh"] == pytest.approx(0.2)
