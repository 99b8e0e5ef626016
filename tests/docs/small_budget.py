"""What makes a training of the pages quick: the same one in a small world, with small networks and few steps."""

from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import small_bess
from hydra.core.override_parser.overrides_parser import OverridesParser

from vmax.config import RunConfig, compose, is_hydras, load

STEPS, CHUNK = 192, 64
"""Environment steps of a run, and of one chunk."""
ELSEWHERE = ("compare.", "resume=", "init_from=")
"""Settings of a command that are not those of its trainings, or name a folder that a plan need not have."""
BATTERY = ("evaluation.error_draws=1", "evaluation.days=2")
MICROGRID = (
    *("env.data.train_years=2", "env.data.validation_years=1", "env.data.test_years=1", "env.episode.days=2"),
    "evaluation.days=2",
)
TRAFFIC = (
    *("env.episode.minutes=10", "env.episode.seeds=2", "env.episode.other_levels=[]"),
    *("env.rules.gap=0.2", "env.rules.actuated_max_s=40", "env.rules.sotl_theta=40"),
)
WORLDS = {"microgrid": MICROGRID, "traffic": TRAFFIC, "pendulum": ("env.max_steps=50",), "cartpole": ()}
SIZES = (
    *("training.num_envs=8", f"training.log_every={CHUNK}", f"training.eval_every={CHUNK}"),
    *(f"checkpoint.every={CHUNK}", "evaluation.bootstrap=20", "evaluation.plots=false", "network.hidden=[8]"),
)
OFF_POLICY = (
    *("training.unroll=1", "training.updates_per_iteration=2", "training.batch_size=8"),
    *("training.replay_capacity=1024", f"training.warmup_steps={CHUNK}"),
)
ONE_EPOCH = (
    *("training.epochs=1", "training.days_per_epoch=8", "training.log_every=192", "training.eval_every=192"),
    "checkpoint.every=192",
)


def trainings(arguments: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of every training that a command with these arguments starts; of those that differ in their seeds
    alone, the first."""
    own = [word for word in arguments if not word.startswith(("-", *ELSEWHERE)) and not is_hydras(word)]
    one_seed = [word.partition(",")[0] if word.startswith("seed=") else word for word in own]
    choices = []
    for word, override in zip(one_seed, OverridesParser.create().parse_overrides(one_seed), strict=True):
        key = override.key_or_group
        if override.is_interval_sweep():  # what a search draws from: its ends
            interval: Any = override.value()
            choices.append([f"{key}={interval.start}", f"{key}={interval.end}"])
        elif override.is_sweep_override():
            choices.append([f"{key}={one}" for one in override.sweep_string_iterator()])
        else:
            choices.append([word])
    return list(product(*choices))


@cache
def checked(overrides: tuple[str, ...]) -> RunConfig:
    """The configuration of a training. Raises UserError."""
    return load(compose(overrides))


def in_small(overrides: Sequence[str], prices: Path | None = None) -> tuple[str, ...]:
    """Overrides that make a training small, for those that it has. `prices`: a short file for a battery that is given
    none."""
    config = checked(tuple(overrides))
    return (*small_world(config, prices), *small_run(config))


def small_world(config: RunConfig, prices: Path | None) -> tuple[str, ...]:
    """Little data, short episodes and few of them; rules that are not tuned."""
    kind = config.env.name.partition("_")[0]
    if kind != "bess":
        return WORLDS[kind]
    short = () if config.training.schedule == "epochs" else ("env.episode.days=2",)
    if prices is None or config.env.data.path is not None:
        return (*BATTERY, *short)
    return (*BATTERY, *short, f"env.data.path={prices}", "env.data.timezone=UTC")


def small_run(config: RunConfig) -> tuple[str, ...]:
    """Few steps of few environments, and networks of a few units."""
    memory: Any = ("network.units=4",) if hasattr(config.network, "units") else ()
    if config.on_policy:
        batches = ("algorithm.minibatches=2", "algorithm.epochs=1") if config.algorithm.name == "ppo" else ()
        return (*SIZES, *memory, *batches, "training.unroll=8", f"total_steps={STEPS}")
    if config.training.schedule == "epochs":
        return (*SIZES, *memory, *OFF_POLICY, *ONE_EPOCH)
    return (*SIZES, *memory, *OFF_POLICY, f"total_steps={STEPS}")


def write_prices(path: Path) -> Path:
    """Forty days of prices."""
    small_bess.wavy_prices(40).to_csv(path, index=False)
    return path
