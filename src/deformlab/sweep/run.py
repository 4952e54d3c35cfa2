"""Runs the trials of a sweep file; running it again continues where it stopped."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder import (
    last_log_lines,
    read_status,
    read_trial_list,
    write_atomically,
    write_trial_list,
)
from deformlab.run_folder.lock import locked
from deformlab.sweep.display import counts, make_display
from deformlab.sweep.executors import FIT, Executor, LocalExecutor, trial_command
from deformlab.sweep.schedule import run_trials, watch_signals
from deformlab.sweep.slurm import SlurmExecutor
from deformlab.sweep.specification import SweepSpecification, format_settings, read_sweep
from deformlab.sweep.state import TrialState
from deformlab.sweep.trials import Identify, Resolve, make_trials

EXECUTORS = ("local", "slurm")
FINISHED, FAILED, INTERRUPTED = 0, 1, 130
LOG_LINES = 15


def run_sweep(
    path: str | Path,
    output: str | Path | None = None,
    jobs: int | None = None,
    executor: str = "local",
    dry_run: bool = False,
    overrides: Mapping[str, Any] | None = None,
    resolve: Resolve = dict,
    command: Sequence[str] = FIT,
    poll_seconds: float = 0.25,
) -> int:
    """Runs the trials of a sweep file that are not finished yet.

    Writes two files into the sweep folder: `sweep.yaml`, a copy of the sweep file, and `trials.json`, the
    list of the sweep's run folders. If a changed sweep file no longer contains a trial, its run folder is
    removed from that list but not from the disk.

    Args:
        path: The sweep file.
        output: The sweep's folder; None for `runs/<name>`.
        jobs: The number of trials at a time, at least 1; None for 1 on this machine and for all on a cluster.
        executor: `local` or `slurm`.
        dry_run: Only print the trials and their commands.
        overrides: Options for every trial by dotted names, which take precedence over the file's.
        resolve: Checks a merged configuration and returns it with all defaults.
        command: The command line that runs a trial, before --config and --run_dir.
        poll_seconds: Seconds between two checks of the running trials.

    Returns:
        An exit code: 0 if all trials are finished, 1 if some failed, 130 if a signal stopped the sweep.

    Raises:
        ConfigError: The sweep file, an option or a configuration is illegal.
        RunFolderError: Another sweep runs in the folder, or the folder cannot be written.
    """
    if executor not in EXECUTORS:
        raise ConfigError(f"--executor {executor}: must be one of {', '.join(EXECUTORS)}")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs {jobs}: must be at least 1")
    sweep = read_sweep(path)
    folder = _folder(sweep, output)
    identify = Identify(resolve)
    trials = make_trials(sweep, folder, overrides or {}, identify)
    states = [TrialState(trial) for trial in trials]
    for state in states:
        state.read_run_folder(identify)
    if dry_run:
        print_plan(states, overrides or {}, command)
        return FINISHED
    with locked(folder / ".lock", f"sweep folder {folder}"):
        write_atomically(folder / "sweep.yaml", sweep.path.read_text(encoding="utf-8"))
        names = [trial.folder.name for trial in trials]
        print_removed_trials(folder, names)
        write_trial_list(folder, names)
        todo = sum(state.status != "finished" for state in states)
        chosen = _executor(executor, max(1, todo), jobs, sweep, folder, command)
        return _run(sweep, folder, states, chosen, poll_seconds)


def sweep_folder(path: str | Path, output: str | Path | None = None) -> Path:
    """The folder that `run_sweep` writes for a sweep file.

    Args:
        path: The sweep file.
        output: The sweep's folder; None for `runs/<name>`.

    Raises:
        ConfigError: The sweep file is illegal.
    """
    return _folder(read_sweep(path), output)


def _folder(sweep: SweepSpecification, output: str | Path | None) -> Path:
    return Path("runs") / sweep.name if output is None else Path(output)


def _executor(
    name: str,
    todo: int,
    jobs: int | None,
    sweep: SweepSpecification,
    folder: Path,
    command: Sequence[str],
) -> Executor:
    if name == "slurm":
        return SlurmExecutor(folder / ".slurm", jobs or todo, sweep.slurm, command)
    return LocalExecutor(min(jobs or 1, todo), command)


def _run(
    sweep: SweepSpecification,
    folder: Path,
    states: Sequence[TrialState],
    executor: Executor,
    poll_seconds: float,
) -> int:
    console = Console(file=sys.stdout)
    display = make_display(sweep.name, executor.slots, console)
    done = sum(state.status == "finished" for state in states)
    display.event(f"sweep {sweep.name}: {len(states)} trials, {done} already finished, in {folder}")
    older = [state.trial.folder.name for state in states if state.measured_by_an_older_version]
    if older:
        display.event(
            f"{len(older)} of them were measured by an older version; deformlab validate --run_dir "
            f"{folder / older[0]} measures one again"
        )
    with watch_signals() as interruption:
        try:
            run_trials(states, executor, display, interruption, poll_seconds)
        finally:
            display.close()
    print_failures(states, console)
    print(f"sweep {sweep.name}: {counts(states)}; folder {folder}", flush=True)
    if interruption.requested:
        print("stopped; run the same command again to continue", flush=True)
        return INTERRUPTED
    return FINISHED if all(state.status == "finished" for state in states) else FAILED


def print_failures(states: Sequence[TrialState], console: Console) -> None:
    """Prints the end of the log of each failed trial, except those that failed because of their parent."""
    for state in states:
        log = state.trial.folder / "log.txt"
        if state.status != "failed":
            continue
        console.print(
            f"\n{state.trial.label} failed: {state.error}", style="red", markup=False, soft_wrap=True
        )
        if not (state.error or "").startswith("parent ") and log.is_file():
            for line in last_log_lines(state.trial.folder, LOG_LINES):
                console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)
            console.print(f"    whole log: {log}", highlight=False, markup=False, soft_wrap=True)


def print_removed_trials(folder: Path, names: Sequence[str]) -> None:
    """Says, before anything is trained, which run folders no longer belong to the sweep."""
    try:
        before = read_trial_list(folder) or []
    except RunFolderError:
        return
    removed = [name for name in before if name not in names and (folder / name).is_dir()]
    if removed:
        shown = ", ".join(removed[:3]) + (f" and {len(removed) - 3} more" if len(removed) > 3 else "")
        print(
            f"{len(removed)} earlier trials are no longer in the sweep file and will not be in the report: "
            f"{shown}; their folders are kept. Use --output FOLDER to keep the two sweeps separate.",
            flush=True,
        )


def print_plan(states: Sequence[TrialState], overrides: Mapping[str, Any], command: Sequence[str]) -> None:
    """Prints the trials, their differences from the base configuration, and their command lines."""
    width = max(len(state.trial.name) for state in states)
    if overrides:
        print(f"every trial: {format_settings(overrides)}")
    print(f"{'trial':{width}}  seed  id        state        differs by")
    for state in states:
        trial = state.trial
        recorded = read_status(trial.folder)
        status: str = "new" if recorded is None else recorded.status
        if status == "finished" and state.status != "finished":
            status = "to measure"
        elif state.measured_by_an_older_version:
            status = "finished*"
        origin = f" (starts from {trial.parent.name})" if trial.parent else ""
        note = f"{format_settings(trial.settings)}{origin}"
        digits = trial.folder.name.rpartition("-")[2]
        print(f"{trial.name:{width}}  {trial.seed:>4}  {digits}  {status:11}  {note}".rstrip())
    if any(state.measured_by_an_older_version for state in states):
        print("* measured by an older version; deformlab validate --run_dir RUN measures it again")
    print()
    for state in states:
        print(shlex.join(trial_command(state.trial, command)))
