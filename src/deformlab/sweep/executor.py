"""What a sweep asks of the place where its trials run; any scheduler that can run a command line will do."""

import os
import sys
from collections.abc import Sequence
from typing import Protocol

from deformlab.sweep.trials import Trial

FIT = (sys.executable, "-m", "deformlab", "fit")


class RunningTrial(Protocol):
    """A trial that has been handed over."""

    def poll(self) -> int | None:
        """The exit code, None while the trial runs; negative or large where a signal ended it."""

    def send_signal(self, number: int) -> None:
        """Passes a signal on to every process of the trial; what has ended stays unharmed."""


class Executor(Protocol):
    """A place where trials run.

    Attributes:
        slots: How many trials may run at the same time.
    """

    slots: int

    def start(self, trial: Trial) -> RunningTrial:
        """Hands a trial over, or takes up one that still runs there since an earlier sweep.

        Raises:
            DeformlabError: The trial cannot be started.
        """


def trial_command(trial: Trial, command: Sequence[str] = FIT) -> list[str]:
    """The command line that runs a trial."""
    return [*command, "--config", str(trial.folder / "config.yaml"), "--run_dir", str(trial.folder)]


def trial_environment(trial: Trial) -> dict[str, str]:
    """This process's environment and the trial's names, for result.json and Weights & Biases' group."""
    environment = dict(os.environ)
    environment["DEFORMLAB_SWEEP"] = trial.sweep
    environment["DEFORMLAB_TRIAL"] = trial.name
    environment["DEFORMLAB_ROLE"] = trial.role
    environment.pop("DEFORMLAB_INIT_FROM", None)
    if trial.parent:
        environment["DEFORMLAB_INIT_FROM"] = trial.parent.name
    return environment
