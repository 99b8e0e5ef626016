"""Jobs of a multirun that submitit starts: a failed one is told as failed, and one that dies hides no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf, open_dict

from vmax.errors import UserError

OWN = ("submitit_folder", "max_num_timeout")
"""Settings of the launcher that its executor is made with."""


class Submitted:
    """Goes before a launcher of hydra-submitit-launcher among the bases of a class."""

    _EXECUTOR: str
    params: dict[str, Any]
    config: Any
    hydra_context: Any

    def __call__(self, *arguments: Any) -> JobReturn:
        """The job itself, in its own process. Raises what made it fail: submitit and Slurm tell of it."""
        done = super().__call__(*arguments)  # pyright: ignore[reportAttributeAccessIssue]
        _ = done.return_value
        return done

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Starts all jobs and waits for each; one without a result, for whatever reason, counts as failed.

        Raises UserError where there is no Slurm.
        """
        import submitit
        from hydra.core.singleton import Singleton
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

        limits = {f"{self._EXECUTOR}_{key}": self.params[key] for key in OWN[1:] if key in self.params}
        try:
            executor = submitit.AutoExecutor(self.params[OWN[0]], cluster=self._EXECUTOR, **limits)
        except RuntimeError as error:
            raise UserError(f"hydra/launcher={self._EXECUTOR}: {str(error).splitlines()[0]}") from error
        common = set(OmegaConf.structured(BaseQueueConf).keys())
        rest = {key: value for key, value in self.params.items() if key not in OWN}
        executor.update_parameters(
            **{key if key in common else f"{self._EXECUTOR}_{key}": value for key, value in rest.items()}
        )
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        state = Singleton.get_state()
        jobs = executor.map_array(
            self,
            [list(overrides) for overrides in job_overrides],
            ["hydra.sweep.dir"] * len(numbers),
            list(numbers),
            [f"job_id_for_{number}" for number in numbers],
            [state] * len(numbers),
        )
        return [self._outcome(*which) for which in zip(jobs, numbers, job_overrides, strict=True)]

    def _outcome(self, job: Any, number: int, overrides: Sequence[str]) -> JobReturn:
        """What a job returned; waits for it."""
        from submitit.core.utils import UncompletedJobError

        from vmax.commands.cli import CRASH, JobFailed
        from vmax.commands.sweep import note_job

        try:
            return job.results()[0]
        except UncompletedJobError:  # also where the job raised something, which it has put on record
            failure = JobFailed(CRASH, f"its job ended without a result; see {job.paths.stderr}")
        note_job(self._run_folder(number, overrides), overrides, failure, anew=False)
        return JobReturn(overrides=list(overrides), status=JobStatus.FAILED, _return_value=failure)

    def _run_folder(self, number: int, overrides: Sequence[str]) -> Path:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config.hydra.job):
            config.hydra.job.num = number
        return Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
