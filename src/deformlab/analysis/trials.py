"""Runs and trials, read from run folders.

A run is one training. A trial is all runs of one configuration, which differ only in their seed. Scores are
from the last epoch, as the papers report them, not from the best epoch.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deformlab.analysis.estimate import Estimate, over_seeds
from deformlab.errors import RunFolderError
from deformlab.records import ALL, ObjectRecords, PositionRecords, SizeRule
from deformlab.run_folder import (
    CONV5_KINDS,
    Evaluation,
    Result,
    objects_path,
    read_curves,
    read_evaluations,
    read_finished_result,
    read_objects,
)

# Validations of one network on the same images differ by rounding errors only; IoU as a fraction.
SAME_SCORE = 0.005
# In the order of the tables.
ROI_POOLING = ("plain", "deformable", "modulated")


@dataclass(frozen=True)
class Run:
    """One finished training, with the content of its run folder.

    Attributes:
        folder: The run folder.
        result: `result.json`; it has a score.
        curves: Rows of `metrics.csv`; empty if the file could not be read.
        objects: Records per object; None without object records.
        positions: Interior filters of each deformable layer, for comparisons at the same position; empty for
            early runs.
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
        """Name of the trial that the run belongs to."""
        return self.result.trial

    @property
    def seed(self) -> int | None:
        """The seed; None for a training without one."""
        return self.result.seed

    @property
    def score(self) -> float:
        """Score after the last epoch, in percent."""
        assert self.result.score.value is not None  # read_finished_result refuses runs without a score
        return 100 * self.result.score.value

    @property
    def kind(self) -> str:
        """Kind of the 3x3 convolutions of conv5, one of `atrous`, `deformable` and `modulated`."""
        return str(self.result.model["conv5"])

    @property
    def dilation(self) -> int:
        """Dilation of the 3x3 convolutions of conv5."""
        return int(self.result.model["dilation"])

    @property
    def deformable_layers(self) -> int | str:
        """Number of deformable layers; 0 for atrous networks, `all` for every 3x3 layer of conv3 to conv5."""
        if self.kind == "atrous":
            return 0
        number = self.result.model["num_deformable_layers"]
        return number if number == "all" else int(number)

    @property
    def detector(self) -> str | None:
        """The detector, for example `rfcn`; None for a network that detects nothing."""
        return self.result.model.get("detector")

    @property
    def roi_pooling(self) -> str | None:
        """How a detector pools its regions: `plain`, `deformable` or `modulated`; None without regions."""
        return self.result.model.get("roi_pooling")

    def score_named(self, name: str) -> float | None:
        """A score after the last epoch, in percent; None if it was not measured.

        Args:
            name: The score's name in `deformlab.run_folder.SCORES`.
        """
        score = self.result.score
        value = score.value if name == score.name else self.result.other_scores.get(name)
        return None if value is None else 100 * value

    @property
    def size_rule(self) -> SizeRule:
        """Which objects are small and large."""
        sizes = self.result.measurement.sizes
        if sizes.thresholds is None:
            return SizeRule(area=sizes.area, pixels=sizes.pixels)
        return SizeRule(sizes.thresholds, sizes.area, sizes.pixels)


@dataclass(frozen=True)
class Trial:
    """The runs of one configuration, which differ only in their seed.

    Attributes:
        runs: At least one run; by ascending seed, runs without a seed last.
    """

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run with the smallest seed; use it for properties that all runs of the trial share."""
        return self.runs[0]

    @property
    def name(self) -> str:
        """The trial's name in the sweep file."""
        return self.first.trial

    @property
    def deformable(self) -> bool:
        """Whether the network has deformable layers, modulated or not."""
        return self.first.kind != "atrous"

    @property
    def dilation(self) -> int:
        """Dilation of the 3x3 convolutions of conv5."""
        return self.first.dilation

    @property
    def description(self) -> str:
        """The variant in the papers' terms, for example `deformable, 3 layers, d = 2`."""
        pooling = self.first.roi_pooling
        if pooling == "plain":
            # Max pooling is what the authors' plain detectors have.
            pooling = {"align": "aligned", "mean": "mean"}.get(
                self.first.result.model.get("plain_pooling", "")
            )
        end = "" if pooling is None else f", {pooling} RoI pooling"
        if not self.deformable:
            return f"atrous, d = {self.dilation}{end}"
        number = self.first.deformable_layers
        return f"{self.first.kind}, {number} layer{'' if number == 1 else 's'}, d = {self.dilation}{end}"

    @property
    def score(self) -> Estimate:
        """Mean and standard deviation of the score over seeds, in percent."""
        estimate = over_seeds([run.score for run in self.runs])
        assert estimate is not None
        return estimate

    def score_named(self, name: str) -> Estimate | None:
        """Mean and standard deviation over seeds of a score, in percent; None if no run has it.

        Args:
            name: The score's name in `deformlab.run_folder.SCORES`.
        """
        return over_seeds([run.score_named(name) for run in self.runs])

    @property
    def rank(self) -> float:
        """The mean score, negated if a lower score is better; the best trial has the highest rank."""
        return self.score.value if self.first.result.score.mode == "max" else -self.score.value

    @property
    def layers(self) -> list[str]:
        """Layers with recorded effective dilation, last layer first, as in the paper.

        Empty unless every run has object records.
        """
        if any(run.objects is None for run in self.runs):
            return []
        names = {layer for run in self.runs if run.objects is not None for layer in run.objects.layers}
        return sorted(names, key=natural, reverse=True)

    @property
    def order(self) -> tuple:
        """Sort key by kind, RoI pooling, number of layers, dilation and name; plain variants first."""
        pooling = self.first.roi_pooling
        pooling_key = ROI_POOLING.index(pooling) if pooling in ROI_POOLING else 0
        kind = CONV5_KINDS.index(self.first.kind)
        return kind, pooling_key, self.layers_key, self.dilation, natural(self.name)

    @property
    def layers_key(self) -> float:
        """Number of deformable layers as a sort key; infinite for `all`."""
        number = self.first.deformable_layers
        return math.inf if number == "all" else float(number)


def best(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the best mean score; None without trials."""
    return max(trials, key=lambda trial: trial.rank, default=None)


def best_deformable(trials: Sequence[Trial]) -> Trial | None:
    """Return the deformable or modulated trial with the best mean score among those with object records.

    None if there is none.
    """
    return best([trial for trial in trials if trial.deformable and trial.layers])


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts `layer3.5` before `layer3.22`."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def read_run(folder: Path) -> tuple[Run, list[str]]:
    """Read one run folder.

    Returns:
        The run, and a line for each missing or damaged file other than `result.json`.

    Raises:
        RunFolderError: The run is not finished or has no score, or its `result.json` is missing or damaged.
    """
    run = Run(folder, read_finished_result(folder))
    problems: list[str] = []
    try:
        run = replace(run, curves=read_curves(folder, run.result))
    except RunFolderError as error:
        problems.append(f"not in the learning curves: {error}")
    if objects_path(folder).is_file():
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
    """Group runs by the name of their trial, in the order of the tables."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.seed is None, run.seed or 0)):
        groups.setdefault(run.trial, []).append(run)
    return tuple(sorted((Trial(tuple(group)) for group in groups.values()), key=lambda trial: trial.order))


def _require_usable_records(run: Run, records: ObjectRecords) -> None:
    """Check that object records and scores are from the same validation.

    The IoU of classes without objects can be computed from both, and must agree.

    Raises:
        RunFolderError: It differs, the records have no layers, or a class is named `ALL`.
    """
    path = objects_path(run.folder)
    if not records.layers:
        raise RunFolderError(f"{path}: contains no layers; validate the run again")
    if ALL in run.result.classes:
        raise RunFolderError(
            f"{path}: a class is named {ALL}, which is reserved for all classes together; rename it"
        )
    scores = run.result.class_scores
    if not records.scored or scores.name != "iou":
        return
    for label, name in enumerate(run.result.classes):
        rows = records.label == label
        union = int(records.pixels[rows].sum() + records.false_positives[rows].sum())
        expected = scores.values[name]
        # The records contain all false positives only for classes without objects.
        if np.any(records.is_object[rows]) or not union or expected is None:
            continue
        found = int(records.hits[rows].sum()) / union
        if abs(found - expected) > SAME_SCORE:
            raise RunFolderError(
                f"{path}: was measured on other data or with other options than the scores: IoU of {name} is "
                f"{100 * found:.1f} in it, but {100 * expected:.1f} in result.json; validate the run again"
            )
