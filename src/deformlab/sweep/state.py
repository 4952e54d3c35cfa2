"""The progress of each trial of a sweep, and an estimate of the remaining time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from deformlab.run_folder import MEASUREMENT_VERSION, Progress, read_progress, read_status
from deformlab.sweep.trials import Identify, PlannedTrial

Status = Literal["waiting", "running", "finished", "failed", "interrupted"]


@dataclass(eq=False)
class TrialState:
    """A trial and its progress.

    Attributes:
        trial: The trial.
        status: `waiting` until this sweep starts the trial, unless an earlier sweep finished it.
        error: The reason of a failure, one line.
        progress: The latest values in metrics.csv.
        seconds: Seconds since the trial was started; those in result.json for a trial finished earlier.
        measured_with: The measurement version of a trial finished earlier.
    """

    trial: PlannedTrial
    status: Status = "waiting"
    error: str | None = None
    progress: Progress = field(default_factory=Progress)
    seconds: float | None = None
    measured_with: int | None = None
    _started: float = 0.0
    _epochs_at_start: int = 0
    _seconds_at_epoch: float = 0.0

    def read_run_folder(self, identify: Identify) -> None:
        """Reads what an earlier sweep left in the trial's folder.

        A trial that was measured with other options counts as waiting: its process will measure it again.

        Args:
            identify: Returns the decisive options of a configuration.
        """
        recorded = read_status(self.trial.folder)
        self.progress = read_progress(self.trial.folder)
        if recorded is None or recorded.status != "finished":
            return
        measurement = recorded.measurement
        options = None if measurement is None else measurement.options
        if options is None:
            identity = identify.of_run(self.trial.folder)
            options = identity.measurement if identity else None
        if options == self.trial.identity.measurement:
            self.status = "finished"
            self.seconds = recorded.seconds
            self.measured_with = measurement.version if measurement else None

    @property
    def measured_by_an_older_version(self) -> bool:
        """Whether the trial's measurements may not be comparable with those of this version."""
        return self.measured_with is not None and self.measured_with < MEASUREMENT_VERSION

    def start(self) -> None:
        """Marks the trial as running."""
        self.status, self.error = "running", None
        self._started = time.monotonic()
        self._epochs_at_start = self.progress.epochs
        self.refresh()

    def refresh(self) -> None:
        """Reads the progress of a running trial."""
        self.seconds = time.monotonic() - self._started
        progress = read_progress(self.trial.folder)
        if progress.epochs != self.progress.epochs:
            self._seconds_at_epoch = self.seconds
        self.progress = progress

    @property
    def epochs_measured(self) -> int:
        """The number of epochs that were trained since this sweep started the trial."""
        return self.progress.epochs - self._epochs_at_start if self._seconds_at_epoch else 0

    @property
    def seconds_measured(self) -> float:
        """The seconds that these epochs took."""
        return self._seconds_at_epoch

    @property
    def seconds_in_epoch(self) -> float:
        """Seconds since the end of the latest epoch of a running trial."""
        return (self.seconds or 0.0) - self._seconds_at_epoch if self.status == "running" else 0.0


def seconds_left(states: Sequence[TrialState], slots: int) -> float | None:
    """The estimated seconds until the sweep ends, from the mean duration of an epoch so far.

    None before the first epoch, or if a trial's number of epochs is unknown.

    Args:
        states: The trials.
        slots: The number of trials that run at the same time, at least 1.
    """
    open_states = [state for state in states if state.status in ("waiting", "running")]
    epochs = sum(state.epochs_measured for state in states)
    if epochs <= 0 or any(state.trial.max_epochs is None for state in open_states):
        return None
    per_epoch = sum(state.seconds_measured for state in states) / epochs
    each = [
        max(0.0, ((state.trial.max_epochs or 0) - state.progress.epochs) * per_epoch - state.seconds_in_epoch)
        for state in open_states
    ]
    return max(sum(each) / slots, max(each, default=0.0))
