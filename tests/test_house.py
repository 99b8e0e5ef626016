"""Imports point down: no room knows of a floor above it, and environments and algorithms do not know each other."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = {
    "scripts": 6,
    "commands": 5,
    "training": 4,
    "config": 4,
    "evaluation": 3,
    "export": 3,
    "checks": 3,
    "envs": 2,
    "algorithms": 2,
    "data": 1,
    "replay": 0,
    "networks": 0,
}
"""Of folders and files below vmax; what is not named stands on the ground."""
STRANGERS = ({"envs", "algorithms"}, {"replay", "networks"})


def room(module):
    """The folder or file below vmax that a dotted name leads to; the package itself is what users import: commands."""
    parts = module.split(".")
    return parts[0] if parts[0] == "scripts" else (parts[1] if len(parts) > 1 else "commands")


def imports(path):
    """Dotted names of vmax that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] == "vmax")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "vmax":
            base = node.module or ""
            yield from (f"{base}.{name.name}" for name in node.names) if base == "vmax" else (base,)


def wrong(importer, imported):
    above = FLOORS.get(room(imported), 0) > FLOORS.get(room(importer), 0)
    return above or {room(importer), room(imported)} in STRANGERS


def test_the_rule_can_fail():
    assert wrong("vmax.envs.bess.market", "vmax.training.loop")
    assert wrong("vmax.envs.bess.market", "vmax.algorithms.sac") and wrong("vmax.algorithms.sac", "vmax.envs")
    assert not wrong("vmax.training.loop", "vmax.envs.bess") and not wrong("vmax.envs.rollout", "vmax.devices")


def test_imports_point_down():
    files = [*ROOT.glob("vmax/**/*.py"), *ROOT.glob("scripts/*.py")]
    assert len(files) > 50
    found = []
    for path in files:
        importer = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if importer != "vmax":
            found += [f"{importer} imports {name}" for name in imports(path) if wrong(importer, name)]
    assert found == []


WAITING = {"linalg", "fft", "orthogonal", "multivariate_normal", "cholesky", "svd", "qr", "eigh", "solve", "lstsq"}
"""LAPACK and FFT of JAX: calls that wait inside the thread pool they run on (see `vmax/networks/orthogonal.py`)."""


def waiting_calls(source):
    """What a file takes of `WAITING` from JAX or Flax, as dotted names; NumPy's and SciPy's run outside of programs."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("jax", "flax"):
            yield from (f"{node.module}.{name.name}" for name in node.names if name.name in WAITING)
        name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if node_root(node) in ("jax", "jnp", "nn", "lax") and set(name.split(".")) & WAITING:
            yield name


def node_root(node):
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_compiled_programs_call_nothing_that_waits_in_the_thread_pool():
    assert list(waiting_calls("q = jnp.linalg.qr(a)")) and list(waiting_calls("nn.initializers.orthogonal(1.0)"))
    assert list(waiting_calls("from jax.numpy import linalg")) and not list(waiting_calls("np.linalg.solve(a, b)"))
    found = {path.name: list(waiting_calls(path.read_text(encoding="utf-8"))) for path in ROOT.glob("vmax/**/*.py")}
    assert {name: calls for name, calls in found.items() if calls} == {}
