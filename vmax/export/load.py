"""An exported policy put to use: verified, read without executing anything in it, and asked for actions.

Nothing here unpickles: the card is JSON, the policy a serialised StableHLO program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vmax.errors import UserError
from vmax.export.card import STABLEHLO, read_card, read_verified
from vmax.export.function import Carry, Controller, from_stablehlo


@dataclass(frozen=True)
class ExportedPolicy:
    """A policy's card and the compiled function `(raw [N, D], carry) -> (actions, actions in units, carry)`."""

    card: dict[str, Any]
    control: Controller

    @property
    def columns(self) -> list[dict[str, Any]]:
        """What a row of raw observations consists of, as the card says."""
        return self.card["observation"]

    @property
    def answers(self) -> list[str]:
        """Names of what comes back for a row: actions in [-1, 1], then in units."""
        return [column["name"] for column in self.card["action"] + self.card["units"]]

    def fresh(self, batch: int) -> Carry:
        """The carry of so many controllers before their episodes."""
        return tuple(np.zeros((batch, size), np.float32) for size in self.card["carry"])  # pyright: ignore[reportReturnType]

    def act(self, raw: np.ndarray, episodes: Sequence[str] | None = None) -> np.ndarray:
        """Actions for raw observations `[N, D]`, `[N, A + U]` as `answers` names them.

        With memory the rows are one course of steps; where `episodes` `[N]` changes, another begins.
        """
        raw = np.asarray(raw, np.float32)
        if not self.card["carry"]:
            return np.concatenate(self.control(raw, ())[:2], axis=1)  # pyright: ignore[reportArgumentType]
        found, start = [], 0
        for _, group in groupby(episodes if episodes is not None else [""] * len(raw)):
            carry, stop = self.fresh(1), start + len(list(group))
            for row in raw[start:stop]:
                action, units, carry = self.control(row[None], carry)  # pyright: ignore[reportArgumentType]
                found.append(np.concatenate([action[0], units[0]]))
            start = stop
        return np.stack(found)


def load_exported(folder: str | Path) -> ExportedPolicy:
    """The policy in a folder that an export wrote. Raises UserError where a file is missing, damaged or exchanged."""
    folder = Path(folder)
    card = read_card(folder)
    data = read_verified(folder, card, STABLEHLO)
    try:
        function = from_stablehlo(data)
    except ValueError as error:
        raise UserError(f"{folder / STABLEHLO}: {error}; export the policy again") from error
    return ExportedPolicy(card, jax.jit(function.call))
