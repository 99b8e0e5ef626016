"""Where something that is not finite came from: noted in the compiled program, put in words on the host.

The first of them is noted for good, so that what follows from it (actions, losses, parameters) is not blamed.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.counters import counted
from vmax.envs.environment import Step
from vmax.spaces import Box

Array = jax.Array
NONE = -1


@struct.dataclass
class Fault:
    """The first number that was not finite; int32 scalars.

    Attributes:
      source: `NONE`; or which number: the D of the observation that was acted on, the A of the action, the reward, the
        D of the observation that followed.
      episode_step: how many steps its episode had then.
      since: vector steps since then, that one included.
    """

    source: Array
    episode_step: Array
    since: Array


def no_fault() -> Fault:
    """Nothing yet."""
    return Fault(jnp.int32(NONE), jnp.int32(0), jnp.int32(0))


def noted(fault: Fault, observation: Array, action: Array, step: Step) -> Fault:
    """After one more step of N environments: what was acted on `[N, D]`, the action, and what it led to."""
    count = len(observation)
    parts = [observation, action.reshape(count, -1), step.reward[:, None], step.observation]
    whole = jnp.stack([jnp.isfinite(part).all() for part in parts]).all()
    known = fault.source != NONE

    def find() -> Fault:
        bad = jnp.concatenate([~jnp.isfinite(part) for part in parts], axis=1)
        source = jnp.argmax(bad.any(axis=0)).astype(jnp.int32)
        steps = step.info["episode_length"][jnp.argmax(bad[:, source])]
        before = (source < observation.shape[1] + parts[1].shape[1]).astype(jnp.int32)
        return Fault(source, steps - before, jnp.int32(1))

    later = replace(fault, since=counted(fault.since, known.astype(jnp.int32)))
    return jax.lax.cond(known | whole, lambda: later, find)


def first(fault: Fault, axis: str) -> Fault:
    """The first fault of all devices."""
    of_all = jax.lax.all_gather(fault, axis)
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(of_all.since)], of_all)


def in_words(fault: Fault, observation: Box, actions: int) -> str | None:
    """What the environment gave that is not finite; None where that is nothing, or the action came first."""
    source, size = int(fault.source), observation.size
    if source == NONE or size <= source < size + actions:
        return None
    when = f"is not finite (first in episode step {int(fault.episode_step)})"
    if source == size + actions:
        return f"the environment's reward {when}"
    entry = source if source < size else source - size - actions - 1
    return f"the environment's observation `{observation.names[entry]}` {when}"


def when(fault: Fault, step: int, num_envs: int) -> int:
    """The environment step at which it came, from the one at which the fault was read; N environments step together."""
    return step - int(np.asarray(fault.since)) * num_envs + num_envs
