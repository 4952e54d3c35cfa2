"""Trials as processes of this machine, some at a time, sharing its cores and its GPUs."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deformlab.sweep.executor import FIT, trial_command, trial_environment
from deformlab.sweep.process import start_process
from deformlab.sweep.trials import Trial


class LocalExecutor:
    """Runs up to `slots` trials at a time.

    Each gets its share of the cores as OMP_NUM_THREADS and MKL_NUM_THREADS, where these are not set already.
    With more than one slot each trial gets one GPU, slot k the k-th of CUDA_VISIBLE_DEVICES (of all where it
    is not set), going round when slots outnumber GPUs. One slot leaves every GPU to its trial.
    """

    def __init__(self, slots: int, command: Sequence[str] = FIT) -> None:
        self.slots = slots
        self._command = command
        self._threads = str(max(1, available_cores() // slots))
        self._gpus = visible_gpus() if slots > 1 else []
        self._in_slot: list[LocalTrial | None] = [None] * slots

    def start(self, trial: Trial) -> "LocalTrial":
        """Starts a trial's process in a free slot."""
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
    """A trial's process and its group."""

    process: "subprocess.Popen[bytes]"

    def poll(self) -> int | None:
        """The exit code, None while the process runs, minus a signal's number where that ended it."""
        return self.process.poll()

    def send_signal(self, number: int) -> None:
        """Signals the whole process group, so that data loaders and other ranks hear it too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def available_cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs in the form that CUDA_VISIBLE_DEVICES takes, without asking CUDA."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    driver = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(driver.iterdir())))] if driver.is_dir() else []
