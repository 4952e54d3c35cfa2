"""Runs, trials, and the sweep folder that they are read from.

A run is one training; a trial is all runs of one configuration, which differ only in their seed. Scores are
those of the finished network, as the papers report them, not those of the best epoch.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from deformlab.analysis.by_object import ObjectComparison
from deformlab.analysis.estimate import Estimate, over_seeds
from deformlab.errors import RunFolderError
from deformlab.records import ALL, ObjectRecords, PositionRecords, SizeRule
from deformlab.run_folder import (
    CONV5_KINDS,
    SCORES,
    Evaluation,
    Result,
    read_curves,
    read_evaluations,
    read_finished_result,
    read_objects,
    read_status,
    read_trial_list,
)

# Folders that a warning names; it counts the others.
NAMED = 3
# Two validations of one network on the same images differ by rounding only, in points of a fraction.
SAME_SCORE = 0.005


@dataclass(frozen=True)
class Run:
    """One finished training: what its run folder holds.

    Attributes:
        folder: The run folder.
        result: `result.json`; it has a score.
        curves: Rows of `metrics.csv`; none if they could not be read.
        objects: Records per object; None if the run has none.
        positions: What the comparison at the same place needs, by layer; empty for early runs.
        evaluations: Scores on other data.
    """

    folder: Path
    result: Result
    curves: tuple[dict[str, float], ...] = ()
    objects: ObjectRecords | None = None
    positions: tuple[PositionRecords, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def trial(self) -> str:
        """Name of its trial."""
        return self.result.trial

    @property
    def seed(self) -> int | None:
        """Its seed; None for an unseeded training."""
        return self.result.seed

    @property
    def score(self) -> float:
        """Score of the finished network in percent."""
        assert self.result.score.value is not None  # read_finished_result refuses runs without a score
        return 100 * self.result.score.value

    @property
    def kind(self) -> str:
        """The 3x3 convolutions of conv5: atrous, deformable or modulated."""
        return str(self.result.model["conv5"])

    @property
    def dilation(self) -> int:
        """Dilation of the 3x3 convolutions of conv5."""
        return int(self.result.model["dilation"])

    @property
    def deformable_layers(self) -> int | str:
        """Number of deformable layers; 0 for an atrous network, "all" for every 3x3 of conv3 to conv5."""
        if self.kind == "atrous":
            return 0
        number = self.result.model["num_deformable_layers"]
        return number if number == "all" else int(number)

    @property
    def size_rule(self) -> SizeRule:
        """Which of its objects are small and which are large."""
        sizes = self.result.measurement.sizes
        if sizes.thresholds is None:
            return SizeRule(area=sizes.area, pixels=sizes.pixels)
        return SizeRule(sizes.thresholds, sizes.area, sizes.pixels)


@dataclass(frozen=True)
class Trial:
    """Runs of one configuration, seeds ascending, then those without one; never empty."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run of the smallest seed, for what all runs of the trial share."""
        return self.runs[0]

    @property
    def name(self) -> str:
        """Name in the sweep file."""
        return self.first.trial

    @property
    def deformable(self) -> bool:
        """Whether some layer learns offsets, modulated or not."""
        return self.first.kind != "atrous"

    @property
    def dilation(self) -> int:
        """Dilation of the 3x3 convolutions of conv5."""
        return self.first.dilation

    @property
    def description(self) -> str:
        """What it is in the papers' terms: `deformable, 3 layers, d = 2`."""
        if not self.deformable:
            return f"atrous, d = {self.dilation}"
        number = self.first.deformable_layers
        return f"{self.first.kind}, {number} layer{'' if number == 1 else 's'}, d = {self.dilation}"

    @property
    def score(self) -> Estimate:
        """Score in percent, mean and standard deviation over seeds."""
        estimate = over_seeds([run.score for run in self.runs])
        assert estimate is not None
        return estimate

    @property
    def rank(self) -> float:
        """The mean score, negated if less is better: the best trial has the highest rank."""
        return self.score.value if self.first.result.score.mode == "max" else -self.score.value

    @property
    def layers(self) -> list[str]:
        """Layers whose effective dilation every run recorded, the last one first, as the paper lists them."""
        if any(run.objects is None for run in self.runs):
            return []
        names = {layer for run in self.runs if run.objects is not None for layer in run.objects.layers}
        return sorted(names, key=natural, reverse=True)

    @property
    def order(self) -> tuple:
        """Sort key: atrous, deformable, modulated; then number of layers; then dilation."""
        return CONV5_KINDS.index(self.first.kind), self.layers_key, self.dilation, natural(self.name)

    @property
    def layers_key(self) -> float:
        """Number of deformable layers as a sort key, infinite for all."""
        number = self.first.deformable_layers
        return math.inf if number == "all" else float(number)


@dataclass(frozen=True)
class TrialSet:
    """The trials of one report.

    Attributes:
        folder: The sweep folder.
        trials: In the order of the tables; never empty.
        pretraining: Runs that trials started from.
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
        """What people call the score: `mIoU`."""
        return SCORES[self.trials[0].first.result.score.name].label

    @cached_property
    def by_object(self) -> ObjectComparison:
        """Effective dilation and scores by object size, of the trials that recorded objects."""
        return ObjectComparison(self.trials)


def best(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the best mean score; None without trials."""
    return max(trials, key=lambda trial: trial.rank, default=None)


def best_deformable(trials: Sequence[Trial]) -> Trial | None:
    """The deformable or modulated trial with the best mean score among those that recorded objects."""
    return best([trial for trial in trials if trial.deformable and trial.layers])


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts `layer3.5` before `layer3.22`."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def read_trials(folder: str | Path) -> TrialSet:
    """Read the finished runs of a sweep folder, or the single run that `folder` itself is.

    If the folder has a `trials.json`, only the run folders listed there are read. Of two runs with the same
    trial and seed the later one counts.

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


def read_run(folder: Path) -> tuple[Run, list[str]]:
    """Read one run folder.

    Returns:
        The run, and a line for each other file than `result.json` that is missing or damaged.

    Raises:
        RunFolderError: The run is not finished or has no score, or its `result.json` is missing or damaged.
    """
    run = Run(folder, read_finished_result(folder))
    problems: list[str] = []
    try:
        run = replace(run, curves=read_curves(folder, run.result))
    except RunFolderError as error:
        problems.append(f"not in the learning curves: {error}")
    if (folder / "objects.csv").is_file():
        try:
            measured = read_objects(folder, run.result.classes)
            _require_usable_records(run, measured.records)
            run = replace(run, objects=measured.records, positions=measured.positions)
        except RunFolderError as error:
            problems.append(f"not in the tables by object: {error}")
    evaluations, unreadable = read_evaluations(folder)
    problems += [f"not in the scores on other data: {line}" for line in unreadable]
    return replace(run, evaluations=tuple(evaluations)), problems


def group_by_trial(runs: Sequence[Run]) -> tuple[Trial, ...]:
    """Runs grouped by the name of their trial, in the order of the tables."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.seed is None, run.seed or 0)):
        groups.setdefault(run.trial, []).append(run)
    return tuple(sorted((Trial(tuple(group)) for group in groups.values()), key=lambda trial: trial.order))


def _require_usable_records(run: Run, records: ObjectRecords) -> None:
    """Checks that the records are of the validation that the score is of.

    Both have the IoU of classes without objects.

    Raises:
        RunFolderError: It differs, or the records have no layer, or a class is called `ALL`.
    """
    path = run.folder / "objects.csv"
    if not records.layers:
        raise RunFolderError(f"{path}: has no layers; validate the run again")
    if ALL in run.result.classes:
        raise RunFolderError(f"{path}: a class is called {ALL}, the name of all classes together; rename it")
    scores = run.result.class_scores
    if not records.scored or scores.name != "iou":
        return
    for label, name in enumerate(run.result.classes):
        rows = records.label == label
        union = int(records.pixels[rows].sum() + records.false_positives[rows].sum())
        known = scores.values[name]
        # Only classes without objects have all their false positives in the records.
        if np.any(records.is_object[rows]) or not union or known is None:
            continue
        found = int(records.hits[rows].sum()) / union
        if abs(found - known) > SAME_SCORE:
            raise RunFolderError(
                f"{path}: is of other data or options than the scores: IoU of {name} is "
                f"{100 * found:.1f} there and {100 * known:.1f} in result.json; validate the run again"
            )


def _run_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such folder; give the folder that `deformlab sweep` wrote")
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
            "whose sub-folders hold a result.json each"
        )
    return folders


def _unlisted(folder: Path, listed: Sequence[Path]) -> list[str]:
    """A line that names the finished trials which `trials.json` no longer lists; none if all are read."""
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
        f"{runs} in the sweep folder but not in trials.json, and so not in this report: {some_of(found)}. "
        "The sweep file has changed since. To report them, run the sweep with its old file again, or move "
        "them into a folder of their own"
    ]


def some_of(names: Sequence[str]) -> str:
    """The first names and the number of the others: `a, b, c and 2 more`."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _shortened(folder: Path, line: str) -> str:
    """The line with paths relative to the sweep folder: reports are shared, paths of a machine are not."""
    return line.replace(f"{folder}/", "")


def _require_same_classes(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        ours, theirs = run.result, first.result
        if ours.dataset != theirs.dataset:
            raise RunFolderError(
                f"runs of different data sets cannot share a report: {first.folder.name} is on "
                f"{theirs.dataset}, {run.folder.name} on {ours.dataset}; report each in a folder of its own"
            )
        if ours.classes != theirs.classes:
            different = sorted(set(theirs.classes) ^ set(ours.classes)) or ["their order"]
            raise RunFolderError(
                f"runs of different class lists cannot share a report: {first.folder.name} has "
                f"{len(theirs.classes)} classes, {run.folder.name} {len(ours.classes)} "
                f"(different: {', '.join(different)}); report each in a folder of its own"
            )
        if (ours.score.name, ours.score.mode) != (theirs.score.name, theirs.score.mode):
            raise RunFolderError(
                f"runs with different scores cannot share a report: {first.folder.name} has "
                f"{theirs.score.name}, {run.folder.name} {ours.score.name}; report each in its own folder"
            )


def _require_same_data(runs: Sequence[Run]) -> None:
    """Scores on different images do not compare. Early runs did not record their data and pass."""
    known = [run for run in runs if "val" in run.result.data]
    for run in known[1:]:
        ours, first = run.result.data["val"], known[0].result.data["val"]
        if ours["fingerprint"] != first["fingerprint"]:
            raise RunFolderError(
                f"runs that were validated on different data cannot share a report: {known[0].folder.name} "
                f"on {first['fingerprint']:.12} ({first.get('images', '?')} images), {run.folder.name} on "
                f"{ours['fingerprint']:.12} ({ours.get('images', '?')} images); report each in a folder "
                "of its own, or train them again on the same data"
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
