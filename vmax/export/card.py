"""What a policy's folder says of itself in card.json: what goes in, what comes out, where it comes from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vmax.envs.natural import Quantity
from vmax.errors import UserError
from vmax.export.function import Source
from vmax.run_folder import git_revision, versions

FORMAT = 1
CARD, STABLEHLO, ONNX, SCRIPT, EXAMPLE = "card.json", "policy.stablehlo", "policy.onnx", "act.py", "example.csv"


def make_card(source: Source, seen: np.ndarray, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The card without its files.

    Args:
      seen: raw observations in training episodes, `[S, D]`, for their range.
      facts: of the run: name, algorithm, checkpoint, KPIs and the like; plain values.
    """
    natural, columns = source.natural, zip(seen.min(axis=0), seen.max(axis=0), strict=True)
    return {
        "format": FORMAT,
        **facts,
        "observation": [
            {**_described(quantity), "seen": [float(low), float(high)], "becomes": _becomes(quantity)}
            for quantity, (low, high) in zip(natural.observation, columns, strict=True)
        ],
        "seen_note": f"lowest and highest value in {len(seen)} steps of training episodes under this policy",
        "becomes_note": "what the network reads: (f(value) - offset) / scale; f: value, arcsinh(value) or "
        "arcsinh(reference / value)",
        "action": _actions(source),
        "units": [_described(quantity) for quantity in natural.action],
        "carry": [leaf.shape[1] for leaf in source.fresh(1)],
        "data": dict(natural.data),
        "versions": versions(),
        "git": git_revision(),
    }


def _actions(source: Source) -> list[dict[str, Any]]:
    """What the policy gives before units: numbers in [-1, 1], or the number of a choice with what each means."""
    if source.choices:
        each = {"unit": "1", "low": 0, "high": len(source.choices) - 1, "choices": source.choices}
        return [{"name": f"action_{name}", **each} for name in source.actions]
    return [{"name": f"action_{name}", "unit": "1", "low": -1.0, "high": 1.0} for name in source.actions]


def _becomes(quantity: Quantity) -> dict[str, Any]:
    return {name: getattr(quantity, name) for name in ("curve", "reference", "offset", "scale")}


def _described(quantity: Quantity) -> dict[str, Any]:
    return {k: getattr(quantity, k) for k in ("name", "unit", "low", "high", "meaning")}


def checksums(folder: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Size and sha256 of files in a folder."""
    found = {name: (folder / name).read_bytes() for name in names}
    return {name: {"bytes": len(data), "sha256": _digest(data)} for name, data in found.items()}


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a policy's folder. Raises UserError where there is none that can be read."""
    path = folder / CARD
    if not path.is_file():
        raise UserError(f"policy={folder}: is no exported policy ({CARD} is missing)")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        form, files = card["format"], card["files"]
        complete = STABLEHLO in files and card["observation"] and card["units"] and "carry" in card
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged or no card of an exported policy ({type(error).__name__})") from error
    if not complete:
        raise UserError(f"{path}: damaged or no card of an exported policy")
    if form != FORMAT:
        raise UserError(f"{path}: format {form} is unknown; this version of vmax reads format {FORMAT}")
    return card


def read_verified(folder: Path, card: Mapping[str, Any], name: str) -> bytes:
    """A file of the folder, whole. Raises UserError where it is missing or is not what the card says."""
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path}: is missing; export the policy again")
    data = path.read_bytes()
    found, expected = _digest(data), card["files"][name]["sha256"]
    if found != expected:
        raise UserError(f"{path}: damaged or exchanged: sha256 {found[:12]}…, {CARD} says {str(expected)[:12]}…")
    return data


def bounds(column: Mapping[str, Any]) -> tuple[float, float]:
    """What a column of the card may hold; no bound is an infinite one."""
    low, high = column["low"], column["high"]
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
