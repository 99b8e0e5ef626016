"""The configuration of a training run: composed by Hydra from conf/, converted strictly, checked as a whole.

Every component declares its own dataclass beside its code and its defaults in conf/; here they come together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import ceil
from typing import Annotated, Any, Literal

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from vmax.conversion import InputFile, build, convert, show
from vmax.errors import UserError
from vmax.files import config_dir
from vmax.hydra_errors import HYDRA_ERRORS, explain
from vmax.replay.settings import PriorityConfig, SequenceConfig
from vmax.training.rollouts import settled
from vmax.training.stopping import StoppingConfig

REGISTRIES = {"algorithm": "vmax.algorithms", "env": "vmax.envs", "network": "vmax.networks"}


@dataclass(frozen=True)
class BudgetConfig:
    """A full run of an environment in environment steps, and the share of it that this run takes (`mode` sets it)."""

    share: float
    total_steps: int
    eval_every: int
    checkpoint_every: int

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"budget.share={self.share}: must be above 0 and at most 1")
        _at_least(1, "budget", total_steps=self.total_steps, eval_every=self.eval_every)
        _at_least(1, "budget", checkpoint_every=self.checkpoint_every)


@dataclass(frozen=True)
class TrainingConfig:
    """The loop's sizes, over all devices together. Steps are environment steps.

    With `schedule=epochs` an episode is a local day; what is null then follows from the data and the budget
    (`vmax.training.days.in_days`).
    """

    num_envs: int
    unroll: int
    updates_per_iteration: int
    batch_size: int
    replay_capacity: int
    warmup_steps: int
    warmup_rule: str | None
    warmup_noise: float
    log_every: int
    eval_every: int
    schedule: Literal["steps", "epochs"]
    epochs: int | None
    days_per_epoch: int | None
    day_order: Literal["shuffled", "calendar"]
    sequences: SequenceConfig
    priorities: PriorityConfig

    def __post_init__(self) -> None:
        sizes = (
            "num_envs",
            "unroll",
            "updates_per_iteration",
            "batch_size",
            "replay_capacity",
            "log_every",
            "eval_every",
        )
        _at_least(1, "training", **{name: getattr(self, name) for name in sizes})
        for name in ("epochs", "days_per_epoch"):
            value = getattr(self, name)
            if value is not None and self.schedule == "steps":
                raise UserError(f"training.{name}={value}: must be null with training.schedule=steps")
            _at_least(1, "training", **({} if value is None else {name: value}))
        if self.warmup_noise < 0:
            raise UserError(f"training.warmup_noise={self.warmup_noise}: must be at least 0")
        block = self.num_envs * self.unroll
        source = f"training.num_envs * training.unroll = {self.num_envs} * {self.unroll}"
        for name in ("warmup_steps", "log_every", "replay_capacity"):
            _multiple(f"training.{name}", getattr(self, name), block, source)
        _multiple("training.eval_every", self.eval_every, self.log_every, "training.log_every")

    def check_replay(self, n_step: int) -> None:
        """Raises UserError unless the warm-up fits into the replay and holds what learning begins with."""
        block, warm_up = self.num_envs * self.unroll, self.warmup_steps
        if warm_up < max(self.batch_size, block):
            least = f"training.batch_size={self.batch_size} and training.num_envs * training.unroll = {block}"
            raise UserError(f"training.warmup_steps={warm_up}: must be at least {least}")
        if self.replay_capacity < warm_up:
            least = f"training.warmup_steps={warm_up}"
            raise UserError(f"training.replay_capacity={self.replay_capacity}: must be at least {least}")
        if warm_up // self.num_envs <= n_step:
            least = f"training.num_envs * algorithm.n_step = {self.num_envs} * {n_step} = {self.num_envs * n_step}"
            raise UserError(f"training.warmup_steps={warm_up}: must be more than {least}")


@dataclass(frozen=True)
class CheckpointConfig:
    """How often the run is saved (environment steps), how many are kept, and whether they can be resumed exactly.

    `policy_every`: steps between evaluations after which the policy is kept for good; None: none is but the best.
    """

    every: int
    keep: int
    save_replay: bool
    policy_every: int | None

    def __post_init__(self) -> None:
        _at_least(1, "checkpoint", every=self.every, keep=self.keep)
        if self.policy_every is not None:
            _at_least(1, "checkpoint", policy_every=self.policy_every)


@dataclass(frozen=True)
class EvaluationConfig:
    """`error_draws` forecast errors per split, `bootstrap` resamples for the intervals, `plots` or none.

    `days`: only the first so many days of a split, None: all of it. `seasons`: whether each evaluation during training
    also looks at one fixed day of each season. `max_episode_steps`: where an environment does not say how long its
    episodes are at most, they are cut here.
    """

    error_draws: int
    bootstrap: int
    days: int | None
    max_episode_steps: int
    plots: bool
    seasons: bool

    def __post_init__(self) -> None:
        _at_least(1, "evaluation", error_draws=self.error_draws, bootstrap=self.bootstrap)
        _at_least(1, "evaluation", max_episode_steps=self.max_episode_steps)
        if self.days is not None:
            _at_least(1, "evaluation", days=self.days)


@dataclass(frozen=True)
class LoggingConfig:
    """What is written besides metrics.csv: `jsonl`: metrics.jsonl, `days`: the days of a run by epochs, days.jsonl; and
    the tracker that is told the same, under the name of a project."""

    jsonl: bool
    days: bool
    tracker: Literal["wandb", "mlflow"] | None
    project: str


@dataclass(frozen=True)
class RunConfig:
    """All of a training run. `exempt`: checks that are left out, with the reasons (`vmax.checks.settings`). `export`:
    whether it writes its policy as files at its end (policy/). `algorithm`, `env` and `network` are the dataclasses of
    the components chosen."""

    name: str | None
    seed: int
    device: Literal["auto", "cpu", "gpu"]
    threads: int | None
    checks: Literal["on", "off"]
    exempt: Any
    resume: str | None
    init_from: Annotated[str, "the folder of a run", InputFile(recorded=False)] | None
    time_budget_s: float | None
    watchdog_s: float | None
    export: bool
    report: bool
    budget: BudgetConfig
    training: TrainingConfig
    checkpoint: CheckpointConfig
    stopping: StoppingConfig
    evaluation: EvaluationConfig
    logging: LoggingConfig
    total_steps: int | None
    algorithm: Any
    env: Any
    network: Any

    def __post_init__(self) -> None:
        if self.total_steps is not None:
            _at_least(1, "", total_steps=self.total_steps)
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed={self.seed}: must be from 0 to {2**31 - 1}")
        if self.threads is not None:
            _at_least(1, "", threads=self.threads)
        if self.time_budget_s is not None and self.time_budget_s <= 0:
            raise UserError(f"time_budget_s={self.time_budget_s}: must be above 0, or null")
        if self.watchdog_s is not None and self.watchdog_s <= 0:
            raise UserError(f"watchdog_s={self.watchdog_s}: must be above 0, or null")
        if self.checkpoint.policy_every is not None:
            every = self.checkpoint.policy_every
            _multiple("checkpoint.policy_every", every, self.training.eval_every, "training.eval_every")
        _multiple("checkpoint.every", self.checkpoint.every, self.training.log_every, "training.log_every")
        if self.training.schedule == "epochs" and not self.checkpoint.save_replay:
            raise UserError("checkpoint.save_replay=false: must be true with training.schedule=epochs")
        if not self.on_policy:
            self.training.check_replay(self.algorithm.n_step)
        elif not self.checkpoint.save_replay:
            raise UserError(
                f"checkpoint.save_replay=false: must be true with algorithm={self.algorithm.name}, which keeps none"
            )
        self.check_rollouts(1)

    @property
    def on_policy(self) -> bool:
        """Whether rollouts are the batch, without a replay (`vmax.training.rollouts`)."""
        return getattr(self.algorithm, "on_policy", False)

    def check_rollouts(self, devices: int) -> None:
        """Raises UserError unless every device can split its own rollouts into minibatches."""
        if not self.on_policy:
            return
        t, parts = self.training, self.algorithm.parts
        whole = hasattr(self.network, "units")  # sequences stay together
        name, size = ("", t.num_envs) if whole else (" * training.unroll", t.num_envs * t.unroll)
        if size % (parts * devices):
            here = f" on {devices} devices" if devices > 1 else ""
            raise UserError(f"algorithm.minibatches={parts}: must divide training.num_envs{name} = {size}{here}")

    @property
    def planned_steps(self) -> int:
        """The environment steps that are run: the warm-up, then whole chunks of `training.log_every` until at least
        `total_steps` are done."""
        t = self.training
        assert self.total_steps is not None, "with training.schedule=epochs known from the environment on, see in_days"
        return t.warmup_steps + max(1, ceil((self.total_steps - t.warmup_steps) / t.log_every)) * t.log_every


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> DictConfig:
    """The configuration that a command would see with these overrides (`["algorithm=td3", "seed=1"]`).

    May be called any number of times, also from inside a command. Raises UserError for overrides that do not fit, and
    for those of Hydra itself, which would have no effect.
    """
    for override in overrides:
        if is_hydras(override):
            raise UserError(f"{override}: holds on the command line alone; vmax.train names its folder with folder=")
    try:
        return _compose(list(overrides), config_name)
    except HYDRA_ERRORS as error:
        raise composition_error(error, overrides, config_name) from error


def is_hydras(override: str) -> bool:
    """Whether an override is about Hydra itself: `hydra.run.dir=…`, `hydra/launcher=…`."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


def composition_error(error: BaseException, overrides: Sequence[str], config_name: str) -> UserError:
    """What Hydra could not compose, in one line."""
    return UserError(explain(error, overrides, lambda rest: _compose(rest, config_name)))


def _compose(overrides: list[str], config_name: str) -> DictConfig:
    """Hydra's composition, with whatever Hydra was doing in this process put back afterwards."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3", job_name=config_name):
            return hydra_compose(config_name, overrides)
    finally:
        GlobalHydra.instance().clear()
        if outer is not None:
            GlobalHydra.instance().initialize(outer)


def to_mapping(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The composed configuration as plain dictionaries, references resolved and the budget applied.

    Where total_steps, training.eval_every or checkpoint.every is null, it becomes `budget.share` of the full run's
    value in whole chunks of training.log_every; a number that was set stands. With training.schedule=epochs total_steps
    stays null. Raises UserError.
    """
    try:
        composed = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
        plain = OmegaConf.to_container(composed, resolve=True)
    except HYDRA_ERRORS as error:
        raise UserError(explain(error)) from error
    assert isinstance(plain, dict)
    mapping = {str(key): value for key, value in plain.items()}
    training, checkpoint = mapping.get("training"), mapping.get("checkpoint")
    if not (isinstance(training, dict) and isinstance(checkpoint, dict)):
        return mapping
    budget = build(BudgetConfig, mapping.get("budget"), "budget")
    chunk = convert(int, training.get("log_every"), "training.log_every")
    _at_least(1, "training", log_every=chunk)
    if training.get("schedule") == "epochs":
        if mapping.get("total_steps") is not None:
            given = show(mapping["total_steps"])
            raise UserError(f"total_steps={given}: must be null with training.schedule=epochs; set training.epochs")
    elif mapping.get("total_steps") is None:
        mapping["total_steps"] = ceil(budget.share * budget.total_steps / chunk) * chunk
    for section, key, full in ((training, "eval_every", "eval_every"), (checkpoint, "every", "checkpoint_every")):
        if section.get(key) is None:
            section[key] = max(1, round(budget.share * getattr(budget, full) / chunk)) * chunk
    return mapping


def load(config: DictConfig | Mapping[str, Any]) -> RunConfig:
    """The checked configuration of a run. Imports the components chosen (and with them JAX). Raises UserError."""
    mapping = to_mapping(config)
    for group, registry in REGISTRIES.items():
        section = mapping.get(group)
        if not isinstance(section, dict) or "name" not in section:
            raise UserError(f"{group}={show(section)}: must be one of the files in conf/{group} (see --help)")
        component = import_module(registry).config_class(section["name"])
        mapping[group] = build(component, section, group)
    mapping["training"] = settled(mapping.get("training"), mapping["algorithm"])
    return build(RunConfig, mapping)


def check_devices(config: RunConfig, devices: int) -> None:
    """Raises UserError unless everything that is spread over the devices divides by their number."""
    config.check_rollouts(devices)
    for name in ("num_envs",) if config.on_policy else ("num_envs", "batch_size", "replay_capacity"):
        _multiple(f"training.{name}", getattr(config.training, name), devices, "the number of devices")


def _at_least(least: int, section: str, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise UserError(f"{section}{'.' if section else ''}{name}={value}: must be at least {least}")


def _multiple(key: str, value: int, unit: int, source: str) -> None:
    if value % unit:
        nearest = max(1, round(value / unit)) * unit
        raise UserError(f"{key}={value}: must be a multiple of {source} = {unit} (nearest: {nearest})")
