"""How a policy says what signals are to do: a phase for each (`phase`), hold or go on (`switch`), or the phases of all
as one choice (`joint`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import jax
import jax.numpy as jnp

from vmax.errors import UserError
from vmax.spaces import Discrete

Array = jax.Array
Kind = Literal["phase", "switch", "joint"]
MOST_JOINT = 64
"""Combinations of phases up to which they are one choice."""


def space(kind: Kind, names: Sequence[str], signals: int) -> Discrete:
    """The choices of so many signals with these phases. Raises UserError for more combinations than `MOST_JOINT`."""
    if kind == "phase":
        return Discrete(len(names), tuple(names), signals)
    if kind == "switch":
        return Discrete(2, ("hold", "switch"), signals)
    if len(names) ** signals > MOST_JOINT:
        raise UserError(
            f"env.signals.action=joint: {len(names)}^{signals} combinations of phases; at most {MOST_JOINT}, else phase"
        )
    together = tuple("+".join(reversed(phases)) for phases in product(names, repeat=signals))
    return Discrete(len(together), together)


def decode(kind: Kind, action: Array, phase: Array, phases: Array) -> Array:
    """The phases that an action wishes for, `[J]`, from the present ones and those that each signal has, `[J, P]`."""
    if kind == "joint":
        each = phases.shape[1] ** jnp.arange(len(phase))
        return (jnp.asarray(action) // each) % phases.shape[1]
    wish = jnp.asarray(action).reshape(phase.shape)
    if kind == "phase":
        return wish
    count = jnp.maximum(phases.sum(axis=1).astype(jnp.int32), 1)
    return jnp.where(wish == 1, (phase + 1) % count, phase)


def encode(kind: Kind, wish: Array, phase: Array, phases: Array) -> Array:
    """The action that wishes for these phases, `[J]`; int32, `[J]` or of one choice `[]`."""
    if kind == "joint":
        return (wish * phases.shape[1] ** jnp.arange(len(phase))).sum().astype(jnp.int32)
    chosen = wish if kind == "phase" else wish != phase
    return (chosen[0] if len(phase) == 1 else chosen).astype(jnp.int32)
