"""Writing the folder `policy/`: it is there as a whole, checked against vmax's own actions, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from vmax.envs.environment import Environment
from vmax.envs.natural import to_values
from vmax.envs.rollout import trace_episodes
from vmax.errors import UserError
from vmax.evaluation.policies import Learned
from vmax.export import act
from vmax.export.card import CARD, EXAMPLE, ONNX, SCRIPT, STABLEHLO, checksums, make_card
from vmax.export.function import Controller, Source, from_stablehlo, to_stablehlo
from vmax.export.onnx import available, read_onnx, write_onnx
from vmax.export.rows import EPISODE
from vmax.files import disk_guard, write_csv, write_json

Format = Literal["stablehlo", "onnx"]
EPISODES, STEPS = 64, 48
"""Training episodes, and the first so many steps of each, on which the files are compared with vmax."""
EXAMPLES = 2
"""So many of them are the example."""
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.05}
"""Actions in [-1, 1] may differ by so much from those of vmax, by the dtype of the network."""
TIES = 2e-3
"""Where actions are choices, in so large a share of the steps another one may be made: two that are as good."""


@dataclass(frozen=True, eq=False)
class Course:
    """What vmax did in E episodes: raw observations `[T, E, D]`, actions `[T, E, A]`, and lengths `[E]`, at most T."""

    raw: np.ndarray
    action: np.ndarray
    lengths: np.ndarray

    @property
    def happened(self) -> np.ndarray:
        """Which steps come before the end of their episode, `[T, E]`."""
        return np.arange(len(self.raw))[:, None] < self.lengths


def write_policy(
    folder: Path, env: Environment, policy: Learned, facts: Mapping[str, Any], format: Format | None = None
) -> list[str]:
    """Writes `folder` anew: policy.stablehlo, act.py, example.csv, card.json and perhaps policy.onnx.

    Args:
      facts: what the card says of the run; plain values.
      format: `stablehlo`: without ONNX; `onnx`: with it; None: with it where jax2onnx is installed and knows the
        policy.

    Returns what the user has to be told: why there is no ONNX file, though jax2onnx is there.
    Raises: UserError where the policy cannot be exported or the files do not act as vmax does; DiskFull. The folder
    that was there before then stays.
    """
    source, temporary = Source.of(env, policy), folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with disk_guard(folder):
            temporary.mkdir(parents=True)
            notes = _fill(temporary, source, _course(env, source), facts, format)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return notes


def _fill(folder: Path, source: Source, course: Course, facts: Mapping[str, Any], format: Format | None) -> list[str]:
    """Writes the files into an empty folder; returns what the user has to be told."""
    names, notes = [STABLEHLO, SCRIPT, EXAMPLE], []
    (folder / STABLEHLO).write_bytes(to_stablehlo(source))
    shutil.copyfile(act.__file__, folder / SCRIPT)
    _write_example(folder / EXAMPLE, source, course)
    read = jax.jit(from_stablehlo((folder / STABLEHLO).read_bytes()).call)
    differences = {STABLEHLO: difference(STABLEHLO, read, source, course)}
    if format == "onnx" or (format is None and available()):
        try:
            write_onnx(source, folder / ONNX)
            if (runnable := read_onnx(folder / ONNX)) is not None:
                differences[ONNX] = difference(ONNX, runnable, source, course)
            names.append(ONNX)
        except UserError as error:
            if format == "onnx":
                raise
            (folder / ONNX).unlink(missing_ok=True)
            notes.append(str(error))
    card = make_card(source, course.raw[course.happened], facts)
    card["check"] = {
        "steps": int(course.happened.sum()),
        "differences": differences,
        "note": "share of other choices than vmax's own in training episodes, by file"
        if source.choices
        else "greatest difference of an action in [-1, 1] from vmax's own in training episodes, by file",
    }
    write_json(folder / CARD, {**card, "files": checksums(folder, names)})
    return notes


def _course(env: Environment, source: Source) -> Course:
    """The policy in training episodes, run by vmax."""
    record = trace_episodes(env, source.policy, env.params("train"), jax.random.key(0), EPISODES, STEPS)
    raw = to_values(source.natural.observation, record.trace["observation"]).astype(np.float32)
    action = np.asarray(record.trace["action"])
    return Course(raw, action.reshape(*action.shape[:2], -1), np.asarray(record.steps))


def _write_example(path: Path, source: Source, course: Course) -> None:
    """The first episodes, as rows that the policy can be tried on."""
    lanes = [(lane, int(length)) for lane, length in enumerate(course.lengths[:EXAMPLES])]
    rows = [[str(lane), *(f"{x:.9g}" for x in course.raw[t, lane])] for lane, length in lanes for t in range(length)]
    write_csv(path, [EPISODE, *(quantity.name for quantity in source.natural.observation)], rows)


def difference(name: str, written: Controller, source: Source, course: Course) -> float:
    """Greatest difference of an action of a written controller from vmax's; the share of steps with another choice.

    Raises UserError where it is too great.
    """
    carry, greatest, others = source.fresh(course.raw.shape[1]), 0.0, 0
    for raw, own, happened in zip(course.raw, course.action, course.happened, strict=True):
        action, _, carry = written(raw, carry)  # pyright: ignore[reportArgumentType]
        apart = np.abs(np.asarray(action) - own)[happened]
        greatest, others = max(greatest, float(apart.max(initial=0.0))), others + int(np.count_nonzero(apart))
    if source.choices:
        share = others / max(int(course.happened.sum()) * len(source.actions), 1)
        if share > TIES:
            raise UserError(f"export: {name} acts otherwise than vmax: in {share:.2g} of the steps, over {TIES:g}")
        return share
    network = getattr(source.policy.algorithm, "network", None)  # no part of the contract
    allowed = TOLERANCE[getattr(network, "dtype", "float32")]
    if not greatest <= allowed:
        raise UserError(f"export: {name} acts otherwise than vmax: actions differ by {greatest:.2g}, over {allowed:g}")
    return greatest
