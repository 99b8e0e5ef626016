"""Learning on sequences, and with weights: every step is a sample, beside what a network remembers there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vmax.algorithms import normaliser
from vmax.algorithms.optimiser import device_mean
from vmax.networks.mlp import NetworkConfig
from vmax.networks.recurrent import remember
from vmax.replay.transitions import Batch, History

Array = jax.Array


class Recalled(NamedTuple):
    """What is remembered at each sample and at its successor, `[M, units]`; None without memory."""

    now: Array | None
    then: Array | None


def samples_of(inputs: tuple[Batch, Array, Array], axis: str | None) -> tuple[Batch, Array, Array]:
    """The steps of sequences `[L, B]` as M = L B samples; weights are scaled to the mean 1 over all devices.

    Args: a batch, its noise `[..., L, B, A]` and its other charges `[K, L, B, C]`. Single transitions, `[B]`, stay as
    they are but for weights. `history` stays one of sequences.
    """
    batch, noise, elsewhere = inputs
    if batch.weight is not None and batch.history is not None:
        count = batch.weight.size
        noise, elsewhere = (leaf.reshape(*leaf.shape[:-3], count, leaf.shape[-1]) for leaf in (noise, elsewhere))
    return as_samples(batch, axis), noise, elsewhere


def as_samples(batch: Batch, axis: str | None) -> Batch:
    """The steps of sequences `[L, B]` as M = L B samples; weights are scaled to the mean 1 over all devices."""
    if batch.weight is None:
        return batch
    if batch.history is not None:
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), replace(batch, history=None))
        batch = replace(flat, history=batch.history)
    assert batch.weight is not None
    share = jnp.maximum(device_mean(jnp.mean(batch.weight), axis), 1e-6)
    return replace(batch, weight=batch.weight / share)


def as_seen(batch: Batch, state: Any, watched: Array | None) -> Batch:
    """The batch as networks see it, by the `normaliser` and the `reward_scale` of a learner's state.

    A memory reads what is `watched`, 1 or 0 of each entry, `[D]`.
    """
    seen = lambda observation: normaliser.normalise(state.normaliser, observation)  # noqa: E731
    scale = state.reward_scale
    history = batch.history
    if history is not None and watched is not None:
        history = replace(history, observation=seen(history.observation) * watched)
    return replace(
        batch,
        observation=seen(batch.observation),
        reward=batch.reward if scale is None else batch.reward / normaliser.reward_unit(scale),
        next_observation=seen(batch.next_observation),
        history=history,
    )


def weighted(values: Array, weight: Array | None) -> Array:
    """Values `[..., M]` times their weights `[M]`, whose mean is 1: the mean of it is the weighted mean."""
    return values if weight is None else values * weight


def recalled(config: NetworkConfig, variables: Any, history: History, carry: Any) -> Recalled:
    """One pass of a memory over sequences from `carry`, read at the samples `[M]` and at their successors."""
    outputs, _ = remember(config, variables, history.observation, carry)
    assert outputs is not None
    flat = lambda leaf: leaf.reshape(-1, leaf.shape[-1])  # noqa: E731
    then = jnp.take_along_axis(outputs, history.successor[..., None], axis=0)
    return Recalled(flat(outputs[:-1]), flat(then))


def repeated(weight: Array | None, count: int) -> Array | None:
    """Weights `[M]` for `count` copies of the samples."""
    return None if weight is None else jnp.tile(weight, count)


def tiled(memory: Array | None, count: int) -> Array | None:
    """What is remembered at M samples, `[..., M, units]`, for `count` copies of them."""
    return None if memory is None else jnp.concatenate([memory] * count, axis=-2)
