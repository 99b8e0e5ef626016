"""Parameters with their Adam state, learning-rate schedules and Polyak averages; all rates may be traced numbers."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

Array = jax.Array
Schedule = Literal["constant", "linear"]


@struct.dataclass
class Trainable:
    """Parameters and the moments that Adam keeps of their gradient."""

    params: Any
    moments: Any


def trainable(params: Any) -> Trainable:
    """Parameters at the start of training."""
    return Trainable(params, optax.scale_by_adam().init(params))


def device_mean(tree: Any, axis: str | None) -> Any:
    """The mean over the mapped device axis, if there is one."""
    return tree if axis is None else jax.lax.pmean(tree, axis)


def descend(
    trained: Trainable, gradient: Any, learning_rate: Array, eps: Array, max_norm: Array | float, axis: str | None
) -> tuple[Trainable, Array]:
    """One Adam step on the gradient's mean over the devices, scaled down to `max_norm` (inf: never) as a whole.

    Returns: the new parameters and the global norm of the gradient before it was clipped.
    Source: Kingma & Ba (2015), algorithm 1, with β = (0.9, 0.999).
    """
    gradient = device_mean(gradient, axis)
    norm = optax.tree.norm(gradient)
    scale = jnp.minimum(1.0, max_norm / norm)
    gradient = jax.tree.map(lambda g: g * scale, gradient)
    steps, moments = optax.scale_by_adam(eps=eps).update(gradient, trained.moments)  # pyright: ignore[reportArgumentType]
    params = jax.tree.map(lambda p, s: p - learning_rate * s, trained.params, steps)
    return Trainable(params, moments), norm


def rate_share(schedule: Schedule, updates: Array, total_updates: Array, constant_share: Array) -> Array:
    """Share of the learning rate that is in force after so many updates.

    `linear`: 1 for `constant_share` of the total, then falling evenly to 0 at the end. `constant`: always 1.
    """
    if schedule == "constant":
        return jnp.ones(())
    left = 1.0 - updates / total_updates
    return jnp.clip(left / jnp.maximum(1.0 - constant_share, 1e-6), 0.0, 1.0)


def polyak(target: Any, online: Any, rate: Array) -> Any:
    """Moves targets towards the online parameters: target + rate (online - target)."""
    return jax.tree.map(lambda t, o: t + rate * (o - t), target, online)


def average(averaged: Any, actor: Any, decay: Array, updates: Array) -> Any:
    """The running mean of an actor's parameters; decay 0 is the actor itself.

    The decay begins low, min(decay, (1 + n) / (10 + n)) at n = `updates`, so that the random first weights are soon
    forgotten. SAC passes the updates before this one (0, 1, …), TD3 those of the critics so far (d, 2 d, …).
    """
    return polyak(averaged, actor, 1.0 - jnp.minimum(decay, (1.0 + updates) / (10.0 + updates)))
