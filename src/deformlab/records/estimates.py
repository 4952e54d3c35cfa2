"""Means, scores, correlations and rings by object size and class, with intervals over images.

Each function takes the records of one network, or the merged records of several seeds. Its `region` selects
the filters: `all` or `interior`.

Shapes: I images, S sizes in the order of `SIZES`, C classes. Class axes have C + 1 entries; the last one is
for all classes together. `drawn` has shape (B, I): how often each image was drawn in each of B resamples, as
returned by `draws`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from deformlab.records.records import ObjectRecords, Region
from deformlab.records.sizes import SIZES, SizeRule
from deformlab.records.statistics import (
    MIN_OBJECTS,
    Interval,
    percentile_bounds,
    ratio,
    ratio_interval,
    resampled,
    spearman,
)

_Floats = npt.NDArray[np.float64]
_BACKGROUND = SIZES.index("background")
ALL = "all"
"""The label of rows for all classes together."""


class SizeRow(NamedTuple):
    """Effective dilation of one layer's filters on objects of one size, all classes together.

    Attributes:
        layer: The layer's name.
        size: `small`, `medium`, `large` or `background`.
        region: Which filters: `all` or `interior`.
        mean: Mean effective dilation in feature-map cells, averaged over offset groups; NaN if `count` is 0.
        std: Population standard deviation over filters, in cells; NaN if `count` is 0.
        count: Number of filters.
    """

    layer: str
    size: str
    region: Region
    mean: float
    std: float
    count: int  # type: ignore[assignment] # named as in the tables; hides tuple.count


class Correlation(NamedTuple):
    """Spearman's correlation between the area of objects and the mean effective dilation of their filters.

    Attributes:
        label: Name of the class, or `ALL` for all objects.
        spearman: The coefficient in [-1, 1] and its 95 % interval; None if undefined.
        objects: Number of objects with filters.
        images: Number of images with such objects.
    """

    label: str
    spearman: Interval
    objects: int
    images: int


class Ring(NamedTuple):
    """Effective dilation of the filters at one distance from the feature-map border.

    Attributes:
        distance: Distance from the border in cells; 0 for the outermost ring.
        interior: Whether the entry is for the interior filters, which are at this distance or farther in.
        dilation: Mean effective dilation in cells and its 95 % interval.
        filters: Number of filters.
        images: Number of images with such filters.
    """

    distance: int
    interior: bool
    dilation: Interval
    filters: int
    images: int


@dataclass(frozen=True)
class DilationCells:
    """Effective dilation of one layer by size and class, in cells.

    All arrays have shape (S, C + 1), except `group_mean` and `group_std`. Values without filters are NaN.

    Attributes:
        mean: Mean over filters.
        std: Population standard deviation over filters.
        low: Lower bound of the 95 % interval of `mean`.
        high: Upper bound of the interval.
        weighted: Mean weighted by modulation; NaN for unmodulated layers.
        weighted_low: Lower bound of the 95 % interval of `weighted`.
        weighted_high: Upper bound of the interval.
        group_mean: (G, S, C + 1) mean of each offset group.
        group_std: (G, S, C + 1) standard deviation of each offset group.
        filters: Number of filters.
        objects: Number of objects with filters.
        images: Number of images with filters.
    """

    mean: _Floats
    std: _Floats
    low: _Floats
    high: _Floats
    weighted: _Floats
    weighted_low: _Floats
    weighted_high: _Floats
    group_mean: _Floats
    group_std: _Floats
    filters: _Floats
    objects: _Floats
    images: _Floats


@dataclass(frozen=True)
class ScoreCells:
    """Recall and IoU by size and class, as fractions.

    All arrays have shape (S, C + 1), except the last two. The last class is the mean over classes.

    Attributes:
        recall: Share of the pixels that were predicted as their class; NaN without pixels.
        recall_low: Lower bound of the 95 % interval of `recall`.
        recall_high: Upper bound of the interval.
        iou: Intersection over union (`score_cells`); NaN without pixels.
        iou_low: Lower bound of the 95 % interval of `iou`.
        iou_high: Upper bound of the interval.
        objects: Number of objects, including those without filters.
        pixels: Number of labelled pixels.
        hits_of_images: (I, S, C) correctly predicted pixels per image, used by `iou_difference`.
        union_of_images: (I, S, C) pixels in the union per image, used by `iou_difference`.
    """

    recall: _Floats
    recall_low: _Floats
    recall_high: _Floats
    iou: _Floats
    iou_low: _Floats
    iou_high: _Floats
    objects: _Floats
    pixels: _Floats
    hits_of_images: _Floats
    union_of_images: _Floats


@dataclass(frozen=True)
class DetectionCells:
    """How many objects a detector finds, by size and class, and its precision by class, as fractions.

    Arrays have shape (S, C + 1), except as noted. The last class is the mean over classes.

    Attributes:
        recall: Share of the objects that are found; NaN without objects.
        recall_low: Lower bound of the 95 % interval of `recall`.
        recall_high: Upper bound of the interval.
        best_iou: Mean over objects of the largest IoU with a detection of the object's class; NaN without
            objects.
        best_iou_low: Lower bound of the 95 % interval of `best_iou`.
        best_iou_high: Upper bound of the interval.
        precision: (C + 1,) share of the detections of each class that find an object, of any size; NaN
            without detections. Detections of ignored objects are left out.
        precision_low: (C + 1,) lower bound of the 95 % interval of `precision`.
        precision_high: (C + 1,) upper bound of the interval.
        objects: Number of objects that had to be found; for the last class, their sum.
        found_of_images: (I, S, C) objects found per image, used by `recall_difference`.
        objects_of_images: (I, S, C) objects per image, used by `recall_difference`.
    """

    recall: _Floats
    recall_low: _Floats
    recall_high: _Floats
    best_iou: _Floats
    best_iou_low: _Floats
    best_iou_high: _Floats
    precision: _Floats
    precision_low: _Floats
    precision_high: _Floats
    objects: _Floats
    found_of_images: _Floats
    objects_of_images: _Floats


def by_size(records: ObjectRecords, region: Region, rule: SizeRule) -> list[SizeRow]:
    """Mean and standard deviation of effective dilation by layer and size (DCNv1, table 2).

    Args:
        records: Records of one network, or merged records of several seeds.
        region: `all` or `interior` filters.
        rule: Which objects are small and large.

    Returns:
        One row per layer and size; layers in the order of the records, sizes in the order of `SIZES`.
    """
    size = rule.sizes(records)
    sums = records.sums[region]
    rows = []
    for i, layer in enumerate(records.layers):
        count, total, squares = (
            np.bincount(size, weights=column[:, i], minlength=len(SIZES)).astype(np.float64)
            for column in (sums.filters, sums.total, sums.squares)
        )
        mean, std = _mean_and_std(total, squares, count)
        rows += [
            SizeRow(layer, name, region, float(mean[s]), float(std[s]), int(count[s]))
            for s, name in enumerate(SIZES)
        ]
    return rows


def dilation_cells(
    records: ObjectRecords, layer: int, region: Region, rule: SizeRule, classes: int, drawn: _Floats
) -> DilationCells:
    """Effective dilation of one layer by size and class.

    Args:
        records: Records of one network, or merged records of several seeds.
        layer: Index into `records.layers`.
        region: `all` or `interior` filters.
        rule: Which objects are small and large.
        classes: Number of classes C.
        drawn: (B, I) how often each image of `records.images` was drawn in each of B resamples.
    """
    tally = _Tally(records, rule, classes)
    sums = records.sums[region]
    filters = tally(sums.filters[:, layer])
    total = tally(sums.total[:, layer])
    weighted = tally(sums.weighted[:, layer])
    low, high = ratio_interval(drawn, total, filters)
    unknown = np.full(filters.shape[1:], np.nan)
    weighted_low, weighted_high = (
        ratio_interval(drawn, weighted, filters) if records.modulated[layer] else (unknown, unknown)
    )
    count = filters.sum(0)
    groups = [
        _mean_and_std(
            tally(sums.group_total[:, layer, g]).sum(0), tally(sums.group_squares[:, layer, g]).sum(0), count
        )
        for g in range(records.groups[layer])
    ]
    mean, std = _mean_and_std(total.sum(0), tally(sums.squares[:, layer]).sum(0), count)
    return DilationCells(
        mean=mean,
        std=std,
        low=low,
        high=high,
        weighted=ratio(weighted.sum(0), count),
        weighted_low=weighted_low,
        weighted_high=weighted_high,
        group_mean=np.stack([group[0] for group in groups]),
        group_std=np.stack([group[1] for group in groups]),
        filters=count,
        objects=tally((records.is_object & (sums.filters[:, layer] > 0)).astype(np.float64)).sum(0),
        images=(filters > 0).sum(0).astype(np.float64),
    )


def score_cells(records: ObjectRecords, rule: SizeRule, classes: int, drawn: _Floats) -> ScoreCells:
    """Recall and IoU by size and class; arguments as in `dilation_cells`.

    IoU is hits / (pixels + false positives), each summed over the objects of one size and class. False
    positives count within the region of an object. A class without any objects is scored over whole images
    and reported under background: its ordinary IoU.
    """
    tally = _Tally(records, rule, classes)
    pixels = tally(records.pixels)[..., :-1]
    hits = tally(records.hits)[..., :-1]
    union = pixels + tally(np.maximum(records.false_positives, 0))[..., :-1]
    # If a class has objects, its remaining pixels are not scored under background.
    things = tally(records.is_object)[..., :-1].any(axis=(0, 1))
    for sums in (pixels, hits, union):
        sums[:, _BACKGROUND, things] = 0
    recall, recall_bounds = _scores(drawn, hits, pixels)
    iou, iou_bounds = _scores(drawn, hits, union)
    return ScoreCells(
        recall=recall,
        recall_low=recall_bounds[0],
        recall_high=recall_bounds[1],
        iou=iou,
        iou_low=iou_bounds[0],
        iou_high=iou_bounds[1],
        objects=tally(records.is_object).sum(0),
        pixels=tally(records.pixels).sum(0),
        hits_of_images=hits,
        union_of_images=union,
    )


def detection_cells(
    records: ObjectRecords, iou: Literal[50, 70], rule: SizeRule, classes: int, drawn: _Floats
) -> DetectionCells:
    """Recall by size and class, and precision by class, of a detector.

    Args:
        records: Records of one detector, or merged records of several seeds.
        iou: The IoU at which an object counts as found, in percent.
        rule: Which objects are small and large.
        classes: Number of classes C.
        drawn: As in `dilation_cells`.

    Raises:
        ValueError: The records are not those of a detector.
    """
    sums = records.detections
    if sums is None:
        raise ValueError("the records are not those of a detector")
    tally = _Tally(records, rule, classes)
    found = tally(sums.found50 if iou == 50 else sums.found70)[..., :-1]
    false = tally(sums.false50 if iou == 50 else sums.false70)[..., :-1]
    counted, best = tally(sums.counted), tally(sums.best_iou)[..., :-1]
    objects = counted[..., :-1]
    recall, recall_bounds = _scores(drawn, found, objects)
    best_iou, best_bounds = _scores(drawn, best, objects)
    right = found.sum(1, keepdims=True)
    precision, precision_bounds = _scores(drawn, right, right + false.sum(1, keepdims=True))
    return DetectionCells(
        recall=recall,
        recall_low=recall_bounds[0],
        recall_high=recall_bounds[1],
        best_iou=best_iou,
        best_iou_low=best_bounds[0],
        best_iou_high=best_bounds[1],
        precision=precision[0],
        precision_low=precision_bounds[0, 0],
        precision_high=precision_bounds[1, 0],
        objects=tally(sums.counted > 0).sum(0),
        found_of_images=found,
        objects_of_images=objects,
    )


def recall_difference(
    ours: DetectionCells, others: DetectionCells, drawn: _Floats
) -> tuple[_Floats, _Floats]:
    """Recall of one detector minus recall of another on the same images.

    Both detectors are resampled with the same images, so image difficulty that affects both cancels.

    Args:
        ours: Scores of the first detector.
        others: Scores of the second detector, on the same images and at the same IoU.
        drawn: As in `dilation_cells`.

    Returns:
        The difference (S, C + 1), as a fraction, and the bounds of its 95 % interval (2, S, C + 1).
    """
    return _difference(
        (ours.found_of_images, ours.objects_of_images),
        (others.found_of_images, others.objects_of_images),
        drawn,
    )


def iou_difference(ours: ScoreCells, others: ScoreCells, drawn: _Floats) -> tuple[_Floats, _Floats]:
    """IoU of one network minus IoU of another on the same images.

    Both networks are resampled with the same images, so image difficulty that affects both cancels.

    Args:
        ours: Scores of the first network.
        others: Scores of the second network, on the same images.
        drawn: As in `dilation_cells`.

    Returns:
        The difference (S, C + 1), as a fraction, and the bounds of its 95 % interval (2, S, C + 1).
    """
    return _difference(
        (ours.hits_of_images, ours.union_of_images), (others.hits_of_images, others.union_of_images), drawn
    )


def correlations(
    records: ObjectRecords,
    layer: int,
    region: Region,
    rule: SizeRule,
    classes: Sequence[str],
    drawn: _Floats,
) -> list[Correlation]:
    """Spearman's correlation between object size and effective dilation, over all objects and by class.

    Classes with fewer than three objects with filters are left out. Arguments as in `dilation_cells`, except
    `classes`: their names in label order.

    Returns:
        The row for all objects first, then one row per class.
    """
    sums = records.sums[region]
    seen = records.is_object & (sums.filters[:, layer] > 0)
    area = rule.areas(records)[seen]
    mean = sums.total[seen, layer] / sums.filters[seen, layer]
    image, label = records.image_numbers[seen], records.label[seen]
    rows = []
    for index, name in [(-1, ALL), *enumerate(classes)]:
        chosen = np.full(len(label), True) if name == ALL else label == index
        if chosen.sum() < MIN_OBJECTS:
            continue
        coefficient = spearman(area[chosen], mean[chosen], image[chosen], drawn)
        rows.append(Correlation(name, coefficient, int(chosen.sum()), len(np.unique(image[chosen]))))
    return rows


def rings(records: ObjectRecords, layer: int, drawn: _Floats) -> list[Ring]:
    """Effective dilation by distance from the feature-map border, the outermost ring first.

    Includes filters on objects and on background. Arguments as in `dilation_cells`.

    Returns:
        One entry per ring of the layer's margin that has filters, then one for the interior filters. Empty if
        distances were not recorded.
    """
    if not records.has_interior:
        return []
    margin = records.margins[layer]
    interior = records.sums["interior"]
    filters = np.column_stack([records.ring_filters[:, layer, :margin], interior.filters[:, layer]])
    total = np.column_stack([records.ring_total[:, layer, :margin], interior.total[:, layer]])
    filters_of_images, total_of_images = np.zeros((2, drawn.shape[1], margin + 1))
    np.add.at(filters_of_images, records.image_numbers, filters)
    np.add.at(total_of_images, records.image_numbers, total)
    mean = ratio(total_of_images.sum(0), filters_of_images.sum(0))
    bounds = ratio_interval(drawn, total_of_images, filters_of_images)
    return [
        Ring(
            distance=distance,
            interior=distance == margin,
            dilation=Interval.of(mean[distance], bounds[:, distance]),
            filters=int(filters_of_images[:, distance].sum()),
            images=int((filters_of_images[:, distance] > 0).sum()),
        )
        for distance in range(margin + 1)
        if filters_of_images[:, distance].any()
    ]


def with_mean(values: _Floats) -> _Floats:
    """Values per class (..., C), followed by the mean of the defined ones: (..., C + 1)."""
    known = ~np.isnan(values)
    mean = ratio(np.where(known, values, 0).sum(-1), known.sum(-1).astype(np.float64))
    return np.concatenate([values, mean[..., None]], axis=-1)


def _mean_and_std(total: _Floats, squares: _Floats, count: _Floats) -> tuple[_Floats, _Floats]:
    mean = ratio(total, count)
    return mean, np.sqrt(np.maximum(ratio(squares, count) - mean**2, 0))


def _scores(drawn: _Floats, hits: _Floats, pixels: _Floats) -> tuple[_Floats, _Floats]:
    """Scores hits / pixels (S, C + 1), with the mean over classes, and its bounds (2, S, C + 1)."""
    bounds = percentile_bounds(_resampled_scores(drawn, hits, pixels))
    bounds[:, _images_with(pixels) < 2] = np.nan
    return with_mean(ratio(hits.sum(0), pixels.sum(0))), bounds


def _difference(
    ours: tuple[_Floats, _Floats], others: tuple[_Floats, _Floats], drawn: _Floats
) -> tuple[_Floats, _Floats]:
    """One score minus another (S, C + 1) and its bounds; each is numerators and denominators (I, S, C)."""
    (value, resampled_value), (other, resampled_other) = (
        (with_mean(ratio(part.sum(0), whole.sum(0))), _resampled_scores(drawn, part, whole))
        for part, whole in (ours, others)
    )
    bounds = percentile_bounds(resampled_value - resampled_other)
    images = np.minimum(*(_images_with(whole) for _, whole in (ours, others)))
    bounds[:, images < 2] = np.nan
    return value - other, bounds


def _resampled_scores(drawn: _Floats, hits: _Floats, pixels: _Floats) -> _Floats:
    return with_mean(ratio(resampled(drawn, hits), resampled(drawn, pixels)))


def _images_with(pixels: _Floats) -> _Floats:
    """Number of images with pixels of each size and class (S, C + 1); the last entry counts any class."""
    present = pixels > 0
    return np.concatenate([present.sum(0), present.any(2).sum(0)[:, None]], axis=1)


class _Tally:
    """Sums a value of each row of the records by image, size and class; the last class is all together."""

    def __init__(self, records: ObjectRecords, rule: SizeRule, classes: int) -> None:
        self.shape = (len(records.images), len(SIZES), classes + 1)
        # Rows without a label (-1) count in the last class only.
        self.cell = (records.image_numbers * len(SIZES) + rule.sizes(records)) * (classes + 1) + np.where(
            records.label < 0, classes, records.label
        )

    def __call__(self, values: npt.NDArray) -> _Floats:
        sums = np.bincount(self.cell, weights=values, minlength=int(np.prod(self.shape))).astype(np.float64)
        cells = sums.reshape(self.shape)
        cells[..., -1] = cells.sum(-1)
        return cells
