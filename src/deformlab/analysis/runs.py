"""The runs of a sweep folder: which ones a report can use, and why the others are left out.

Trials of one report share their data set and classes; the same trial with several seeds is one group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deformlab.analysis.joined import Joined
from deformlab.analysis.run import Run, natural
from deformlab.analysis.run_reader import read_run
from deformlab.analysis.trial import Trial, trials_of
from deformlab.errors import RunFolderError
from deformlab.run_folder import read_status, read_trial_list

# Folders that a warning names; it counts the others.
NAMED = 3


@dataclass(frozen=True)
class RunSet:
    """The runs of one report.

    `trials` are compared, in the order of the tables; `pretraining` only says what two-stage trials started
    from; `warnings` has one line for each folder that was left out and for each file that is missing.
    """

    folder: Path
    trials: tuple[Trial, ...]
    pretraining: tuple[Run, ...]
    warnings: tuple[str, ...]

    @property
    def dataset(self) -> str:
        """Name of the data set that all runs share."""
        return self.trials[0].first.dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that all runs share."""
        return self.trials[0].first.classes

    @cached_property
    def joined(self) -> Joined:
        """Effective dilation beside IoU by object size, of the trials that have records of objects."""
        return Joined(self.trials)


def read_runs(sweep_dir: str | Path) -> RunSet:
    """Read the finished runs of a sweep folder, or the single run that `sweep_dir` itself is.

    If the folder has a `trials.json`, only the trial folders listed there are read. Of two runs with the
    same trial and seed the one that ended last counts.

    Raises:
        RunFolderError: The folder does not exist or has no finished run, or its runs belong to different
            data sets or class lists, or were validated on different data.
    """
    sweep_dir = Path(sweep_dir)
    runs: list[Run] = []
    folders = _run_folders(sweep_dir)
    warnings = _unlisted(sweep_dir, folders)
    for folder in folders:
        try:
            run, missing = read_run(folder)
        except RunFolderError as error:
            warnings.append(_inside(sweep_dir, f"left out: {error}"))
        else:
            runs.append(run)
            if run.role == "trial":
                warnings += [_inside(sweep_dir, line) for line in missing]
    if not any(run.role == "trial" for run in runs):
        reason = f"; {warnings[0]}" if warnings else ""
        raise RunFolderError(f"{sweep_dir}: no finished trial to report on{reason}")
    _require_same_classes(runs)
    _require_same_data([run for run in runs if run.role == "trial"])
    newest, dropped = _newest_per_seed(runs)
    return RunSet(
        folder=sweep_dir,
        trials=trials_of([run for run in newest if run.role == "trial"]),
        pretraining=tuple(run for run in newest if run.role != "trial"),
        warnings=(*warnings, *dropped),
    )


def _run_folders(sweep_dir: Path) -> list[Path]:
    if not sweep_dir.is_dir():
        raise RunFolderError(f"{sweep_dir}: no such folder; give the folder that `deformlab sweep` wrote")
    if (sweep_dir / "result.json").is_file():
        return [sweep_dir]
    names = read_trial_list(sweep_dir)
    if names is not None:
        return [sweep_dir / name for name in names]
    folders = [
        folder
        for folder in sorted(sweep_dir.iterdir(), key=lambda path: natural(path.name))
        if any((folder / name).is_file() for name in ("result.json", "config.yaml", "metrics.csv"))
    ]
    if not folders:
        raise RunFolderError(
            f"{sweep_dir}: has no run folders; give the folder that `deformlab sweep` wrote, "
            "whose sub-folders hold a result.json each"
        )
    return folders


def _unlisted(sweep_dir: Path, listed: Sequence[Path]) -> list[str]:
    """A line that names the finished trials which `trials.json` no longer lists; none where all are read."""
    if not (sweep_dir / "trials.json").is_file() or list(listed) == [sweep_dir]:
        return []
    found = []
    for path in sorted(sweep_dir.glob("*/result.json"), key=lambda path: natural(path.parent.name)):
        if path.parent in listed:
            continue
        recorded = read_status(path.parent)
        if recorded is not None and recorded.status == "finished" and recorded.role == "trial":
            found.append(path.parent.name)
    if not found:
        return []
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    runs = "1 finished run is" if len(found) == 1 else f"{len(found)} finished runs are"
    return [
        f"{runs} in the sweep folder but not in trials.json, and so not in this report: "
        f"{', '.join(found[:NAMED])}{more}. The sweep file has changed since. To report them, run the sweep "
        "with its old file again, or move them into a folder of their own"
    ]


def _inside(sweep_dir: Path, line: str) -> str:
    """The line with paths relative to the sweep folder: reports are shared, paths of a machine are not."""
    return line.replace(f"{sweep_dir}/", "")


def _require_same_classes(runs: list[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.dataset != first.dataset:
            raise RunFolderError(
                f"runs of different data sets cannot share a report: {first.folder.name} is on "
                f"{first.dataset}, {run.folder.name} on {run.dataset}; report each in a folder of its own"
            )
        if run.classes != first.classes:
            different = sorted(set(first.classes) ^ set(run.classes)) or ["their order"]
            raise RunFolderError(
                f"runs of different class lists cannot share a report: {first.folder.name} has "
                f"{len(first.classes)} classes, {run.folder.name} {len(run.classes)} "
                f"(different: {', '.join(different)}); report each in a folder of its own"
            )


def _require_same_data(trials: list[Run]) -> None:
    """Scores on different images do not compare. Runs that did not record their data are taken on trust."""
    known = [run for run in trials if "val" in run.data]
    for run in known[1:]:
        ours, first = run.data["val"], known[0].data["val"]
        if ours["fingerprint"] != first["fingerprint"]:
            raise RunFolderError(
                f"runs that were validated on different data cannot share a report: {known[0].folder.name} "
                f"on {first['fingerprint']:.12} ({first.get('images', '?')} images), {run.folder.name} on "
                f"{ours['fingerprint']:.12} ({ours.get('images', '?')} images); report each in a folder "
                "of its own, or train them again on the same data"
            )


def _newest_per_seed(runs: list[Run]) -> tuple[list[Run], list[str]]:
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
