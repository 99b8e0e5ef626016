"""What the documentation says is tried: command lines compose, links lead somewhere, the example environment runs."""

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import pytest
from omegaconf import OmegaConf

from vmax.config import compose, is_hydras, load
from vmax.conversion import build
from vmax.envs.environment import AutoReset, EpisodeStatistics

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def training_commands() -> list[str]:
    """Every distinct training command of the pages, continued lines joined."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += re.findall(r"scripts/train\.py ([^\n`#]*)", text)
    return sorted({command.strip() for command in found})


@pytest.mark.parametrize("command", training_commands())
def test_training_commands_compose(command):
    if "--help" in command or "env=tank" in command:
        return
    words = [word for word in shlex.split(command) if not word.startswith(("-", "resume=")) and word != "job"]
    words = [word for word in words if not is_hydras(word)]
    words = [word for word in words if not re.search(r"[=,]\w+,", word) or "[" in word]  # a sweep: several values
    words = [word for word in words if not re.search(r"=(interval|choice)\(", word)]  # what a search draws
    load(compose(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_environment_of_the_readme_runs(monkeypatch):
    section = README.split("## Your own environment")[1].split("\n## ")[0]
    source, settings = (re.search(rf"```{kind}\n(.*?)```", section, re.S) for kind in ("python", "yaml"))
    assert source and settings
    module = ModuleType("tank")
    monkeypatch.setitem(sys.modules, "tank", module)
    exec(source[1], vars(module))
    env = module.Tank(build(module.TankConfig, OmegaConf.to_container(OmegaConf.create(settings[1])), "env"))
    wrapped, params = EpisodeStatistics(AutoReset(env)), env.params("train")
    state, observation = wrapped.reset(jax.random.key(0)[None], params)
    assert observation.shape == (1, *env.observation_space.shape)

    def one(state, key):
        state, observation, step = wrapped.step(key, state, jnp.zeros((1, 1)), params)
        return state, (observation, step)

    _, (observation, step) = jax.lax.scan(one, state, jax.random.split(jax.random.key(1), 400))
    assert (observation >= env.observation_space.low).all() and (observation <= env.observation_space.high).all()
    assert step.truncated.sum() == 400 // 168
    assert set(step.info) == {feature.name for feature in env.info_space} | {"episode_return", "episode_length"}
