"""One network's objects as plain numbers: the contents of `objects.json` in a run folder.

Keys (version 2); every list leaves out what has nothing behind it, every number that is undefined is null:

- `version`, `images`, `objects`, `layers`, `classes` (names in label order).
- `rule`: `thresholds` [small below, large above] in pixels (null without objects), `thirds`, `area` (box or
  mask), `pixels` (original or network), `region` (mask or box).
- `bootstrap`: `resamples`, `level`, `seed`, `unit` (image). Every `low` and `high` is such an interval.
- `dilation`: per `layer`, `size` (small, medium, large, background) and `class` (`all`: every class):
  `mean`, `std`, `low`, `high` in cells of the layer's input, `filters`, `objects` and `images` behind them;
  where the layer is modulated `weighted_mean`, `weighted_low`, `weighted_high`; where it has several offset
  groups `groups`, a list of `mean` and `std`.
- `scores`: per `size` and `class` (`all`: the mean over classes): `recall`, `recall_low`, `recall_high`,
  `iou`, `iou_low`, `iou_high` as fractions, `objects`, `pixels`. Empty where nothing was predicted.
- `correlation`: per `layer` and `class` (`all`: objects of every class): `spearman`, `low`, `high`,
  `objects`, `images`: of the objects' areas and the means of their filters' effective dilations.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from deformlab.objects.bootstrap import LEVEL, RESAMPLES, SEED, draws
from deformlab.objects.correlation import MIN_OBJECTS, spearman
from deformlab.objects.records import ObjectRecords
from deformlab.objects.sizes import SIZES, SizeRule
from deformlab.objects.tally import dilation_cells, image_numbers, score_cells

VERSION = 2
ALL = "all"


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
        "scores": _scores(records, rule, classes, images, drawn) if records.scored else [],
        "correlation": [
            row
            for layer in range(len(records.layers))
            for row in correlations(records, layer, rule, classes, images, drawn)
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
    cells = dilation_cells(records, layer, rule, len(classes), images, drawn)
    rows = []
    for size, name, at in _cells(classes):
        if not cells.filters[at]:
            continue
        row: dict[str, Any] = {"layer": records.layers[layer], "size": size, "class": name}
        row |= {key: number(getattr(cells, key)[at]) for key in ("mean", "std", "low", "high")}
        row |= {key: int(getattr(cells, key)[at]) for key in ("filters", "objects", "images")}
        if records.modulated[layer]:
            row["weighted_mean"] = number(cells.weighted[at])
            row["weighted_low"] = number(cells.weighted_low[at])
            row["weighted_high"] = number(cells.weighted_high[at])
        if records.groups[layer] > 1:
            row["groups"] = [
                {"mean": number(mean[at]), "std": number(std[at])}
                for mean, std in zip(cells.group_mean, cells.group_std, strict=True)
            ]
        rows.append(row)
    return rows


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


def correlations(
    records: ObjectRecords,
    layer: int,
    rule: SizeRule,
    classes: Sequence[str],
    images: Sequence[str],
    drawn: np.ndarray,
) -> list[dict[str, Any]]:
    """Spearman's coefficient of size and effective dilation per class and over all objects of a layer."""
    seen = records.is_object & (records.filters[:, layer] > 0)
    area = rule.areas(records)[seen]
    mean = records.total[seen, layer] / records.filters[seen, layer]
    image, label = image_numbers(records, images)[seen], records.label[seen]
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


def _cells(classes: Sequence[str]) -> list[tuple[str, str, tuple[int, int]]]:
    """Size, class and position of every cell, all classes first."""
    order = [len(classes), *range(len(classes))]
    names = [*classes, ALL]
    return [(size, names[c], (s, c)) for c in order for s, size in enumerate(SIZES)]


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)
