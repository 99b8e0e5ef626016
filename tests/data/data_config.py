"""The configuration of the shipped series, to vary in tests."""

from vmax.config import compose, load
from vmax.data.series import DataConfig


def configured(*overrides: str) -> DataConfig:
    """What these overrides of the environment `bess` say of the data."""
    return load(compose(["env=bess", *overrides])).env.data


SHIPPED = configured("env.data.naive_time=utc")
"""Of the shipped file every stamp has an offset; the files that tests write have none, and are UTC."""
