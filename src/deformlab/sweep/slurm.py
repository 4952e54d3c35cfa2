"""Trials as jobs of a SLURM cluster, through submitit: the same command line as on one machine.

A job that outlives the sweep (a dropped connection) is taken up again; one that hits its time limit or is
preempted is queued again by submitit and goes on from its last checkpoint.
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

# submitit's own five minutes are over before the first epoch.
DEFAULT_PARAMETERS = {"timeout_min": 24 * 60}


class SlurmExecutor:
    """Submits each trial as one job with one task.

    Args:
        folder: Where submitit keeps its own files.
        slots: How many jobs may be queued or running at the same time.
        parameters: As submitit's `update_parameters` takes them, for example timeout_min, gpus_per_node,
            cpus_per_task, slurm_partition.
        command: The command line that runs a trial, before its arguments.
        cluster: submitit's name of the cluster; "local" runs the jobs here.

    Raises:
        ConfigError: submitit is not installed, there is no SLURM, or a parameter is unknown.
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
                f"executor slurm: {reason}; its parameters are slurm: in the sweep file"
            ) from error
        self._job_class: Any = submitit.SlurmJob if cluster == "slurm" else submitit.LocalJob
        self.slots = slots
        self._folder = folder
        self._command = command

    def start(self, trial: PlannedTrial) -> "SlurmTrial":
        """Submits a trial, or takes up its job where that has not ended."""
        note = trial.folder / "slurm_job.txt"
        if note.is_file():
            job = self._job_class(folder=self._folder, job_id=note.read_text(encoding="utf-8").strip())
            if not job.done(force_check=True):
                return SlurmTrial(job)
        work = TrialJob(trial_command(trial, self._command), trial.folder, _additions(trial))
        try:
            job = self._submitit.submit(work)
        except Exception as error:  # submitit raises what sbatch said in classes of its own
            reason = " ".join(str(error).split())
            raise RunFolderError(f"cannot submit {trial.label} to SLURM: {reason}") from error
        write_atomically(note, job.job_id + "\n")
        return SlurmTrial(job)


@dataclass
class SlurmTrial:
    """A trial's job."""

    job: Any
    cancelled: bool = False

    def poll(self) -> int | None:
        """The command's exit code, 1 where the job ended without one, 130 once it is cancelled."""
        if self.cancelled:
            return 128 + signal.SIGINT
        if not self.job.done():
            return None
        return 1 if self.job.exception() is not None else int(self.job.result())

    def send_signal(self, number: int) -> None:
        """Cancels the job, whatever the signal: the cluster has its own way from asking to killing."""
        if not self.cancelled:
            self.job.cancel(check=False)
        self.cancelled = True


@dataclass
class TrialJob:
    """What runs inside a job: the trial's command, once more after the job was queued again."""

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
        """Asks submitit to queue the same command again; the run folder knows where it stood."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _additions(trial: PlannedTrial) -> dict[str, str]:
    # Lightning would take the job's one task for one of its ranks, and queue the job again by itself.
    names = {key: value for key, value in trial_environment(trial).items() if key.startswith("DEFORMLAB_")}
    return {**names, "SLURM_JOB_NAME": "interactive"}
