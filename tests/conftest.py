"""What must be set before JAX starts: processor, threads, compile cache, and quick compilation.

Compiling is most of the tests' time. Hypothesis has no deadlines, since the first example compiles.
"""

import os

from hypothesis import settings

from vmax import devices

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()
devices.configure("cpu", None)
settings.register_profile("vmax", deadline=None, max_examples=50)
settings.load_profile("vmax")
