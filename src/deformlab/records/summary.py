"""One network's objects as plain numbers: the contents of `objects.json` in a run folder.

Keys (version 3); every list leaves out what has nothing behind it, every number that is undefined is null:

- `version`, `images`, `objects`, `layers`, `classes` (names in label order).
- `rule`: `thresholds` [small below, large above] in pixels (null without objects), `thirds`, `area` (box or
  mask), `pixels` (original or network), `region` (mask or box).
- `bootstrap`: `resamples`, `level`, `seed`, `unit` (image). Every `low` and `high` is such an interval.
- `dilation`: per `layer`, `size` (small, medium, large, background) and `class` (`all`: every class):
  `mean`, `std`, `low`, `high` in cells of the layer's input, `filters`, `objects` and `images` behind them;
  where the layer is modulated `weighted_mean`, `weighted_low`, `weighted_high`; where it has several offset
  groups `groups`, a list of `mean` and `std`. `inside` has the same numbers over the filters away from the
  border of the map, null where there are none.
- `border`: per `layer` and `distance` from the border in cells, 0 in the outermost ring: `mean`, `low`,
  `high`, `filters` and `images`. `inside` is true in the last row of a layer, which holds all filters of that
  distance or more: those that count as away from the border.
- `scores`: per `size` and `class` (`all`: the mean over classes): `recall`, `recall_low`, `recall_high`,
  `iou`, `iou_low`, `iou_high` as fractions, `objects`, `pixels`. Empty where nothing was predicted.
- `correlation`: per `layer` and `class` (`all`: objects of every class): `spearman`, `low`, `high`,
  `objects`, `images`: of the objects' areas and the means of their filters' effective dilations. `inside` has
  the same over the objects with filters away from the border, and those filters; null for too few objects.

Version 2 has neither `border` nor `inside`; analysis reads it still.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from deformlab.records.estimates import (
    ALL,
    DilationCells,
    border_rows,
    correlations,
    dilation_cells,
    score_cells,
)
from deformlab.records.records import ObjectRecords
from deformlab.records.sizes import SIZES, SizeRule
from deformlab.records.statistics import LEVEL, RESAMPLES, SEED, draws, number

VERSION = 3
# Without distances from the border. Version 1 put the filters elsewhere.
READABLE = (2, VERSION)


def summarize(records: ObjectRecords, rule: SizeRule, classes: Sequence[str], region: str) -> dict[str, Any]:
    """What `objects.json` holds; the module's text explains the keys.

    Args:
        records: Of one network.
        rule: What is small and large.
        classes: Names in label order.
        region: `mask` or `box`: how filters were given to objects.
    """
    images = np.unique(records.image).tolist()
    drawn = draws(len(images))
    borders = rule.borders(records)
    return {
        "version": VERSION,
        "images": len(images),
        "objects": int(records.is_object.sum()),
        "layers": list(records.layers),
        "classes": list(classes),
        "rule": {
            "thresholds": None if borders is None else list(borders),
            "thirds": rule.thresholds == "thirds",
            "area": rule.area,
            "pixels": rule.pixels,
            "region": region,
        },
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": SEED, "unit": "image"},
        "dilation": [
            row
            for layer in range(len(records.layers))
            for row in _dilation(records, layer, rule, classes, images, drawn)
        ],
        "border": [
            row for layer in range(len(records.layers)) for row in border_rows(records, layer, images, drawn)
        ],
        "scores": _scores(records, rule, classes, images, drawn) if records.scored else [],
        "correlation": [
            row
            for layer in range(len(records.layers))
            for row in _correlations(records, layer, rule, classes, images, drawn)
        ],
    }


def _dilation(
    records: ObjectRecords,
    layer: int,
    rule: SizeRule,
    classes: Sequence[str],
    images: Sequence[str],
    drawn: np.ndarray,
) -> list[dict[str, Any]]:
    everywhere, inside = (
        dilation_cells(records, sums, layer, rule, len(classes), images, drawn)
        for sums in (records.everywhere, records.inside)
    )
    return [
        {"layer": records.layers[layer], "size": size, "class": name}
        | _numbers(everywhere, at, records.modulated[layer])
        | {"inside": _numbers(inside, at, records.modulated[layer]) if inside.filters[at] else None}
        for size, name, at in _cells(classes)
        if everywhere.filters[at]
    ]


def _numbers(cells: DilationCells, at: tuple[int, int], modulated: bool) -> dict[str, Any]:
    row: dict[str, Any] = {key: number(getattr(cells, key)[at]) for key in ("mean", "std", "low", "high")}
    row |= {key: int(getattr(cells, key)[at]) for key in ("filters", "objects", "images")}
    if modulated:
        row["weighted_mean"] = number(cells.weighted[at])
        row["weighted_low"] = number(cells.weighted_low[at])
        row["weighted_high"] = number(cells.weighted_high[at])
    if len(cells.group_mean) > 1:
        row["groups"] = [
            {"mean": number(mean[at]), "std": number(std[at])}
            for mean, std in zip(cells.group_mean, cells.group_std, strict=True)
        ]
    return row


def _scores(
    records: ObjectRecords, rule: SizeRule, classes: Sequence[str], images: Sequence[str], drawn: np.ndarray
) -> list[dict[str, Any]]:
    cells = score_cells(records, rule, len(classes), images, drawn)
    keys = ("recall", "recall_low", "recall_high", "iou", "iou_low", "iou_high")
    return [
        {"size": size, "class": name}
        | {key: number(getattr(cells, key)[at]) for key in keys}
        | {"objects": int(cells.objects[at]), "pixels": int(cells.pixels[at])}
        for size, name, at in _cells(classes)
        if not math.isnan(cells.iou[at])
    ]


def _correlations(
    records: ObjectRecords,
    layer: int,
    rule: SizeRule,
    classes: Sequence[str],
    images: Sequence[str],
    drawn: np.ndarray,
) -> list[dict[str, Any]]:
    everywhere, inside = (
        correlations(records, sums, layer, rule, classes, images, drawn)
        for sums in (records.everywhere, records.inside)
    )
    of_class = {row.pop("class"): row for row in inside}
    for row in of_class.values():
        del row["layer"]
    return [row | {"inside": of_class.get(row["class"])} for row in everywhere]


def _cells(classes: Sequence[str]) -> list[tuple[str, str, tuple[int, int]]]:
    """Size, class and position of every cell, all classes first."""
    order = [len(classes), *range(len(classes))]
    names = [*classes, ALL]
    return [(size, names[c], (s, c)) for c in order for s, size in enumerate(SIZES)]
