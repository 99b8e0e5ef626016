"""`hydra/sweeper=tpe`: what is searched, which study it belongs to, and that no point comes twice."""

import math
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from invoking import invoker

from vmax.commands import train as command
from vmax.commands.search import _told, distribution
from vmax.errors import UserError
from vmax.files import write_json
from vmax.run_folder import RunFolder

optuna = pytest.importorskip("optuna", minversion="4", reason="the extra `sweep` is not installed")

STORAGE = "sqlite:///outputs/studies.db"
LEARNING_RATE = "algorithm.learning_rate=tag(log,interval(1e-4,3e-3))"
PAIR = """
import sys
import numpy as np
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from vmax.commands.search import Search

class Launcher:
    def launch(self, overrides, initial_job_idx):
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=float(initial_job_idx)) for _ in overrides]

class Loader:
    def load_sweep_config(self, config, overrides):
        return OmegaConf.create({"hydra": {}, "x": 1.0, "env": {"name": "e"}, "algorithm": {"name": "a"}})

settings = {"study_name": None, "storage": "sqlite:///studies.db", "n_trials": 8, "n_jobs": 2, "max_failure_rate": 0.5,
            "sampler": {"seed": 0, "n_startup_trials": 4}, "params": None}
config = OmegaConf.create({"hydra": {"sweep": {"dir": sys.argv[1]}, "runtime": {"choices": {}}}})
Search.of(settings, config, Loader(), Launcher()).go(["x=interval(0.0,1.0)"])
"""
"""A whole search with a launcher that trains nothing, as a process of its own; its argument is its folder."""


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The training loop replaced by one that notes its configuration; the score is better with a smaller learning rate,
    and is none above 2e-3. Seeds from 10 on fail, 20 is stopped by Ctrl-C."""
    made = []

    def train(config, folder, composed):
        made.append(config)
        if config.seed >= 20:
            raise KeyboardInterrupt
        if config.seed >= 10:
            raise UserError("no luck")
        run = RunFolder(folder)
        run.start(config.seed, {})
        rate = config.algorithm.learning_rate
        about = {"status": "completed", "reason": None, "best_validation_score": None if rate > 2e-3 else 1 - rate}
        write_json(run.result, {"run": about})
        run.finish("completed")
        return {"run": about}

    stub = ModuleType("vmax.training.loop")
    stub.train = train  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "vmax.training.loop", stub)
    monkeypatch.setattr(command, "before_training", lambda config, mapping: None)
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def search(monkeypatch, calls, capsys):
    """Runs a search with these arguments; returns exit status, stdout and stderr."""
    return invoker(
        monkeypatch, capsys, command.main, "--multirun", "hydra/sweeper=tpe", "algorithm=dqn", "env=cartpole"
    )


def studies() -> list:
    """The studies, the oldest first."""
    return [optuna.load_study(study_name=name, storage=STORAGE) for name in optuna.get_all_study_names(STORAGE)]


def points(study) -> list[float]:
    """The learning rates of a study's trials."""
    return [trial.params["algorithm.learning_rate"] for trial in study.trials]


@pytest.mark.parametrize(
    ("algorithm", "env", "searched"),
    [
        ("sac", "pendulum", {"learning_rate", "critic_learning_rate", "polyak", "discount"}),
        ("td3", "bess", {"learning_rate", "critic_learning_rate", "polyak", "discount"}),
        ("dqn", "cartpole", {"learning_rate", "polyak", "discount"}),
        ("ppo", "cartpole", {"learning_rate", "discount"}),
        ("a2c", "pendulum", {"learning_rate", "discount"}),
        ("sac,ppo", "pendulum", {"algorithm", "learning_rate", "discount"}),
    ],
)
def test_the_preset_searches_what_the_algorithm_has(search, calls, algorithm, env, searched):
    status, out, err = search(f"algorithm={algorithm}", f"env={env}", "hydra.sweeper.n_trials=1")
    assert (status, err, len(calls)) == (0, "", 1)
    (study,) = studies()
    assert {key.removeprefix("algorithm.") for key in study.trials[0].params} == searched
    rate = study.trials[0].params["algorithm.learning_rate"]
    assert calls[0].algorithm.learning_rate == rate and f"algorithm.learning_rate={rate}" in out


def test_what_is_typed_stands_for_the_preset(search, calls):
    typed = ("algorithm.learning_rate=interval(1e-5,2e-5)", "algorithm.polyak=0.5", "network.hidden=choice([8],[8,8])")
    assert search(*typed, "env.max_steps=range(10,20,5)", "hydra.sweeper.n_trials=2")[0] == 0
    keys = {"algorithm.learning_rate", "algorithm.discount", "network.hidden", "env.max_steps"}
    assert set(studies()[0].trials[0].params) == keys
    for config in calls:
        assert 1e-5 <= config.algorithm.learning_rate <= 2e-5 and config.algorithm.polyak == 0.5
        assert config.network.hidden in ((8,), (8, 8)) and config.env.max_steps in (10, 15)


def test_the_same_command_again_goes_on_as_one_command_would(search, calls):
    alone = ("hydra.sweeper.params=null", LEARNING_RATE, "hydra.sweeper.sampler.n_startup_trials=2")
    assert search(*alone, "hydra.sweeper.n_trials=2")[0] == search(*alone, "hydra.sweeper.n_trials=2")[0] == 0
    assert search(*alone, "hydra.sweeper.n_trials=4", "hydra.sweeper.storage=sqlite:///outputs/other.db")[0] == 0
    drawn = [config.algorithm.learning_rate for config in calls]
    assert len(set(drawn[:4])) == 4 and drawn[4:] == drawn[:4] == points(studies()[0])


def test_processes_side_by_side_share_a_study_without_a_point_twice(tmp_path):
    command = [sys.executable, "-c", PAIR]
    pair = [subprocess.Popen([*command, name], cwd=tmp_path, stdout=subprocess.PIPE, text=True) for name in "ab"]
    said = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    (name,) = optuna.get_all_study_names(url := f"sqlite:///{tmp_path}/studies.db")
    trials = optuna.load_study(study_name=name, storage=url).trials
    assert len({trial.params["x"] for trial in trials}) == len(trials) == 16
    assert sorted(trial.number for trial in trials) == list(range(16))


def test_another_task_or_budget_is_another_study_and_what_changes_no_score_is_not(search):
    for other in ("report=true", "env.max_steps=50", "mode=sanity", "report=false"):
        assert search("hydra.sweeper.n_trials=1", "hydra.sweeper.max_failure_rate=1", other)[0] == 0
    assert [len(study.trials) for study in studies()] == [2, 1, 1]
    assert all(study.study_name.startswith("dqn_cartpole_") for study in studies())


def test_another_scale_or_other_choices_are_another_study_and_another_interval_is_not(search):
    lengths = []
    for rate in ("tag(log,interval(1e-4,3e-3))", "tag(log,interval(1e-5,1e-3))", "interval(1e-4,3e-3)", "choice(1e-3)"):
        assert search("hydra.sweeper.n_trials=1", f"algorithm.learning_rate={rate}")[0] == 0
        lengths.append([len(study.trials) for study in studies()])
    assert lengths == [[1], [2], [2, 1], [2, 1, 1]]


GO_ON = "go on with those, or name another study"
REFUSED = {
    "env.max_steps=50": "its trials have env.max_steps=500, here 50; name another study",
    "algorithm.discount=choice(0.9,0.8)": "algorithm.discount was searched in choice(0.98,0.99,0.995,0.997,0.999), "
    f"here in choice(0.9,0.8); {GO_ON}",
    "algorithm.learning_rate=choice(0.1,0.2)": "algorithm.learning_rate was searched in "
    f"tag(log,interval(0.0001,0.003)), here in choice(0.1,0.2); {GO_ON}",
    "algorithm.learning_rate=interval(0.0001,0.003)": "algorithm.learning_rate was searched in "
    f"tag(log,interval(0.0001,0.003)), here in interval(0.0001,0.003); {GO_ON}",
}
"""What does not go with a study of DQN on CartPole by the preset, and what is said of it."""


@pytest.mark.parametrize(
    "text",
    [
        "choice(a,b)",
        "interval(0.1,0.5)",
        "int(interval(1,5))",
        "tag(log,int(interval(1,64)))",
        "tag(log,interval(0.1,0.5))",
        "range(1,10,3)",
    ],
)
def test_what_is_searched_is_told_as_one_types_it(text):
    pytest.importorskip("optuna", minversion="4", reason="the extra `sweep` is not installed")
    override = OverridesParser.create().parse_override(f"x={text}")
    assert _told(distribution(override)) == text


def test_a_study_of_something_else_is_refused_by_name_and_file(search, calls):
    mine = ("hydra.sweeper.n_trials=1", "hydra.sweeper.study_name=mine")
    assert search(*mine)[0] == 0
    for other, message in REFUSED.items():
        place = "error: hydra.sweeper.study_name=mine in outputs/studies.db: "
        assert search(*mine, other)[::2] == (2, f"{place}{message}\n")
    assert len(calls) == len(studies()[0].trials) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["algorithm.lrr=interval(0.0,1.0)"],
            "algorithm.lrr: unknown; did you mean algorithm.learning_rate? (see --cfg job)",
        ),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be at least 1"),
        (["hydra.sweeper.n_jobs=x"], "hydra.sweeper.n_jobs=x: must be a whole number"),
        (["hydra.sweeper.max_failure_rate=2"], "hydra.sweeper.max_failure_rate=2: must be within [0, 1]"),
        (["hydra.sweeper.sampler.seed=-1"], "hydra.sweeper.sampler.seed=-1: must be at least 0"),
        (["algorithm.discount=interval(2.0,1.0)"], "algorithm.discount=interval(2.0,1.0): cannot be searched ("),
        (["hydra.sweeper.storage=nowhere"], "hydra.sweeper.storage=nowhere: cannot be used ("),
    ],
)
def test_a_mistake_in_a_search_is_one_line(search, calls, tmp_path, arguments, message):
    status, _, err = search(*arguments)
    assert (status, calls) == (2, []) and err.startswith(f"error: {message}") and err.count("\n") == 1
    assert not (tmp_path / "outputs/multirun").exists()


def test_trials_without_a_score_are_passed_over_and_too_many_end_the_search(search, calls):
    few = ("hydra.sweeper.n_trials=2", "hydra.sweeper.params=null")
    status, out, _ = search(*few, "algorithm.learning_rate=choice(1e-3)", "seed=choice(1,10)")
    assert status == 0 and "2 run(s) by their score" in out and len(calls) == 2
    status, _, err = search(*few, "seed=choice(10,11)")
    assert status == 2 and err.endswith("error: hydra.sweeper.max_failure_rate=0.5: 2 of 2 trials failed\n")


def test_what_hydra_looks_through_imports_little():
    """Every Hydra program of the environment does."""
    program = (
        "import sys, hydra_plugins.vmax_plugins; print(*{'jax', 'matplotlib', 'optuna', 'submitit'} & {*sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout, said.stderr) == (0, "\n", "")


def test_a_search_that_is_stopped_leaves_a_ranking_and_no_trial_open(search, tmp_path):
    assert search("seed=20", "hydra.sweep.dir=x")[0] == 128 + signal.SIGINT
    assert [trial.state.name for trial in studies()[0].trials] == ["FAIL"]


def test_the_best_of_the_study_is_written_beside_the_ranking(search, tmp_path):
    arguments = ("hydra.sweeper.params=null", LEARNING_RATE, "hydra.sweeper.n_trials=4", "hydra.sweep.dir=x")
    status, out, _ = search(*arguments)
    best = studies()[0].best_trial
    written = (tmp_path / "x/optimization_results.yaml").read_text()
    assert (
        status == 0
        and f"best_value: {best.value}" in written
        and math.isclose(1 - points(studies()[0])[best.number], best.value)
    )
    assert (tmp_path / "x/sweep.csv").exists() and f"4 trials, the best {best.value:.4g} with" in out
    assert Path("x/multirun.yaml").exists()
