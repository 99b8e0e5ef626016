"""Every command of the pages is run as it is typed, from the start to the end, in small (`slow`, a few minutes each).

Each starts in a process of its own in a copy of a folder that has what the pages speak of under the very names that
they use: `outputs/DATE/TIME` is a run there, `RUN` and `FOLDER` too, `rows.csv` has observations, `prices.csv` prices.
What is added to a command makes it small and changes nothing else. The checks before training are off, as each world is
checked once, by `test_no_check_refuses_a_world_of_the_pages`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pages
import pandas as pd
import pytest
import small_budget
import test_page_settings as page_settings

from vmax import envs
from vmax.checks.registry import run_checks
from vmax.checks.settings import SizesConfig, thresholds_of
from vmax.config import compose, load, to_mapping
from vmax.run_folder import RunFolder

pytestmark = pytest.mark.slow
TIMEOUT_S = 1500
CHECK_SIZES = SizesConfig(
    lanes=4, steps=100, most_steps=450, hold=12, states=12, trial=48, episodes=8, linear=16, rounds=2, corners=32
)
SMALL_CHECKS = tuple(f"sizes.{name}={value}" for name, value in vars(CHECK_SIZES).items())
MIXED = (
    *("training.num_envs=64", "training.log_every=1536", "training.eval_every=1536", "checkpoint.every=1536"),
    *("total_steps=3072", "network.hidden=[8]", "evaluation.bootstrap=20", "evaluation.plots=false"),
)
"""Sizes that learners of both kinds take, those with a replay and those without."""
QUIET = ("checks=off", "export=false", "report=false", "threads=1")
COMMANDS = [command for command in pages.commands() if command.is_ours and "env=tank" not in command.arguments]


def call(folder: Path, script: str, *arguments: str) -> str:
    """Runs one of the scripts there, compiled as for users; returns what it said."""
    path = pages.ROOT / "scripts" / f"{script}.py"
    environment = {**os.environ, "PYTHONPATH": str(pages.ROOT), "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{script} {' '.join(arguments)}\n{done.stdout}"
    return done.stdout


def small(folder: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """What makes the trainings of a command small; of learners of both kinds, what both take."""
    prices = folder / "small_prices.csv"
    each = [small_budget.checked(overrides) for overrides in small_budget.trainings(words)]
    if len({config.on_policy for config in each}) > 1:
        return (*small_budget.small_world(each[0], prices), *MIXED)
    return (*small_budget.small_world(each[0], prices), *small_budget.small_run(each[0]))


def write_files(folder: Path) -> None:
    """The files of users that pages name."""
    small_budget.write_prices(folder / "small_prices.csv")
    hours = pd.date_range("2020-01-01", "2024-12-31 23:00", freq="h")
    local = hours.tz_localize("Europe/Berlin", ambiguous=np.ones(len(hours), bool), nonexistent="NaT")
    price = 60 + 30 * np.sin(np.arange(len(hours)) * np.pi / 6)
    table = pd.DataFrame({"timestamp": hours, "price": price.round(2)})[local.notna()]
    table.to_csv(folder / "prices.csv", index=False)
    around = pd.date_range("2019-12-31", "2025-01-01 23:00", freq="h")
    sun_kw = 1500.0 * np.clip(np.sin((around.hour.to_numpy() - 6) * np.pi / 12), 0.0, None)
    pd.DataFrame({"time": around, "pv_kw": sun_kw.round(1)}).to_csv(folder / "pv.csv", index=False)
    near = 60 + 30 * np.sin((np.arange(len(around)) - 24) * np.pi / 6)
    told = {"model_a": near + around.hour.to_numpy() % 5, "model_b": near - around.dayofweek.to_numpy()}
    told["wind_mw"] = 500.0 + 400.0 * np.sin(np.arange(len(around)) / 50)
    pd.DataFrame({"time": around, **told}).round(2).to_csv(folder / "forecasts.csv", index=False)
    (folder / "town.yaml").write_text(pages.block("traffic.md", "yaml", "links:"), encoding="utf-8")


@pytest.fixture(scope="session")
def battery_desk(tmp_path_factory):
    """Runs of a battery and one that was cut short, under the names of the pages; files of users."""
    folder = tmp_path_factory.mktemp("battery")
    write_files(folder)
    words = ("env=bess", "algorithm=sac")
    given = (*words, *small(folder, words), "checks=off", "threads=1", "checkpoint.policy_every=64")
    call(folder, "train", *given, "hydra.run.dir=outputs/A")
    call(folder, "train", *given, "seed=1", "export=false", "hydra.run.dir=outputs/B")
    for copy in ("RUN", "FOLDER", "outputs/2026-01-31/first", "outputs/DATE/TIME"):
        shutil.copytree(folder / "outputs/A", folder / copy)
    shutil.copytree(folder / "outputs/B", folder / "outputs/2026-01-31/second")
    shutil.copy(folder / "RUN/policy/example.csv", folder / "rows.csv")
    longer = [word for word in given if not word.startswith("total_steps=")]
    said = call(folder, "train", *longer, "total_steps=1e6", "time_budget_s=20", "hydra.run.dir=outputs/CUT/SHORT")
    assert "go on with resume=" in said
    return folder


@pytest.fixture(scope="session")
def comparison_desk(tmp_path_factory):
    """A finished comparison."""
    folder = tmp_path_factory.mktemp("comparison")
    words = ("env=pendulum", "algorithm=sac,td3")
    call(folder, "compare", *words, *small(folder, words), *QUIET, "compare.folder=outputs/compare/DATE/TIME")
    return folder


@pytest.fixture(scope="session")
def front_desk(tmp_path_factory):
    """A microgrid's policy for all weights, and a multirun of policies for some."""
    folder = tmp_path_factory.mktemp("front")
    words = ("env=microgrid_scarce", "algorithm=td3")
    given = (*words, *small(folder, words), *QUIET)
    call(folder, "train", *given, "env.reward.conditioned=true", "hydra.run.dir=outputs/DATE/TIME")
    fixed = "env.reward.preset=co2_focus,cost_focus"
    call(folder, "train", "--multirun", *given, fixed, "hydra.sweep.dir=outputs/multirun/DATE/TIME")
    return folder


@pytest.fixture
def desk(request, tmp_path):
    """A copy of the folder that a command finds its runs in."""

    def copy(command: pages.Command) -> Path:
        whole = " ".join(command.arguments)
        name = "battery_desk"
        if command.program in ("front", "sweep"):
            name = "front_desk"
        elif "outputs/compare" in whole:
            name = "comparison_desk"
        return Path(shutil.copytree(request.getfixturevalue(name), tmp_path / "desk"))

    return copy


def fewer_seeds(words: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The words with a list of seeds cut short."""
    return tuple(",".join(word.split(",")[:count]) if word.startswith("seed=") else word for word in words)


def as_run(folder: Path, command: pages.Command) -> tuple[str, ...]:
    """The arguments of a command, with what makes it small."""
    words, name = command.arguments, command.program
    if {"--help", "--cfg"} & {*words}:
        return words
    if name == "train" and any(word.startswith("resume=") for word in words):
        if "total_steps=1.5e6" in words:
            return tuple(word.replace("1.5e6", "256") for word in words)
        return ("resume=outputs/CUT/SHORT", "total_steps=256", "time_budget_s=null")
    if name == "compare" and any(word.startswith("resume=") for word in words):
        return words
    if name == "train":
        multirun = "--multirun" in words
        trials = ("hydra.sweeper.n_trials=2",) if "hydra/sweeper=tpe" in words else ()
        return (*fewer_seeds(words, 2), *small(folder, words), *QUIET[: 3 if multirun and "threads=1" in words else 4],
                *trials)  # fmt: skip
    if name == "compare":
        return (*fewer_seeds(words, 1), *small(folder, words), *QUIET)
    if name == "rolling_origin":
        config = load(compose([word for word in words if "=" in word]))
        return (*words, *small_budget.small_run(config), *small_budget.BATTERY, *QUIET, "years=[2024]", "train_years=1")
    if name == "check":
        thresholds = [word for word in words if word.startswith("thresholds.")]
        world = [word for word in words if word not in thresholds]
        discrete = ["algorithm=dqn"] if "env=traffic_signal" in world else []
        config = load(compose([*world, *discrete]))
        few = [
            word for word in small_budget.small_world(config, folder / "small_prices.csv") if word.startswith("env.")
        ]
        return (*words, *few, *SMALL_CHECKS)
    if name == "evaluate" and "checkpoint=STEP" in words:
        steps = [path.name for path in sorted((folder / "FOLDER").rglob("policy-*"))]
        return tuple(word.replace("STEP", steps[0].removeprefix("policy-")) for word in words)
    own = {
        "front": ("points=2",),
        "wear": ("days=7",),
        "reproduce": ("years=[2024]", "factors=[]"),
        "flow": ("cells=20",),
    }
    return (*words, *own.get(name, ()))


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.program != "bench"], ids=str)
def test_a_command_of_the_pages_runs_to_its_end(command, desk):
    folder = desk(command)
    before = {path.parent for path in folder.rglob("run.json")}
    call(folder, command.program, *as_run(folder, command))
    made = {path.parent for path in folder.rglob("run.json")} - before
    trains = command.program in ("train", "compare", "rolling_origin") and "--help" not in command.arguments
    fresh = trains and not any(word.startswith(("resume=", "--cfg")) for word in command.arguments)
    assert bool(made) == fresh
    for run in made:
        assert RunFolder(run).record()["status"] == "completed" and (run / "result.json").exists()


def test_an_exported_policy_acts_without_vmax(battery_desk):
    """`python RUN/policy/act.py RUN/policy/example.csv`, in a process that cannot import vmax."""
    (command,) = (one for one in pages.commands() if one.program == "RUN/policy/act.py")
    said = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_VMAX, *command.words[1:]],
        cwd=battery_desk,
        text=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    assert said.returncode == 0, said.stderr
    rows = (battery_desk / "RUN/policy/example.csv").read_text().splitlines()
    assert len(said.stdout.splitlines()) == len(rows)


WITHOUT_VMAX = """
import runpy, sys
sys.modules["vmax"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_python_of_the_readme_trains_evaluates_and_makes_an_environment(battery_desk, tmp_path, monkeypatch):
    import vmax

    monkeypatch.chdir(tmp_path)
    whole, added = vmax.train, [*small(battery_desk, ("env=bess",)), "checks=off", "export=false", "report=false"]
    monkeypatch.setattr(vmax, "train", lambda overrides: whole([*overrides, *added]))
    names: dict = {}
    exec(pages.block("README.md", "python", "vmax.train("), names)
    assert names["env"].name == "bess" and names["result"]["run"]["status"] == "completed"
    assert list(Path(names["result"]["run"]["folder"]).glob("evaluation/validation*/result.json"))


def test_python_of_the_page_on_deployment_calls_a_policy(battery_desk, monkeypatch):
    monkeypatch.chdir(battery_desk / "RUN" / "policy")
    rows = pd.read_csv("example.csv").drop(columns="episode", errors="ignore").to_numpy(np.float32)
    names = {"observations": rows, "carry": ()}
    exec(pages.block("deployment.md", "python", "deserialize"), names)
    assert len(names["action"]) == len(names["units"]) == len(rows)


@pytest.mark.parametrize("overrides", page_settings.worlds())
def test_no_check_refuses_a_world_of_the_pages(overrides, tmp_path):
    prices = small_budget.write_prices(tmp_path / "small_prices.csv")
    config = load(compose(overrides))
    config = load(compose([*overrides, *small_budget.small_world(config, prices)]))
    shipped = thresholds_of(to_mapping(compose([], "check"))["thresholds"])
    findings = run_checks(envs.make(config.env), CHECK_SIZES, shipped, shipped)
    assert [(found.id, found.detail) for found in findings if found.status == "FAIL"] == []
