"""How far each trial of a sweep is, and how long the rest will take."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from deformlab.run_folder import MEASUREMENT_VERSION, Progress, read_progress, read_status
from deformlab.sweep.trials import Identify, PlannedTrial

Status = Literal["waiting", "running", "finished", "failed", "interrupted"]


@dataclass(eq=False)
class TrialState:
    """A trial and what is known of it.

    Attributes:
        trial: The trial.
        status: "waiting" until it is started in this sweep, whatever an earlier one left.
        error: Why it failed, one line.
        progress: The newest row of its metrics.csv.
        seconds: Since it was started; for a trial that was finished before, as its result.json says.
        measured_with: Version with which a trial that was finished before was measured.
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
        """Takes up what an earlier sweep left in the trial's folder.

        A finished training that was measured with other options is not finished: its process will measure it.
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
        """Whether its numbers may mean something else than those of trials that are measured now."""
        return self.measured_with is not None and self.measured_with < MEASUREMENT_VERSION

    def start(self) -> None:
        """Notes that the trial runs from now on."""
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
        """Epochs that were trained since this sweep started the trial."""
        return self.progress.epochs - self._epochs_at_start if self._seconds_at_epoch else 0

    @property
    def seconds_measured(self) -> float:
        """Seconds that those epochs took."""
        return self._seconds_at_epoch

    @property
    def seconds_in_epoch(self) -> float:
        """Seconds since the newest epoch of a running trial ended."""
        return (self.seconds or 0.0) - self._seconds_at_epoch if self.status == "running" else 0.0


def seconds_left(states: Sequence[TrialState], slots: int) -> float | None:
    """Seconds until the sweep is done, by the mean time of an epoch so far; None before the first epoch."""
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
