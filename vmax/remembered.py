"""What takes long and comes out the same each time, remembered from run to run: passed checks, courses of planners.

The records lie beside the compiled programs in the user's cache folder, never in a run or a checkout. What they were
made of is part of their name, the code included, so a record of anything else is never found. `VMAX_REMEMBER=off` in
the environment does without.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vmax.devices import cache_dir, caching

PACKAGE = Path(__file__).resolve().parent
LIBRARIES = ("jax", "jaxlib", "numpy", "scipy", "highspy")
"""Libraries with which what is remembered may come out otherwise."""
MOST = 200
"""Records of a kind that are kept: the latest."""


def digest(parts: Any, sources: Sequence[str]) -> str:
    """Stands for these values, arrays among them, the files that they name, by size and time, the package's files at
    `sources`, and what all of it runs on.

    Raises TypeError for a value whose content it does not know how to read.
    """
    found = hashlib.sha256()
    for piece in _pieces((parts, jax.default_backend())):
        found.update(piece)
    found.update(_code(tuple(sources)))
    return found.hexdigest()


def place(kind: str, name: str) -> Path | None:
    """Where a record is or would be; None where nothing is to be remembered. Only the latest `MOST` of a kind stay."""
    wanted = caching() and os.environ.get("VMAX_REMEMBER", "on") != "off"
    return cache_dir().parent.parent / kind / name if wanted else None


def tidy(kept: Path) -> None:
    """Removes the oldest records beside this one, where there are too many."""
    with suppress(OSError):
        records = sorted(kept.parent.glob(f"*{kept.suffix}"), key=lambda path: path.stat().st_mtime)
        for path in records[:-MOST]:
            path.unlink()


@lru_cache(maxsize=8)
def _code(sources: tuple[str, ...]) -> bytes:
    """What the code at `sources` and the libraries are."""
    found = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in LIBRARIES).encode())
    for source in sources:
        path = PACKAGE / source
        files = (
            [file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc"] if path.is_dir() else [path]
        )
        for file in sorted(files):
            found.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes())
    return found.digest()


def _pieces(value: Any) -> Iterable[bytes]:
    """The content of a value, with what sort of thing each part is."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        array = np.asarray(value)
        yield f"{array.dtype} {array.shape};".encode()
        yield np.ascontiguousarray(array).tobytes()
    elif value is None or isinstance(value, bool | int | float | str | Path):
        yield f"{type(value).__name__} {value!r};".encode()
        if isinstance(value, str | Path):
            yield from _files(value)
    elif is_dataclass(value):
        yield f"{type(value).__module__}.{type(value).__qualname__}(".encode()
        for field in fields(value):
            yield f"{field.name}=".encode()
            yield from _pieces(getattr(value, field.name))
        yield b")"
    elif isinstance(value, Mapping | list | tuple):
        yield f"{type(value).__name__}{len(value)}(".encode()
        for item in sorted(value.items(), key=repr) if isinstance(value, Mapping) else value:
            yield from _pieces(item)
        yield b")"
    else:
        raise TypeError(f"{type(value)} cannot be read into a digest")


def _files(named: str | Path) -> Iterable[bytes]:
    """Size and time of a file that a value names, or of the CSVs of a folder."""
    if os.sep not in str(named) and "." not in str(named):
        return
    with suppress(OSError, ValueError):
        path = Path(named).resolve()
        for file in sorted(path.glob("*.csv")) if path.is_dir() else [path]:
            if file.is_file():
                yield f"{file} {file.stat().st_size} {file.stat().st_mtime_ns};".encode()
