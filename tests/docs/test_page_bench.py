"""The benchmark as the pages start it: every row is measured, in a small world with small sizes."""

import json
from importlib.util import find_spec

import pages
import pytest
import small_budget
from invoking import invoker

from vmax.commands import bench

COMMANDS = [command for command in pages.commands() if command.program == "bench"]
PEERS = {
    "bess": ("stable_baselines3", "sbx", "torch"),
    **dict.fromkeys(("traffic_signal", "traffic_lagos"), ("sumo", "libsumo", "sumo_rl")),
}
"""What must be installed to measure the peers of an environment."""


@pytest.fixture
def measure(monkeypatch, capsys, tmp_path):
    """Runs a command in small, in a place of its own; returns its figures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "off")

    def figures(command, *more):
        words = [word for word in command.arguments if not word.startswith("threads=")]  # this process has its threads
        own = [word for word in words if word.startswith(("bench", "peers"))]
        prices = small_budget.write_prices(tmp_path / "prices.csv")
        small = small_budget.in_small([word for word in words if word not in own], prices)
        status, out, err = invoker(monkeypatch, capsys, bench.main)(*words, *small, *more, "hydra.run.dir=out")
        assert (status, err) == (0, ""), out
        return json.loads((tmp_path / "out" / "bench.json").read_text())["figures"]

    return figures


@pytest.mark.slow
def test_the_benchmark_of_the_readme_measures_every_row(measure):
    (command,) = (command for command in COMMANDS if not command.arguments)
    figures = measure(command, "bench=small", "bench.speed.num_envs=[2]")
    assert all(value > 0 for value in figures.values())
    assert {"environment_steps_per_s_2", "updates_per_s_3", "compile_cold_s", "training_updates_per_s"} <= {*figures}
    assert "lstm_updates_per_s" in figures


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=str)
@pytest.mark.parametrize("peers", ["peers=false", "peers=true"])
def test_each_benchmark_of_the_pages_runs_alone_and_beside_its_peers(measure, command, peers):
    """In the end the race, which a peer that is given a second gives up."""
    (env,) = [word.partition("=")[2] for word in command.arguments if word.startswith("env=")] or ["bess"]
    if peers == "peers=true" and env not in PEERS:
        pytest.skip(f"{env} has no peer")
    if peers == "peers=true" and not all(map(find_spec, PEERS[env])):
        pytest.skip(f"an extra is missing: {', '.join(PEERS[env])}")
    figures = measure(command, "bench=small", peers, "bench.speed.num_envs=[1,4]")
    beside = {"ratio_torch_lstm", "sumo_rl_steps_per_s"} & {*figures}
    assert len(beside) == (peers == "peers=true")
