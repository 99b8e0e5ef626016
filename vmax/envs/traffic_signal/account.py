"""The account of demand: what the files of networks ask for, read anew and by another way, beside what the simulation
receives. Nothing here knows the arrays or the descriptions that the simulation is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.traffic_signal import network_yaml
from vmax.envs.traffic_signal.demand import Drawn
from vmax.envs.traffic_signal.network import find

if TYPE_CHECKING:
    from vmax.envs.traffic_signal.environment import TrafficSignal

Array = jax.Array
SEEDS = 8
"""Episodes whose arrivals are counted."""
SIGMAS = 6.0
"""Standard deviations by which their number may miss its mean by chance."""


@dataclass(frozen=True)
class Asked:
    """Vehicles an hour of every entry of `demand` of M files, `[M, D]`, padded with none: steady, the least and the
    greatest of the swing, and its phase."""

    per_h: np.ndarray
    low: np.ndarray
    high: np.ndarray
    phase: np.ndarray

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Asked:
        """From the files."""
        files = [network_yaml.values_below(path.read_text(encoding="utf-8"), "demand") for path in paths]
        rows = np.zeros((4, len(files), max(map(len, files))))
        for m, entries in enumerate(files):
            for d, entry in enumerate(entries):
                per_h = float(entry["per_h"])
                low, high = map(float, entry.get("swing", (per_h, per_h)))
                rows[:, m, d] = per_h, low, high, float(entry.get("phase", 0.0))
        return cls(*rows)

    def per_s(self, env: TrafficSignal, which: Array, drawn: Drawn, time_s: Array) -> Array:
        """Vehicles a second of all entries of a file in an episode at a time."""
        pattern, period_s = env.config.demand.pattern, env.config.demand.period_s
        per_h, low, high, phase = (jnp.asarray(v)[which] for v in (self.per_h, self.low, self.high, self.phase))
        if pattern == "swinging":
            wave = jnp.sin(2.0 * jnp.pi * (time_s / period_s + drawn.phase + phase))
            per_h = (high + low) / 2.0 + (high - low) / 2.0 * wave
        if pattern == "time_of_day":
            hour = jnp.floor(drawn.hour + time_s / 3600.0).astype(jnp.int32) % 24
            per_h = per_h * jnp.asarray(env.config.demand.by_hour)[hour]
        return drawn.level * per_h.sum() / 3600.0


@lru_cache(maxsize=8)
def asked(env: TrafficSignal) -> Asked:
    """What the environment's files ask for."""
    return Asked.of([find(name) for name in env.config.networks])


def residuals(env: TrafficSignal, state: Any, info: dict[str, Array], params: Any) -> dict[str, Array]:
    """By how much the vehicles that may come in this step differ from those that the file asks for, and those that came
    from those that were drawn, as shares."""
    network, dt_s = env.network(state, params), env.config.flow.dt_s
    times = dt_s * (state.time * env.config.substeps + jnp.arange(env.config.substeps))
    wanted = jax.vmap(lambda t: asked(env).per_s(env, state.which, state.drawn, t))(times).sum() * dt_s
    given = jax.vmap(lambda t: env.arrivals.rates(network, state.drawn, t).sum())(times).sum() * dt_s
    came = env.arrivals.of_step(network, state.drawn, state.time, env.config.substeps, dt_s).sum()
    return {
        "demand of the file": (wanted - given) / jnp.maximum(wanted, 1.0),
        "arrivals": (came - info["arrived_veh"]) / jnp.maximum(came, 1.0),
    }


@lru_cache(maxsize=8)
def undrawn(env: TrafficSignal) -> float:
    """The share of the demand at the greatest level of training that draws lose (or add), beyond what chance explains:
    whole episodes of a few seeds, every network."""
    config = env.config
    level, shares = jnp.float32(config.demand.train_levels[1]), jnp.asarray(config.demand.shares, jnp.float32)
    steps, count, dt_s = jnp.arange(env.episode_steps), config.substeps, config.flow.dt_s

    def counted(network: Any, which: Array, key: Array) -> Array:
        drawn = Drawn(level, jnp.float32(0.0), jnp.float32(0.0), shares, key)
        came = jax.lax.map(lambda step: env.arrivals.of_step(network, drawn, step, count, dt_s).sum(), steps)
        times = dt_s * jnp.arange(env.episode_steps * count)
        due = jax.vmap(lambda t: asked(env).per_s(env, which, drawn, t))(times).sum() * dt_s
        return jnp.stack([came.sum(), due])

    keys, networks = jax.random.split(jax.random.key(0), SEEDS), env.params("train").networks
    by_network = jax.vmap(jax.vmap(counted, in_axes=(None, None, 0)), in_axes=(0, 0, None))
    came, due = np.asarray(jax.jit(by_network)(networks, jnp.arange(len(env.descriptions)), keys)).sum(axis=1).T
    chance = SIGMAS * np.sqrt(due) if config.demand.poisson else 1e-4 * due
    return float((np.maximum(np.abs(came - due) - chance, 0.0) / np.maximum(due, 1.0)).max())
