"""What the pages tell users to write themselves works: environments, algorithms, networks of roads, files of data.

Every block of code has a test, here or in `test_page_commands.py`; a new one without is found by
`test_every_block_of_code_is_tried`.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pages
import pandas as pd
import pytest
import small_budget
from invoking import invoker
from omegaconf import OmegaConf
from test_page_settings import accept

import vmax
from vmax.algorithms.algorithm import Algorithm
from vmax.config import compose, load
from vmax.conversion import build
from vmax.envs.environment import AutoReset, Checks, EpisodeStatistics
from vmax.envs.microgrid.environment import MicrogridConfig
from vmax.envs.microgrid.years import make_years

TRIED = {
    ("README.md", "python"): ("class Tank(Plain)", "vmax.train("),
    ("README.md", "yaml"): ("name: tank",),
    ("checks.md", "python"): ("return Checks(",),
    ("deployment.md", "python"): ("export.deserialize(",),
    ("microgrid_data.md", "python"): ("make_years(",),
    ("traffic.md", "yaml"): ("signals:",),
}
"""Words of each block that has a test, by page and language."""
NO_CODE = ("mermaid", "")
"""A picture; messages, formulas and the map of the house."""
MICROGRID = ("env=microgrid", *small_budget.MICROGRID)


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", pages.text_of(page)):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_block_of_code_is_tried():
    for block in pages.blocks():
        if block.language in (*NO_CODE, "sh"):  # commands have tests of their own
            continue
        known = TRIED.get((block.page, block.language), ())
        assert any(words in block.text for words in known), f"{block.page}: no test for {block.text[:80]!r}"


def test_every_script_is_named_on_a_page():
    named = {command.program for command in pages.commands()}
    assert {*pages.SCRIPTS} <= named


@pytest.mark.parametrize("script", pages.SCRIPTS)
def test_help_names_the_command_and_commands_that_exist(script, monkeypatch, capsys):
    module = __import__(f"vmax.commands.{script}", fromlist=["main"])
    status, said, _ = invoker(monkeypatch, capsys, module.main)("--help")
    assert status == 0
    examples = [line for line in said.splitlines() if line.startswith(" ") and "python scripts/" in line]
    assert any(f"python scripts/{script}.py" in line for line in examples)
    for line in examples:
        (command,) = pages.typed("--help", line.partition("    (")[0] if "    (" in line.strip() else line)
        accept(command)


def tank(monkeypatch):
    """The environment of the README, and what its file says."""
    module = ModuleType("tank")
    monkeypatch.setitem(sys.modules, "tank", module)
    exec(pages.block("README.md", "python", "class Tank"), vars(module))
    settings = OmegaConf.to_container(OmegaConf.create(pages.block("README.md", "yaml", "tank")))
    return module.Tank(build(module.TankConfig, settings, "env"))  # pyright: ignore[reportAttributeAccessIssue]


def test_the_environment_of_the_readme_runs(monkeypatch):
    env = tank(monkeypatch)
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


def test_hooks_of_the_page_on_checks_exist():
    source = pages.block("checks.md", "python", "return Checks(").replace("…", "...")
    (call,) = (node for node in ast.walk(ast.parse("class Tank:\n" + source)) if isinstance(node, ast.Return))
    assert isinstance(call.value, ast.Call)
    assert {word.arg for word in call.value.keywords} <= {field.name for field in fields(Checks)}


def test_the_contract_of_an_algorithm_is_the_one_in_the_code():
    table = pages.text_of(pages.ROOT / "README.md").split("## Your own algorithm")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)", table, re.M))
    assert told == {name for name in vars(Algorithm) if not name.startswith("_")} - {"name"} | {"on_policy"}


def sandbox(folder):
    """A copy of the code that a user may add to."""
    for part in ("vmax", "conf", "scripts"):
        shutil.copytree(pages.ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def add(path, before, line):
    """Writes a line above the first one that begins so."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, f"{line}\n{before}", 1))


def train_there(folder, *words):
    config = ("checks=off", "report=false", "export=false", "threads=1", *small_budget.SIZES)
    small = (*config, *small_budget.OFF_POLICY, f"total_steps={small_budget.STEPS}")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "scripts/train.py", *words, *small, "hydra.run.dir=out"]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "out" / "result.json").exists()


@pytest.mark.slow
def test_the_environment_of_the_readme_is_trained_as_it_says(tmp_path):
    """File, line of the registry and settings are added as the page says, and `train.py env=tank` runs."""
    folder = sandbox(tmp_path)
    (command,) = (one for one in pages.commands() if "env=tank" in one.arguments)
    (line,) = re.findall(r'`("tank": \("vmax[^`]+\))`', pages.text_of(pages.ROOT / "README.md"))
    (folder / "vmax/envs/tank.py").write_text(pages.block("README.md", "python", "class Tank"))
    (folder / "conf/env/tank.yaml").write_text(pages.block("README.md", "yaml", "tank"))
    add(folder / "vmax/envs/__init__.py", '    "bess": (', f"    {line},")
    (folder / "conf/pair/tank_sac.yaml").write_text("# @package _global_\nalgorithm:\n  discount: 0.9\n")
    train_there(folder, *command.arguments)
    assert "discount: 0.9\n" in (folder / "out/.hydra/config.yaml").read_text()


@pytest.mark.slow
def test_an_algorithm_is_added_as_the_readme_says(tmp_path):
    """A file, a line of the registry and settings: the learner that the page names as a model, under another name."""
    folder = sandbox(tmp_path)
    source = (folder / "vmax/algorithms/td3.py").read_text()
    mine = source.replace("TD3Config", "MineConfig").replace("class TD3", "class Mine").replace('"td3"', '"mine"')
    (folder / "vmax/algorithms/mine.py").write_text(mine)
    settings = (folder / "conf/algorithm/td3.yaml").read_text().replace("name: td3", "name: mine")
    (folder / "conf/algorithm/mine.yaml").write_text(settings)
    add(folder / "vmax/algorithms/__init__.py", '    "sac": "', '    "mine": "vmax.algorithms.mine:Mine",')
    train_there(folder, "algorithm=mine", "env=pendulum", "env.max_steps=50")
    assert "name: mine" in (folder / "out/.hydra/config.yaml").read_text()


def test_the_network_of_the_page_on_traffic_can_be_driven(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = next(one for one in pages.commands() if "env.network=town.yaml" in one.arguments)
    (tmp_path / "town.yaml").write_text(pages.block("traffic.md", "yaml", "signals:"))
    own = [word for word in command.arguments if word.startswith("env.")]
    env = vmax.make_env("traffic_signal", [*own, *(w for w in small_budget.TRAFFIC if w.startswith("env."))])
    params = env.params("train")
    state, observation = jax.jit(env.reset)(jax.random.key(0), params)
    _, step = jax.jit(env.step)(jax.random.key(1), state, jnp.zeros(env.action_space.shape, jnp.int32), params)
    assert jnp.isfinite(observation).all() and jnp.isfinite(step.reward)


def test_prices_in_local_time_are_read_as_the_readme_says(tmp_path, monkeypatch):
    """Hourly stamps of a wall clock, on which an hour is missing in spring and one comes twice in autumn."""
    monkeypatch.chdir(tmp_path)
    of_readme = [one for one in pages.commands() if one.page == "README.md"]
    (command,) = (one for one in of_readme if "env.data.path=prices.csv" in one.arguments)
    utc = pd.date_range("2019-12-31 23:00", "2024-12-31 22:00", freq="h", tz="UTC")
    local = utc.tz_convert("Europe/Berlin").tz_localize(None)
    price = 60 + 30 * np.sin(np.arange(len(utc)) * np.pi / 6)
    table = pd.DataFrame({"timestamp": local, "price": price.round(2), "forecast": 0.0})
    table.loc[[50, 51], "price"] = np.nan
    table.drop(index=range(300, 330)).to_csv("prices.csv", index=False)
    env = vmax.make_env("bess", [word for word in command.arguments if word.startswith("env.")])
    series = env.series
    assert (series.currency, series.bridged_values, series.segment.max()) == ("EUR", 2, 1)
    assert series.utc[0] == np.datetime64("2019-12-31T23:00:00") and len(series.utc) == len(utc) - 30
    years = {name: {*series.local_year[slice(*blocks[-1])]} for name, blocks in series.splits.items()}
    assert years["validation"] == {2023} and years["test"] == {2024} and years["train"] == {2020, 2021, 2022}


def test_years_of_the_page_on_data_are_made():
    config = load(compose(MICROGRID)).env.data
    names = {"config": config}
    exec(pages.block("microgrid_data.md", "python", "make_years("), names)
    assert names["years"].pv_kw.shape == (1, 8760)


def test_files_with_the_columns_of_the_page_on_data_are_read(tmp_path):
    """Each file as the table says, with three years of hours; the last of them is the test."""
    table = pages.text_of(pages.ROOT / "docs/microgrid_data.md").split("| setting | columns |")[1].split("\n\n")[0]
    rows = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.M)}
    assert {*rows} == {"pv", "mall", "carbon", "tariff", "sessions"}
    time = pd.date_range("2023-01-01", "2025-12-31 23:00", freq="h")
    hour = time.hour.to_numpy()
    values = {
        "pv": np.clip(np.sin((hour - 6) * np.pi / 12), 0, None) * 2880,
        "mall": 353.0 + 100 * np.sin(hour * np.pi / 12),
        "carbon": 0.4 + 0.01 * (hour % 3),
        "tariff": 0.2 + 0.1 * (hour > 17),
    }
    for name, series in values.items():
        column = re.findall(r"`(\w+)`", rows[name])[0]
        pd.DataFrame({"time": time, column: series}).to_csv(tmp_path / f"{name}.csv", index=False)
    socket, _, arrival, departure, energy = re.findall(r"`(\w+)`", rows["sessions"])
    came = pd.date_range("2023-01-01 10:00", "2025-12-31 10:00", freq="D")
    sessions = {socket: 0, arrival: came, departure: came + pd.Timedelta(hours=3), energy: 3.0}
    pd.DataFrame(sessions).to_csv(tmp_path / "sessions.csv", index=False)
    files = [f"env.data.files.{name}={tmp_path}/{name}.csv" for name in rows]
    site = ("env.data.pv.annual_kwh=8.03e6", "env.data.chargers.annual_kwh=1095")
    config = load(compose([*MICROGRID, *files, *site])).env
    assert isinstance(config, MicrogridConfig)
    years = make_years(config.data, "test")
    np.testing.assert_allclose(years.mall_kw[0], values["mall"][-8760:], rtol=1e-5)
    np.testing.assert_allclose(years.need_kwh.sum(), 365 * 3.0, rtol=2e-3)
    assert years.prices is not None and years.prices.shape == (1, 8760)
