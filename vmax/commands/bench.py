"""`bench`: how fast vmax is on this machine, as one table and bench.json; with peers=true beside other libraries."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vmax import devices
from vmax.commands.cli import hydra_main
from vmax.config import RunConfig, check_devices, load, to_mapping
from vmax.conversion import build, convert
from vmax.files import append_jsonl, write_json
from vmax.run_folder import git_revision, versions

HISTORY = Path("outputs") / "bench_history.jsonl"
"""Every measurement made from here, with its commit and machine: one line each, the figures by name."""


@dataclass
class Table:
    """The figures by name; each row is printed as soon as it is known, as a benchmark takes minutes."""

    figures: dict[str, Any] = field(default_factory=dict)

    def head(self, title: str) -> None:
        """A line above a group of rows."""
        print(f"\n{title}", flush=True)

    def row(self, name: str, label: str, value: float | None, unit: str, instead: str = "-") -> None:
        """Notes a figure and prints it; `instead` where there is none."""
        self.figures[name] = value
        shown = instead if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        print(f"  {label:<58}{shown:>14} {unit}".rstrip(), flush=True)


def main() -> None:
    """Entry point of the command; `--peers` is short for peers=true."""
    sys.argv = ["peers=true" if argument == "--peers" else argument for argument in sys.argv]
    hydra_main(run, "bench")


def run(composed: DictConfig) -> None:
    """One job of the command; bench.json goes to Hydra's folder."""
    bench(composed, Path(HydraConfig.get().runtime.output_dir))


def bench(composed: DictConfig, folder: Path) -> dict[str, Any]:
    """Measures by a composed configuration, prints the table, writes `folder`/bench.json, adds a line to `HISTORY` and
    returns the content of the former.

    Raises UserError.
    """
    mapping = to_mapping(composed)
    section, peers = mapping.pop("bench", None), convert(bool, mapping.pop("peers", None), "peers")
    device = convert(Literal["auto", "cpu", "gpu"], mapping.get("device"), "device")
    mapping["threads"] = devices.configure(device, convert(int | None, mapping.get("threads"), "threads"))
    config = load(mapping)
    check_devices(config, devices.verify(config.device))
    from vmax import envs
    from vmax.commands.bench_memory import MemoryConfig
    from vmax.commands.bench_peers import PeerConfig, check_race, peer_classes
    from vmax.commands.bench_speed import SpeedConfig, fitting

    groups = section if isinstance(section, dict) else {}
    speed = build(SpeedConfig, groups.get("speed"), "bench.speed")
    memory = build(MemoryConfig, groups.get("memory"), "bench.memory")
    peer = build(PeerConfig, groups.get("peer"), "bench.peer")
    signals = peers and "network" in mapping["env"]
    if signals:
        from vmax.commands import bench_sumo

        bench_sumo.available()
    classes = peer_classes() if peers and not signals else {}
    env = envs.make(config.env)
    if classes:
        check_race(env, speed, peer)
    config = fitting(config, env)
    table, hardware = Table(), devices.hardware()
    print(f"{hardware['device']} x {hardware['devices']}, {hardware['processor']}, {hardware['threads']} threads")
    measure(config, env, speed, table)
    remember(memory, speed.products, classes, table)
    if classes:
        compare(config, classes, speed, peer, table)
    if signals:
        beside_sumo(speed, table)
    result = {"hardware": hardware, "versions": versions(), "git": git_revision(), "figures": table.figures}
    result["bench"] = {"speed": asdict(speed), "memory": asdict(memory), "peer": asdict(peer) if peers else None}
    write_json(folder / "bench.json", result)
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "git": result["git"], "hardware": hardware}
    HISTORY.parent.mkdir(exist_ok=True)
    append_jsonl(HISTORY, [{**line, **table.figures}])
    print(f"\nwritten to {folder / 'bench.json'}; a line was added to {HISTORY}")
    return result


def measure(config: RunConfig, env: Any, speed: Any, table: Table) -> None:
    """The rows of vmax itself; the configuration is one from `fitting`."""
    from vmax.commands import bench_numpy, bench_speed

    table.head(f"environment {env.name}, observation {env.observation_space.size}, random actions, auto-reset")
    for n in speed.num_envs:
        rate = bench_speed.environment_steps_per_s(env, n, speed)
        table.row(f"environment_steps_per_s_{n}", f"{n} side by side", rate, "steps/s")
        if n >= 1024 and bench_numpy.offered(env):
            numpy_rate = bench_numpy.numpy_steps_per_s(env, n, speed.environment_steps, speed.repeats)
            table.row(f"numpy_environment_steps_per_s_{n}", "  the same in vectorised NumPy", numpy_rate, "steps/s")
            table.row(f"ratio_numpy_{n}", "  compiled : NumPy", rate / numpy_rate, "x")
    hidden = " x ".join(map(str, speed.hidden))
    table.head(f"SAC update alone, {hidden} hidden, batch {speed.batch_size}, no LayerNorm, one action")
    figures = bench_speed.learner(speed)
    gemm = "gemm_gflop_per_s"
    table.row(gemm, "matrix products 256 x 256 x 256, float32", figures[gemm], "GFLOP/s")
    for size in speed.observations:
        rate, share = f"updates_per_s_{size}", f"share_of_gemm_{size}"
        table.row(rate, f"observation {size}", figures[rate], "updates/s")
        table.row(share, "  share of the matrix-product rate", figures[share], "")
    t = config.training
    job = f"{config.algorithm.name} on {env.name}, {t.num_envs} environments, {t.updates_per_iteration} updates"
    table.head(f"a training run: {job} every {t.num_envs * t.unroll} steps")
    figures = bench_speed.training(config, speed.repeats)
    table.row("compile_cold_s", "compilation of a chunk", figures["compile_cold_s"], "s")
    table.row("compile_cached_s", "the same from the compile cache", figures["compile_cached_s"], "s")
    table.row("training_steps_per_s", "training", figures["training_steps_per_s"], "steps/s")
    table.row("training_updates_per_s", "training", figures["training_updates_per_s"], "updates/s")
    for name, value in bench_speed.peak_memory().items():
        label = "peak memory of the accelerator" if "device" in name else "peak memory of the process"
        table.row(name, label, value, "MiB")


def beside_sumo(speed: Any, table: Table) -> None:
    """The rows of SUMO, one process."""
    from vmax.commands.bench_sumo import sumo_rates

    table.head("SUMO, a comparable junction, random decisions every 5 s")
    labels = {"sumo_rl": "through sumo-rl", "libsumo": "libsumo alone"}
    for name, rate in sumo_rates(speed.repeats).items():
        table.row(f"{name}_steps_per_s", labels[name], rate, "decisions/s")


def remember(memory: Any, products: int, classes: dict[str, Any], table: Table) -> None:
    """The rows of learning with memory, beside PyTorch where there are peers."""
    from vmax.commands import bench_memory

    sizes = f"{memory.sequences} sequences x {memory.length} steps, {memory.units} units, "
    table.head(f"TD3 update with LSTM alone, {sizes}observation {memory.observation}, one action")
    torch = import_module("torch") if classes else None
    figures = bench_memory.memory_rates(memory, products, torch)
    rate = figures["lstm_updates_per_s"]
    table.row("lstm_updates_per_s", "vmax", rate, "updates/s")
    table.row("lstm_share_of_gemm", "  share of the matrix-product rate", figures["lstm_share_of_gemm"], "")
    if classes:
        theirs = figures["torch_lstm_updates_per_s"]
        table.row("torch_lstm_updates_per_s", "torch.nn.LSTM, the same maths", theirs, "updates/s")
        table.row("ratio_torch_lstm", "  vmax : torch", rate / theirs, "x")


def compare(config: RunConfig, classes: dict[str, Any], speed: Any, peer: Any, table: Table) -> None:
    """The rows of the peers, and how many times faster vmax is."""
    from vmax.commands.bench_peers import OURS, race, update_rates
    from vmax.commands.bench_speed import fresh_compile_cache

    table.head("SAC with one environment, one update for each step, the same sizes")
    for size, rates in update_rates(classes, speed, peer):
        for name, rate in rates.items():
            table.row(f"{name}_updates_per_s_{size}", f"observation {size}, {name}", rate, "updates/s")
        for name in classes:
            table.row(f"ratio_{name}_{size}", f"observation {size}, {OURS} : {name}", rates[OURS] / rates[name], "x")
    table.head(f"training time to a capture of {peer.capture} on the validation split")
    seconds: dict[str, float | None] = {}
    with fresh_compile_cache():  # the chunk may be in the usual one
        for name, value in race(config, classes, speed, peer):
            seconds[name] = value
            table.row(f"{name}_capture_s", name, value, "" if value is None else "s", f"> {peer.limit_s / 60:g} min")
    ours = seconds[OURS]
    if ours is None:
        return
    for name in classes:
        theirs = seconds[name]
        ratio, least = (theirs or peer.limit_s) / ours, "" if theirs else " (at least)"
        table.row(f"ratio_{name}_capture", f"{OURS} : {name}{least}", ratio, "x")
