"""Counters on the device: 32-bit numbers that end at their greatest value instead of beginning again below zero."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

MOST = 2**31 - 1
"""The greatest int32."""


def counted(count: Any, more: Any) -> Any:
    """A counter, int32, after `more` of what it counts (at least 0): count + more, at most `MOST`."""
    return count + jnp.minimum(more, MOST - count)
