"""Does the network look further where objects are larger, and does it gain there? One table for both.

Effective dilation per layer, object size and class beside recall and IoU, and the IoU gained over the best
atrous rate of the same sweep. Every interval is at 95 %, by resampling the images that all seeds share; the
number of each seed alone stands beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deformlab.analysis.estimate import Estimate
from deformlab.analysis.joined_rows import BorderRow, CorrelationRow, JoinedRow
from deformlab.analysis.measured import Measured
from deformlab.analysis.run import natural
from deformlab.analysis.trial import Trial
from deformlab.records import SIZES, SizeRule, alike, iou_difference

ALL = "all"


class Joined:
    """The joined table of the trials whose runs have records of objects on the same images.

    Attributes:
        trials: Those trials.
        elsewhere: Trials that have records of other images than most, which no pairing can use.
        unlike: Trials whose seeds have records that do not go together: of other layers, or recorded
            differently.
        baseline: The atrous trial of highest mIoU among them, None where there is none.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        recorded = [trial for trial in trials if all(run.objects is not None for run in trial.runs)]
        measured = [trial for trial in recorded if _are_alike(trial)]
        self.unlike = tuple(trial for trial in recorded if not _are_alike(trial))
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
            self._rows[trial.name] = [
                row for layer in self._layers(trial) for row in self._layer_rows(trial, layer, gains)
            ]
        return self._rows[trial.name]

    def correlations(self, trial: Trial) -> list[CorrelationRow]:
        """Last layer first; all objects, then class by class."""
        if trial.name not in self._correlations:
            self._correlations[trial.name] = [
                row for layer in self._layers(trial) for row in self._layer_correlations(trial, layer)
            ]
        return self._correlations[trial.name]

    def knows_border(self, trial: Trial) -> bool:
        """Whether distances from the border were recorded."""
        return self._together[trial.name].records.knows_border

    def border(self, trial: Trial) -> list[BorderRow]:
        """Last layer first, the outermost ring first; nothing where distances were not recorded."""
        ours, rows = self._together[trial.name], []
        for layer in self._layers(trial):
            seeds = [
                {row["distance"]: row["mean"] for row in part.border(layer)}
                for part in self._alone[trial.name]
            ]
            for row in ours.border(layer):
                alone = tuple(seed.get(row["distance"]) for seed in seeds)
                dilation = Estimate(row["mean"], row["low"], row["high"], digits=2, seeds=alone)
                rows.append(
                    BorderRow(trial.name, layer, row["distance"], row["inside"], dilation, row["filters"])
                )
        return rows

    def _layers(self, trial: Trial) -> list[str]:
        return sorted(self._together[trial.name].records.layers, key=natural, reverse=True)

    def _layer_correlations(self, trial: Trial, layer: str) -> list[CorrelationRow]:
        ours, alone = self._together[trial.name], self._alone[trial.name]
        everywhere = _coefficients(ours.correlations(layer), [part.correlations(layer) for part in alone])
        inside = _coefficients(
            ours.correlations_inside(layer), [part.correlations_inside(layer) for part in alone]
        )
        nothing = (None, 0 if ours.records.knows_border else None)
        return [
            CorrelationRow(trial.name, layer, label, *numbers, *inside.get(label, nothing))
            for label, numbers in everywhere.items()
        ]

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
        away = ours.dilation_inside(layer)
        inside = _Cells(
            away.mean, away.low, away.high, tuple(part.dilation_inside(layer).mean for part in alone)
        )
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
                        inside=inside.at(at),
                        inside_filters=int(away.filters[at]) if ours.records.knows_border else None,
                        seen=int(cells.objects[at]),
                        objects=0 if scores is None else int(scores.objects[at]),
                        recall=None if recall is None else recall.at(at),
                        iou=None if iou is None else iou.at(at),
                        gain=None if gains is None else gains.at(at),
                    )
                )
        return rows


def _are_alike(trial: Trial) -> bool:
    """Whether every seed recorded the same layers in the same way; all have records."""
    first, *others = (run.objects for run in trial.runs if run.objects is not None)
    return all(alike(other, first) for other in others)


def _coefficients(together: list[dict], seeds: list[list[dict]]) -> dict[str, tuple[Estimate | None, int]]:
    """Spearman's coefficient and number of objects by class, all objects first."""
    alone = [{row["class"]: row["spearman"] for row in seed} for seed in seeds]
    found: dict[str, tuple[Estimate | None, int]] = {}
    for row in sorted(together, key=lambda row: row["class"] != ALL):
        value = None
        if row["spearman"] is not None:
            of_seeds = tuple(seed.get(row["class"]) for seed in alone)
            value = Estimate(row["spearman"], row["low"], row["high"], digits=2, seeds=of_seeds)
        found[row["class"]] = (value, row["objects"])
    return found


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
