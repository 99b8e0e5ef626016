"""One demand seed under a policy, step by step: densities, signals and queues, for pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import struct

from vmax.envs.traffic_signal.state import Start

if TYPE_CHECKING:
    from vmax.envs.traffic_signal.environment import TrafficSignal

Array = np.ndarray


@struct.dataclass
class Film:
    """T decisions of one network.

    Attributes:
      occupied: share of jam density of every cell, `[T, L, N]`; the last cell is at the stop line.
      phase, before, clearing: of every signal the phase that is or comes next, `[T, J]`, the one before it, and whether
        the clearance between the two lasted until now.
      queue_veh: vehicles that stand on each link or wait outside for it, `[T, L]`.
      arrived_veh, left_veh: so far, `[T]`.
    """

    occupied: Array
    phase: Array
    before: Array
    clearing: Array
    queue_veh: Array
    arrived_veh: Array
    left_veh: Array


def film(env: TrafficSignal, policy: Any, params: Any, start: Start) -> Film:
    """Runs the policy from `start`, whose leaves are `[1]`."""
    length = int(np.asarray(start.end)[0] - np.asarray(start.time)[0])

    @jax.jit
    def run() -> Any:
        keys = jax.random.split(jax.random.key(0), 1)
        states, observation = jax.vmap(env.reset, in_axes=(0, None, 0))(keys, params, start)
        network = env.network(jax.tree.map(lambda leaf: leaf[0], states), params)

        def one(loop: Any, key: Any) -> tuple[Any, Any]:
            states, observation, carry = loop
            action, carry = policy.act(env, states, observation, params, carry, key)
            states, step = jax.vmap(env.step, in_axes=(0, 0, 0, None))(jax.random.split(key, 1), states, action, params)
            state = jax.tree.map(lambda leaf: leaf[0], states)
            seen = env.measures(network, state.traffic)
            shown = (
                state.traffic.r.sum(axis=0),
                state.signals.phase,
                state.signals.before,
                state.signals.green_s <= 0.0,
                seen.halted_veh + seen.outside_veh,
                step.info["arrived_veh"][0],
                step.info["left_veh"][0],
            )
            return (states, step.observation, carry), shown

        begin = (states, observation, policy.initial(env, params, start))
        return jax.lax.scan(one, begin, jax.random.split(jax.random.key(1), length))[1]

    occupied, phase, before, clearing, queue, arrived, left = (np.asarray(leaf) for leaf in run())
    return Film(occupied, phase, before, clearing, queue, arrived.cumsum(), left.cumsum())


def lights(shown: Film, signal: int, phases: Array) -> Array:
    """0 red, 1 green, 2 clearance at a stop line, `[T]`; `phases` says which phases of its signal give it green. Who
    has green before and after a change keeps it."""
    lit, was = phases[shown.phase[:, signal]], phases[shown.before[:, signal]]
    return np.where(shown.clearing[:, signal] & ~(lit & was), 2, np.where(lit, 1, 0))
