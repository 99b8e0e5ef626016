"""Which environments have passed, by configuration, code, thresholds and data, so that a pass is not repeated.

The records lie beside the compiled programs in the user's cache folder, never in a run or a checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from vmax.devices import cache_dir
from vmax.files import DiskFull, write_json

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = ("envs", "data", "checks", "spaces.py")
"""What the outcome of the checks depends on, below the package."""


def fingerprint(env: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Stands for a configured environment, its code and data, the settings of the checks, and what they run on."""
    parts: list[Any] = [env, settings, jax.__version__, jax.default_backend(), _files(env)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for source in SOURCES:
        path = PACKAGE / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def passed(key: str) -> dict[str, Any] | None:
    """The record of a pass; None where there is none."""
    with suppress(OSError, ValueError):
        return json.loads(_path(key).read_text(encoding="utf-8")) if _remembers() else None
    return None


def remember(key: str, record: dict[str, Any]) -> None:
    """Keeps the record of a pass. Where nothing can be kept, nothing is: the checks then run again."""
    with suppress(OSError, DiskFull):
        if _remembers():
            write_json(_path(key), record)


def _path(key: str) -> Path:
    return cache_dir().parent.parent / "checks" / f"{key}.json"


def _remembers() -> bool:
    return os.environ.get("VMAX_COMPILATION_CACHE", "on") != "off"


def _files(value: Any) -> list[Any]:
    """Size and time of every file that the configuration names, in whatever key."""
    if isinstance(value, Mapping):
        return [found for item in value.values() for found in _files(item)]
    if isinstance(value, list | tuple):
        return [found for item in value for found in _files(item)]
    if isinstance(value, str) and (os.sep in value or "." in value):
        with suppress(OSError, ValueError):
            if (path := Path(value).resolve()).is_file():
                return [[str(path), path.stat().st_size, path.stat().st_mtime_ns]]
    return []
