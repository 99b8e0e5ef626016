"""Two emulated devices: replicas stay equal, updates are those of one device, counters are global."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny

import vmax
from vmax.run_folder import read_metrics

TWO_DEVICES = """
import json, sys
from dataclasses import replace
from pathlib import Path
from vmax import devices

devices.set_host_devices(2)
devices.configure("cpu", None)
import jax, numpy as np
import vmax
from vmax import config, envs
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Batch
from vmax.errors import UserError
from vmax.training.run import build_program
from tiny import PENDULUM, arrays, pendulum, plain

folder = sys.argv[1]
told = {"devices": devices.verify("cpu"), "equal": {}, "apart": {}, "updates": {}}


def parts(tree):
    return [plain(leaf) for leaf in jax.tree.leaves(tree)]


def replicas(algorithm, settings):
    env = envs.make(settings.env)
    program = build_program(settings, env, algorithm)
    params = devices.replicate(env.params("train"), 2)
    initialise, warm_up, chunk = program.compiled(10, 60)
    state = warm_up(initialise(devices.replicate(jax.random.key(0), 2), params), params)
    for _ in range(3):
        state, record = chunk(state, params)
        jax.block_until_ready(record)
    both = parts((state.learner, state.key, record))
    own = parts((state.observation, getattr(state.replay, "action", state.observation)))
    return all(np.array_equal(x[0], x[1]) for x in both), all((x[0] != x[1]).any() for x in own), program.spec


def updates(algorithm, spec):
    \"\"\"The greatest excess over the tolerance of 8 updates on two devices against the same on one.\"\"\"
    rng = np.random.default_rng(0)
    shape = (8, 32)
    batch = Batch(
        rng.normal(size=(*shape, 3)), rng.uniform(-1, 1, (*shape, 1)), rng.normal(size=shape),
        0.97 * (rng.random(shape) > 0.2), rng.normal(size=(*shape, 3)),
    )
    batch = jax.tree.map(np.float32, batch)
    start = algorithm.init(jax.random.key(1), replace(spec, axis=None))
    key = jax.random.key(2)
    one, _ = jax.jit(lambda s, b, k: algorithm.update(s, b, k, replace(spec, axis=None)))(start, batch, key)
    halves = devices.shard(jax.tree.map(lambda x: np.stack(np.split(x, 2, axis=1)), batch))
    two, _ = devices.parallel(lambda s, b, k: algorithm.update(s, b, k, spec))(
        devices.replicate(start, 2), halves, devices.replicate(key, 2)
    )
    pairs = list(zip(parts(one), parts(two), parts(start), strict=True))
    moved = sum(bool((x != begin).any()) for x, _, begin in pairs)
    return float(max((np.abs(x - y[0]) - 1e-5 * np.abs(x)).max() for x, y, _ in pairs)), moved


for name in ("sac", "ppo"):
    constant = "algorithm.learning_rate_schedule=constant"
    settings = config.load(config.compose([*pendulum(name), constant]))
    algorithm = make_algorithm(settings.algorithm, settings.network)
    told["equal"][name], told["apart"][name], spec = replicas(algorithm, settings)
    if not algorithm.on_policy:
        told["updates"][name] = updates(algorithm, spec)

told["run"] = vmax.train(PENDULUM, folder)["run"]
np.savez(folder + ".npz", **arrays(Path(folder) / "checkpoints" / "1000" / "state"))
try:
    vmax.train([*PENDULUM, "training.batch_size=17"], folder + "-odd")
except UserError as error:
    told["refused"] = str(error)
print("told:" + json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a process with two devices found, and the folder of its run."""
    folder = tmp_path_factory.mktemp("two") / "run"
    call = [sys.executable, "-c", TWO_DEVICES, str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, env=tiny.environment())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.rpartition("told:")[2])
    assert found["devices"] == 2
    return {**found, "folder": folder}


@pytest.mark.parametrize("algorithm", ["sac", "ppo"])
def test_replicas_are_equal_to_the_bit_after_several_chunks_and_collect_apart(told, algorithm):
    assert told["equal"][algorithm] and told["apart"][algorithm]


def test_updates_on_two_halves_are_those_of_one_device_on_the_whole_batch(told):
    excess, moved = told["updates"]["sac"]
    assert moved > 20 and excess <= 1e-6


def test_counters_are_global(told):
    run = told["run"]
    assert (run["status"], run["env_steps"], run["gradient_updates"]) == ("completed", 1000, 400)
    columns, rows = read_metrics(told["folder"] / "metrics.csv")
    assert [int(row[0]) for row in rows] == list(range(300, 1001, 100))
    episodes = sum(float(row[columns.index("train/episodes")]) for row in rows)
    assert episodes == 4 * (1000 - 200) / 4 / 50  # four environments, fifty steps an episode


def test_sizes_that_do_not_divide_are_refused_in_one_line(told):
    assert told["refused"] == ("training.batch_size=17: must be a multiple of the number of devices = 2 (nearest: 16)")
    assert not told["folder"].with_name("run-odd").exists()


def test_a_run_on_one_device_begins_with_the_networks_of_one_on_two(told, tmp_path, capsys):
    before = np.load(f"{told['folder']}.npz")  # Orbax reads arrays of two devices on one only as it is told to
    still = ["algorithm.learning_rate=1e-12", "algorithm.critic_learning_rate=1e-12", "total_steps=300"]
    vmax.train([*tiny.PENDULUM, *still, f"init_from={told['folder']}"], str(tmp_path / "warm"))
    after = tiny.arrays(tmp_path / "warm" / "checkpoints" / "300" / "state")
    weights = [name for name in after if "['actor']['params']" in name]
    for name in weights:
        assert (before[name].shape[0], after[name].shape[0]) == (2, 1)
        np.testing.assert_allclose(after[name][0], before[name][1], atol=1e-6, err_msg=name)
    said = f"warning: init_from={told['folder']}: here: devices 1 (was 2)"
    assert weights and said in capsys.readouterr().out and said in (tmp_path / "warm" / "train.log").read_text()
