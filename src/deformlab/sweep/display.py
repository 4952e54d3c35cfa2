"""The output of a running sweep: one live table on a terminal, plain lines in a pipe or a log."""

import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deformlab.run_folder import SCORES, format_score
from deformlab.sweep.state import TrialState, seconds_left

STYLES = {"waiting": "dim", "running": "cyan", "finished": "green", "failed": "red", "interrupted": "yellow"}
SECONDS_BETWEEN_LINES = 60.0


class Display(Protocol):
    """Shows the events and the progress of a sweep."""

    def event(self, text: str) -> None:
        """Prints a line that remains on the screen."""

    def update(self, states: Sequence[TrialState]) -> None:
        """Shows the current progress."""

    def close(self) -> None:
        """Ends the output."""


def make_display(name: str, slots: int, console: Console) -> Display:
    """Returns a live table for a terminal, plain lines for anything else."""
    # console.is_terminal alone is not enough: FORCE_COLOR sets it in a pipe, too.
    live = console.is_terminal and not console.is_dumb_terminal and console.file.isatty()
    return LiveTable(name, slots, console) if live else PlainLines(slots, console)


class LiveTable:
    """A table that is redrawn in place, and removed when every trial is finished: the report follows."""

    def __init__(self, name: str, slots: int, console: Console) -> None:
        self._name, self._slots, self._console = name, slots, console
        # The sweep's loop redraws it. A refresh thread would interfere with signals and new processes.
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def event(self, text: str) -> None:
        """Prints a line above the table."""
        self._console.print(text, highlight=False, markup=False)

    def update(self, states: Sequence[TrialState]) -> None:
        """Redraws the table."""
        self._live.transient = all(state.status == "finished" for state in states)
        rows = rows_that_fit(states, self._console.size.height - 6)
        self._live.update(
            Group(trial_table(rows, self._name), Text(footer(states, self._slots))), refresh=True
        )

    def close(self) -> None:
        """Removes the table if every trial is finished, else leaves it on the screen."""
        self._live.stop()


class PlainLines:
    """Prints events when they happen, and a line of progress every minute."""

    def __init__(self, slots: int, console: Console) -> None:
        self._slots, self._console = slots, console
        self._due = time.monotonic() + SECONDS_BETWEEN_LINES

    def event(self, text: str) -> None:
        """Prints a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def update(self, states: Sequence[TrialState]) -> None:
        """Prints the progress of the running trials if a minute has passed since the last line."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + SECONDS_BETWEEN_LINES
        running = [state for state in states if state.status == "running"]
        trials = ", ".join(f"{state.trial.label} epoch {epoch_text(state)}" for state in running)
        self.event(": ".join(filter(None, (footer(states, self._slots), trials))))

    def close(self) -> None:
        """Does nothing."""


def trial_table(states: Sequence[TrialState], title: str) -> Table:
    """Returns a row for each trial: status, epoch, score in percent, images per second and elapsed time."""
    table = Table(title=f"sweep {title}", title_justify="left")
    table.add_column("trial", no_wrap=True)
    score = next(
        (SCORES[state.progress.score].heading for state in states if state.progress.score), "score %"
    )
    for name in ("seed", "status", "epoch", score, "img/s", "elapsed"):
        table.add_column(name, justify="left" if name == "status" else "right", no_wrap=True)
    for state in states:
        progress = state.progress
        table.add_row(
            state.trial.name,
            str(state.trial.seed),
            state.status,
            epoch_text(state),
            "" if progress.value is None else f"{100 * progress.value:.1f}",
            "" if progress.images_per_second is None else f"{progress.images_per_second:.1f}",
            "" if state.seconds is None else duration(state.seconds),
            style=STYLES[state.status],
        )
    return table


def rows_that_fit(states: Sequence[TrialState], count: int) -> list[TrialState]:
    """Returns at most `count` trials in the sweep's order, running and failed ones before others."""
    order = ("running", "failed", "interrupted", "waiting", "finished")
    important = sorted(states, key=lambda state: order.index(state.status))[: max(1, count)]
    return [state for state in states if state in important]


def progress_text(state: TrialState) -> str:
    """Returns a trial's progress, `epoch 3/24, mIoU 45.3 %, 30.1 img/s, 1:15`."""
    progress = state.progress
    parts = [f"epoch {epoch_text(state)}" if progress.epochs else "first epoch"]
    if progress.score is not None:
        parts.append(f"{SCORES[progress.score].label} {format_score(progress.value)}")
    if progress.images_per_second is not None:
        parts.append(f"{progress.images_per_second:.1f} img/s")
    if state.seconds is not None:
        parts.append(duration(state.seconds))
    return ", ".join(parts)


def epoch_text(state: TrialState) -> str:
    """Returns finished epochs and their total, `3/24`."""
    return f"{state.progress.epochs}/{state.trial.max_epochs or '?'}"


def footer(states: Sequence[TrialState], slots: int) -> str:
    """Returns the number of trials of each status and the time left."""
    left = seconds_left(states, slots)
    going = any(state.status in ("waiting", "running") for state in states)
    remaining = f"; about {duration(left)} left" if going and left is not None else ""
    return counts(states) + remaining


def counts(states: Sequence[TrialState]) -> str:
    """Returns the number of trials of each status, `3 finished, 1 failed`."""
    statuses = [state.status for state in states]
    order = ("finished", "failed", "interrupted", "running", "waiting")
    return ", ".join(f"{statuses.count(status)} {status}" for status in order if status in statuses)


def duration(seconds: float) -> str:
    """Returns seconds as `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
