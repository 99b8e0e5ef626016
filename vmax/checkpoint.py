"""Checkpoints: Orbax writes the arrays; this module makes them whole, verified and few.

A checkpoint is a folder `STEP` (or `best-STEP`) that holds one Orbax folder per item, meta.json and manifest.json: the
size and sha256 of every file and the shape and dtype of every array (Orbax itself restores flipped bytes and other
dtypes without a word). It is written under a temporary name and renamed, so it is there as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vmax.errors import UserError
from vmax.files import DiskFull, disk_guard, is_disk_full, write_json
from vmax.run_folder import Which

TEMPORARY = ".tmp"
MANIFEST = "manifest.json"
KEPT = "policy-"
"""How the name of a checkpoint that stays for good begins."""
ARRAY_BYTES, ITEM_BYTES = 2**12, 2**16
"""What a checkpoint takes beside the numbers, at most: for each array (its description) and each item (small files)."""
Spec = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Restored:
    """What a checkpoint held: the items asked for that were saved, and the meta data."""

    step: int
    items: dict[str, Any]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Some fields, by name, of an item that is a struct; each as in `Checkpoints.restore`."""

    fields: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run: the latest `keep`, and the best as of each of them."""

    def __init__(self, directory: str | Path, keep: int = 2, warn: Callable[[str], None] = print) -> None:
        """`warn` is told, in one line, of each checkpoint that is passed over."""
        self.directory = Path(directory).resolve()
        self.keep = keep
        self.warn = warn

    def steps(self) -> list[int]:
        """Steps of the regular checkpoints, ascending."""
        return sorted(int(path.name) for path in self._folders() if path.name.isdigit())

    def best_steps(self) -> list[int]:
        """Steps of the best checkpoints, ascending; the last is the best of all."""
        names = (path.name.removeprefix("best-") for path in self._folders() if path.name.startswith("best-"))
        return sorted(int(name) for name in names if name.isdigit())

    def save(self, step: int, items: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Saves a regular checkpoint, waits until it is on the disk, and removes those beyond `keep`.

        Args:
          items: pytrees of arrays by name, say `{"state": …, "replay": …}`; each can be restored without the others.
          meta: plain values (JSON): counters, best score, positions in files.

        Raises: DiskFull; earlier checkpoints are intact and nothing half-written stays.
        """
        self._write(str(step), items, meta)
        self._tidy()

    def save_best(self, step: int, items: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Saves the best so far, beside the regular ones. Raises DiskFull."""
        self._write(f"best-{step}", items, meta)
        self._tidy()

    def save_policy(self, step: int, items: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Saves what stays for good, beside the others. Raises DiskFull."""
        self._write(f"{KEPT}{step}", items, meta)

    def restore(self, targets: Mapping[str, Any], which: Which = "last") -> Restored:
        """The newest checkpoint that is whole, with every array placed as in the targets.

        Args:
          targets: what each item looks like: pytrees of arrays or of `jax.ShapeDtypeStruct` (with shardings). An item
            that the checkpoint was saved without is missing in the result. A `Part` stands for some fields of an item.
          which: the latest regular one, the best one, or the one that was saved at a step.

        Raises: UserError where shapes, dtypes or structure differ, or nothing can be read.
        """
        for name in self._candidates(which):
            folder = self.directory / name
            if reason := damage(folder):
                self.warn(f"checkpoint {folder}: {reason}; it is passed over")
                continue
            wanted = {item: target for item, target in targets.items() if (folder / item).is_dir()}
            for item, target in wanted.items():
                _compare(folder, item, target)
            try:
                items = {item: _read(folder / item, target) for item, target in wanted.items()}
            except (OSError, ValueError, KeyError) as error:
                self.warn(f"checkpoint {folder}: cannot be read ({str(error).splitlines()[0]}); it is passed over")
                continue
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            return Restored(int(name.rpartition("-")[2]), items, meta)
        found = f" (damaged: {', '.join(self._candidates(which))})" if self._candidates(which) else ""
        named = f"checkpoint of step {which}" if isinstance(which, int) else f"{which} checkpoint"
        raise UserError(f"{self.directory}: holds no {named} that can be read{found}")

    def sweep(self) -> None:
        """Removes what was half-written when its process ended; not for one that may still be writing."""
        for folder in self._folders():
            if folder.name.endswith(TEMPORARY):
                self.warn(f"checkpoint {folder}: half-written; removed")
                shutil.rmtree(folder, ignore_errors=True)

    def discard_after(self, step: int) -> None:
        """Removes what was saved after `step`: a resumed run writes it again."""
        for folder in self._folders():
            saved = folder.name.rpartition("-")[2]
            if saved.isdigit() and int(saved) > step:
                shutil.rmtree(folder)

    def _candidates(self, which: str | int) -> list[str]:
        if isinstance(which, int):
            names = (f"{KEPT}{which}", f"best-{which}", str(which))
            return [name for name in names if (self.directory / name).is_dir()]
        best = [f"best-{step}" for step in reversed(self.best_steps())]
        return best if which == "best" else [str(step) for step in reversed(self.steps())]

    def _folders(self) -> list[Path]:
        return [path for path in self.directory.glob("*") if path.is_dir()] if self.directory.exists() else []

    def _write(self, name: str, items: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        final, temporary = self.directory / name, self.directory / f"{name}{TEMPORARY}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with disk_guard(final):
                temporary.mkdir(parents=True)
                _require_space(final, disk_bytes(items))
                for item, tree in items.items():
                    _save_tree(temporary / item, tree)
                write_json(temporary / "meta.json", meta)
                arrays = {item: spec(tree) for item, tree in items.items()}
                write_json(temporary / MANIFEST, {"files": _hashes(temporary), "arrays": arrays})
                shutil.rmtree(final, ignore_errors=True)
                os.rename(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _tidy(self) -> None:
        """Keeps the latest regular ones, the best, and the best as of each kept one (a resume goes back to it)."""
        kept, best = self.steps()[-self.keep :], self.best_steps()
        as_of = {max((s for s in best if s <= step), default=None) for step in kept}
        gone = [str(step) for step in self.steps() if step not in kept]
        gone += [f"best-{step}" for step in best[:-1] if step not in as_of]
        for name in gone:
            shutil.rmtree(self.directory / name, ignore_errors=True)


def disk_need(items: Mapping[str, Any], best: Mapping[str, Any], keep: int) -> int:
    """Bytes that the checkpoints of a run take at most: `keep` and one being written, and as many of the best."""
    return (keep + 1) * (disk_bytes(items) + disk_bytes(best))


def disk_bytes(items: Mapping[str, Any]) -> int:
    """Bytes that a checkpoint of these items takes at most."""
    leaves = jax.tree.leaves(items)
    numbers = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return numbers + ARRAY_BYTES * len(leaves) + ITEM_BYTES * len(items)


def _require_space(folder: Path, need: int) -> None:
    """Raises DiskFull where a checkpoint may not fit: better said before than after Orbax has filled the disk."""
    free = shutil.disk_usage(folder.parent).free
    if free < need:
        mib = f"needs {need / 2**20:,.1f} MiB, {free / 2**20:,.1f} MiB are free"
        raise DiskFull(f"{folder}: {mib}; everything written earlier is intact")


def damage(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint by its manifest, or None."""
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is missing or damaged"
    found = _hashes(folder)
    for name, (size, digest) in listed.items():
        if name not in found:
            return f"{name} is missing"
        if found[name][0] != size:
            return f"{name} has {found[name][0]} bytes instead of {size}"
        if found[name][1] != digest:
            return f"{name} is damaged (sha256 differs)"
    return None


def spec(tree: Any) -> Spec:
    """Dtype and shape of each array by its path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): (str(leaf.dtype), tuple(leaf.shape)) for path, leaf in leaves}


def _compare(folder: Path, item: str, target: Any) -> None:
    """Raises UserError where the saved arrays are not those of the target."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    saved = {name: (dtype, tuple(shape)) for name, (dtype, shape) in manifest["arrays"][item].items()}
    wanted = spec(target.fields if isinstance(target, Part) else target)
    if isinstance(target, Part):
        of = tuple(f".{name}" for name in target.fields)
        saved = {name: entry for name, entry in saved.items() if name.startswith(of)}
        wanted = {re.sub(r"^\['(\w+)'\]", r".\1", name): entry for name, entry in wanted.items()}
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            was, now = _describe(saved.get(name)), _describe(wanted.get(name))
            raise UserError(f"checkpoint {folder}: {item}{name} is {was}, this configuration needs {now}")


def _describe(entry: tuple[str, tuple[int, ...]] | None) -> str:
    return f"{entry[0]}[{','.join(map(str, entry[1]))}]" if entry else "absent"


def _save_tree(path: Path, tree: Any) -> None:
    with _checkpointer() as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(tree))


def _read(path: Path, target: Any) -> Any:
    partial = isinstance(target, Part)
    abstract = jax.tree.map(_abstract, target.fields if partial else target)
    places = ocp.checkpoint_utils.construct_restore_args(abstract)
    arguments = ocp.args.PyTreeRestore(abstract, restore_args=places, partial_restore=partial)
    with _checkpointer() as checkpointer:
        return checkpointer.restore(path, args=arguments)


def _checkpointer() -> ocp.Checkpointer:
    """Orbax without compression: floats hardly compress, and it takes several times as long."""
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_compression=False))


class _FullDiskUnsaid(logging.Filter):
    """Holds back tracebacks of a full disk, some of which come as late as the end of the process."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return error is None or not is_disk_full(error)


for _name in ("absl", "asyncio"):  # Orbax tells of a full disk through both; here it is one line, DiskFull
    logging.getLogger(_name).addFilter(_FullDiskUnsaid())


def _abstract(leaf: Any) -> Any:
    return leaf if isinstance(leaf, jax.ShapeDtypeStruct) else ocp.utils.to_shape_dtype_struct(leaf)


def _hashes(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and sha256 of every file below the folder but the manifest itself, by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_hash, paths))
    return {p.relative_to(folder).as_posix(): (p.stat().st_size, d) for p, d in zip(paths, digests, strict=True)}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
