"""Before JAX starts: the processor, its threads and the compile cache, as the commands set them. Hypothesis: no deadlines,
since the first example compiles."""

from hypothesis import settings

from vmax import devices

devices.configure("cpu", None)
settings.register_profile("vmax", deadline=None, max_examples=50)
settings.load_profile("vmax")
