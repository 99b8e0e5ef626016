"""Writing the folder `policy/`: it is there as a whole, checked against vmax's own actions, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from vmax.algorithms.algorithm import Algorithm
from vmax.envs.environment import Environment
from vmax.envs.natural import to_values
from vmax.errors import UserError
from vmax.export import act
from vmax.export.card import CARD, EXAMPLE, ONNX, SCRIPT, STABLEHLO, checksums, make_card
from vmax.export.function import Carry, Source, from_stablehlo, to_stablehlo
from vmax.export.onnx import TOLERANCE, available, run_onnx, write_onnx
from vmax.run_folder import disk_guard, write_csv, write_json

Format = Literal["stablehlo", "onnx"]
STARTS, ROWS = 512, 8
"""Drawn starts of training episodes that ranges are taken from, and how many of them become the example."""


def write_policy(
    folder: Path,
    env: Environment,
    algorithm: Algorithm,
    weights: Any,
    facts: Mapping[str, Any],
    formats: Format | None = None,
) -> list[str]:
    """Writes `folder` anew: policy.stablehlo, act.py, example.csv, card.json and perhaps policy.onnx.

    Args:
      weights: what `Algorithm.policy` gives.
      facts: what the card says of the run; plain values.
      formats: `stablehlo` alone; `onnx`: both; None: ONNX too where jax2onnx is installed and knows the policy.

    Returns what the user has to be told: why there is no ONNX file, though jax2onnx is there.
    Raises: UserError where the policy cannot be exported or the files do not act as vmax does; DiskFull. The folder
    that was there before then stays.
    """
    source, notes = Source.of(env, algorithm, weights), []
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with disk_guard(folder):
            temporary.mkdir(parents=True)
            (temporary / STABLEHLO).write_bytes(to_stablehlo(source))
            shutil.copyfile(act.__file__, temporary / SCRIPT)
            observation = _starts(env)
            raw = to_values(source.natural.observation, observation)
            _write_example(temporary / EXAMPLE, source, raw[:ROWS])
            check = {"rows": ROWS, "stablehlo": _check_stablehlo(temporary, source, observation[:ROWS], raw[:ROWS])}
            names = [STABLEHLO, SCRIPT, EXAMPLE]
            if formats == "onnx" or (formats is None and available()):
                try:
                    write_onnx(source, temporary / ONNX)
                    check["onnx"] = _check_onnx(temporary, source, observation[:ROWS], raw[:ROWS])
                    names.append(ONNX)
                except UserError as error:
                    if formats == "onnx":
                        raise
                    (temporary / ONNX).unlink(missing_ok=True)
                    notes.append(str(error))
            sizes = [leaf.shape[1] for leaf in source.fresh(1)]
            card = make_card(source.natural, source.names, sizes, raw, facts)
            note = "greatest difference of an action in [-1, 1] from vmax's own on the rows of the example"
            card["check"] = {**check, "note": note}
            write_json(temporary / CARD, {**card, "files": checksums(temporary, names)})
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return notes


def _starts(env: Environment) -> np.ndarray:
    """Observations at drawn starts of training episodes, `[STARTS, D]`."""

    @partial(jax.jit, static_argnums=0)
    def drawn(env: Environment, keys: jax.Array, params: Any) -> jax.Array:
        return jax.vmap(lambda key: env.reset(key, params)[1])(keys)

    return np.asarray(drawn(env, jax.random.split(jax.random.key(0), STARTS), env.params("train")))


def _write_example(path: Path, source: Source, raw: np.ndarray) -> None:
    """A few rows that the policy can be tried on; for one with memory each is an episode of its own."""
    names, episodes = [q.name for q in source.natural.observation], bool(source.fresh(1))
    rows = [[f"{x:.9g}" for x in row] for row in raw]
    if episodes:
        names, rows = ["episode", *names], [[str(i), *row] for i, row in enumerate(rows)]
    write_csv(path, names, rows)


def _check_stablehlo(folder: Path, source: Source, observation: np.ndarray, raw: np.ndarray) -> float:
    """How far the written file is from vmax at most. Raises UserError where it is too far."""
    written = jax.jit(from_stablehlo((folder / STABLEHLO).read_bytes()).call)
    return _difference(STABLEHLO, source, observation, raw, lambda raw, carry: written(raw, carry))


def _check_onnx(folder: Path, source: Source, observation: np.ndarray, raw: np.ndarray) -> float | None:
    """Likewise of the ONNX file; None: onnxruntime is not there to tell."""
    if run_onnx(folder / ONNX, raw, source.fresh(len(raw))) is None:
        return None
    return _difference(ONNX, source, observation, raw, partial(run_onnx, folder / ONNX))


def _difference(name: str, source: Source, observation: np.ndarray, raw: np.ndarray, written: Any) -> float:
    """Greatest difference of actions over two steps, the second with what is remembered of the first."""
    raw = raw.astype(np.float32)
    carry: Carry = source.fresh(len(raw))
    theirs, decide, greatest = carry, jax.jit(source.decide), 0.0
    for _ in range(2 if carry else 1):
        own, carry = decide(observation, carry)
        action, _, theirs = written(raw, theirs)
        greatest = max(greatest, float(np.abs(np.asarray(action) - np.asarray(own)).max()))
    if not greatest <= TOLERANCE:
        raise UserError(f"export: {name} acts otherwise than vmax: actions differ by {greatest:.2g}")
    return greatest
