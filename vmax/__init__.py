"""vmax: reinforcement learning for infrastructure that runs on schedules and prices."""

__version__ = "0.1.0"
