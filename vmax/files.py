"""How files are written so that nothing half-written stays behind, and how a folder is kept to one process."""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from vmax.errors import UserError


class DiskFull(Exception):
    """There is no space left for what was to be written; everything earlier is intact."""


def config_dir() -> Path:
    """The folder of the YAML files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; renamed to it at the end, removed on an error. Raises DiskFull."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with disk_guard(path):
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        if str(error.filename) == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file at once. Raises DiskFull."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON at once; numbers that are not finite become null. Raises DiskFull."""
    write_text(path, json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes a whole table at once. Raises DiskFull."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def append_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds lines of one strict JSON object each; numbers that are not finite become null. Raises DiskFull."""
    lines = [json.dumps(to_plain(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    with disk_guard(path), path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def to_plain(value: Any) -> Any:
    """A value as JSON knows it: arrays as lists, times as ISO 8601, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | np.datetime64):
        return str(value) if isinstance(value, np.datetime64) else value.isoformat()
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    return str(value)


@contextmanager
def disk_guard(path: Path) -> Iterator[None]:
    """Turns the many faces of a full disk into DiskFull with the place; other errors pass through."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise DiskFull(f"{path}: no space left on the disk; everything written earlier is intact") from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that the disk or the quota is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "RESOURCE_EXHAUSTED" in str(error) or "No space left" in str(error):
        return True
    origin = error.__cause__ or error.__context__
    return origin is not None and is_disk_full(origin)


def unwritable(how: str, error: OSError) -> UserError:
    """The error for a folder that cannot be made or written to, `how` it was named: `hydra.run.dir=PATH`."""
    return UserError(f"{how}: cannot be written ({error.strerror}); name another folder")


def refused(error: OSError) -> str | None:
    """One line for an error that means: the system does not allow this here. None for others."""
    known = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and error.filename is not None
    return f"{error.filename}: cannot be opened or written ({error.strerror})" if known else None


def expect_writable(path: Path, how: str) -> None:
    """Raises UserError where `path`, or the folder that it would be made in, may not be written to."""
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not os.access(existing, os.W_OK):
        raise UserError(f"{how}: {existing} cannot be written to (it is read-only, or not yours)")


@contextmanager
def held(folder: Path, how: str) -> Iterator[None]:
    """Keeps a folder, which is made where it is missing, to this process until the block or the process ends.

    Raises UserError where another process holds it, or it cannot be made or written to; `how` it was named:
    `resume=PATH`. The lock is the kernel's (`flock` on the folder itself): nothing is left of it, whatever ends the
    process. Where a file system has no locks nobody is kept out.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise unwritable(how, error) from error
    expect_writable(folder, how)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{how}: another process is at work in this folder; wait for it or stop it") from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                raise
        yield
    finally:
        os.close(descriptor)
