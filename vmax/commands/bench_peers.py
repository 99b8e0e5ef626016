"""SAC of Stable-Baselines3 and of SBX beside that of vmax: same sizes, same environment, same process.

All act in one environment and make one update for each step, with 2 x 256 hidden units unless the config says
otherwise. The peers step the environment through Gymnasium, as their users have to; vmax compiles it in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from vmax import devices, envs
from vmax.commands.bench_speed import PLAIN_SAC, Job, SpeedConfig, median_seconds
from vmax.config import RunConfig, compose, load
from vmax.envs.course import Course, follow
from vmax.envs.rollout import Policy, rollout
from vmax.errors import UserError
from vmax.evaluation.policies import Learned
from vmax.evaluation.validation import Validation

OURS = "vmax"


@dataclass(frozen=True)
class PeerConfig:
    """What `bench.peer` sets; the meaning of each stands in conf/bench/full.yaml."""

    repeats: int
    steps: int
    learning_rate: float
    envs: tuple[tuple[str, ...], ...]
    capture: float
    race_steps: int
    limit_s: float

    def __post_init__(self) -> None:
        for name in ("repeats", "steps", "race_steps", "limit_s"):
            if getattr(self, name) <= 0:
                raise UserError(f"bench.peer.{name}={getattr(self, name)}: must be above 0")


def peer_classes() -> dict[str, Any]:
    """The peers' SAC by name; PyTorch gets as many threads as vmax. Raises UserError where one is not installed."""
    try:
        torch, sb3, sbx = (import_module(name) for name in ("torch", "stable_baselines3", "sbx"))
    except ModuleNotFoundError as error:
        raise UserError(f"peers=true: {error.name} is not installed; pip install vmax[peers]") from error
    torch.set_num_threads(devices.hardware()["threads"])
    return {"sb3": sb3.SAC, "sbx": sbx.SAC}


def check_race(env: Any, speed: SpeedConfig, config: PeerConfig) -> None:
    """Raises UserError for what would show only after minutes: no optimum, or overrides that do not fit."""
    if env.assessment is None:
        raise UserError(f"peers=true: env={env.name} has no optimum to compare with; allowed: bess, bess_pv")
    for overrides in config.envs:
        plain_run(overrides, speed, config)


class Peer:
    """One peer's SAC on an environment of vmax behind Gymnasium; a call makes `steps` steps and as many updates."""

    def __init__(self, sac: Any, env: Any, speed: SpeedConfig, config: PeerConfig, steps: int) -> None:
        from vmax.envs.adapters import GymnasiumEnv

        self.steps = steps
        self.model = sac(
            "MlpPolicy",
            GymnasiumEnv(env),
            learning_rate=config.learning_rate,
            batch_size=speed.batch_size,
            train_freq=1,
            gradient_steps=1,
            policy_kwargs={"net_arch": list(speed.hidden)},
            seed=0,
        )

    def __call__(self) -> None:
        self.model.learn(self.steps, reset_num_timesteps=False)


class PeerPolicy:
    """A peer's deterministic policy as a planner on the host, so that it is judged by the same code as all others."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def course(self, env: Any, params: Any, starts: Any) -> Course:
        return follow(env, self, params, starts)

    def start(self, env: Any, params: Any, starts: Any) -> None:
        return None

    def view(self, env: Any, state: Any, params: Any) -> Any:
        return env.observe(state, params)

    def decide(self, view: np.ndarray, active: np.ndarray, memory: None) -> np.ndarray:
        return self.model.predict(view, deterministic=True)[0]

    def action(self, env: Any, state: Any, params: Any, decision: Any) -> Any:
        return decision


def plain_run(env_overrides: tuple[str, ...], speed: SpeedConfig, config: PeerConfig) -> RunConfig:
    """vmax with the peers' settings: one environment, one update a step."""
    hidden, chunk, warm_up = ",".join(map(str, speed.hidden)), config.steps, max(speed.batch_size, 100)
    sizes = {"num_envs": 1, "unroll": 1, "updates_per_iteration": 1, "batch_size": speed.batch_size}
    sizes |= {"warmup_steps": warm_up, "log_every": chunk, "eval_every": chunk, "replay_capacity": 100_000}
    training = [f"training.{name}={value}" for name, value in sizes.items()]
    return load(
        compose([*env_overrides, *PLAIN_SAC, *training, f"network.hidden=[{hidden}]", f"checkpoint.every={chunk}"])
    )


def update_rates(classes: dict[str, Any], speed: SpeedConfig, config: PeerConfig) -> Iterator[tuple[int, dict]]:
    """For each environment: the size of its observation, and updates/s by name. They take turns, in this order."""
    for overrides in config.envs:
        job = Job(plain_run(overrides, speed, config))
        rivals = {name: Peer(sac, job.env, speed, config, config.steps) for name, sac in classes.items()}
        seconds = median_seconds({OURS: job, **rivals}, config.repeats)
        yield job.env.observation_space.size, {name: config.steps / value for name, value in seconds.items()}


def race(
    run: RunConfig, classes: dict[str, Any], speed: SpeedConfig, config: PeerConfig
) -> Iterator[tuple[str, float | None]]:
    """Seconds of training until the capture on the validation split is reached, by name; None: not within the limit.

    vmax trains the default job, compilation and warm-up counted (the caller empties the compile cache); a peer its own
    defaults, with one update a step. The time of the evaluations counts for nobody.
    """
    env = envs.make(run.env)
    started = time.perf_counter()
    job = Job(run)
    spent_s = time.perf_counter() - started
    settings = run.evaluation
    validation = Validation(
        env, job.algorithm, "validation", settings.error_draws, max_episode_steps=settings.max_episode_steps
    )

    def train() -> None:
        for _ in range(run.training.eval_every // run.training.log_every):
            job()

    def score(policy: Any) -> float:
        return capture(validation, policy)

    yield OURS, time_to(train, lambda: score(Learned(job.weights(), job.algorithm)), config, spent_s)
    for name, sac in classes.items():
        peer = Peer(sac, env, speed, config, config.race_steps)
        policy = PeerPolicy(peer.model)
        yield name, time_to(peer, lambda policy=policy: score(policy), config)


def capture(validation: Validation, policy: Policy | PeerPolicy) -> float:
    """The share of the optimum's uplift that a policy earns."""
    record = rollout(validation.env, policy, validation.params, validation.starts)
    figures = validation.env.assessment.summary(record, validation.params, validation.starts)
    return (figures["value_eur"] - validation.nothing_eur) / validation.best_eur


def time_to(
    train: Callable[[], None], score: Callable[[], float], config: PeerConfig, spent_s: float = 0.0
) -> float | None:
    """Seconds in `train` (and those `spent_s` before) until `score` is high enough; None if that takes too long."""
    while spent_s < config.limit_s:
        started = time.perf_counter()
        train()
        spent_s += time.perf_counter() - started
        if spent_s <= config.limit_s and score() >= config.capture:
            return spent_s
    return None
