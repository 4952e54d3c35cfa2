"""The loop of a sweep: starts trials, watches them, continues if one fails, and stops on a signal."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from deformlab.errors import DeformlabError
from deformlab.run_folder import last_log_lines, read_status
from deformlab.sweep.display import Display, duration, progress_text
from deformlab.sweep.executors import Executor, RunningTrial
from deformlab.sweep.state import TrialState

# Signals that stop a sweep; so does SIGHUP, unless it is ignored.
SIGNALS = [signal.SIGINT, signal.SIGTERM]
# Signals to a trial that must stop, and the seconds to wait after each. On SIGINT, a trial first finishes
# writing its checkpoint and result.json.
GRACE = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0))
# How the command line reports an error that the user can fix: its exit code, and the start of its last line.
USERS_MISTAKE, USERS_MISTAKE_PREFIX = 2, "deformlab: error: "
# Exit codes of a trial that a signal stopped; negative if the signal came before the trial handles signals.
INTERRUPTED = {
    code for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) for code in (128 + number, -number)
}
Running = dict[TrialState, RunningTrial]


@dataclass
class Interruption:
    """The number of signals to stop: after one, trials may finish writing; after two, they are killed."""

    count: int = 0

    @property
    def requested(self) -> bool:
        """Whether the sweep should stop."""
        return self.count > 0

    @property
    def impatient(self) -> bool:
        """Whether the sweep should stop immediately."""
        return self.count > 1


@contextmanager
def watch_signals() -> Iterator[Interruption]:
    """Counts signals to stop during a `with` block; counts none outside the main thread."""
    interruption = Interruption()

    def count(number: int, frame: FrameType | None) -> None:
        interruption.count += 1

    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    handled = list(SIGNALS)
    # An ignored SIGHUP stays ignored, as nohup requires.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handled.append(signal.SIGHUP)
    before = {number: signal.signal(number, count) for number in handled}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_trials(
    states: Sequence[TrialState],
    executor: Executor,
    display: Display,
    interruption: Interruption,
    poll_seconds: float = 0.25,
) -> None:
    """Runs all waiting trials, and returns when they have ended or a signal stopped the sweep.

    Args:
        states: The trials, each after its parent.
        executor: Runs the trials.
        display: Shows their progress.
        interruption: Counts signals to stop.
        poll_seconds: Seconds between two checks of the running trials.

    Raises:
        DeformlabError: The sweep cannot continue, for example because the disk is full. Running trials are
            stopped first.
    """
    running: Running = {}
    try:
        while not interruption.requested:
            _start_ready(states, running, executor, display)
            display.update(states)
            if not running:
                break
            time.sleep(poll_seconds)
            for state in list(running):
                state.refresh()
                code = running[state].poll()
                if code is not None:
                    del running[state]
                    _conclude(state, code, display)
    finally:
        if running:
            _stop(running, display, interruption, poll_seconds)
        display.update(states)


def _start_ready(
    states: Sequence[TrialState], running: Running, executor: Executor, display: Display
) -> None:
    by_trial = {state.trial: state for state in states}
    for state in states:
        if state.status != "waiting":
            continue
        parent = by_trial[state.trial.parent] if state.trial.parent else None
        if parent and parent.status in ("failed", "interrupted"):
            _fail(state, f"parent {parent.trial.label} {parent.status}", display)
        elif len(running) < executor.slots and (parent is None or parent.status == "finished"):
            state.trial.prepare_folder()
            try:
                running[state] = executor.start(state.trial)
            except DeformlabError as error:
                # The run folder is not marked: another process uses it, or it cannot be written.
                state.status, state.error = "failed", str(error)
                display.event(f"{state.trial.label}: failed, {error}")
                continue
            state.start()
            display.event(f"{state.trial.label}: started, {state.trial.folder}")


def _conclude(state: TrialState, code: int, display: Display) -> None:
    """Reads the status that the process wrote, and writes it if the process could not."""
    trial, recorded = state.trial, read_status(state.trial.folder)
    if code == 0 and recorded is not None and recorded.status == "finished":
        state.status = "finished"
        display.event(f"{trial.label}: finished, {progress_text(state)}")
    elif code in INTERRUPTED:
        state.status, state.error = "interrupted", "interrupted"
        state.trial.mark("interrupted", "interrupted by a signal to its own process")
        display.event(f"{trial.label}: interrupted")
    else:
        error = recorded.error if recorded is not None and recorded.status == "failed" else None
        _fail(state, error or _reason(state, code), display)


def _reason(state: TrialState, code: int) -> str:
    if code == 0:
        return "the process ended without a finished result.json"
    last = "".join(last_log_lines(state.trial.folder, 1))
    if code == USERS_MISTAKE and USERS_MISTAKE_PREFIX in last:
        return last.partition(USERS_MISTAKE_PREFIX)[2]
    how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
    return f"{how}: {last}" if last else how


def _fail(state: TrialState, error: str, display: Display) -> None:
    state.status, state.error = "failed", error
    state.trial.mark("failed", error)
    display.event(f"{state.trial.label}: failed, {error}")


def _stop(running: Running, display: Display, interruption: Interruption, poll_seconds: float) -> None:
    """Sends the signals of `GRACE` to the running trials; a trial that still finishes stays finished."""
    display.event(f"stopping {len(running)} running trials; interrupt again to kill them immediately")
    for number, patience in GRACE:
        if interruption.impatient and number != signal.SIGKILL:
            continue
        for trial in running.values():
            trial.send_signal(number)
        deadline = time.monotonic() + patience
        while any(trial.poll() is None for trial in running.values()) and time.monotonic() < deadline:
            if interruption.impatient and number != signal.SIGKILL:
                break
            time.sleep(poll_seconds)
        if all(trial.poll() is not None for trial in running.values()):
            break
    # Data loaders and other ranks must not outlive their trial.
    for trial in running.values():
        trial.send_signal(signal.SIGKILL)
    for state, trial in running.items():
        state.refresh()
        recorded = read_status(state.trial.folder)
        if trial.poll() == 0 and recorded is not None and recorded.status == "finished":
            state.status = "finished"
        else:
            state.status, state.error = "interrupted", "the sweep was stopped"
            state.trial.mark("interrupted", state.error)
        display.event(f"{state.trial.label}: {state.status} after {duration(state.seconds or 0.0)}")
