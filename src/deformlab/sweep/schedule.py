"""The sweep's loop: start what can start, look after what runs, go on when one fails, stop when asked to."""

import signal
import time
from collections.abc import Sequence

from deformlab.errors import DeformlabError
from deformlab.sweep.display import Display, duration, progress_text
from deformlab.sweep.executor import Executor, RunningTrial
from deformlab.sweep.interruption import Interruption
from deformlab.sweep.run_folder import last_log_lines, mark, prepare_run_folder, read_result
from deformlab.sweep.state import TrialState

# Time to write a checkpoint's end and result.json after the first signal, time to give in after the second.
GRACE = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0))
# How the command line ends when a user can mend the matter: one line that needs no introduction.
USERS_MISTAKE, USERS_MISTAKE_PREFIX = 2, "deformlab: error: "
# How a trial ends that was asked to stop: by the command line's exit code, or before it listens to signals.
INTERRUPTED = {
    code for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) for code in (128 + number, -number)
}
Running = dict[TrialState, RunningTrial]


def run_trials(
    states: Sequence[TrialState],
    executor: Executor,
    display: Display,
    interruption: Interruption,
    poll_seconds: float = 0.25,
) -> None:
    """Runs every trial that is waiting, and returns when all have ended or a signal asked to stop.

    Raises:
        DeformlabError: The sweep cannot go on (a full disk); what ran is stopped first.
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
            prepare_run_folder(state.trial)
            try:
                running[state] = executor.start(state.trial)
            except DeformlabError as error:
                # Not marked: the folder belongs to another process, or cannot be written.
                state.status, state.error = "failed", str(error)
                display.event(f"{state.trial.label}: failed, {error}")
                continue
            state.start()
            display.event(f"{state.trial.label}: started, {state.trial.folder}")


def _conclude(state: TrialState, code: int, display: Display) -> None:
    """Takes over what the process wrote about itself, and writes it where the process could not."""
    trial, result = state.trial, read_result(state.trial.folder)
    if code == 0 and result.get("status") == "finished":
        state.status = "finished"
        display.event(f"{trial.label}: finished, {progress_text(state)}")
    elif code in INTERRUPTED:
        state.status, state.error = "interrupted", "interrupted"
        mark(trial, "interrupted", "interrupted by a signal to its own process")
        display.event(f"{trial.label}: interrupted")
    else:
        said = result.get("error") if result.get("status") == "failed" else None
        _fail(state, said or _reason(state, code), display)


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
    mark(state.trial, "failed", error)
    display.event(f"{state.trial.label}: failed, {error}")


def _stop(running: Running, display: Display, interruption: Interruption, poll_seconds: float) -> None:
    """Asks, then tells, then kills; a trial that finishes meanwhile stays finished."""
    display.event(f"stopping {len(running)} running; interrupt again to kill at once")
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
    # Data loaders and other ranks do not outlive their trial.
    for trial in running.values():
        trial.send_signal(signal.SIGKILL)
    for state, trial in running.items():
        state.refresh()
        if trial.poll() == 0 and read_result(state.trial.folder).get("status") == "finished":
            state.status = "finished"
        else:
            state.status, state.error = "interrupted", "the sweep was stopped"
            mark(state.trial, "interrupted", state.error)
        display.event(f"{state.trial.label}: {state.status} after {duration(state.seconds or 0.0)}")
