"""Does the network look further where objects are larger, and does it gain there? One table for both.

Effective dilation per layer, object size and class beside recall and IoU, and the IoU gained over the best
atrous rate of the same sweep. Every interval is at 95 %, by resampling the images that all seeds share; the
number of each seed alone stands beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deformlab.analysis.measure import Estimate
from deformlab.analysis.measured import Measured
from deformlab.analysis.run import natural
from deformlab.analysis.trial import Trial
from deformlab.objects import SIZES, SizeRule, iou_difference

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
        gain: IoU minus that of the baseline on the same images, in points; None for the baseline itself. A
            seed's gain is over the baseline's run of the same seed.
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
        elsewhere: Trials that have records of other images than most, which no pairing can use.
        baseline: The atrous trial of highest mIoU among them, None where there is none.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        measured = [trial for trial in trials if _is_measured(trial)]
        self._together = {trial.name: Measured(trial.runs) for trial in measured}
        images = [tuple(part.images) for part in self._together.values()]
        common = max(images, key=images.count, default=())
        on_common = {trial.name: tuple(self._together[trial.name].images) == common for trial in measured}
        self.trials = tuple(trial for trial in measured if on_common[trial.name])
        self.elsewhere = tuple(trial for trial in measured if not on_common[trial.name])
        atrous = [trial for trial in self.trials if not trial.deformable]
        self.baseline = max(atrous, key=lambda trial: trial.miou.mean, default=None)
        self._alone = {trial.name: [Measured((run,), 1) for run in trial.runs] for trial in self.trials}
        self._rows: dict[str, list[JoinedRow]] = {}
        self._correlations: dict[str, list[CorrelationRow]] = {}

    @property
    def rule(self) -> SizeRule:
        """What is small and large; there is a trial."""
        return self.trials[0].first.size_rule

    @property
    def borders(self) -> tuple[float, float] | None:
        """Areas where small ends and large begins, None without objects; there is a trial."""
        return self.rule.borders(self._together[self.trials[0].name].records)

    def rows(self, trial: Trial) -> list[JoinedRow]:
        """Last layer first, all classes before single ones, sizes from small to large."""
        if trial.name not in self._rows:
            gains = self._gains(trial)
            layers = sorted(self._together[trial.name].records.layers, key=natural, reverse=True)
            self._rows[trial.name] = [
                row for layer in layers for row in self._layer_rows(trial, layer, gains)
            ]
        return self._rows[trial.name]

    def correlations(self, trial: Trial) -> list[CorrelationRow]:
        """Last layer first; all objects, then class by class."""
        if trial.name not in self._correlations:
            ours, found = self._together[trial.name], []
            for layer in sorted(ours.records.layers, key=natural, reverse=True):
                seeds = [
                    {row["class"]: row["spearman"] for row in part.correlations(layer)}
                    for part in self._alone[trial.name]
                ]
                for row in sorted(ours.correlations(layer), key=lambda row: row["class"] != ALL):
                    value = None
                    if row["spearman"] is not None:
                        alone = tuple(seed.get(row["class"]) for seed in seeds)
                        value = Estimate(row["spearman"], row["low"], row["high"], digits=2, seeds=alone)
                    found.append(CorrelationRow(trial.name, layer, row["class"], value, row["objects"]))
            self._correlations[trial.name] = found
        return self._correlations[trial.name]

    def _gains(self, trial: Trial) -> "_Cells | None":
        """IoU minus the baseline's by size and class, of all seeds and of each."""
        if self.baseline is None or self.baseline is trial:
            return None
        ours, theirs = self._together[trial.name], self._together[self.baseline.name]
        if ours.scores is None or theirs.scores is None:
            return None
        value, (low, high) = iou_difference(ours.scores, theirs.scores, ours.drawn)
        others = {
            run.seed: m for run, m in zip(self.baseline.runs, self._alone[self.baseline.name], strict=True)
        }
        seeds = []
        for run, part in zip(trial.runs, self._alone[trial.name], strict=True):
            other = others.get(run.seed)
            if part.scores is None or other is None or other.scores is None:
                seeds.append(np.full_like(value, np.nan))
            else:
                seeds.append(iou_difference(part.scores, other.scores, part.drawn)[0])
        return _Cells(value, low, high, tuple(seeds), 100, 1, signed=True)

    def _layer_rows(self, trial: Trial, layer: str, gains: "_Cells | None") -> list[JoinedRow]:
        ours, alone = self._together[trial.name], self._alone[trial.name]
        cells, scores = ours.dilation(layer), ours.scores
        each = [part.dilation(layer) for part in alone]
        dilation = _Cells(cells.mean, cells.low, cells.high, tuple(part.mean for part in each))
        weighted = _Cells(
            cells.weighted, cells.weighted_low, cells.weighted_high, tuple(part.weighted for part in each)
        )
        recall = iou = None
        if scores is not None:
            of_seeds = [part.scores for part in alone if part.scores is not None]
            recall = _Cells(
                scores.recall,
                scores.recall_low,
                scores.recall_high,
                tuple(s.recall for s in of_seeds),
                100,
                1,
            )
            iou = _Cells(scores.iou, scores.iou_low, scores.iou_high, tuple(s.iou for s in of_seeds), 100, 1)
        names, rows = trial.first.classes, []
        for c in (len(names), *range(len(names))):
            for s, size in enumerate(SIZES):
                at = (s, c)
                if not cells.filters[at] and (scores is None or not scores.objects[at]):
                    continue
                mean = dilation.at(at)
                rows.append(
                    JoinedRow(
                        trial=trial.name,
                        layer=layer,
                        size=size,
                        label=ALL if c == len(names) else names[c],
                        dilation=mean,
                        std=None if mean is None else float(cells.std[at]),
                        weighted=weighted.at(at),
                        filters=int(cells.filters[at]),
                        seen=int(cells.objects[at]),
                        objects=0 if scores is None else int(scores.objects[at]),
                        recall=None if recall is None else recall.at(at),
                        iou=None if iou is None else iou.at(at),
                        gain=None if gains is None else gains.at(at),
                    )
                )
        return rows


def _is_measured(trial: Trial) -> bool:
    """Whether every seed has records, of the same layers."""
    records = [run.objects for run in trial.runs]
    return len({None if part is None else part[:3] for part in records}) == 1 and records[0] is not None


@dataclass(frozen=True)
class _Cells:
    """A quantity by size and class: its value, its bounds and the value of each seed."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: tuple[np.ndarray, ...]
    scale: float = 1
    digits: int = 2
    signed: bool = False

    def at(self, cell: tuple[int, int]) -> Estimate | None:
        """One of them, times `scale`; None where it is undefined."""
        value, low, high, *seeds = (
            None if math.isnan(array[cell]) else self.scale * float(array[cell])
            for array in (self.value, self.low, self.high, *self.seeds)
        )
        if value is None:
            return None
        return Estimate(value, low, high, self.digits, self.signed, tuple(seeds))
