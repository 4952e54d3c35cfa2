"""Reads the trials of a report from a sweep folder, and says which runs are left out and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deformlab.analysis.by_object import ObjectComparison
from deformlab.analysis.trials import Run, Trial, group_by_trial, natural, read_run
from deformlab.errors import RunFolderError
from deformlab.run_folder import SCORES, read_status, read_trial_list

# Number of folders that a warning names; it counts the others.
NAMED = 3


@dataclass(frozen=True)
class TrialSet:
    """The trials of one report.

    Attributes:
        folder: The sweep folder.
        trials: In the order of the tables; never empty.
        pretraining: Pretraining runs that trials started from.
        warnings: One line for each folder that was left out and for each file that is missing or damaged.
    """

    folder: Path
    trials: tuple[Trial, ...]
    pretraining: tuple[Run, ...]
    warnings: tuple[str, ...]

    @property
    def dataset(self) -> str:
        """Name of the data set, the same for all trials."""
        return self.trials[0].first.result.dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the same for all trials."""
        return self.trials[0].first.result.classes

    @property
    def score_label(self) -> str:
        """The usual name of the score, for example `mIoU`."""
        return SCORES[self.trials[0].first.result.score.name].label

    @cached_property
    def by_object(self) -> ObjectComparison:
        """The comparison by object size and class, for the trials that recorded objects."""
        return ObjectComparison(self.trials)


def read_trials(folder: str | Path) -> TrialSet:
    """Read the finished runs of a sweep.

    If the folder contains a `trials.json`, only the run folders listed there are read. If two runs have the
    same trial and seed, the later one counts.

    Args:
        folder: A sweep folder, or a single run folder.

    Raises:
        RunFolderError: The folder does not exist or has no finished run, or its runs have different data
            sets, classes or scores, or were validated on different data.
    """
    folder = Path(folder)
    run_folders = _run_folders(folder)
    runs: list[Run] = []
    warnings = _unlisted(folder, run_folders)
    for run_folder in run_folders:
        try:
            run, problems = read_run(run_folder)
        except RunFolderError as error:
            warnings.append(_shortened(folder, f"left out: {error}"))
        else:
            runs.append(run)
            if run.result.role == "trial":
                warnings += [_shortened(folder, line) for line in problems]
    if not any(run.result.role == "trial" for run in runs):
        reason = f"; {warnings[0]}" if warnings else ""
        raise RunFolderError(f"{folder}: no finished trial to report on{reason}")
    _require_same_classes(runs)
    _require_same_data([run for run in runs if run.result.role == "trial"])
    newest, dropped = _newest_per_seed(runs)
    return TrialSet(
        folder=folder,
        trials=group_by_trial([run for run in newest if run.result.role == "trial"]),
        pretraining=tuple(run for run in newest if run.result.role != "trial"),
        warnings=(*warnings, *dropped),
    )


def _run_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise RunFolderError(f"{folder}: {what}; give the folder that `deformlab sweep` wrote")
    if (folder / "result.json").is_file():
        return [folder]
    names = read_trial_list(folder)
    if names is not None:
        return [folder / name for name in names]
    folders = [
        path
        for path in sorted(folder.iterdir(), key=lambda path: natural(path.name))
        if any((path / name).is_file() for name in ("result.json", "config.yaml", "metrics.csv"))
    ]
    if not folders:
        raise RunFolderError(
            f"{folder}: has no run folders; give the folder that `deformlab sweep` wrote, "
            "whose subfolders each contain a result.json"
        )
    return folders


def _unlisted(folder: Path, listed: Sequence[Path]) -> list[str]:
    """A line that names finished trials not listed in `trials.json`; none if all are listed."""
    if list(listed) == [folder] or read_trial_list(folder) is None:
        return []
    found = []
    for path in sorted(folder.glob("*/result.json"), key=lambda path: natural(path.parent.name)):
        if path.parent in listed:
            continue
        status = read_status(path.parent)
        if status is not None and (status.status, status.role) == ("finished", "trial"):
            found.append(path.parent.name)
    if not found:
        return []
    runs = "1 finished run is" if len(found) == 1 else f"{len(found)} finished runs are"
    return [
        f"{runs} in the sweep folder but not in trials.json, so this report leaves them out: "
        f"{some_of(found)}. The sweep file has changed since these runs. To report them, run the sweep with "
        "its old file again, or move them into a separate folder"
    ]


def some_of(names: Sequence[str]) -> str:
    """The first names, and the number of the others: `a, b, c and 2 more`."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _shortened(folder: Path, line: str) -> str:
    """The line with paths relative to the sweep folder, because reports are shared between machines."""
    return line.replace(f"{folder}/", "")


def _require_same_classes(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        ours, theirs = run.result, first.result
        if ours.dataset != theirs.dataset:
            raise RunFolderError(
                f"runs of different data sets cannot share a report: {first.folder.name} is on "
                f"{theirs.dataset}, {run.folder.name} on {ours.dataset}; put each into its own folder"
            )
        if ours.classes != theirs.classes:
            different = sorted(set(theirs.classes) ^ set(ours.classes)) or ["their order"]
            raise RunFolderError(
                f"runs of different class lists cannot share a report: {first.folder.name} has "
                f"{len(theirs.classes)} classes, {run.folder.name} {len(ours.classes)} "
                f"(different: {', '.join(different)}); put each into its own folder"
            )
        if (ours.score.name, ours.score.mode) != (theirs.score.name, theirs.score.mode):
            raise RunFolderError(
                f"runs with different scores cannot share a report: {first.folder.name} has "
                f"{theirs.score.name}, {run.folder.name} {ours.score.name}; put each into its own folder"
            )


def _require_same_data(runs: Sequence[Run]) -> None:
    """Refuse runs validated on different data. Early runs did not record their data and are accepted."""
    recorded = [run for run in runs if "val" in run.result.data]
    for run in recorded[1:]:
        ours, first = run.result.data["val"], recorded[0].result.data["val"]
        if ours["fingerprint"] != first["fingerprint"]:
            raise RunFolderError(
                "runs that were validated on different data cannot share a report: "
                f"{recorded[0].folder.name} on {first['fingerprint']:.12} ({first.get('images', '?')} "
                f"images), {run.folder.name} on {ours['fingerprint']:.12} ({ours.get('images', '?')} "
                "images); put each into its own folder, or train them again on the same data"
            )


def _newest_per_seed(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    newest: dict[tuple[str, int | None], Run] = {}
    dropped = []
    for run in sorted(runs, key=lambda run: (run.folder / "result.json").stat().st_mtime):
        older = newest.pop((run.trial, run.seed), None)
        if older:
            dropped.append(
                f"left out: {older.folder.name}: {run.folder.name} is a later run of {run.trial}, "
                f"seed {run.seed}"
            )
        newest[run.trial, run.seed] = run
    return list(newest.values()), dropped
