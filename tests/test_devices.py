import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vmax import devices
from vmax.errors import UserError

TWO_DEVICES = """
import json, os
from vmax import devices
devices.set_host_devices(2)
threads = devices.configure("cpu", None)
import jax, jax.numpy as jnp
n = devices.verify("cpu")
state = devices.replicate({"x": jnp.arange(3.0), "key": jax.random.key(1)}, n)
own = devices.shard(jnp.arange(4.0).reshape(2, 2))

def step(state, own):
    x = state["x"] + jax.lax.pmean(own.sum(), devices.AXIS)
    return {"x": x, "key": jax.random.split(state["key"], 1)[0]}

new = devices.parallel(step)(state, own)
jax.block_until_ready(new)
print(json.dumps({
    "devices": n, "threads": threads, "deleted": state["x"].is_deleted(),
    "both": new["x"].tolist(), "fetched": devices.fetch(new["x"]).tolist(), "hardware": devices.hardware()["devices"],
}))
"""


def fresh_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC", "JAX_PLATFORMS")}
    environment = {**clean, "PYTHONPATH": os.pathsep.join(sys.path), "VMAX_COMPILATION_CACHE": "off", **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


def test_two_emulated_devices_average_and_donate():
    done = fresh_process(TWO_DEVICES)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["devices"] == told["hardware"] == 2 and told["threads"] >= 4
    assert told["fetched"] == [3.0, 4.0, 5.0]  # the mean of 0 + 1 and 2 + 3 is added
    assert told["both"] == [[3.0, 4.0, 5.0]] * 2
    assert told["deleted"]


def test_choices_are_environment_variables_before_jax_is_imported():
    code = """
import os, sys
from vmax import devices
print(devices.configure("cpu", 3), os.environ["NPROC"], os.environ["JAX_PLATFORMS"], "jax" in sys.modules)
print(os.environ["JAX_COMPILATION_CACHE_DIR"].startswith(os.path.expanduser("~/.cache/vmax/xla/")))
"""
    assert fresh_process(code, VMAX_COMPILATION_CACHE="on").stdout.split() == ["3", "3", "cpu", "False", "True"]


def test_one_device_takes_the_same_path_and_gives_its_input_up():
    state = devices.replicate({"x": jnp.zeros(2)}, devices.count())
    new = devices.parallel(lambda s: {"x": s["x"] + jax.lax.psum(1.0, devices.AXIS)})(state)
    assert devices.fetch(new)["x"].tolist() == [devices.count()] * 2
    assert state["x"].is_deleted()


def test_what_is_not_donated_stays():
    x = devices.replicate(jnp.zeros(2), devices.count())
    devices.parallel(lambda v: v + 1, donate=())(x)
    assert np.asarray(x).tolist() == [[0.0, 0.0]] * devices.count()


def test_a_gpu_that_is_not_there_is_the_users_to_know(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with pytest.raises(UserError, match=r"device=gpu: JAX finds no GPU here; allowed: cpu, auto"):
        devices.verify("gpu")
    assert devices.verify("auto") == devices.verify("cpu") == devices.count()


def test_a_process_that_runs_on_the_gpu_cannot_go_back(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(UserError, match=r"device=cpu: JAX already runs on gpu"):
        devices.verify("cpu")


def test_the_thread_count_cannot_change_once_jax_runs(monkeypatch):
    jax.devices()
    monkeypatch.setenv("NPROC", "2")
    assert devices.configure("auto", None) == devices.configure("auto", 2) == 2
    with pytest.raises(UserError, match=r"threads=5: JAX already runs with 2 in this process"):
        devices.configure("auto", 5)


def test_emulated_devices_need_two_threads_each(monkeypatch):
    monkeypatch.setattr(devices, "_started", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    monkeypatch.setenv("NPROC", "2")
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "off")
    with pytest.raises(UserError, match="threads=2: must be at least 8 for 4 emulated"):
        devices.configure("auto", 2)
    assert devices.configure("auto", None) == 8
    devices.set_host_devices(2)
    assert devices.emulated_devices() == 2


def test_hardware_is_plain():
    assert json.loads(json.dumps(devices.hardware()))["devices"] == devices.count()
