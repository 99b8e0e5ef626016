"""The configuration of the shipped series, to vary in tests."""

from vmax.data.series import ColumnsConfig, DataConfig

SHIPPED = DataConfig(
    path=None,
    columns=ColumnsConfig(
        time="utc", price="price_eur_per_mwh", pv=None, imbalance=None, reserve_up=None, reserve_down=None
    ),
    price_unit=None,
    imbalance_unit=None,
    reserve_unit=None,
    pv_unit=None,
    price_scale_ok=False,
    missing_codes=None,
    step_minutes=None,
    timezone="Europe/Amsterdam",
    naive_time="utc",
    currency="EUR",
    missing="error",
    missing_max_steps=3,
    gaps="error",
    train=None,
    validation=None,
    test=None,
)
