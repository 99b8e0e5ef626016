"""What the config of the scenario data may say."""

from dataclasses import asdict, replace

import pytest
from small_microgrid import SITE

from vmax.conversion import build
from vmax.envs.microgrid.data_settings import DataConfig, GroupConfig
from vmax.errors import UserError

MOTO = SITE.chargers.groups[0]


def test_a_mapping_as_from_yaml_is_the_same_config():
    assert build(DataConfig, asdict(SITE), "env.data") == SITE


@pytest.mark.parametrize(
    ("section", "changes", "line"),
    [
        (None, {"seed": -1}, "env.data.seed=-1: must be from 0 to 2147483647"),
        (None, {"step_minutes": 20}, "env.data.step_minutes=20: must be 15, 30 or 60"),
        (None, {"calendar_year": 2024}, "env.data.calendar_year=2024: must be a year of 365 days"),
        (None, {"timezone": "Lima"}, "env.data.timezone=Lima: unknown"),
        (None, {"test_years": 0}, "env.data.test_years=0: must be at least 1"),
        ("pv", {"ac_kw": 0.0}, "env.data.pv.ac_kw=0.0: must be above 0"),
        ("pv", {"share": -0.1}, "env.data.pv.share=-0.1: must be above 0"),
        ("pv", {"year_spread": 0.5}, "env.data.pv.year_spread=0.5: must be within [0, 0.2]"),
        ("pv", {"latitude": 95.0}, "env.data.pv.latitude=95.0: must be within [-90, 90]"),
        ("mall", {"peak_kw": float("nan")}, "env.data.mall.peak_kw=nan: must be above 0"),
        ("chargers", {"groups": ()}, "env.data.chargers.groups: names []; at least one group"),
        ("chargers", {"groups": (MOTO, MOTO)}, "env.data.chargers.groups: names ['motos', 'motos']"),
        ("chargers", {"open_h": (22.0, 9.0)}, "env.data.chargers.open_h=[22.0, 9.0]: hours"),
        ("chargers", {"open_h": (9.0, 24.0)}, "env.data.chargers.open_h=[9.0, 24.0]: hours"),
        ("chargers", {"peak_h": (8.0, 21.0)}, "env.data.chargers.peak_h=[8.0, 21.0]: must lie within"),
        ("chargers", {"stay_h": (4.0, 1.0)}, "env.data.chargers.stay_h=[4.0, 1.0]: hours"),
        ("chargers", {"stay_h": (0.5, 1.0)}, "the shortest stay must be at least a step of env.data.step_minutes=60"),
        ("carbon", {"kg_per_kwh": 452.1}, "env.data.carbon.kg_per_kwh=452.1: must be within [0, 5]"),
        ("files", {"timezone": "Lima"}, "env.data.files.timezone=Lima: unknown"),
    ],
)
def test_what_does_not_fit_is_refused(section, changes, line):
    with pytest.raises(UserError) as error:
        replace(SITE, **(changes if section is None else {section: replace(getattr(SITE, section), **changes)}))
    assert line in str(error.value)


def test_a_group_needs_sockets_and_power():
    with pytest.raises(UserError, match="'cars' has sockets=0; must be at least 1"):
        GroupConfig("cars", 0, 7.4, 22.0)
    with pytest.raises(UserError, match="'cars' has power_kw=0.0: must be above 0"):
        GroupConfig("cars", 2, 0.0, 22.0)
