"""Every command and every setting that a page names is one that the code takes.

A command is composed and its settings are checked as they are typed; where it trains, so is each of its trainings. Of
those that differ in world, algorithm, network or schedule one each is built, in a small world, and a step, the learner
and its actions are traced. Most mistakes show there, within seconds; to run all of them takes many minutes and is what
`test_page_commands.py` is for (`slow`). Programs other than ours are named in `OTHER_PROGRAMS` with the reason why they
are not run, and a command of another kind fails.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import pages
import pytest
import small_budget
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from vmax import envs
from vmax.algorithms import make_algorithm
from vmax.commands import report
from vmax.config import compose, is_hydras, load, to_mapping
from vmax.conversion import build
from vmax.errors import UserError
from vmax.files import config_dir
from vmax.spaces import random_actions
from vmax.training.day_plan import in_days
from vmax.training.run import build_program

OTHER_PROGRAMS = {
    r"venv \.venv|pip install -c constraints\.txt -e \.(\[\w+\])?|pip install -e \.\[\w+\]|bash \.ci/run": "installs "
    "from a package index, minutes; .ci/run is the very thing that does it",
    r"pip install -c constraints\.txt jax\[cuda12\]|nvidia-smi": "needs a GPU",
    r"pytest|pytest tests/replay|pytest -m slow .*": "is this very suite",
    r"ruff (check|format --check) \.|pyright --pythonpath \.venv/bin/python": "is part of .ci/run",
    r"apt-get install chromium": "changes the machine",
    r"source \.venv/bin/activate": "needs an environment at .venv",
    r"tensorboard --logdir outputs": "is a server, which does not end",
    r"RUN/policy/act\.py RUN/policy/example\.csv": "tried with an export by test_page_commands.py",
}
TRAINS = ("train", "compare", "rolling_origin", "bench")
OWN_KEYS = {"rolling_origin": ("years=", "train_years="), "bench": ("bench.", "bench=", "peers=")}
NO_SETTING = {
    "optimum.kind=plan": "a figure of result.json",
    "key=[a,b]": "stands for any key",
    "algorithm.discount=interval(0.98,0.999)": "what a sweeper searches, which no single run takes",
}
COMPANIONS = {
    "training.epochs=null": ("training.schedule=epochs",),
    "training.schedule=epochs": ("env.episode.days=1",),
    **{
        f"env={name}": ("algorithm=dqn",)
        for name in ("traffic_signal", "traffic_corridor", "traffic_lagos", "cartpole")
    },
    "algorithm=dqn": ("env=cartpole",),
}
"""What a setting goes with, where a page names it alone."""
NO_MATTER = (
    "seed=",
    "name=",
    "threads=",
    "mode=",
    "total_steps=",
    "training.eval_every=",
    "time_budget_s=",
    "stopping.",
)
"""Settings in which two trainings may differ that are built alike."""
CONTEXTS = (
    *(("train", choices) for choices in ((), ("algorithm=td3", "network=lstm"), ("env=microgrid", "algorithm=td3"))),
    *(("train", choices) for choices in (("env=traffic_signal", "algorithm=dqn"), ("env=pendulum", "algorithm=ppo"))),
    *(
        (name, ())
        for name in ("bench", "check", "rolling_origin", "evaluate", "export", "act", "front", "wear", "flow")
    ),
)
"""Commands, and choices with which they know different settings."""


def arguments(command: pages.Command) -> tuple[str, ...]:
    return tuple(word for word in command.arguments if not word.startswith("-") and word != "job")


@pytest.mark.parametrize("command", pages.commands(), ids=str)
def test_a_command_is_one_that_the_code_takes(command):
    if command.is_ours:
        accept(command)
    else:
        whole = " ".join([command.program, *command.arguments[command.arguments[:1] == (command.program,) :]])
        assert any(re.fullmatch(pattern, whole) for pattern in OTHER_PROGRAMS), f"{command.page}: {whole}"


def accept(command: pages.Command) -> None:
    """Composes one of our commands, and each of its trainings. Raises UserError for what it would refuse."""
    name, words = command.program, [word for word in arguments(command) if word != "env=tank"]
    if name == "report":
        build(report.ReportConfig, dict.fromkeys(("runs", "folder")) | dict(word.split("=") for word in words))
        return
    hydras, words = [word for word in words if is_hydras(word)], [word for word in words if not is_hydras(word)]
    if hydras:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            hydra_compose("train", hydras, return_hydra_config=True)
    own = [word for word in words if name not in TRAINS or word.startswith(OWN_KEYS.get(name, ("no key",)))]
    if own:
        to_mapping(compose(own, name))
    if name in TRAINS and not any(word.startswith("resume=") for word in words):
        for overrides in small_budget.trainings([word for word in words if word not in own]):
            small_budget.checked(overrides)


@cache
def context(name: str, choices: tuple[str, ...]) -> tuple[dict, frozenset[str]]:
    """The settings of a command with their values, and all their keys."""
    mapping = OmegaConf.to_container(compose(choices, name), resolve=True)
    assert isinstance(mapping, dict)

    def keys(section, prefix=""):
        for key, value in section.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{key}.")

    return mapping, frozenset(keys(mapping))


def places(key: str) -> Iterator[tuple[str, dict, str]]:
    """The commands that know a key, their settings, and the whole key: a page may leave out its beginning."""
    for name, choices in CONTEXTS:
        mapping, known = context(name, choices)
        yield from ((name, mapping, whole) for whole in sorted(known) if whole == key or whole.endswith(f".{key}"))


def with_value(mapping: dict, key: str, value) -> dict:
    """A mapping with another value at a key, whose sections are separated by dots."""
    first, _, rest = key.partition(".")
    return {**mapping, first: with_value(mapping[first], rest, value) if rest else value}


def is_choice(word: str) -> bool:
    """Whether it chooses a file of a group, as `env=bess` does."""
    return (config_dir() / word.partition("=")[0]).is_dir() or is_hydras(word)


@pytest.mark.parametrize(("page", "words"), pages.settings(), ids=lambda x: " ".join(x) if isinstance(x, tuple) else x)
def test_a_setting_is_one_that_the_code_takes(page, words):
    if " ".join(words) in NO_SETTING:
        return
    if any(map(is_choice, words)):
        name = "bench" if any(word.startswith("bench=") for word in words) else "train"
        choices = [word for word in words if not is_hydras(word)]
        load(to_mapping(compose(choices, name)) if name == "train" else compose([]))
        for word in set(words) - set(choices):
            group, _, choice = word.partition("=")
            assert (config_dir() / group / f"{choice}.yaml").exists() or "." in group, f"{page}: {word}"
        return
    first, *others = OverridesParser.create().parse_overrides([*words, *COMPANIONS.get(" ".join(words), ())])
    refused = []
    for name, mapping, key in places(str(first.key_or_group)):
        mapping = with_value(mapping, key, plain(first))
        for other in others:
            mapping = with_value(mapping, str(other.key_or_group), plain(other))
        try:
            if name == "train":
                load(mapping)
            return
        except UserError as error:
            refused.append(str(error))
    raise AssertionError(f"{page}: {refused or 'no command has such a setting'}")


def plain(override: Override) -> Any:
    """The value of an override; of one with many, the first."""
    return next(override.sweep_iterator()) if override.is_choice_sweep() else override.value()


OF_FILES = {"env=tank", "env.network=town.yaml", "env.information=provided"}
"""What only a file of the user makes a world of."""


def chosen() -> Iterator[tuple[str, ...]]:
    """What the pages choose: the settings of each training, and each choice that stands alone with what it needs."""
    for command in pages.commands():
        words, own = arguments(command), OWN_KEYS.get(command.program, ("no key",))
        if command.program in TRAINS and not OF_FILES & {*words}:
            yield tuple(word for word in words if not word.startswith((*own, "env.data.", "resume=")))
    for _, words in pages.settings():
        if any(map(is_choice, words)) and not any(word.startswith(("hydra", "bench", "mode")) for word in words):
            yield (*words, *COMPANIONS.get(" ".join(words), ()))


def trainings() -> list[Any]:
    """One of each kind of training that the pages name; those are slow that differ from another in numbers of a
    microgrid alone."""
    found, kinds = {}, set()
    for overrides in (one for words in chosen() for one in small_budget.trainings(words)):
        telling = [word for word in overrides if not word.startswith(NO_MATTER)]
        groups = {word.partition("=")[0] for word in telling}
        defaults = {"env": "env=bess", "algorithm": "algorithm=sac"}
        parts = frozenset([*telling, *(word for group, word in defaults.items() if group not in groups)])
        kind = frozenset(filter(is_choice, parts)) if any("microgrid" in word for word in parts) else parts
        if parts not in found:
            slow = [pytest.mark.slow] * (kind in kinds)
            found[parts] = pytest.param(overrides, id=" ".join(overrides), marks=slow)
        kinds.add(kind)
    return list(found.values())


@cache
def world(settings: Any) -> Any:
    """An environment whose params, first observation and step have the shapes that they should have."""
    env = envs.make(settings)
    params = env.params("train")

    def course(key: jax.Array) -> Any:
        state, observation = env.reset(key, params)
        return observation, env.step(key, state, random_actions(env.action_space, key, ()), params)[1]

    observation, step = jax.eval_shape(course, jax.random.key(0))
    assert observation.shape == step.observation.shape == env.observation_space.shape
    assert step.reward.shape == step.terminated.shape == () and {*step.info} == {one.name for one in env.info_space}
    return env


def worlds() -> list[Any]:
    """One training of the pages for each world that they choose, with its settings."""
    found = {}
    for param in trainings():
        (overrides,) = param.values
        kept = [word for word in overrides if word.startswith(("env", "experiment"))]
        found.setdefault(frozenset(kept), pytest.param(overrides, id=" ".join(kept) or "the default"))
    return list(found.values())


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    return small_budget.write_prices(tmp_path_factory.mktemp("prices") / "prices.csv")


@pytest.mark.parametrize("overrides", trainings())
def test_what_a_page_chooses_can_be_built_and_traced(overrides, prices):
    config = load(compose([*overrides, *small_budget.in_small(overrides, prices)]))
    env, algorithm = world(config.env), make_algorithm(config.algorithm, config.network)
    spec = build_program(in_days(config, env), env, algorithm).spec
    seen = jnp.zeros((2, *env.observation_space.shape))

    def act(key: jax.Array) -> jax.Array:
        policy = algorithm.policy(algorithm.init(key, spec), averaged=True)
        return algorithm.act(policy, seen, algorithm.initial_carry(2), key, explore=True)[0]

    assert jax.eval_shape(act, jax.random.key(0)).shape == (2, *env.action_space.shape)
