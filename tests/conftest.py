"""What must be set before JAX starts: processor, threads, compile cache, and quick compilation; nothing is remembered
from earlier tests, and compiled programs are dropped where there are very many.

Compiling is most of the tests' time. Compiled so, a gradient is NaN now and then that is none as users compile (SAC on
the microgrid with 64 environments): a test that fails by it compiles with other options. Hypothesis has no deadlines,
since the first example compiles.
"""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

from vmax import devices

QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
)
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()
os.environ["VMAX_REMEMBER"] = "off"
devices.configure("cpu", None)
settings.register_profile("vmax", deadline=None, max_examples=50)
settings.load_profile("vmax")


@pytest.fixture(autouse=True)
def programs_stay_compiled(monkeypatch):
    """From one training of a test to the next; what a run drops has a test of its own."""
    monkeypatch.setattr(devices, "drop_programs", lambda: None)


MAPS = Path("/proc/self/maps")
MOST_MAPS = 20_000
"""Compiled programs hold memory maps. Linux gives a process 65,530 of them, and JAX aborts it at the next one."""


@pytest.fixture(autouse=True, scope="module")
def few_compiled_programs():
    """Drops what was compiled, after a module, before a process has too many memory maps."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()
