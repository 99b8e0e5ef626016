"""Tiny runs that the tests of this folder start, and what makes two runs equal."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

from vmax.run_folder import RunFolder

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
LENGTHS = (
    *(
        "device=cpu",
        "checks=off",
        "export=false",
        "report=false",
        "seed=3",
        "total_steps=1000",
        "network.hidden=[16,16]",
    ),
    *("evaluation.plots=false", "evaluation.bootstrap=50", "evaluation.error_draws=2", "checkpoint.every=300"),
    *("training.num_envs=4", "training.log_every=100", "training.eval_every=400"),
)
SIZES = (
    *LENGTHS,
    *("training.updates_per_iteration=2", "training.batch_size=16"),
    *("training.replay_capacity=400", "training.warmup_steps=200"),
)
"""Chunks end at steps 300, 400, … 1000, checkpoints fall at 500, 800 and 1000, evaluations at 600 and 1000."""
SCALED = ("algorithm.normalise_observations=true", "algorithm.normalize_rewards=true")
WORLD = ("env=pendulum", "env.max_steps=50", *SCALED)
PENDULUM = ("algorithm=sac", *WORLD, *SIZES)
REMEMBERED = (
    *("algorithm=td3", "algorithm.n_step=3", "network=lstm", "network.units=8", "training.sequences.length=6"),
    *("training.sequences.stride=3", "training.sequences.burn_in=2", "training.priorities.exponent=0.6"),
)
MEMORY = (*REMEMBERED, *WORLD, "env.show_speed=false", *SIZES)
"""TD3 with memory, three-step returns and priorities."""
PARTS = {"ppo": ("algorithm.epochs=2", "algorithm.minibatches=2"), "a2c": ()}
"""Of the on-policy algorithms, which have no warm-up: checkpoints at 300, 600, 900 and 1000, evaluations at 400 …"""


def pendulum(algorithm: str) -> tuple[str, ...]:
    """The same run with any algorithm; DQN balances a pole."""
    if algorithm == "dqn":
        return (f"algorithm={algorithm}", "env=cartpole", "env.max_steps=50", *SCALED, *SIZES)
    if algorithm not in PARTS:
        return (*PENDULUM, f"algorithm={algorithm}")
    return (f"algorithm={algorithm}", *WORLD, *LENGTHS, "training.unroll=5", *PARTS[algorithm])


def bess(prices: Path) -> tuple[str, ...]:
    """A battery on forecasts of the prices in a file, with all that `MEMORY` has."""
    data = (f"env.data.path={prices}", "env.data.timezone=UTC", "env.episode.days=1", "env.information=forecast")
    return (*REMEMBERED, "algorithm.counterfactuals=0", "env=bess", *data, *SIZES)


def days(prices: Path) -> tuple[str, ...]:
    """The same by days: three epochs of ten days, beside all that may be recorded.

    The warm-up is 288 steps, three rounds of four days; chunks end at 388, 488, … 1088, checkpoints fall at 588, 888
    and 1088, evaluations at 688 and 1088.
    """
    return (
        *bess(prices),
        *("training.schedule=epochs", "training.epochs=3", "training.days_per_epoch=10", "total_steps=null"),
        "logging.jsonl=true",
    )


def write_prices(path: Path, days: int = 60, first_day: str = "2023-01-01") -> Path:
    """Hourly prices with two waves a day and noise."""
    utc = pd.date_range(first_day, periods=24 * days, freq="h")
    noise = np.random.default_rng(3).standard_normal(len(utc))
    price = 60 + 25 * np.sin(2 * np.pi * (np.arange(len(utc)) - 9) / 12) + 10 * noise
    pd.DataFrame({"utc": utc, "price_eur_per_mwh": price.round(2)}).to_csv(path, index=False)
    return path


def environment() -> dict[str, str]:
    """That of a process which compiles as this one does, so that both find the same numbers."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), str(Path(__file__).parent)])}


def start(*overrides: str, script: Path = SCRIPT) -> subprocess.Popen[str]:
    """The training command in a process of its own, with its output to be read."""
    command = [sys.executable, str(script), *overrides]
    return subprocess.Popen(command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(*overrides: str) -> str:
    """Runs the training command to its end; returns what it printed."""
    process = start(*overrides)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return output


def assert_same_run(one: Path, other: Path) -> None:
    """Last checkpoint, figures and result of two runs are equal in all that is no time, rate or place."""
    last = max(int(path.name) for path in (one / "checkpoints").iterdir() if path.name.isdigit())
    assert checkpoint_names(one) == checkpoint_names(other)
    items = sorted(path.name for path in (one / "checkpoints" / str(last)).iterdir() if path.is_dir())
    assert {"state", "policy"} <= set(items) <= {"state", "replay", "policy"}
    for item in items:
        left, right = (arrays(folder / "checkpoints" / str(last) / item) for folder in (one, other))
        assert left.keys() == right.keys() and left
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{item}{name}", strict=True)
    assert metrics(one) == metrics(other)
    for name in ("metrics.jsonl", "days.jsonl"):
        assert lines(one / name) == lines(other / name), name
    assert RunFolder(one).season_steps() == RunFolder(other).season_steps()
    for left in (one / "evaluation" / "seasons").glob("*.csv"):
        assert left.read_text() == (other / "evaluation" / "seasons" / left.name).read_text(), left.name
    assert timeless(read_json(one / "result.json")) == timeless(read_json(other / "result.json"))
    for left in (one / "evaluation" / "test").glob("*.csv"):
        assert left.read_text() == (other / "evaluation" / "test" / left.name).read_text(), left.name


def checkpoint_names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def arrays(item: Path) -> dict[str, np.ndarray]:
    """Every array of a saved item by its path in the tree."""
    tree = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).restore(item)
    return {jax.tree_util.keystr(path): plain(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def plain(leaf: Any) -> np.ndarray:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def metrics(folder: Path) -> str:
    """metrics.csv without its times and rates."""
    table = pd.read_csv(folder / "metrics.csv", dtype=str)
    return table.drop(columns=[c for c in table if c == "time_s" or c.startswith("speed/")]).to_csv()


def lines(path: Path) -> list[Any]:
    """The rows of a file of JSON lines without times and rates; none where there is no file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [timeless(json.loads(line)) for line in text.splitlines()]


def timeless(value: Any) -> Any:
    """A result without times, rates and places."""
    if not isinstance(value, dict):
        return value
    return {k: timeless(v) for k, v in value.items() if not k.endswith(("time_s", "_per_s", "folder"))}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
