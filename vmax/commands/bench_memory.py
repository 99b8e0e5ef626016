"""What `bench` measures of learning with memory: TD3 with LSTM actor and critics on sequences, and the same in PyTorch.

The maths of both is that of `vmax.networks.recurrent`: a memory reads observations, and the action to be valued enters
after it, at the head. A library in which a critic's LSTM reads actions too would have to run it once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Batch, Spec
from vmax.commands.bench_speed import SIZE, Repeated, matrix_products, median_seconds
from vmax.config import compose, load
from vmax.errors import UserError
from vmax.replay.transitions import History
from vmax.spaces import Box, Feature

LSTM_TD3 = (
    *(
        "algorithm=td3",
        "algorithm.n_step=1",
        "algorithm.num_critics=2",
        "algorithm.policy_delay=1",
        "algorithm.post_decision_critic=false",
        "algorithm.counterfactuals=0",
    ),
    *("algorithm.normalise_observations=false", "network=lstm", "network.layer_norm=none", "network.dtype=float32"),
)
"""TD3 as every library has it, with an actor update for each of the critics; sizes apart."""
OURS, THEIRS = "lstm", "torch_lstm"


@dataclass(frozen=True)
class MemoryConfig:
    """What `bench.memory` sets; the meaning of each stands in conf/bench/full.yaml."""

    repeats: int
    observation: int
    units: int
    hidden: tuple[int, ...]
    sequences: int
    length: int
    updates: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value or min(value if isinstance(value, tuple) else (value,)) < 1:
                raise UserError(f"bench.memory.{name}={value}: must be at least 1")


def lstm_td3_flops(
    observation: int, actions: int, units: int, hidden: Sequence[int], sequences: int, length: int
) -> float:
    """Floating-point operations of the matrix products in one TD3 update with two critics, counted by hand.

    A memory of u units reads R = sequences (length + 1) observations of size D, the one that each sequence leads to
    among them. Forward and for the gradient of its weights it makes 2 R (D + u) 4 u operations each, and 2 R u 4 u for
    the gradient of what it remembered. Heads see M = sequences length samples; their layers count as in
    `sac_update_flops`, inputs of the first layer included, through which the gradient goes on into the memory.

        target   actor forward, 2 critics forward
        critics  2 × (forward + weights + inputs), memory and head
        actor    actor forward + weights + inputs, memory and head; 1 critic: memory forward, head forward + inputs
    """
    rows, samples = float(sequences * (length + 1)), float(sequences * length)
    forward, back = 8.0 * rows * (observation + units) * units, 8.0 * rows * units * units
    memories = 3 * forward + 2 * (2 * forward + back) + (2 * forward + back) + forward

    def head(sizes: Sequence[int]) -> float:
        return sum(2.0 * samples * i * o for i, o in pairwise(sizes))

    actor = head((observation + units, *hidden, actions))
    critic = head((observation + actions + units, *hidden, 1))
    return memories + (actor + 2 * critic) + 2 * 3 * critic + 3 * actor + 2 * critic


def sequences_of(config: MemoryConfig) -> Batch:
    """Random sequences for `updates` updates, one action, all steps counting alike."""
    shape = (config.updates, config.length, config.sequences)
    keys = jax.random.split(jax.random.key(0), 3)
    seen = jax.random.normal(keys[0], (shape[0], shape[1] + 1, shape[2], config.observation))
    successor = jnp.broadcast_to(jnp.arange(1, config.length + 1, dtype=jnp.int32)[:, None], shape)
    blank = jnp.zeros((config.updates, config.sequences, config.units))
    return Batch(
        observation=seen[:, :-1],
        action=jax.random.uniform(keys[1], (*shape, 1), minval=-1.0, maxval=1.0),
        reward=jax.random.normal(keys[2], shape),
        discount=jnp.full(shape, 0.99),
        next_observation=seen[:, 1:],
        weight=jnp.ones(shape),
        history=History(seen, (blank, blank), successor),
    )


def learner(config: MemoryConfig) -> tuple[Any, Spec]:
    """TD3 with the memory that the config asks for, and what it learns about: one action."""
    hidden = ",".join(map(str, config.hidden))
    run = load(compose([*LSTM_TD3, f"network.hidden=[{hidden}]", f"network.units={config.units}"]))
    spec = Spec(Box((Feature("seen", size=config.observation),)), Box((Feature("action"),)), total_updates=10**9)
    return make_algorithm(run.algorithm, run.network), spec


def lstm_updates(config: MemoryConfig) -> Repeated:
    """A call of `updates` updates on sequences that were drawn beforehand."""
    (algorithm, spec), batch = learner(config), sequences_of(config)

    @partial(jax.jit, donate_argnums=0)
    def learn(state: Any, batch: Batch) -> Any:
        learner, key = state
        key, update_key = jax.random.split(key)
        return algorithm.update(learner, batch, update_key, spec)[0], key

    init_key, key = jax.random.split(jax.random.key(1))
    return Repeated(lambda state: learn(state, batch), (algorithm.init(init_key, spec), key))


def memory_rates(config: MemoryConfig, products: int, torch: Any = None) -> dict[str, float]:
    """`lstm_updates_per_s` and its `lstm_share_of_gemm`; with torch `torch_lstm_updates_per_s`. They take turns."""
    calls: dict[str, Any] = {"gemm": matrix_products(products), OURS: lstm_updates(config)}
    if torch is not None:
        from vmax.commands.bench_torch import TorchTD3

        calls[THEIRS] = TorchTD3(torch, config)
    seconds = median_seconds(calls, config.repeats)
    rates = {name: config.updates / seconds[name] for name in calls if name != "gemm"}
    sizes = (config.observation, 1, config.units, config.hidden, config.sequences, config.length)
    gemm_per_s = products * 2.0 * SIZE**3 / seconds["gemm"]
    shares = {f"{OURS}_share_of_gemm": rates[OURS] * lstm_td3_flops(*sizes) / gemm_per_s}
    return {f"{name}_updates_per_s": rate for name, rate in rates.items()} | shares
