"""Which environments have passed, by configuration, code, thresholds and data, so that a pass is not repeated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vmax import remembered
from vmax.files import DiskFull, write_json

KIND = "checks"
SOURCES = ("envs", "data", "checks", "spaces.py")
"""What the outcome of the checks depends on, below the package."""


def fingerprint(env: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Stands for a configured environment, its code and data, the settings of the checks, and what they run on."""
    return remembered.digest((env, settings), SOURCES)


def passed(key: str) -> dict[str, Any] | None:
    """The record of a pass; None where there is none."""
    path = remembered.place(KIND, f"{key}.json")
    with suppress(OSError, ValueError):
        return None if path is None else json.loads(path.read_text(encoding="utf-8"))
    return None


def remember(key: str, record: dict[str, Any]) -> None:
    """Keeps the record of a pass. Where nothing can be kept, nothing is: the checks then run again."""
    path = remembered.place(KIND, f"{key}.json")
    if path is None:
        return
    with suppress(OSError, DiskFull):
        write_json(path, record)
        remembered.tidy(path)
