"""One network's object measurements as text for the terminal, at most 80 columns wide."""

import textwrap
from collections.abc import Sequence

import numpy as np

from deformlab.records.estimates import (
    ALL,
    by_size,
    correlations,
    detection_cells,
    dilation_cells,
    score_cells,
)
from deformlab.records.records import ObjectMeasurement, ObjectRecords
from deformlab.records.same_position import size_effects
from deformlab.records.sizes import SIZES, SizeRule
from deformlab.records.statistics import Interval, draws

__all__ = ["NO_OBJECTS", "measurement_lines"]

NO_OBJECTS = (
    "no objects in the labels: effective dilation and IoU are given per class only; to get them by object "
    "size, list the countable classes in things.txt"
)
"""The message shown instead of results by object size if the labels have no objects."""


def measurement_lines(measurement: ObjectMeasurement, rule: SizeRule, classes: Sequence[str]) -> list[str]:
    """Describes effective dilation by layer and size, the size effect, scores by size, and correlations.

    Args:
        measurement: Object measurements of one network.
        rule: Which objects are small and large.
        classes: Names of the classes in label order.

    Returns:
        Lines of at most 80 characters.
    """
    records = measurement.records
    if not len(records.image):
        return ["nothing was measured: every pixel of the labels is ignored"]
    drawn = draws(len(records.images))
    lines = ["effective dilation in cells: mean, 95 % interval over images, number of filters;"]
    lines += ["interior: neither filter nor offset convolution reads the zero padding"]
    lines += _dilation(records, rule, len(classes), drawn)
    if not records.is_object.any():
        return [*lines, "", *textwrap.wrap(NO_OBJECTS, 80)]
    if measurement.positions:
        lines += ["", "effective dilation on large minus on small objects, in cells"]
        lines += _effects(measurement, rule, drawn)
    if records.scored:
        lines += ["", *_scores(records, rule, len(classes), drawn)]
    if records.detections is not None:
        lines += ["", *_found(records, rule, len(classes), drawn)]
    return [*lines, "", *_correlations(records, rule, classes, drawn)]


def _dilation(records: ObjectRecords, rule: SizeRule, classes: int, drawn: np.ndarray) -> list[str]:
    everywhere = {(row.layer, row.size): row for row in by_size(records, "all", rule)}
    rows = []
    for i, layer in enumerate(records.layers):
        cells = dilation_cells(records, i, "interior", rule, classes, drawn)
        for s, size in enumerate(SIZES):
            at = (s, -1)
            whole = everywhere[layer, size]
            if not whole.count:
                continue
            interior = Interval.of(cells.mean[at], (cells.low[at], cells.high[at]))
            rows.append(
                (
                    layer,
                    size,
                    *_cells(interior),
                    f"{int(cells.filters[at]):,}",
                    "-" if np.isnan(whole.mean) else f"{whole.mean:.2f}",
                    f"{whole.count:,}",
                )
            )
    return _table(("layer", "size", "interior", "interval", "filters", "all", "filters"), rows, 2)


def _effects(measurement: ObjectMeasurement, rule: SizeRule, drawn: np.ndarray) -> list[str]:
    rows = []
    for positions in measurement.positions:
        effect = size_effects([positions], measurement.records, rule, drawn).contrast("large", "small")
        rows.append(
            (
                positions.layer,
                *_cells(effect.controlled),
                *_cells(effect.raw),
                f"{effect.filters:,}",
            )
        )
    header = ("layer", "same position", "interval", "raw", "interval", "filters")
    return _table(header, rows, 1)


def _scores(records: ObjectRecords, rule: SizeRule, classes: int, drawn: np.ndarray) -> list[str]:
    cells = score_cells(records, rule, classes, drawn)
    rows = [
        (
            size,
            f"{int(cells.objects[s, -1]):,}",
            _percent(cells.recall[s, -1]),
            *_cells(Interval.of(cells.iou[s, -1], (cells.iou_low[s, -1], cells.iou_high[s, -1])), 100, 1),
        )
        for s, size in enumerate(SIZES)
        if not np.isnan(cells.iou[s, -1])
    ]
    title = ["recall and IoU in percent, averaged over classes, by object size;", _rule(records, rule)]
    return title + _table(("size", "objects", "recall", "IoU", "interval"), rows, 1)


def _found(records: ObjectRecords, rule: SizeRule, classes: int, drawn: np.ndarray) -> list[str]:
    at = [detection_cells(records, iou, rule, classes, drawn) for iou in (50, 70)]
    rows = []
    for s, size in enumerate(SIZES):
        if not at[0].objects[s, -1]:
            continue
        intervals = [
            Interval.of(cells.recall[s, -1], (cells.recall_low[s, -1], cells.recall_high[s, -1]))
            for cells in at
        ]
        cells = [cell for interval in intervals for cell in _cells(interval, 100, 1)]
        rows.append((size, f"{int(at[0].objects[s, -1]):,}", *cells))
    title = ["objects found in percent, averaged over classes, by object size;", _rule(records, rule)]
    header = ("size", "objects", "IoU 0.5", "interval", "IoU 0.7", "interval")
    return title + _table(header, rows, 1)


def _correlations(
    records: ObjectRecords, rule: SizeRule, classes: Sequence[str], drawn: np.ndarray
) -> list[str]:
    rows = []
    for i, layer in enumerate(records.layers):
        for row in correlations(records, i, "interior", rule, classes, drawn):
            if row.label == ALL:
                value, interval = _cells(row.spearman)
                rows.append((layer, "constant" if value == "-" else value, interval, f"{row.objects:,}"))
    if not rows:
        return ["no correlation with object size: fewer than three objects have interior filters"]
    title = "rank correlation between object size and effective dilation of interior filters"
    return [*textwrap.wrap(title, 80), *_table(("layer", "Spearman", "interval", "objects"), rows, 1)]


def _rule(records: ObjectRecords, rule: SizeRule) -> str:
    thresholds = rule.thresholds_of(records)
    assert thresholds is not None, "there are objects"
    area = {"box": "bounding-box area", "mask": "mask area"}[rule.area]
    pixels = {"original": "label-map", "network": "network-input"}[rule.pixels]
    thirds = " (thirds)" if rule.thresholds == "thirds" else ""
    small, large = thresholds
    return f"{area} in {pixels} pixels: small < {small:,.0f}, large > {large:,.0f}{thirds}"


def _cells(value: Interval, scale: float = 1, digits: int = 2) -> tuple[str, str]:
    """The number and its interval, formatted."""
    number = "-" if value.value is None else f"{scale * value.value:.{digits}f}"
    if value.low is None or value.high is None:
        return number, "-"
    return number, f"[{scale * value.low:.{digits}f}, {scale * value.high:.{digits}f}]"


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> list[str]:
    """Aligned columns; the first `text_columns` are left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
