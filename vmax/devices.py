"""Where a run computes: device choice, thread count, compile cache, and the one wrapper that maps over devices.

`configure` and `set_host_devices` set environment variables and must run before JAX starts its first device. JAX is
therefore imported inside the functions that need it.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmax.errors import UserError

AXIS = "device"


def set_host_devices(n: int) -> None:
    """Emulates `n` devices on the CPU, with threads enough that collectives cannot lock each other out."""
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "host_platform_device_count" not in flag]
    os.environ["XLA_FLAGS"] = " ".join([*flags, f"--xla_force_host_platform_device_count={n}"])
    os.environ["NPROC"] = str(max(2 * n, int(os.environ.get("NPROC", os.cpu_count() or 1))))


def emulated_devices() -> int:
    """How many CPU devices XLA_FLAGS asks for; 1 without the flag."""
    for flag in os.environ.get("XLA_FLAGS", "").split():
        if flag.startswith("--xla_force_host_platform_device_count="):
            return int(flag.partition("=")[2])
    return 1


def configure(device: str, threads: int | None) -> int:
    """Fixes the platform, the size of the CPU thread pool and the compile cache; call it before JAX starts a device.

    The thread count changes the last bits of sums, so it is part of what makes a run repeatable. Without a wish it is
    NPROC where set, else the number of cores; emulated devices need two threads each, else collectives wait for ever.

    Args:
      device: `auto` (an accelerator where there is one), `cpu` or `gpu`; `verify` says whether it could be had.
      threads: the wish; None for the default.

    Once JAX has started its devices, nothing can be changed: the count in force is returned.

    Returns: the thread count. Raises UserError for too few threads, and for another count than the one in force.
    """
    if _started():
        running = int(os.environ.get("NPROC", os.cpu_count() or 1))
        if threads not in (None, running):
            raise UserError(f"threads={threads}: JAX already runs with {running} in this process; start a new one")
        return running
    needed = 2 * emulated_devices() if emulated_devices() > 1 else 1
    if threads is not None and threads < needed:
        raise UserError(f"threads={threads}: must be at least {needed} for {emulated_devices()} emulated device(s)")
    count = threads or max(needed, int(os.environ.get("NPROC", os.cpu_count() or 1)))
    os.environ["NPROC"] = str(count)
    if device == "cpu":
        _set_jax("jax_platforms", "cpu")
    if caching():
        _set_jax("jax_compilation_cache_dir", str(cache_dir()))
        _set_jax("jax_persistent_cache_min_compile_time_secs", 0.5)
        _set_jax("jax_persistent_cache_min_entry_size_bytes", -1)
    return count


def caching() -> bool:
    """Whether anything may be kept in the user's cache folder."""
    return os.environ.get("VMAX_COMPILATION_CACHE", "on") != "off"


def cache_dir() -> Path:
    """The folder of compiled programs: one per host and kind of processor, as a program may use its instructions."""
    return Path("~/.cache/vmax/xla").expanduser() / f"{platform.node()}-{platform.machine()}"


def _started() -> bool:
    """Whether JAX has started its devices in this process."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def _set_jax(option: str, value: Any) -> None:
    """Sets a JAX option whether or not JAX is imported already."""
    if "jax" in sys.modules:
        sys.modules["jax"].config.update(option, value)
    else:
        os.environ[option.upper()] = str(value)


def verify(device: str) -> int:
    """The number of devices at hand. Raises UserError when they are not of the kind asked for."""
    import jax

    try:
        backend = jax.default_backend()
    except RuntimeError as error:
        raise UserError(f"device={device}: cannot be started ({str(error).splitlines()[0]})") from error
    if device == "gpu" and backend == "cpu":
        raise UserError("device=gpu: JAX finds no GPU here; allowed: cpu, auto")
    if device == "cpu" and backend != "cpu":
        raise UserError(f"device=cpu: JAX already runs on {backend} in this process; start a new one")
    return count()


def count() -> int:
    """The number of devices that one run is spread over."""
    import jax

    return jax.local_device_count()


def parallel(fn: Callable[..., Any], donate: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Maps a per-device function over all devices; every argument and result has a leading axis of that length.

    Inside, `AXIS` names the device axis for `pmean`, `psum` and `axis_index`. One device takes the same path.
    The arguments numbered in `donate` are given up: their memory is used for the result.
    """
    import jax

    return jax.pmap(fn, axis_name=AXIS, devices=jax.local_devices(), donate_argnums=donate)


def sharding() -> Any:
    """How `parallel` lays out an array `[devices, …]`; a checkpoint is restored with it."""
    import jax
    import numpy as np

    mesh = jax.sharding.Mesh(np.asarray(jax.local_devices()), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))


def shard(tree: Any) -> Any:
    """Lays arrays `[devices, …]` out over the devices, as `parallel` wants them for donation."""
    import jax

    return jax.device_put(tree, sharding())


def replicate(tree: Any, n: int) -> Any:
    """A copy of the tree on each of `n` devices: every leaf `[…]` becomes `[n, …]`."""
    import jax
    import jax.numpy as jnp

    return shard(jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf)[None], (n, *jnp.shape(leaf))), tree))


def fetch(tree: Any) -> Any:
    """The first device's part of a tree `[devices, …]` as NumPy arrays; waits until it is computed."""
    import jax
    import numpy as np

    shards = jax.device_get(jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, tree))
    return jax.tree.map(lambda leaf: np.array(leaf[0]), shards)  # a view would keep its buffer from being given up


def gather(tree: Any) -> Any:
    """A tree `[devices, …]` with the parts of all devices as NumPy arrays; waits until it is computed."""
    import jax

    return jax.device_get(tree)


def drop_programs() -> None:
    """Drops all compiled programs of this process and what they hold: the next run compiles its own.

    Without it a process that trains several times keeps the programs of all its runs, 50-150 MB each.
    """
    import gc

    import jax

    jax.clear_caches()
    gc.collect()


def hardware() -> dict[str, Any]:
    """What a run was computed on, for its records."""
    import jax

    devices = jax.local_devices()
    return {
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": int(os.environ.get("NPROC", os.cpu_count() or 1)),
    }


def _processor() -> str:
    """The processor's name; the architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
