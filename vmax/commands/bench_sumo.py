"""SUMO beside the junction `simple`: how many decisions a second it makes through sumo-rl and libsumo, one process.

The junction has four approaches of 300 m with one lane and two phases; on average 0.15 vehicles a second come to each
by exponential gaps, decisions come every 5 s and are random. SUMO moves every vehicle by itself, a second a step.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vmax.errors import UserError

ARMS = {"north": (0, 300), "east": (300, 0), "south": (0, -300), "west": (-300, 0)}
WAYS = (("north", "south"), ("south", "north"), ("east", "west"), ("west", "east"))
PER_S, DECIDE_S, HOUR_S = 0.15, 5, 3600


def available() -> Path:
    """Where SUMO is. Raises UserError where it, libsumo or sumo-rl is not installed."""
    try:
        with redirect_stdout(StringIO()):  # libsumo's remarks on other libraries
            found = {name: import_module(name) for name in ("sumo", "libsumo")}
            os.environ.setdefault("SUMO_HOME", found["sumo"].SUMO_HOME)
            os.environ["LIBSUMO_AS_TRACI"] = "1"
            import_module("sumo_rl")
    except ModuleNotFoundError as error:
        raise UserError(f"peers=true: {error.name} is not installed; pip install vmax[sumo]") from error
    return Path(os.environ["SUMO_HOME"])


def sumo_rates(repeats: int) -> dict[str, float]:
    """Decisions a second through sumo-rl, and of SUMO alone with the same decisions, the median of hours."""
    home = available()
    with TemporaryDirectory() as folder, quiet():
        files = junction(home, Path(folder))
        hours = {
            "sumo_rl": [_through_sumo_rl(*files, seed) for seed in range(repeats)],
            "libsumo": [_alone(*files, seed) for seed in range(repeats)],
        }
    return {name: HOUR_S / DECIDE_S / float(np.median(seconds)) for name, seconds in hours.items()}


def junction(home: Path, folder: Path) -> tuple[Path, Path]:
    """Writes the network and its demand; the two files."""
    nodes = '<node id="x" x="0" y="0" type="traffic_light"/>'
    nodes += "".join(f'<node id="{name}" x="{x}" y="{y}"/>' for name, (x, y) in ARMS.items())
    edge = '<edge id="{0}" from="{1}" to="{2}" numLanes="1" speed="13.89"/>'
    edges = "".join(edge.format(f"{n}_in", n, "x") + edge.format(f"{n}_out", "x", n) for n in ARMS)
    ways = "".join(f'<connection from="{a}_in" to="{b}_out"/>' for a, b in WAYS)
    flows = "".join(
        f'<flow id="{a}" begin="0" end="{HOUR_S}" from="{a}_in" to="{b}_out" period="exp({PER_S})"/>' for a, b in WAYS
    )
    plain = {
        "nod": f"<nodes>{nodes}</nodes>",
        "edg": f"<edges>{edges}</edges>",
        "con": f"<connections>{ways}</connections>",
        "rou": f"<routes>{flows}</routes>",
    }
    paths = {name: folder / f"junction.{name}.xml" for name in (*plain, "net")}
    for name, text in plain.items():
        paths[name].write_text(text, encoding="utf-8")
    subprocess.run(
        [str(home / "bin" / "netconvert"), "-n", str(paths["nod"]), "-e", str(paths["edg"]), "-x", str(paths["con"]),
         "-o", str(paths["net"])],
        check=True, capture_output=True,
    )  # fmt: skip
    return paths["net"], paths["rou"]


def _through_sumo_rl(net: Path, routes: Path, seed: int) -> float:
    """Seconds for an hour of random decisions."""
    make: Any = import_module("sumo_rl").SumoEnvironment
    env = make(
        net_file=str(net), route_file=str(routes), single_agent=True, num_seconds=HOUR_S, delta_time=DECIDE_S,
        yellow_time=3, min_green=10, sumo_seed=seed, sumo_warnings=False,
        add_system_info=False, add_per_agent_info=False,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    env.reset()
    began = time.perf_counter()
    for _ in range(HOUR_S // DECIDE_S):
        env.step(int(rng.integers(env.action_space.n)))
    took = time.perf_counter() - began
    env.close()
    return took


def _alone(net: Path, routes: Path, seed: int) -> float:
    """Seconds for the same hour without observations and rewards: the signal is set, SUMO steps."""
    sumo: Any = import_module("libsumo")
    sumo.start(["sumo", "-n", str(net), "-r", str(routes), "--seed", str(seed), "--no-warnings", "--no-step-log"])
    signal = sumo.trafficlight.getIDList()[0]
    phases = len(sumo.trafficlight.getAllProgramLogics(signal)[0].phases)
    rng = np.random.default_rng(seed)
    began = time.perf_counter()
    for _ in range(HOUR_S // DECIDE_S):
        sumo.trafficlight.setPhase(signal, 2 * int(rng.integers(phases // 2)))
        for _ in range(DECIDE_S):
            sumo.simulationStep()
    took = time.perf_counter() - began
    sumo.close()
    return took


@contextmanager
def quiet() -> Iterator[None]:
    """Without what programs in C write to standard output."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        for descriptor in (kept, nowhere):
            os.close(descriptor)
