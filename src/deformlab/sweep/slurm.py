"""Trials as jobs of a SLURM cluster through submitit, with the same command line as on one machine.

If the sweep ends before a job, for example because a connection was lost, the next run of the sweep waits for
that job. If a job reaches its time limit or is preempted, submitit queues it again, and it continues from its
last checkpoint.
"""

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder import write_atomically
from deformlab.sweep.executors import FIT, start_process, trial_command, trial_environment
from deformlab.sweep.trials import PlannedTrial

# submitit's default of five minutes would end before the first epoch.
DEFAULT_PARAMETERS = {"timeout_min": 24 * 60}


class SlurmExecutor:
    """Submits each trial as one job with one task.

    Args:
        folder: The folder of submitit's own files.
        slots: The number of jobs that may be queued or running at the same time.
        parameters: Parameters of submitit's `update_parameters`, for example timeout_min, gpus_per_node,
            cpus_per_task, slurm_partition.
        command: The command line that runs a trial, before --config and --run_dir.
        cluster: submitit's name of the cluster; `local` runs the jobs on this machine.

    Raises:
        ConfigError: submitit is not installed, SLURM is not available, or a parameter is unknown.
    """

    def __init__(
        self,
        folder: Path,
        slots: int,
        parameters: Mapping[str, Any],
        command: Sequence[str] = FIT,
        cluster: str = "slurm",
    ) -> None:
        try:
            import submitit
        except ModuleNotFoundError as error:
            raise ConfigError(
                "executor slurm needs submitit, which is not installed; pip install 'deformlab[slurm]'"
            ) from error
        try:
            self._submitit = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._submitit.update_parameters(**{**DEFAULT_PARAMETERS, **parameters})
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"executor slurm: {reason}; check the parameters under slurm: in the sweep file"
            ) from error
        self._job_class: Any = submitit.SlurmJob if cluster == "slurm" else submitit.LocalJob
        self.slots = slots
        self._folder = folder
        self._command = command

    def start(self, trial: PlannedTrial) -> "SlurmTrial":
        """Submits a trial, or returns its earlier job if that has not ended."""
        id_file = trial.folder / "slurm_job.txt"
        if id_file.is_file():
            job = self._job_class(folder=self._folder, job_id=id_file.read_text(encoding="utf-8").strip())
            if not job.done(force_check=True):
                return SlurmTrial(job)
        work = TrialJob(trial_command(trial, self._command), trial.folder, _additions(trial))
        try:
            job = self._submitit.submit(work)
        except Exception as error:  # submitit has its own exceptions for errors of sbatch
            reason = " ".join(str(error).split())
            raise RunFolderError(f"cannot submit {trial.label} to SLURM: {reason}") from error
        write_atomically(id_file, job.job_id + "\n")
        return SlurmTrial(job)


@dataclass
class SlurmTrial:
    """The job of a trial."""

    job: Any
    cancelled: bool = False

    def poll(self) -> int | None:
        """The command's exit code; None while the job runs, 1 if it ended without one, 130 if cancelled."""
        if self.cancelled:
            return 128 + signal.SIGINT
        if not self.job.done():
            return None
        return 1 if self.job.exception() is not None else int(self.job.result())

    def send_signal(self, number: int) -> None:
        """Cancels the job on any signal; the cluster itself first terminates and then kills it."""
        if not self.cancelled:
            self.job.cancel(check=False)
        self.cancelled = True


@dataclass
class TrialJob:
    """The function that a job calls: it runs the trial's command.

    Attributes:
        command: The command line.
        folder: The run folder.
        additions: Additional environment variables.
    """

    command: list[str]
    folder: Path
    additions: dict[str, str]

    def __call__(self) -> int:
        """Runs the command to its end and returns its exit code."""
        process = start_process(self.command, self.folder, {**os.environ, **self.additions})
        try:
            return process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise

    def checkpoint(self) -> Any:
        """Asks submitit to queue the same command again, which continues from the run folder."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _additions(trial: PlannedTrial) -> dict[str, str]:
    # With this job name, Lightning does not treat the job's task as one of its ranks, nor requeue the job.
    names = {key: value for key, value in trial_environment(trial).items() if key.startswith("DEFORMLAB_")}
    return {**names, "SLURM_JOB_NAME": "interactive"}
