"""Does the network look further where objects are larger, and does it gain there? One table for both.

Effective dilation per layer, object size and class beside recall and IoU, and the IoU gained over the best
atrous rate of the same sweep. Every interval is at 95 %, by resampling the images that all seeds share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deformlab.analysis.measure import Estimate
from deformlab.analysis.run import natural
from deformlab.analysis.trial import Trial
from deformlab.objects import (
    SIZES,
    DilationCells,
    ObjectRecords,
    ScoreCells,
    SizeRule,
    correlations,
    dilation_cells,
    draws,
    iou_difference,
    merge_records,
    score_cells,
)

ALL = "all"


@dataclass(frozen=True)
class JoinedRow:
    """One layer, object size and class of a trial, its seeds together; `all` is every class.

    Attributes:
        dilation: Mean effective dilation of the filters, in cells; None without filters.
        std: Its standard deviation over filters.
        weighted: The mean weighted by modulation, None where the layer is not modulated.
        filters: Filters of all seeds.
        seen: Objects that have a filter.
        objects: All objects, also those between the filters.
        recall: In percent; of `all`, the mean over classes.
        iou: In percent; of an object, within its box made twice as large.
        gain: IoU minus that of the baseline on the same images, in points; None for the baseline itself.
    """

    trial: str
    layer: str
    size: str
    label: str
    dilation: Estimate | None
    std: float | None
    weighted: Estimate | None
    filters: int
    seen: int
    objects: int
    recall: Estimate | None
    iou: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True)
class CorrelationRow:
    """Spearman's coefficient of objects' sizes and effective dilations in one layer of a trial."""

    trial: str
    layer: str
    label: str
    spearman: Estimate | None
    objects: int


class Joined:
    """The joined table of the trials whose runs have records of objects on the same images.

    Attributes:
        trials: Those trials.
        baseline: The atrous trial of highest mIoU among them, None where there is none.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        measured = [trial for trial in trials if _is_measured(trial)]
        self._measured = {trial.name: _Measured(trial) for trial in measured}
        images = [tuple(part.images) for part in self._measured.values()]
        # Trials on other images than most have no place in a paired comparison.
        common = max(images, key=images.count, default=())
        self.trials = tuple(trial for trial in measured if tuple(self._measured[trial.name].images) == common)
        atrous = [trial for trial in self.trials if not trial.deformable]
        self.baseline = max(atrous, key=lambda trial: trial.miou.mean, default=None)

    def rows(self, trial: Trial) -> list[JoinedRow]:
        """Last layer first, all classes before single ones, sizes from small to large."""
        ours = self._measured[trial.name]
        gain = None
        if self.baseline is not None and self.baseline is not trial and ours.scores is not None:
            theirs = self._measured[self.baseline.name].scores
            if theirs is not None:
                gain = iou_difference(ours.scores, theirs, ours.drawn)
        return [
            row
            for layer in sorted(ours.records.layers, key=natural, reverse=True)
            for row in _layer_rows(trial, ours, layer, gain)
        ]

    def correlations(self, trial: Trial) -> list[CorrelationRow]:
        """Last layer first; all objects, then class by class."""
        ours = self._measured[trial.name]
        found = []
        for layer in sorted(ours.records.layers, key=natural, reverse=True):
            position = ours.records.layers.index(layer)
            rows = correlations(
                ours.records, position, ours.rule, trial.first.classes, ours.images, ours.drawn
            )
            for row in sorted(rows, key=lambda row: row["class"] != ALL):
                value = None
                if row["spearman"] is not None:
                    value = Estimate(row["spearman"], row["low"], row["high"], digits=2)
                found.append(CorrelationRow(trial.name, layer, row["class"], value, row["objects"]))
        return found


def _is_measured(trial: Trial) -> bool:
    """Whether every seed has records, of the same layers."""
    records = [run.objects for run in trial.runs]
    return len({None if part is None else part[:3] for part in records}) == 1 and records[0] is not None


class _Measured:
    """A trial's records, seeds together, and what follows from them."""

    def __init__(self, trial: Trial) -> None:
        self.records: ObjectRecords = merge_records([run.objects for run in trial.runs if run.objects])
        self.rule: SizeRule = trial.first.size_rule
        self.classes = len(trial.first.classes)
        self.images: list[str] = np.unique(self.records.image).tolist()

    @cached_property
    def drawn(self) -> np.ndarray:
        return draws(len(self.images))

    @cached_property
    def scores(self) -> ScoreCells | None:
        if not self.records.scored:
            return None
        return score_cells(self.records, self.rule, self.classes, self.images, self.drawn)

    def dilation(self, layer: str) -> DilationCells:
        position = self.records.layers.index(layer)
        return dilation_cells(self.records, position, self.rule, self.classes, self.images, self.drawn)


def _layer_rows(
    trial: Trial, measured: _Measured, layer: str, gain: tuple[np.ndarray, np.ndarray] | None
) -> list[JoinedRow]:
    cells, scores = measured.dilation(layer), measured.scores
    rows = []
    names = trial.first.classes
    for c in (len(names), *range(len(names))):
        for s, size in enumerate(SIZES):
            at = (s, c)
            if not cells.filters[at] and (scores is None or not scores.objects[at]):
                continue
            recall = iou = gained = None
            if scores is not None:
                recall = _percent(scores.recall[at], scores.recall_low[at], scores.recall_high[at])
                iou = _percent(scores.iou[at], scores.iou_low[at], scores.iou_high[at])
            if gain is not None:
                gained = _percent(gain[0][at], gain[1][0][at], gain[1][1][at], signed=True)
            weighted = _estimate(cells.weighted[at], cells.weighted_low[at], cells.weighted_high[at])
            mean = _estimate(cells.mean[at], cells.low[at], cells.high[at])
            rows.append(
                JoinedRow(
                    trial=trial.name,
                    layer=layer,
                    size=size,
                    label=ALL if c == len(names) else names[c],
                    dilation=mean,
                    std=None if mean is None else float(cells.std[at]),
                    weighted=weighted,
                    filters=int(cells.filters[at]),
                    seen=int(cells.objects[at]),
                    objects=0 if scores is None else int(scores.objects[at]),
                    recall=recall,
                    iou=iou,
                    gain=gained,
                )
            )
    return rows


def _estimate(value: float, low: float, high: float) -> Estimate | None:
    if math.isnan(value):
        return None
    if math.isnan(low):
        return Estimate(float(value), digits=2)
    return Estimate(float(value), float(low), float(high), digits=2)


def _percent(value: float, low: float, high: float, signed: bool = False) -> Estimate | None:
    if math.isnan(value):
        return None
    if math.isnan(low):
        return Estimate(100 * float(value), signed=signed)
    return Estimate(100 * float(value), 100 * float(low), 100 * float(high), signed=signed)
