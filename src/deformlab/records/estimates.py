"""Means, scores, correlations and rings by object size and class, with intervals over images.

Each function takes the records of one network, or of several seeds merged, and says of which filters it
speaks by a `region`: `all` or `interior`.

Shapes: I images, S sizes in the order of `SIZES`, C classes and after them one for all of them together.
`drawn` is (resamples, I), how often each image was drawn (`statistics.draws`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
"""The name of all classes together."""


class SizeRow(NamedTuple):
    """Effective dilation of one layer's filters on objects of one size, all classes together.

    Attributes:
        layer: The layer's name.
        size: `small`, `medium`, `large` or `background`.
        region: Which filters: `all` or `interior`.
        mean: Mean effective dilation in cells, offset groups averaged; nan where `count` is 0.
        std: Standard deviation (of the population) over filters; nan where `count` is 0.
        count: Number of filters.
    """

    layer: str
    size: str
    region: Region
    mean: float
    std: float
    count: int  # type: ignore[assignment] # the table's word, though tuples have a method of this name


class Correlation(NamedTuple):
    """Spearman's correlation of objects' areas and the mean effective dilations of their filters.

    Attributes:
        label: Name of the class, or `all`.
        spearman: The coefficient and its interval.
        objects: Number of objects with filters.
        images: Number of images with such objects.
    """

    label: str
    spearman: Interval
    objects: int
    images: int


class Ring(NamedTuple):
    """Effective dilation of the filters at one distance from the border of the layer's map.

    Attributes:
        distance: In cells, 0 in the outermost ring.
        interior: Whether these are the interior filters: those of this distance or more.
        dilation: Mean in cells and its interval.
        filters: Number of filters.
        images: Number of images that have one.
    """

    distance: int
    interior: bool
    dilation: Interval
    filters: int
    images: int


@dataclass(frozen=True)
class DilationCells:
    """Effective dilation of one layer, one value per size and class; (S, C + 1) each unless said otherwise.

    `mean`, `std` and `weighted` are in cells, nan where `filters` is 0; `low` and `high` bound the mean,
    `weighted_low` and `weighted_high` the mean weighted by modulation (nan for unmodulated layers);
    `group_mean` and `group_std` are (G, S, C + 1). `objects` and `images` count those with a filter.
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
    """Recall and IoU by size and class, (S, C + 1) fractions; the last class is the mean over classes.

    `objects` counts all of them, also those too small to have a filter. `hits_of_images` and
    `union_of_images` are sums per image (I, S, C), from which differences of two networks are resampled.
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


def by_size(records: ObjectRecords, region: Region, rule: SizeRule) -> list[SizeRow]:
    """Mean and std by layer and size (DCNv1, table 2): layers in order, sizes as in `SIZES`."""
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
        records: Of one network, or of several seeds merged.
        layer: The layer's index.
        region: Which filters.
        rule: Which objects are small and large.
        classes: Number of classes C.
        drawn: (resamples, I) how often each image was drawn.
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

    An object's IoU is hits / (pixels + false positives in its region), summed over the objects of a bin. A
    class that has no objects anywhere is scored under background, over whole images: its ordinary IoU.
    """
    tally = _Tally(records, rule, classes)
    pixels = tally(records.pixels)[..., :-1]
    hits = tally(records.hits)[..., :-1]
    union = pixels + tally(np.maximum(records.false_positives, 0))[..., :-1]
    # Pixels of a class of objects that are on no object are not scored as background.
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


def iou_difference(ours: ScoreCells, others: ScoreCells, drawn: _Floats) -> tuple[_Floats, _Floats]:
    """IoU of one network minus that of another on the same images, (S, C + 1), and its bounds (2, S, C + 1).

    Both are resampled with the same images, so that what makes an image hard for both cancels.
    """
    parts = [(cells.hits_of_images, cells.union_of_images) for cells in (ours, others)]
    (value, resampled_value), (other, resampled_other) = (
        (with_mean(ratio(hits.sum(0), union.sum(0))), _resampled_scores(drawn, hits, union))
        for hits, union in parts
    )
    bounds = percentile_bounds(resampled_value - resampled_other)
    images = np.minimum(*(_images_with(union) for _, union in parts))
    bounds[:, images < 2] = np.nan
    return value - other, bounds


def correlations(
    records: ObjectRecords,
    layer: int,
    region: Region,
    rule: SizeRule,
    classes: Sequence[str],
    drawn: _Floats,
) -> list[Correlation]:
    """Spearman's correlation of size and effective dilation: over all objects, then class by class.

    Classes with fewer than three objects that have filters are left out. Arguments as in `dilation_cells`;
    `classes` are their names in label order.
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
    """Effective dilation by distance from the border of the map, the outermost ring first.

    One entry per ring of the layer's margin that has filters, and one for the interior filters. Filters on
    objects and on the background of every class count. Empty where distances were not recorded. Arguments as
    in `dilation_cells`.
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
    """Values per class (..., C) and after them their mean over those that are defined, (..., C + 1)."""
    known = ~np.isnan(values)
    mean = ratio(np.where(known, values, 0).sum(-1), known.sum(-1).astype(np.float64))
    return np.concatenate([values, mean[..., None]], axis=-1)


def _mean_and_std(total: _Floats, squares: _Floats, count: _Floats) -> tuple[_Floats, _Floats]:
    mean = ratio(total, count)
    return mean, np.sqrt(np.maximum(ratio(squares, count) - mean**2, 0))


def _scores(drawn: _Floats, hits: _Floats, pixels: _Floats) -> tuple[_Floats, _Floats]:
    """Hits / pixels, (S, C + 1) with the mean over classes, and its bounds (2, S, C + 1)."""
    bounds = percentile_bounds(_resampled_scores(drawn, hits, pixels))
    bounds[:, _images_with(pixels) < 2] = np.nan
    return with_mean(ratio(hits.sum(0), pixels.sum(0))), bounds


def _resampled_scores(drawn: _Floats, hits: _Floats, pixels: _Floats) -> _Floats:
    return with_mean(ratio(resampled(drawn, hits), resampled(drawn, pixels)))


def _images_with(pixels: _Floats) -> _Floats:
    """How many images have pixels of each cell, (S, C + 1); for the last class, of any class."""
    there = pixels > 0
    return np.concatenate([there.sum(0), there.any(2).sum(0)[:, None]], axis=1)


class _Tally:
    """Adds up one number per row of the records: per image, size and class, the last class for all."""

    def __init__(self, records: ObjectRecords, rule: SizeRule, classes: int) -> None:
        self.shape = (len(records.images), len(SIZES), classes + 1)
        # Rows without labels, -1, count only in the last class.
        self.cell = (records.image_numbers * len(SIZES) + rule.sizes(records)) * (classes + 1) + np.where(
            records.label < 0, classes, records.label
        )

    def __call__(self, values: npt.NDArray) -> _Floats:
        sums = np.bincount(self.cell, weights=values, minlength=int(np.prod(self.shape))).astype(np.float64)
        cells = sums.reshape(self.shape)
        cells[..., -1] = cells.sum(-1)
        return cells
