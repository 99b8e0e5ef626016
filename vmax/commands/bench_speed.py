"""What `bench` measures of vmax itself: environments, the learner, whole training, and what the machine could do.

All rates are taken from the median of several calls. Measurements that are compared take turns, call by call, so that
whatever else the machine does meets them alike.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from vmax import devices, envs
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Batch, Spec
from vmax.config import RunConfig, compose, load
from vmax.envs.environment import AutoReset, EpisodeStatistics
from vmax.errors import UserError
from vmax.networks.orthogonal import orthogonal
from vmax.spaces import Box, Feature, random_actions
from vmax.training.day_plan import in_days
from vmax.training.run import build_program, trace

Array = jax.Array

SIZE = 256
"""Rows and columns of the matrices whose product is the yardstick."""
PLAIN_SAC = (
    *(
        "algorithm=sac",
        "algorithm.n_step=1",
        "algorithm.num_critics=2",
        "algorithm.post_decision_critic=false",
        "algorithm.counterfactuals=0",
    ),
    *("algorithm.normalise_observations=false", "network=mlp", "network.layer_norm=none", "network.dtype=float32"),
)
"""SAC as every library has it; sizes apart."""
CACHE_OPTIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@dataclass(frozen=True)
class SpeedConfig:
    """What `bench.speed` sets; the meaning of each stands in conf/bench/full.yaml."""

    repeats: int
    num_envs: tuple[int, ...]
    environment_steps: int
    environment_s: float
    observations: tuple[int, ...]
    hidden: tuple[int, ...]
    batch_size: int
    updates: int
    products: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value or min(value if isinstance(value, tuple) else (value,)) < 1:
                raise UserError(f"bench.speed.{name}={value}: must be at least 1")


class Repeated:
    """Calls a compiled function on the state that it returned last, whose memory it may take over."""

    def __init__(self, function: Callable[[Any], Any], state: Any) -> None:
        self.function, self.state = function, state

    def __call__(self) -> Any:
        self.state = self.function(self.state)
        return self.state


def median_seconds(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median duration of each call. In each round all are made in their order; the first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def fitting(config: RunConfig, env: Any) -> RunConfig:
    """The configuration with its steps counted, once its training is traced. Raises UserError where that cannot be."""
    config = in_days(config, env)
    trace(config, env, make_algorithm(config.algorithm, config.network))
    return config


def environment_steps_per_s(env: Any, num_envs: int, config: SpeedConfig) -> float:
    """Steps per second of `num_envs` environments with uniformly random actions, resets and statistics included.

    A timed call makes `environment_steps` steps in all, or fewer where those would take longer than `environment_s`.
    """
    most = max(1, config.environment_steps // num_envs)
    few = max(1, most // 64)
    call = _environment_steps(env, num_envs, few)
    seconds = median_seconds({"steps": call}, 1)["steps"]
    length = int(np.clip(config.environment_s / seconds * few, 1, most))
    call = _environment_steps(env, num_envs, length)
    return length * num_envs / median_seconds({"steps": call}, config.repeats)["steps"]


def _environment_steps(env: Any, num_envs: int, length: int) -> Repeated:
    """A call of `length` steps of `num_envs` environments."""
    params = env.params("train")
    wrapped = EpisodeStatistics(AutoReset(env))
    reset_key, key = jax.random.split(jax.random.key(0))
    reset = jax.jit(wrapped.reset)  # compiled, no two results share one buffer
    state, observation = reset(jax.random.split(reset_key, num_envs), params)

    @partial(jax.jit, donate_argnums=0)
    def steps(carry: Any, params: Any) -> Any:
        def one(carry: Any, _: None) -> tuple[Any, None]:
            key, state, _observation = carry  # the observation is carried so that every step has to compute it
            key, action_key, step_key = jax.random.split(key, 3)
            action = random_actions(env.action_space, action_key, (num_envs,))
            state, observation, _step = wrapped.step(step_key, state, action, params)
            return (key, state, observation), None

        return jax.lax.scan(one, carry, length=length)[0]

    return Repeated(lambda carry: steps(carry, params), (key, state, observation))


def sac_update_flops(observation: int, actions: int, hidden: Sequence[int], batch_size: int) -> float:
    """Floating-point operations of the matrix products in one SAC update with two critics, counted by hand.

    A layer of a pass multiplies `[B, I]` by `[I, O]`: 2 B I O operations, forward and again for each of the two
    gradients, by its weights and by its inputs. The latter is not needed at the first layer, but for the critics in
    the actor's loss, whose gradient goes on into the action (taken by autodiff for the whole input).

        target   actor forward, 2 critics forward
        critics  2 × (forward + weights + inputs behind the first layer)
        actor    actor forward, 2 × (critic forward + inputs), actor weights + inputs behind the first layer
    """
    actor, critic = (observation, *hidden, 2 * actions), (observation + actions, *hidden, 1)

    def passes(sizes: Sequence[int]) -> tuple[float, float]:
        layers = [2.0 * batch_size * i * o for i, o in pairwise(sizes)]
        return sum(layers), sum(layers[1:])

    (actor_all, actor_behind), (critic_all, critic_behind) = passes(actor), passes(critic)
    target = actor_all + 2 * critic_all
    critics = 2 * (critic_all + critic_all + critic_behind)
    return target + critics + actor_all + 2 * (critic_all + critic_all) + actor_all + actor_behind


def matrix_products(count: int) -> Repeated:
    """A call of `count` float32 products of 256 × 256 matrices, each of the last one's result."""
    left, right = jax.random.split(jax.random.key(0))
    # the orthogonal factor keeps the product's size, so that it neither grows nor dies away
    rotation, start = orthogonal()(right, (SIZE, SIZE)), jax.random.normal(left, (SIZE, SIZE))
    multiply = jax.jit(lambda x, by: jax.lax.scan(lambda x, _: (x @ by, None), x, length=count)[0])
    return Repeated(lambda x: multiply(x, rotation), start)


def sac_updates(observation: int, config: SpeedConfig) -> Repeated:
    """A call of `updates` SAC updates on batches that were drawn beforehand; one action."""
    hidden = ",".join(map(str, config.hidden))
    run = load(compose([*PLAIN_SAC, f"network.hidden=[{hidden}]"]))
    algorithm = make_algorithm(run.algorithm, run.network)
    spec = Spec(Box((Feature("seen", size=observation),)), Box((Feature("action"),)), total_updates=10**9)
    shape = (config.updates, config.batch_size)
    keys = jax.random.split(jax.random.key(0), 6)
    batch = Batch(
        observation=jax.random.normal(keys[0], (*shape, observation)),
        action=jax.random.uniform(keys[1], (*shape, 1), minval=-1.0, maxval=1.0),
        reward=jax.random.normal(keys[2], shape),
        discount=jnp.full(shape, 0.99),
        next_observation=jax.random.normal(keys[3], (*shape, observation)),
    )

    @partial(jax.jit, donate_argnums=0)
    def learn(state: Any, batch: Batch) -> Any:
        learner, key = state
        key, update_key = jax.random.split(key)
        return algorithm.update(learner, batch, update_key, spec)[0], key

    return Repeated(lambda state: learn(state, batch), (algorithm.init(keys[4], spec), keys[5]))


def learner(config: SpeedConfig) -> dict[str, float]:
    """`gemm_gflop_per_s` of the machine, and for each observation size D `updates_per_s_D` and `share_of_gemm_D`."""
    updates = {f"{size}": sac_updates(size, config) for size in config.observations}
    seconds = median_seconds({"gemm": matrix_products(config.products), **updates}, config.repeats)
    gemm_per_s = config.products * 2.0 * SIZE**3 / seconds["gemm"]
    figures = {"gemm_gflop_per_s": gemm_per_s / 1e9}
    for size in config.observations:
        rate = config.updates / seconds[f"{size}"]
        flops = sac_update_flops(size, 1, config.hidden, config.batch_size)
        figures |= {f"updates_per_s_{size}": rate, f"share_of_gemm_{size}": rate * flops / gemm_per_s}
    return figures


class Job:
    """A training run without its records: warmed up when made; a call trains one chunk, `config.training.log_every`."""

    def __init__(self, config: RunConfig) -> None:
        t = config.training
        self.env, self.algorithm = envs.make(config.env), make_algorithm(config.algorithm, config.network)
        self.program = build_program(config, self.env, self.algorithm)
        self.params = devices.replicate(self.env.params("train"), devices.count())
        self.sizes = (t.log_every // (t.num_envs * t.unroll), t.warmup_steps // (t.num_envs * t.unroll))
        initialise, warm_up, self.chunk = self.program.compiled(*self.sizes)
        keys = devices.replicate(jax.random.key(config.seed), devices.count())
        self.state = warm_up(initialise(keys, self.params), self.params)

    def __call__(self) -> Any:
        self.state, record = self.chunk(self.state, self.params)
        return jax.block_until_ready(record)

    def weights(self) -> Any:
        """What the deterministic policy is evaluated with."""
        return devices.fetch(self.algorithm.policy(self.state.learner, averaged=True))

    def compile_seconds(self) -> float:
        """Time to trace and compile the chunk afresh; from the compile cache, if that has it."""
        jax.clear_caches()
        started = time.perf_counter()
        self.program.compiled(*self.sizes)[2].lower(self.state, self.params).compile()
        return time.perf_counter() - started


def training(config: RunConfig, repeats: int) -> dict[str, float]:
    """The whole of a run: compile time of its chunk without and with the cache, steps/s and updates/s."""
    job, t = Job(config), config.training
    with fresh_compile_cache():
        cold_s, cached_s = job.compile_seconds(), job.compile_seconds()
    steps_per_s = t.log_every / median_seconds({"chunk": job}, repeats)["chunk"]
    return {
        "compile_cold_s": cold_s,
        "compile_cached_s": cached_s,
        "training_steps_per_s": steps_per_s,
        "training_updates_per_s": steps_per_s * t.updates_per_iteration / (t.num_envs * t.unroll),
    }


@contextmanager
def fresh_compile_cache() -> Iterator[None]:
    """An empty compile cache that takes in everything; afterwards the usual one again."""
    before = [getattr(jax.config, option) for option in CACHE_OPTIONS]
    with TemporaryDirectory() as folder:
        try:
            _use_cache(folder, 0.0)
            yield
        finally:
            _use_cache(*before)


def _use_cache(*values: Any) -> None:
    for option, value in zip(CACHE_OPTIONS, values, strict=True):
        jax.config.update(option, value)
    compilation_cache.reset_cache()


def peak_memory() -> dict[str, float]:
    """The most memory used so far: by the process, and on the accelerator where it tells, MiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {"peak_memory_mib": used / (2**20 if sys.platform == "darwin" else 2**10)}
    statistics_of_device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics_of_device:
        figures["peak_device_memory_mib"] = statistics_of_device["peak_bytes_in_use"] / 2**20
    return figures
