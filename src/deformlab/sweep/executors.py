"""Executors, which run the trials of a sweep: their interface, and the executor for this machine.

Any scheduler that can run a command line can be an executor; `slurm` has another one. On Linux, a trial's
process dies with its parent. On other systems an orphan continues, but it keeps the lock of its run folder.
The trial is therefore not started twice if the sweep is run again.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deformlab.errors import RunFolderError
from deformlab.run_folder import begin_log
from deformlab.run_folder.lock import INHERITED, acquire_run_folder, sign
from deformlab.sweep.trials import PlannedTrial

FIT = (sys.executable, "-m", "deformlab", "fit")


class RunningTrial(Protocol):
    """A trial that was started."""

    def poll(self) -> int | None:
        """The exit code, or None while the trial runs; negative or above 128 if a signal ended it."""

    def send_signal(self, number: int) -> None:
        """Sends a signal to every process of the trial; does nothing if the trial has ended."""


class Executor(Protocol):
    """Runs trials.

    Attributes:
        slots: The number of trials that may run at the same time.
    """

    slots: int

    def start(self, trial: PlannedTrial) -> RunningTrial:
        """Starts a trial, or returns the one that an earlier sweep started if it still runs.

        Raises:
            DeformlabError: The trial cannot be started.
        """


def trial_command(trial: PlannedTrial, command: Sequence[str] = FIT) -> list[str]:
    """The command line that runs a trial."""
    return [*command, "--config", str(trial.folder / "config.yaml"), "--run_dir", str(trial.folder)]


def trial_environment(trial: PlannedTrial) -> dict[str, str]:
    """This process's environment with the trial's names, for result.json and the Weights & Biases group."""
    environment = dict(os.environ)
    environment["DEFORMLAB_SWEEP"] = trial.sweep
    environment["DEFORMLAB_TRIAL"] = trial.name
    environment["DEFORMLAB_ROLE"] = trial.role
    environment.pop("DEFORMLAB_INIT_FROM", None)
    if trial.parent:
        environment["DEFORMLAB_INIT_FROM"] = trial.parent.name
    return environment


def start_process(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Starts a command that works in a run folder.

    Args:
        command: The command line.
        folder: The run folder, whose lock the process inherits.
        environment: The process's environment.

    Raises:
        RunFolderError: Another process uses the folder, or the log cannot be written.
    """
    launcher = [
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("_die_with_parent.py")),
        str(os.getpid()),
    ]
    with acquire_run_folder(folder) as lock:
        try:
            with begin_log(folder, command) as log:
                process = subprocess.Popen(
                    [*launcher, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**environment, INHERITED: str(lock.fileno())},
                    start_new_session=True,
                    pass_fds=(lock.fileno(),),
                )
        except OSError as error:
            raise RunFolderError(f"cannot start a trial in {folder}: {error.strerror}") from error
        sign(lock, process.pid)
    return process


class LocalExecutor:
    """Runs up to `slots` trials at a time on this machine.

    Each trial gets an equal share of the cores as OMP_NUM_THREADS and MKL_NUM_THREADS, unless these are set.
    A single slot gives all GPUs to its trial. With more slots, each trial gets one GPU: slot k gets the k-th
    one of CUDA_VISIBLE_DEVICES, or of all GPUs if that is not set, starting again from the first if there are
    more slots than GPUs.

    Args:
        slots: The number of trials at a time, at least 1.
        command: The command line that runs a trial, before --config and --run_dir.
    """

    def __init__(self, slots: int, command: Sequence[str] = FIT) -> None:
        self.slots = slots
        self._command = command
        self._threads = str(max(1, available_cores() // slots))
        self._gpus = visible_gpus() if slots > 1 else []
        self._in_slot: list[LocalTrial | None] = [None] * slots

    def start(self, trial: PlannedTrial) -> "LocalTrial":
        """Starts a trial in a free slot."""
        slot = next(
            k for k, running in enumerate(self._in_slot) if running is None or running.poll() is not None
        )
        environment = trial_environment(trial)
        environment.setdefault("OMP_NUM_THREADS", self._threads)
        environment.setdefault("MKL_NUM_THREADS", self._threads)
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        process = start_process(trial_command(trial, self._command), trial.folder, environment)
        self._in_slot[slot] = running = LocalTrial(process)
        return running


@dataclass
class LocalTrial:
    """The process group of a running trial."""

    process: "subprocess.Popen[bytes]"

    def poll(self) -> int | None:
        """The exit code, or None while the process runs; minus the signal's number if a signal ended it."""
        return self.process.poll()

    def send_signal(self, number: int) -> None:
        """Signals the whole process group, including data loaders and other ranks."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def available_cores() -> int:
    """The number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs as entries of CUDA_VISIBLE_DEVICES, found without CUDA."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    driver = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(driver.iterdir())))] if driver.is_dir() else []
