"""The site's scenario data for tests: as in Iquitos, or with few sockets."""

from dataclasses import fields, replace
from typing import Any

from vmax.envs.microgrid.data_settings import (
    CarbonConfig,
    ChargersConfig,
    DataConfig,
    FilesConfig,
    GroupConfig,
    MallConfig,
    PvConfig,
)

NOTHING: dict[str, Any] = {field.name: None for field in fields(FilesConfig)}
NO_FILES = FilesConfig(**{**NOTHING, "exogenous": (), "forecast_hour": 12})
SITE = DataConfig(
    seed=0,
    step_minutes=60,
    calendar_year=2025,
    timezone="America/Lima",
    train_years=2,
    validation_years=2,
    test_years=2,
    pv=PvConfig(4162.0, 3201.0, 8_030_119.0, 1.0, 0.03, -3.75, -73.25, 10.0, 0.0),
    mall=MallConfig(3_092_204.0, 690.75, 0.03),
    chargers=ChargersConfig(
        groups=(GroupConfig("motos", 112, 2.0, 120.0), GroupConfig("mototaxis", 16, 3.0, 48.0)),
        limit_kw=150.0,
        annual_kwh=438_000.0,
        open_h=(9.0, 22.0),
        peak_h=(18.0, 21.0),
        stay_h=(1.0, 4.0),
        year_spread=0.03,
    ),
    carbon=CarbonConfig(0.4521),
    files=NO_FILES,
)
FEW = replace(
    SITE,
    chargers=replace(
        SITE.chargers,
        groups=(GroupConfig("motos", 3, 2.0, 5.0), GroupConfig("mototaxis", 1, 3.0, 3.0)),
        limit_kw=7.0,
        annual_kwh=14_000.0,
    ),
)
"""Four sockets."""
