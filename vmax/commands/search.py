"""`hydra/sweeper=tpe`: settings searched by Optuna's tree-structured Parzen estimator, in a study that is kept.

A study is of one task: everything that is not searched (environment, algorithm, budget, seed, …) is on record in it and
makes its name. Trial n is drawn by a generator seeded with `sampler.seed` and n, from the trials before it: neither a
later command nor a second process at the same time repeats a point.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from vmax.commands.cli import flat
from vmax.config import to_mapping
from vmax.conversion import build, show
from vmax.errors import UserError
from vmax.hydra_errors import keys

SQLITE = "sqlite:///"
OLDEST = 4
"""The first version of Optuna that this is written for."""
TASK = "task"
"""The attribute of a study that holds the settings which are not searched."""
UNTOLD = (
    *("name", "device", "threads", "checks", "export", "report", "resume"),
    *("logging.", "checkpoint.", "evaluation.plots"),
)
"""Settings, or what they begin with, that change no score."""


@dataclass(frozen=True)
class SamplerConfig:
    """How points are drawn."""

    seed: int
    n_startup_trials: int


@dataclass(frozen=True)
class SearchConfig:
    """Settings of the search; the meaning of each stands in conf/hydra/sweeper/tpe.yaml."""

    study_name: str | None
    storage: str
    n_trials: int
    n_jobs: int
    max_failure_rate: float
    sampler: SamplerConfig
    params: Any

    def __post_init__(self) -> None:
        for name in ("n_trials", "n_jobs"):
            if getattr(self, name) < 1:
                raise UserError(f"hydra.sweeper.{name}={getattr(self, name)}: must be at least 1")
        if not 0 <= self.max_failure_rate <= 1:
            raise UserError(f"hydra.sweeper.max_failure_rate={self.max_failure_rate:g}: must be within [0, 1]")
        if self.sampler.seed < 0:
            raise UserError(f"hydra.sweeper.sampler.seed={self.sampler.seed}: must be at least 0")


@dataclass
class Search:
    """A search: its settings, Hydra's configuration, and who composes and starts the jobs."""

    settings: SearchConfig
    config: DictConfig
    loader: ConfigLoader
    launcher: Launcher
    started: int = field(default=0, init=False)

    @classmethod
    def of(cls, settings: Mapping[str, Any], config: DictConfig, loader: ConfigLoader, launcher: Launcher) -> Search:
        """From what Hydra gives a sweeper. Raises UserError."""
        plain = OmegaConf.to_container(OmegaConf.create(dict(settings)), resolve=True)
        return cls(build(SearchConfig, plain, "hydra.sweeper"), config, loader, launcher)

    def go(self, arguments: Sequence[str]) -> None:
        """The whole search over the overrides. Raises UserError, also where too many trials fail."""
        space, fixed = self.space(arguments)
        study = self._study(space, task_of(self._composed(fixed, space), space))
        folder = Path(str(self.config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        where = f"study {study.study_name} in {self.settings.storage.removeprefix(SQLITE)}"
        print(f"{where}: {len(study.trials)} trials so far; searched: {', '.join(space) or 'nothing'}", flush=True)
        failed, rate = 0, self.settings.max_failure_rate
        while self.started < self.settings.n_trials:
            failed += self._batch(study, space, fixed)
            if failed > rate * self.settings.n_trials:
                raise UserError(f"hydra.sweeper.max_failure_rate={rate:g}: {failed} of {self.started} trials failed")
        best = max((t for t in study.trials if t.values), key=lambda trial: trial.values[0], default=None)
        if best is not None:
            found = {"study": study.study_name, "best_value": best.values[0], "best_params": best.params}
            OmegaConf.save(OmegaConf.create({"name": "optuna", **found}), folder / "optimization_results.yaml")
            said = ", ".join(f"{key}={value}" for key, value in best.params.items())
            print(f"{where}: {len(study.trials)} trials, the best {best.values[0]:.4g} with {said}", flush=True)

    def space(self, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """What is searched, as Optuna's distributions by key, and the other overrides.

        The preset's settings are searched where the algorithm (each, where several are searched) has them, and nothing
        else is typed for them. Raises UserError.
        """
        parser = OverridesParser.create(config_loader=self.loader)
        typed = parser.parse_overrides(list(arguments))
        space = {one.get_key_element(): distribution(one) for one in typed if one.is_sweep_override()}
        fixed = [str(one.input_line) for one in typed if not one.is_sweep_override()]
        groups = [key for key in space if key in self.config.hydra.runtime.choices]
        choices = product(*([f"{key}={value}" for value in space[key].choices] for key in groups))
        known = [set(keys(self._load([*fixed, *chosen]))) for chosen in choices]
        said = {one.get_key_element().lstrip("+~") for one in typed}
        preset = {key: value for key, value in (self.settings.params or {}).items() if key not in said}
        for one in parser.parse_overrides([f"{key}={value}" for key, value in preset.items()]):
            key = one.get_key_element()
            if not all(key in names for names in known):
                continue
            if one.is_sweep_override():
                space[key] = distribution(one)
            else:
                fixed.append(str(one.input_line))
        return space, fixed

    def _load(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, without what is Hydra's."""
        config = self.loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            del config["hydra"]
        return config

    def _composed(self, fixed: Sequence[str], space: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the trials; for what is searched, some value of it. Raises UserError."""
        some = [f"{key}={one.choices[0] if hasattr(one, 'choices') else one.low}" for key, one in space.items()]
        return to_mapping(self._load([*fixed, *some]))

    def _study(self, space: Mapping[str, Any], task: dict[str, Any]) -> Any:
        """The study of this task, found or made. Raises UserError where the one of this name is of something else."""
        optuna = _optuna()
        settings = self.settings
        same = [task, {key: _kind(one) for key, one in space.items()}]
        digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:8]
        algorithm, env = (task.get(f"{group}.name", "any") for group in ("algorithm", "env"))
        name = settings.study_name or f"{algorithm}_{env}_{digest}"
        place = f"hydra.sweeper.study_name={name} in {settings.storage.removeprefix(SQLITE)}"
        with self._alone():
            try:
                study = optuna.create_study(
                    study_name=name, storage=_storage(settings.storage), direction="maximize", load_if_exists=True
                )
            except Exception as error:  # of Optuna, SQLAlchemy or a database's driver
                reason = str(error).splitlines()[0]
                raise UserError(f"hydra.sweeper.storage={settings.storage}: cannot be used ({reason})") from error
            before = study.user_attrs.get(TASK)
            if before is None and not study.trials:
                study.set_user_attr(TASK, task)
                return study
        if before is None:
            raise UserError(f"{place}: was not made by this search; name another study")
        for key in (*before, *task):
            then, now = (show(of[key]) if key in of else "none" for of in (before, task))
            if then != now:
                raise UserError(f"{place}: its trials have {key}={then}, here {now}; name another study")
        for key, old, new in ((k, t.distributions[k], space[k]) for t in study.trials for k in space if k in t.params):
            try:
                optuna.distributions.check_distribution_compatibility(old, new)
            except ValueError as error:
                told = f"{place}: {key} was searched in {_told(old)}, here in {_told(new)}"
                raise UserError(f"{told}; go on with those, or name another study") from error
        return study

    def _batch(self, study: Any, space: Mapping[str, Any], fixed: Sequence[str]) -> int:
        """The next trials, side by side, in folders with their numbers; returns how many had no score.

        None is left open, whatever ends them.
        """
        from optuna.trial import TrialState

        count = min(self.settings.n_jobs, self.settings.n_trials - self.started)
        with self._alone():
            unfinished = [study.ask() for _ in range(count)]
        failed = 0
        try:
            points = [self._point(study, trial, space) for trial in unfinished]
            jobs = [[*fixed, *(f"{key}={value}" for key, value in point.items())] for point in points]
            returns = self.launcher.launch(jobs, initial_job_idx=unfinished[0].number)
            self.started += count
            for done in returns:
                score = done.return_value if done.status == JobStatus.COMPLETED else None
                if score is not None and np.isfinite(score):
                    study.tell(unfinished.pop(0), float(score))
                else:
                    study.tell(unfinished.pop(0), state=TrialState.FAIL)
                    failed += 1
        finally:
            for trial in unfinished:
                study.tell(trial, state=TrialState.FAIL)
        return failed

    def _point(self, study: Any, trial: Any, space: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a trial, drawn by a generator of its own."""
        optuna, settings = _optuna(), self.settings.sampler
        seed = int(np.random.SeedSequence([settings.seed, trial.number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # before Optuna 5 constant_liar counts as experimental
            study.sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=settings.n_startup_trials, constant_liar=True
            )
        return {key: _suggest(trial, key, one) for key, one in space.items()}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While entered, no other process makes tables or trials in the same file, which SQLite does not keep apart."""
        if not self.settings.storage.startswith(SQLITE):
            yield
            return
        folder = Path(self.settings.storage.removeprefix(SQLITE)).parent
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def task_of(settings: Mapping[str, Any], searched: Iterable[str]) -> dict[str, Any]:
    """What a study is of, by full keys: the settings that are not searched and that a score depends on."""
    names = [key.lstrip("+~") for key in searched]
    left_out = (*UNTOLD, *(f"{name}." for name in names))
    return {key: value for key, value in flat(settings).items() if key not in names and not key.startswith(left_out)}


def distribution(one: Override) -> Any:
    """What an override says is to be searched, as Optuna has it. Raises UserError for an interval without inside."""
    found = _optuna().distributions
    value = one.value()
    try:
        if isinstance(value, IntervalSweep):
            whole = isinstance(value.start, int) and isinstance(value.end, int)
            kind = found.IntDistribution if whole else found.FloatDistribution
            return kind(value.start, value.end, log="log" in value.tags)
        if isinstance(value, RangeSweep) and not value.shuffle:
            values = [OmegaConf.create(f"x: {text}").x for text in one.sweep_string_iterator()]
            kind = found.IntDistribution if isinstance(value.step, int) else found.FloatDistribution
            return kind(min(values), max(values), step=abs(value.step))
        return found.CategoricalDistribution(list(one.sweep_string_iterator()))
    except ValueError as error:
        raise UserError(f"{one.input_line}: cannot be searched ({error})") from error


def _suggest(trial: Any, key: str, one: Any) -> Any:
    if hasattr(one, "choices"):
        return trial.suggest_categorical(key, one.choices)
    kind = trial.suggest_int if isinstance(one.low, int) else trial.suggest_float
    return kind(key, one.low, one.high, log=one.log, **({} if one.step is None or one.log else {"step": one.step}))


def _kind(one: Any) -> list[str]:
    """What must be the same of a setting in all trials of a study; the ends of an interval may change."""
    if hasattr(one, "choices"):
        return [str(choice) for choice in one.choices]
    return [type(one).__name__, "log" if one.log else "linear"]


def _told(one: Any) -> str:
    """What is searched as one would type it."""
    if hasattr(one, "choices"):
        return f"choice({','.join(map(str, one.choices))})"
    if one.step is not None and one.step != 1:
        return f"range({one.low},{one.high + one.step},{one.step})"
    between = f"interval({one.low},{one.high})"
    between = f"int({between})" if isinstance(one.low, int) else between
    return f"tag(log,{between})" if one.log else between


def _storage(url: str) -> Any:
    """The storage of studies; a file of SQLite is waited for while another process writes."""
    if not url.startswith(SQLITE):
        return url
    return _optuna().storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})


def _optuna() -> Any:
    """The library, which says nothing by itself. Raises UserError where it is missing or too old."""
    try:
        import optuna
    except ImportError as error:
        raise UserError('hydra/sweeper=tpe: Optuna is not installed; pip install -e ".[sweep]"') from error
    if int(optuna.__version__.partition(".")[0]) < OLDEST:
        said = f"hydra/sweeper=tpe: needs Optuna {OLDEST} or later, here is {optuna.__version__}"
        raise UserError(f'{said}; pip install -e ".[sweep]"')
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
