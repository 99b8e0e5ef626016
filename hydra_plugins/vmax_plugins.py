"""What vmax adds to Hydra, which looks for plugins in this package alone: the search of `hydra/sweeper=tpe`, and the
launchers of Slurm jobs. Every Hydra program of the environment imports it, so it imports little itself."""

from __future__ import annotations

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher, SlurmLauncher
except ImportError:  # the extra `slurm` is not installed
    pass
else:
    from vmax.commands.submitted import Submitted

    class SlurmJobs(Submitted, SlurmLauncher):
        """Each job of a multirun as a Slurm job."""

    class LocalJobs(Submitted, LocalLauncher):
        """The same as processes of this machine."""


class Tpe(Sweeper):
    """A search by Optuna's tree-structured Parzen estimator (vmax/commands/search.py)."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's: what `sweep` needs."""
        from vmax.commands.search import Search

        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )
        self.search = Search.of(self.settings, config, hydra_context.config_loader, launcher)

    def sweep(self, arguments: list[str]) -> None:
        """Hydra's: the search over what the overrides say."""
        self.search.go(arguments)
