"""What the learners must reach, through the command as a user types it: `python -m pytest -m slow -s -n 0`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TWO_DEVICES = "--xla_force_host_platform_device_count=2"

pytestmark = pytest.mark.slow


def train(folder, *overrides, flags=""):
    """The result of `scripts/train.py` with these overrides, compiled as for a user."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags}
    command = [sys.executable, str(ROOT / "scripts/train.py"), *overrides, f"hydra.run.dir={folder}", "device=cpu"]
    done = subprocess.run(command, env=env, cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_pendulum_is_swung_up_on_four_of_five_seeds(tmp_path, algorithm):
    """20,000 steps; the mean return of 100 greedy episodes of the last policy."""
    returns = []
    for seed in range(5):
        found = train(
            tmp_path / str(seed), f"algorithm={algorithm}", "env=pendulum", "total_steps=20000", f"seed={seed}"
        )
        last = found["evaluation"]["policies"]["last"]
        assert last["episodes"] == 100
        returns.append(last["return_mean"])
    print(algorithm, "Pendulum:", ", ".join(f"{value:.0f}" for value in returns))
    assert sum(value >= -200 for value in returns) >= 4, returns


@pytest.mark.parametrize(
    ("algorithm", "env", "least", "steps"),
    [("ppo", "cartpole", 475, 200_000), ("ppo", "pendulum", -250, 200_000), ("a2c", "cartpole", 475, 500_000)],
)
def test_on_policy_learners_reach_known_results_on_four_of_five_seeds(tmp_path, algorithm, env, least, steps):
    """The mean return of 100 greedy episodes of the last policy."""
    returns = []
    for seed in range(5):
        found = train(tmp_path / str(seed), f"algorithm={algorithm}", f"env={env}", f"seed={seed}")
        last = found["evaluation"]["policies"]["last"]
        assert last["episodes"] == 100 and found["run"]["env_steps"] <= steps
        returns.append(last["return_mean"])
    print(algorithm, env, ", ".join(f"{value:.0f}" for value in returns))
    assert sum(value >= least for value in returns) >= 4, returns


def test_dqn_balances_a_pole_on_four_of_five_seeds(tmp_path):
    """The mean return of 100 greedy episodes of the last policy after at most 100,000 steps."""
    returns = []
    for seed in range(5):
        found = train(tmp_path / str(seed), "algorithm=dqn", "env=cartpole", f"seed={seed}")
        last = found["evaluation"]["policies"]["last"]
        assert last["episodes"] == 100 and found["run"]["env_steps"] <= 100_000
        returns.append(last["return_mean"])
    print("DQN cartpole", ", ".join(f"{value:.0f}" for value in returns))
    assert sum(value >= 475 for value in returns) >= 4, returns


def test_dqn_beats_every_rule_at_a_junction(tmp_path):
    """Seconds per vehicle on 64 demand seeds that nobody saw: at most 19, and less than the tuned gap-out rule."""
    policies = train(tmp_path / "run", "algorithm=dqn", "env=traffic_signal")["evaluation"]["policies"]
    print("delay:", {name: round(values["delay_s_per_veh"], 2) for name, values in policies.items()})
    assert policies["last"]["delay_s_per_veh"] <= 19.0
    assert policies["actuated"]["more_than_learned"]["ci95"][0] > 0.0


def test_on_policy_memory_makes_up_for_a_speed_that_is_not_shown(tmp_path):
    """As below, with PPO; 200,000 steps."""
    overrides = ("algorithm=ppo", "env=pendulum", "env.show_speed=false")
    returns = {
        network: train(tmp_path / network, *overrides, f"network={network}")["evaluation"]["policies"]["last"][
            "return_mean"
        ]
        for network in ("lstm", "mlp")
    }
    print("Pendulum without its speed, PPO:", {network: round(value) for network, value in returns.items()})
    assert returns["lstm"] >= -500 and returns["lstm"] > returns["mlp"] + 300, returns


def test_memory_makes_up_for_a_speed_that_is_not_shown(tmp_path):
    """The angle alone: what has to be remembered is where the pendulum was. Mean return of 100 greedy episodes."""
    overrides = ("algorithm=sac", "env=pendulum", "env.show_speed=false")
    last = {
        network: train(tmp_path / network, *overrides, f"network={network}")["evaluation"]["policies"]["last"]
        for network in ("lstm", "mlp")
    }
    returns = {network: values["return_mean"] for network, values in last.items()}
    print("Pendulum without its speed:", {network: round(value) for network, value in returns.items()})
    assert returns["lstm"] >= -300 and returns["lstm"] > returns["mlp"] + 500, returns


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_a_run_on_two_devices_learns_like_one_on_one(tmp_path, algorithm):
    """Their random numbers differ, so the runs agree in what they reach, not step by step."""
    overrides = (f"algorithm={algorithm}", "env=pendulum", "total_steps=20000")
    last = {
        name: train(tmp_path / name, *overrides, flags=flags)["evaluation"]["policies"]["last"]["return_mean"]
        for name, flags in (("one", ""), ("two", TWO_DEVICES))
    }
    print(algorithm, last)
    assert min(last.values()) >= -200 and abs(last["one"] - last["two"]) < 30


@pytest.mark.parametrize(("information", "least"), [("day_ahead", 0.95), ("forecast", 0.87)])
@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_a_battery_earns_its_share_of_the_optimum(tmp_path, algorithm, information, least):
    """The default run; captures on 2024, of the policy that was best on 2023."""
    found = train(tmp_path / "run", f"algorithm={algorithm}", f"env.information={information}")
    policies = found["evaluation"]["policies"]
    print(algorithm, information, {name: round(values["capture"], 3) for name, values in policies.items()})
    assert policies["best"]["capture"] >= least
    assert policies["best"]["capture"] > (policies["gated_two_cycle"]["capture"])
    for values in policies.values():
        assert values["violations"] == 0 and values["max_energy_residual_mwh"] < 1e-4
