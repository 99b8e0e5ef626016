"""The clock of signals: green, the clearance between two greens (yellow, all-red), the least and the most green."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from vmax.errors import UserError

Array = jax.Array


@dataclass(frozen=True)
class Timing:
    """Seconds of yellow and all-red between two greens, and of the least and the most green."""

    yellow_s: float
    all_red_s: float
    min_green_s: float
    max_green_s: float

    def __post_init__(self) -> None:
        for name in ("yellow_s", "all_red_s", "min_green_s"):
            if getattr(self, name) < 0:
                raise UserError(f"env.signals.{name}={getattr(self, name)}: must be at least 0")
        if self.max_green_s <= self.min_green_s:
            raise UserError(
                f"env.signals.max_green_s={self.max_green_s}: must be above env.signals.min_green_s={self.min_green_s}"
            )

    @property
    def clearance_s(self) -> float:
        """Seconds between two greens when the phase changes; who has green before and after keeps it."""
        return self.yellow_s + self.all_red_s


@struct.dataclass
class Signals:
    """Of J signals, `[J]`: the phase that is or comes next, the one that was before it, seconds of green so far, of the
    clearance that is left.

    `switches` counts changes of phase.
    """

    phase: Array
    before: Array
    green_s: Array
    clear_s: Array
    switches: Array

    @classmethod
    def fresh(cls, phase: Array, dtype: jnp.dtype | None = None) -> Signals:
        """Green has just begun in these phases, `[J]`."""
        zero = jnp.zeros(phase.shape, dtype or jnp.float32)
        phase = phase.astype(jnp.int32)
        return cls(phase, phase, zero, zero, zero)


def allowed(signals: Signals, phases: Array, timing: Timing) -> Array:
    """Which phases may be asked for, `[J, P]` bool, from the phases that each signal has.

    In the clearance and before the least green is over only the one that is; after the most green any but it.
    """
    current = jnp.arange(phases.shape[1]) == signals.phase[:, None]
    held = (signals.clear_s > 0.0) | (signals.green_s < timing.min_green_s)
    over = signals.green_s >= timing.max_green_s
    return (phases > 0.0) & jnp.where(held[:, None], current, jnp.where(over[:, None], ~current, True))


def request(signals: Signals, wish: Array, phases: Array, timing: Timing) -> Signals:
    """The signals after a wish for a phase of each, `[J]`: what is not allowed is ignored; after the most green the
    next phase follows where none is wished for."""
    may = allowed(signals, phases, timing)
    following = (signals.phase + 1) % jnp.maximum(phases.sum(axis=1).astype(jnp.int32), 1)
    over = (signals.green_s >= timing.max_green_s) & (signals.clear_s <= 0.0)
    granted = jnp.take_along_axis(may, wish[:, None].astype(jnp.int32), axis=1)[:, 0]
    phase = jnp.where(granted, wish, jnp.where(over, following, signals.phase)).astype(jnp.int32)
    changes = phase != signals.phase
    return Signals(
        phase=phase,
        before=jnp.where(changes, signals.phase, signals.before),
        green_s=jnp.where(changes, 0.0, signals.green_s),
        clear_s=jnp.where(changes, timing.clearance_s, signals.clear_s),
        switches=signals.switches + changes,
    )


def tick(signals: Signals, dt_s: float) -> Signals:
    """The signals after a sub-step: the clearance passes, then green."""
    clearing = signals.clear_s > 0.0
    return signals.replace(  # pyright: ignore[reportAttributeAccessIssue]
        green_s=jnp.where(clearing, signals.green_s, signals.green_s + dt_s),
        clear_s=jnp.maximum(signals.clear_s - dt_s, 0.0),
    )


def gates(signals: Signals, green: Array, unsignalled: Array) -> Array:
    """Share of each stop line that is open, `[L]`: at green of its signal; in the clearance where it has green before
    and after it."""
    phases = jnp.arange(green.shape[1])
    lit, was = (phases == phase[:, None] for phase in (signals.phase, signals.before))
    now = jnp.einsum("jp,jpl->jl", lit.astype(green.dtype), green)
    kept = jnp.einsum("jp,jpl->jl", (was | (signals.clear_s <= 0.0)[:, None]).astype(green.dtype), green)
    return (now * jnp.minimum(kept, 1.0)).sum(axis=0) + unsignalled
