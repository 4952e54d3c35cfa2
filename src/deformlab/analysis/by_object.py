"""Effective dilation and scores by object size and class, compared between trials.

Per layer: effective dilation of the filters on objects of each size, recall and IoU of these objects, and the
IoU gain over the best atrous trial. Intervals are 95 % bootstrap intervals over the images that all trials
share. Each estimate also keeps the value of every single seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from deformlab.analysis.estimate import Estimate, spread
from deformlab.analysis.trials import Run, Trial
from deformlab.records import (
    ALL,
    REGIONS,
    SIZES,
    Correlation,
    DetectionCells,
    DilationCells,
    Interval,
    ObjectRecords,
    Region,
    Ring,
    ScoreCells,
    SizeEffects,
    SizeRule,
    alike,
    correlations,
    detection_cells,
    dilation_cells,
    draws,
    iou_difference,
    merge_records,
    recall_difference,
    rings,
    score_cells,
    size_effects,
)

# Sizes that are compared at the same position: the first minus the second.
CONTRASTS = (("large", "small"), ("medium", "small"), ("background", "medium"), ("large", "background"))


@dataclass(frozen=True)
class TrialSizeRow:
    """Effective dilation and scores of one layer, object size and class of a trial, over all its seeds.

    Attributes:
        trial: Name of the trial.
        layer: Name of the layer.
        size: `small`, `medium`, `large` or `background`.
        label: Name of the class, or `all` for all classes together.
        dilation: Mean effective dilation of the filters, in cells; None without filters.
        std: Standard deviation of effective dilation over filters; None without filters.
        weighted: Mean effective dilation weighted by modulation; None for unmodulated layers.
        filters: Number of filters of all seeds; None if the region was not recorded.
        seen: Number of objects with filters.
        objects: Number of all objects, including those that fall between filters.
        recall: In percent; for `ALL`, the mean over classes. None without predictions.
        iou: In percent. For objects, false positives count within the bounding box enlarged to twice its
            height and width. None without predictions.
        gain: IoU minus the baseline's IoU on the same images, in percentage points; None for the baseline
            itself. The gain of a seed is relative to the baseline's run with the same seed.
    """

    trial: str
    layer: str
    size: str
    label: str
    dilation: Estimate | None
    std: float | None
    weighted: Estimate | None
    filters: int | None
    seen: int
    objects: int
    recall: Estimate | None
    iou: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True)
class TrialCorrelation:
    """Spearman's rank correlation between object size and effective dilation in one layer of a trial.

    Attributes:
        trial: Name of the trial.
        layer: Name of the layer.
        label: Name of the class, or `all` for all classes together.
        spearman: The coefficient; None if effective dilation is constant, or for fewer than three objects.
        objects: Number of objects with filters; None if the region was not recorded.
    """

    trial: str
    layer: str
    label: str
    spearman: Estimate | None
    objects: int | None


@dataclass(frozen=True)
class TrialRing:
    """Effective dilation of the filters at one distance from the feature-map border.

    Attributes:
        trial: Name of the trial.
        layer: Name of the layer.
        distance: Distance from the border in cells; 0 for the outermost ring.
        interior: Whether the row is for all interior filters, which are at this distance or farther in.
        dilation: Mean effective dilation in cells.
        filters: Number of filters of all seeds.
    """

    trial: str
    layer: str
    distance: int
    interior: bool
    dilation: Estimate
    filters: int


@dataclass(frozen=True)
class TrialEffect:
    """Effective dilation of a layer's interior filters on one object size minus that on another.

    Attributes:
        trial: Name of the trial.
        layer: Name of the layer.
        size: `small`, `medium`, `large` or `background`.
        reference: The size that is subtracted.
        controlled: Difference at the same position, in cells, averaged over seeds; None if undefined.
        raw: Difference of the plain means of the same filters, in cells; None if undefined.
        position_share: Share of the variance of effective dilation explained by position; None if undefined.
        class_share: Share explained by the class at the filter's centre; None if undefined.
        filters: Number of filters on either size, counted in one network (all seeds use the same filters).
        images: Number of images with filters of either size.
    """

    trial: str
    layer: str
    size: str
    reference: str
    controlled: Estimate | None
    raw: Estimate | None
    position_share: float | None
    class_share: float | None
    filters: int
    images: int


class ObjectComparison:
    """Comparison of the trials whose runs recorded objects on the same images.

    Args:
        trials: All trials of a report, with or without object records.

    Attributes:
        trials: The trials that can be compared.
        other_images: Trials left out because they were evaluated on different images from most trials.
        incompatible: Trials left out because their seeds recorded different layers or regions.
        baseline: The atrous trial with the best score, of detectors one with plain RoI pooling if there is
            any; None without atrous trials.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        recorded = [trial for trial in trials if trial.layers]
        compatible = [trial for trial in recorded if _are_alike(trial)]
        self.incompatible = tuple(trial for trial in recorded if trial not in compatible)
        together = {trial.name: _Pooled(trial.runs) for trial in compatible}
        images = [tuple(part.images) for part in together.values()]
        common = max(images, key=images.count, default=())
        self.trials = tuple(trial for trial in compatible if tuple(together[trial.name].images) == common)
        self.other_images = tuple(trial for trial in compatible if trial not in self.trials)
        atrous = [trial for trial in self.trials if not trial.deformable]
        plain = [trial for trial in atrous if trial.first.roi_pooling in (None, "plain")]
        self.baseline = max(plain or atrous, key=lambda trial: trial.rank, default=None)
        self._together = together
        self._alone = {trial.name: [_Pooled((run,), 1) for run in trial.runs] for trial in self.trials}
        self._rows: dict[tuple[str, Region], list[TrialSizeRow]] = {}
        self._correlations: dict[tuple[str, Region], list[TrialCorrelation]] = {}
        self._effects: dict[str, list[TrialEffect]] = {}

    @property
    def rule(self) -> SizeRule:
        """Which objects are small and large.

        Raises:
            ValueError: `trials` is empty.
        """
        return self._first.first.size_rule

    @property
    def thresholds(self) -> tuple[float, float] | None:
        """The areas below which objects are small and above which they are large.

        None if there are no objects.

        Raises:
            ValueError: `trials` is empty.
        """
        return self.rule.thresholds_of(self._together[self._first.name].records)

    @property
    def images(self) -> int:
        """Number of images that all trials were evaluated on.

        Raises:
            ValueError: `trials` is empty.
        """
        return len(self._together[self._first.name].images)

    @property
    def _first(self) -> Trial:
        if not self.trials:
            raise ValueError("the comparison needs at least one trial with object records")
        return self.trials[0]

    def records_interior(self, trial: Trial) -> bool:
        """Return whether the trial recorded which filters are interior."""
        return self._together[trial.name].records.has_interior

    def rows(self, trial: Trial, region: Region) -> list[TrialSizeRow]:
        """Return rows by layer, class and size: last layer first, all classes together before single ones.

        Sizes are in the order of `deformlab.records.SIZES`. Both regions give the same rows in the same
        order.

        Args:
            trial: One of `trials`.
            region: `all` for all filters, `interior` for interior filters only (`deformlab.records.REGIONS`).

        Raises:
            ValueError: `region` is something else.
        """
        _check_region(region)
        key = trial.name, region
        if key not in self._rows:
            gains = self._gains(trial)
            self._rows[key] = [
                row for layer in trial.layers for row in self._layer_rows(trial, layer, region, gains)
            ]
        return self._rows[key]

    def last_layer(self, trial: Trial, region: Region) -> dict[str, TrialSizeRow]:
        """Return the rows of the last layer for all classes together, by size.

        Args:
            trial: One of `trials`.
            region: `all` for all filters, `interior` for interior filters only (`deformlab.records.REGIONS`).

        Raises:
            ValueError: `region` is something else.
        """
        rows = self.rows(trial, region)
        return {row.size: row for row in rows if (row.layer, row.label) == (trial.layers[0], ALL)}

    def correlations(self, trial: Trial, region: Region) -> list[TrialCorrelation]:
        """Return rows by layer and class: last layer first, all classes together before single ones.

        Both regions give the same rows in the same order.

        Args:
            trial: One of `trials`.
            region: `all` for all filters, `interior` for interior filters only (`deformlab.records.REGIONS`).

        Raises:
            ValueError: `region` is something else.
        """
        _check_region(region)
        key = trial.name, region
        if key not in self._correlations:
            self._correlations[key] = [
                row for layer in trial.layers for row in self._layer_correlations(trial, layer, region)
            ]
        return self._correlations[key]

    def rings(self, trial: Trial) -> list[TrialRing]:
        """Return rows by layer and ring: last layer and outermost ring first.

        Empty if distances were not recorded.
        """
        rows = []
        for layer in trial.layers:
            seeds = [
                {ring.distance: ring.dilation.value for ring in part.rings(layer)}
                for part in self._alone[trial.name]
            ]
            for ring in self._together[trial.name].rings(layer):
                alone = [seed.get(ring.distance) for seed in seeds]
                dilation = _estimate(ring.dilation, alone)
                if dilation is not None:
                    rows.append(
                        TrialRing(trial.name, layer, ring.distance, ring.interior, dilation, ring.filters)
                    )
        return rows

    def effects(self, trial: Trial) -> list[TrialEffect]:
        """Return the effects of object size at the same position, last layer first.

        In each layer: large-small, medium-small, background-medium and large-background. Empty if a seed did
        not record positions, or if the seeds recorded different filters.
        """
        if trial.name not in self._effects:
            self._effects[trial.name] = [
                effect for layer in trial.layers for effect in self._layer_effects(trial, layer)
            ]
        return self._effects[trial.name]

    def effect(self, trial: Trial, size: str, reference: str) -> TrialEffect | None:
        """Return the effect of `size` compared with `reference` in the last layer.

        Compared are large-small, medium-small, background-medium and large-background; None if it was not
        recorded.

        Raises:
            ValueError: `size` and `reference` are not one of these pairs.
        """
        if (size, reference) not in CONTRASTS:
            legal = ", ".join("-".join(pair) for pair in CONTRASTS)
            raise ValueError(f"size and reference must be one of {legal}, got {size}-{reference}")
        wanted = (trial.layers[0], size, reference)
        found = (e for e in self.effects(trial) if (e.layer, e.size, e.reference) == wanted)
        return next(found, None)

    def _layer_effects(self, trial: Trial, layer: str) -> list[TrialEffect]:
        ours = self._together[trial.name]
        seeds = [positions for run in trial.runs for positions in run.positions if positions.layer == layer]
        if len(seeds) < len(trial.runs):
            return []
        try:
            found: SizeEffects = size_effects(seeds, ours.records, ours.rule, ours.drawn)
        except ValueError:  # the seeds' filters or objects differ
            return []
        rows = []
        for size, reference in CONTRASTS:
            effect = found.contrast(size, reference)
            rows.append(
                TrialEffect(
                    trial=trial.name,
                    layer=layer,
                    size=size,
                    reference=reference,
                    controlled=_estimate(effect.controlled, effect.seeds, signed=True),
                    raw=_estimate(effect.raw, effect.raw_seeds, signed=True),
                    position_share=found.explained.position,
                    class_share=found.explained.label,
                    filters=effect.filters,
                    images=effect.images,
                )
            )
        return rows

    def _layer_rows(
        self, trial: Trial, layer: str, region: Region, gains: "_Grid | None"
    ) -> list[TrialSizeRow]:
        ours, alone = self._together[trial.name], self._alone[trial.name]
        of_all, cells = ours.dilation(layer, "all"), ours.dilation(layer, region)
        each = [part.dilation(layer, region) for part in alone]
        dilation = _Grid(cells.mean, cells.low, cells.high, tuple(part.mean for part in each))
        weighted = _Grid(
            cells.weighted, cells.weighted_low, cells.weighted_high, tuple(part.weighted for part in each)
        )
        recall, iou = self._scores(trial, "recall"), self._scores(trial, "iou")
        unrecorded = region == "interior" and not ours.records.has_interior
        names, rows = trial.first.result.classes, []
        for c in (len(names), *range(len(names))):
            for s, size in enumerate(SIZES):
                at = (s, c)
                scores = ours.scores or ours.found
                objects = 0 if scores is None else int(scores.objects[at])
                if not of_all.filters[at] and not objects:
                    continue
                mean = dilation.at(at)
                rows.append(
                    TrialSizeRow(
                        trial=trial.name,
                        layer=layer,
                        size=size,
                        label=ALL if c == len(names) else names[c],
                        dilation=mean,
                        std=None if mean is None else float(cells.std[at]),
                        weighted=weighted.at(at),
                        filters=None if unrecorded else int(cells.filters[at]),
                        seen=int(cells.objects[at]),
                        objects=objects,
                        recall=None if recall is None else recall.at(at),
                        iou=None if iou is None else iou.at(at),
                        gain=None if gains is None else gains.at(at),
                    )
                )
        return rows

    def _scores(self, trial: Trial, name: Literal["recall", "iou"]) -> "_Grid | None":
        parts = [self._together[trial.name], *self._alone[trial.name]]
        if parts[0].found is not None:
            found = [part.found for part in parts if part.found is not None]
            return _detection_grid(found, "recall" if name == "recall" else "best_iou")
        scores = parts[0].scores
        if scores is None:
            return None
        seeds = [part.scores for part in parts[1:] if part.scores is not None]
        value, low, high = (getattr(scores, name + end) for end in ("", "_low", "_high"))
        return _Grid(value, low, high, tuple(getattr(part, name) for part in seeds), 100, 1)

    def _gains(self, trial: Trial) -> "_Grid | None":
        """IoU minus the baseline's by size and class, over all seeds and for each seed.

        For detectors, the recall of objects minus the baseline's.
        """
        if self.baseline is None or self.baseline is trial:
            return None
        difference = _difference(self._together[trial.name], self._together[self.baseline.name])
        if difference is None:
            return None
        value, (low, high) = difference
        pairs = zip(self.baseline.runs, self._alone[self.baseline.name], strict=True)
        of_baseline = {run.seed: part for run, part in pairs}
        seeds = []
        for run, part in zip(trial.runs, self._alone[trial.name], strict=True):
            other = of_baseline.get(run.seed)
            of_seed = None if other is None else _difference(part, other)
            seeds.append(np.full_like(value, np.nan) if of_seed is None else of_seed[0])
        return _Grid(value, low, high, tuple(seeds), 100, 1, signed=True)

    def _layer_correlations(self, trial: Trial, layer: str, region: Region) -> list[TrialCorrelation]:
        ours, alone = self._together[trial.name], self._alone[trial.name]
        seeds = [
            {row.label: row.spearman.value for row in part.correlations(layer, region)} for part in alone
        ]
        found = {row.label: row for row in ours.correlations(layer, region)}
        nothing = 0 if region == "all" or ours.records.has_interior else None
        rows = []
        for label in [row.label for row in ours.correlations(layer, "all")]:
            row, estimate = found.get(label), None
            if row is not None:
                estimate = _estimate(row.spearman, [seed.get(label) for seed in seeds])
            objects = nothing if row is None else row.objects
            rows.append(TrialCorrelation(trial.name, layer, label, estimate, objects))
        return rows


class _Pooled:
    """The merged records of one or several seeds of a trial.

    Args:
        runs: At least one run, all with records of the same layers.
        resamples: Resamples for intervals; 1 if only the values are needed.
    """

    def __init__(self, runs: Sequence[Run], resamples: int = 1000) -> None:
        self.records: ObjectRecords = merge_records([run.objects for run in runs if run.objects])
        self.rule = runs[0].size_rule
        self.classes = runs[0].result.classes
        self.images = self.records.images
        self.drawn = draws(len(self.images), resamples)

    @cached_property
    def scores(self) -> ScoreCells | None:
        """Recall and IoU by size and class; None without predictions."""
        if not self.records.scored:
            return None
        return score_cells(self.records, self.rule, len(self.classes), self.drawn)

    @cached_property
    def found(self) -> DetectionCells | None:
        """Objects that a detector found at an IoU of 0.5, by size and class; None for other networks."""
        if self.records.detections is None:
            return None
        return detection_cells(self.records, 50, self.rule, len(self.classes), self.drawn)

    def dilation(self, layer: str, region: Region) -> DilationCells:
        """Effective dilation of one layer by size and class."""
        index = self.records.layers.index(layer)
        return dilation_cells(self.records, index, region, self.rule, len(self.classes), self.drawn)

    def correlations(self, layer: str, region: Region) -> list[Correlation]:
        """Correlations between object size and effective dilation, over all objects first, then by class."""
        index = self.records.layers.index(layer)
        return correlations(self.records, index, region, self.rule, self.classes, self.drawn)

    def rings(self, layer: str) -> list[Ring]:
        """Effective dilation by distance from the feature-map border."""
        return rings(self.records, self.records.layers.index(layer), self.drawn)


@dataclass(frozen=True)
class _Grid:
    """A quantity by size and class: its value, its bounds and the value of each seed, as arrays."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: tuple[np.ndarray, ...]
    scale: float = 1
    digits: int = 2
    signed: bool = False

    def at(self, cell: tuple[int, int]) -> Estimate | None:
        """The estimate of one size and class, times `scale`; None if undefined."""
        value, low, high, *seeds = (
            None if math.isnan(array[cell]) else self.scale * float(array[cell])
            for array in (self.value, self.low, self.high, *self.seeds)
        )
        if value is None:
            return None
        return Estimate(
            value, spread(seeds), low, high, digits=self.digits, signed=self.signed, seeds=tuple(seeds)
        )


def _difference(ours: _Pooled, others: _Pooled) -> tuple[np.ndarray, np.ndarray] | None:
    """Difference of IoU, or of the recall of detectors, and its bounds; None without predictions."""
    if ours.found is not None and others.found is not None:
        return recall_difference(ours.found, others.found, ours.drawn)
    if ours.scores is not None and others.scores is not None:
        return iou_difference(ours.scores, others.scores, ours.drawn)
    return None


def _detection_grid(parts: Sequence[DetectionCells], name: str) -> _Grid:
    """A quantity of a detector, of all seeds together (the first part) and of each seed."""
    value, low, high = (getattr(parts[0], name + end) for end in ("", "_low", "_high"))
    return _Grid(value, low, high, tuple(getattr(part, name) for part in parts[1:]), 100, 1)


def _check_region(region: str) -> None:
    if region not in REGIONS:
        raise ValueError(f"region must be one of {', '.join(REGIONS)}, got {region!r}")


def _are_alike(trial: Trial) -> bool:
    """Whether every seed recorded the same layers in the same way."""
    first, *others = (run.objects for run in trial.runs if run.objects is not None)
    return all(alike(other, first) for other in others)


def _estimate(interval: Interval, seeds: Sequence[float | None], signed: bool = False) -> Estimate | None:
    if interval.value is None:
        return None
    return Estimate(
        interval.value,
        spread(seeds),
        interval.low,
        interval.high,
        digits=2,
        signed=signed,
        seeds=tuple(seeds),
    )
