"""Means, scores, correlations and rings by object size and class, with intervals over images.

Shapes: I images, S sizes in the order of `SIZES`, C classes and after them one for all of them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deformlab.records.records import FilterSums, ObjectRecords
from deformlab.records.sizes import SIZES, SizeRule
from deformlab.records.statistics import (
    MIN_OBJECTS,
    interval,
    number,
    ratio,
    ratio_interval,
    resampled,
    spearman,
)

_Floats = npt.NDArray[np.float64]
_BACKGROUND = SIZES.index("background")
ALL = "all"


@dataclass(frozen=True)
class DilationCells:
    """Effective dilation of one layer, one value per size and class; (S, C + 1) each unless said otherwise.

    `mean`, `std` and `weighted` are in cells, nan where `filters` is 0; `low` and `high` bound the mean,
    `weighted_low` and `weighted_high` the mean weighted by modulation (nan for unmodulated layers);
    `group_mean` and `group_std` are (G, S, C + 1). `objects` have at least one filter, as have `images`.
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

    `objects` counts all of them, also those too small to have a filter. `iou_of_images` are sums per image
    of hits and union (I, S, C), from which paired differences of two networks are resampled.
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


def by_size(
    records: ObjectRecords, sums: FilterSums, rule: SizeRule
) -> list[tuple[str, str, float, float, int]]:
    """Layer, size, mean, std and number of filters, classes together: the paper's table 2.

    Args:
        records: Of one network.
        sums: Of which filters: those `everywhere` or those `inside` of the records.
        rule: What is small and large.
    """
    size = rule.sizes(records)
    rows = []
    for i, layer in enumerate(records.layers):
        count, total, squares = (
            np.bincount(size, weights=column[:, i], minlength=len(SIZES)).astype(np.float64)
            for column in (sums.filters, sums.total, sums.squares)
        )
        mean, std = _mean_and_std(total, squares, count)
        rows += [(layer, SIZES[s], float(mean[s]), float(std[s]), int(count[s])) for s in range(len(SIZES))]
    return rows


def dilation_cells(
    records: ObjectRecords,
    sums: FilterSums,
    layer: int,
    rule: SizeRule,
    classes: int,
    images: Sequence[str],
    drawn: _Floats,
) -> DilationCells:
    """Effective dilation of one layer by size and class.

    Args:
        records: Of one network, or of several seeds put together.
        sums: Of which filters: those `everywhere` or those `inside` of the records.
        layer: Its index.
        rule: What is small and large.
        classes: Number of classes C.
        images: Names of all images, sorted.
        drawn: (resamples, I) how often each image was drawn.
    """
    tally = _Tally(records, rule, classes, images)
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


def _mean_and_std(total: _Floats, squares: _Floats, count: _Floats) -> tuple[_Floats, _Floats]:
    mean = ratio(total, count)
    return mean, np.sqrt(np.maximum(ratio(squares, count) - mean**2, 0))


def score_cells(
    records: ObjectRecords, rule: SizeRule, classes: int, images: Sequence[str], drawn: _Floats
) -> ScoreCells:
    """Recall and IoU by size and class; arguments as in `dilation_cells`.

    An object's IoU is hits / (pixels + false positives in its region), summed over the objects of a bin. A
    class that has no objects anywhere is scored under background, over whole images: its ordinary IoU.
    """
    tally = _Tally(records, rule, classes, images)
    pixels = tally(records.pixels)[..., :-1]
    hits = tally(records.hits)[..., :-1]
    union = pixels + tally(np.maximum(records.false_positives, 0))[..., :-1]
    # Without objects, what a class of objects has on the background is no class of the background.
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


def iou_difference(
    ours: ScoreCells, others: ScoreCells, drawn: _Floats
) -> tuple[_Floats, npt.NDArray[np.float64]]:
    """IoU of one network minus that of another on the same images, (S, C + 1), and its bounds (2, S, C + 1).

    Both are resampled with the same images, so that what makes an image hard for both cancels.
    """
    parts = [(cells.hits_of_images, cells.union_of_images) for cells in (ours, others)]
    (value, resampled_value), (other, resampled_other) = (
        (with_mean(ratio(hits.sum(0), union.sum(0))), _resampled_scores(drawn, hits, union))
        for hits, union in parts
    )
    bounds = interval(resampled_value - resampled_other)
    images = np.minimum(*(_images_with(union) for _, union in parts))
    bounds[:, images < 2] = np.nan
    return value - other, bounds


def with_mean(values: _Floats) -> _Floats:
    """Values per class (..., C) and after them their mean over those that are defined, (..., C + 1)."""
    defined = ~np.isnan(values)
    mean = ratio(np.where(defined, values, 0).sum(-1), defined.sum(-1).astype(np.float64))
    return np.concatenate([values, mean[..., None]], axis=-1)


def _scores(drawn: _Floats, hits: _Floats, pixels: _Floats) -> tuple[_Floats, _Floats]:
    """Hits / pixels, (S, C + 1) with the mean over classes, and its bounds (2, S, C + 1)."""
    bounds = interval(_resampled_scores(drawn, hits, pixels))
    bounds[:, _images_with(pixels) < 2] = np.nan
    return with_mean(ratio(hits.sum(0), pixels.sum(0))), bounds


def _resampled_scores(drawn: _Floats, hits: _Floats, pixels: _Floats) -> _Floats:
    return with_mean(ratio(resampled(drawn, hits), resampled(drawn, pixels)))


def _images_with(pixels: _Floats) -> _Floats:
    """How many images have pixels of each cell, (S, C + 1); for the last, of any class."""
    there = pixels > 0
    return np.concatenate([there.sum(0), there.any(2).sum(0)[:, None]], axis=1)


class _Tally:
    """Adds up one number per row of the records: per image, size and class, the last class for all."""

    def __init__(self, records: ObjectRecords, rule: SizeRule, classes: int, images: Sequence[str]) -> None:
        self.shape = (len(images), len(SIZES), classes + 1)
        image, size = records.image_numbers(images), rule.sizes(records)
        # Without labels, -1, only the last class counts.
        self.cell = (image * len(SIZES) + size) * (classes + 1) + np.where(
            records.label < 0, classes, records.label
        )

    def __call__(self, values: npt.NDArray) -> _Floats:
        sums = np.bincount(self.cell, weights=values, minlength=int(np.prod(self.shape))).astype(np.float64)
        cells = sums.reshape(self.shape)
        cells[..., -1] = cells.sum(-1)
        return cells


def border_rows(
    records: ObjectRecords, layer: int, images: Sequence[str], drawn: np.ndarray
) -> list[dict[str, Any]]:
    """One row per ring of the layer's margin, the outermost first, and one for all that is further inside.

    Of the filters that belong to an object or to the background, of every class; keys as under `border` in
    `deformlab.records.summary`. None where distances were not recorded.

    Args:
        records: Of one network, or of several seeds put together.
        layer: Its index.
        images: Names of all images, sorted.
        drawn: (resamples, I) how often each image was drawn.
    """
    if not records.knows_border:
        return []
    margin = records.margins[layer]
    filters = np.column_stack([records.ring_filters[:, layer, :margin], records.inside.filters[:, layer]])
    total = np.column_stack([records.ring_total[:, layer, :margin], records.inside.total[:, layer]])
    image = records.image_numbers(images)
    filters_of_images, total_of_images = np.zeros((2, len(images), margin + 1))
    np.add.at(filters_of_images, image, filters)
    np.add.at(total_of_images, image, total)
    mean = ratio(total_of_images.sum(0), filters_of_images.sum(0))
    low, high = ratio_interval(drawn, total_of_images, filters_of_images)
    return [
        {
            "layer": records.layers[layer],
            "distance": distance,
            "inside": distance == margin,
            "mean": number(mean[distance]),
            "low": number(low[distance]),
            "high": number(high[distance]),
            "filters": int(filters_of_images[:, distance].sum()),
            "images": int((filters_of_images[:, distance] > 0).sum()),
        }
        for distance in range(margin + 1)
        if filters_of_images[:, distance].any()
    ]


def correlations(
    records: ObjectRecords,
    sums: FilterSums,
    layer: int,
    rule: SizeRule,
    classes: Sequence[str],
    images: Sequence[str],
    drawn: np.ndarray,
) -> list[dict[str, Any]]:
    """Spearman's coefficient of size and effective dilation per class and over all objects of a layer.

    `sums` says of which filters: those `everywhere` or those `inside` of the records.
    """
    seen = records.is_object & (sums.filters[:, layer] > 0)
    area = rule.areas(records)[seen]
    mean = sums.total[seen, layer] / sums.filters[seen, layer]
    image, label = records.image_numbers(images)[seen], records.label[seen]
    rows = []
    for index, name in enumerate([*classes, ALL]):
        chosen = np.full(len(label), True) if name == ALL else label == index
        if chosen.sum() < MIN_OBJECTS:
            continue
        value, low, high = spearman(area[chosen], mean[chosen], image[chosen], drawn)
        row = {"layer": records.layers[layer], "class": name, "spearman": number(value), "low": number(low)}
        row |= {"high": number(high), "objects": int(chosen.sum())}
        rows.append(row | {"images": len(np.unique(image[chosen]))})
    return rows
