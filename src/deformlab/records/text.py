"""The summary of one network's objects as lines for the terminal, at most 80 columns wide."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from deformlab.records.sizes import SIZES

NO_OBJECTS = (
    "no objects: effective dilation and IoU are per class only; name the countable classes in things.txt to "
    "have them by object size"
)


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Effective dilation by layer and size, recall and IoU by size, and the correlation with size.

    Args:
        summary: As `summarize` returns it.
    """
    if not summary["images"]:
        return ["nothing was measured: every pixel of the labels is ignored"]
    lines = ["effective dilation in cells: mean ± std over filters [95 % over images]"]
    rows = [row for row in summary["dilation"] if row["class"] == "all"]
    lines += _dilation(rows)
    inside = [row | row["inside"] for row in rows if row["inside"]]
    lines += ["", "the same away from the border of the feature map, whose zeros change it"]
    lines += _dilation(inside) if inside else ["  no filter is: the map is too small for its dilation"]
    lines += ["", "by the filter's distance from that border, in cells"]
    lines += _table(
        ("layer", "distance", "mean", "interval", "filters"),
        [
            (
                row["layer"],
                f"{row['distance']}{' or more' if row['inside'] else ''}",
                _cells(row["mean"]),
                _interval(row["low"], row["high"]),
                f"{row['filters']:,}",
            )
            for row in summary["border"]
        ],
    )
    if not summary["objects"]:
        return [*lines, *textwrap.wrap(NO_OBJECTS, 80)]
    lines += ["", "recall and IoU in percent, means over classes; by an object's", _rule(summary["rule"])]
    lines += _table(
        ("size", "objects", "recall", "IoU", "interval"),
        [
            (
                row["size"],
                f"{row['objects']:,}",
                _percent(row["recall"]),
                _percent(row["iou"]),
                _interval(row["iou_low"], row["iou_high"], 100, 1),
            )
            for row in sorted(summary["scores"], key=lambda row: SIZES.index(row["size"]))
            if row["class"] == "all"
        ],
    )
    lines += ["", "rank correlation of an object's size and its filters' effective dilation"]
    lines += _table(
        ("layer", "filters", "Spearman", "interval", "objects"),
        [
            (row["layer"], where, *_spearman(numbers))
            for row in summary["correlation"]
            for where, numbers in (("all", row), ("away from the border", row["inside"]))
            if row["class"] == "all" and numbers
        ],
    )
    return lines


def _dilation(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return _table(
        ("layer", "size", "mean ± std", "interval", "filters", "objects"),
        [
            (
                row["layer"],
                row["size"],
                f"{_cells(row['mean'])} ± {_cells(row['std'])}",
                _interval(row["low"], row["high"]),
                f"{row['filters']:,}",
                f"{row['objects']:,}",
            )
            for row in rows
        ],
    )


def _rule(rule: Mapping[str, Any]) -> str:
    small, large = rule["thresholds"]
    what = {"box": "bounding box", "mask": "mask"}[rule["area"]]
    whose = {"original": "label map", "network": "network's input"}[rule["pixels"]]
    thirds = " (thirds)" if rule["thirds"] else ""
    return f"{what} in pixels of the {whose}: small < {small:,.0f}, large > {large:,.0f}{thirds}"


def _spearman(row: Mapping[str, Any]) -> tuple[str, str, str]:
    value = "constant" if row["spearman"] is None else f"{row['spearman']:+.2f}"
    return value, _interval(row["low"], row["high"]), f"{row['objects']:,}"


def _cells(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _interval(low: float | None, high: float | None, scale: float = 1, digits: int = 2) -> str:
    return "-" if low is None or high is None else f"[{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    words = 2 if header[1] in ("size", "distance", "filters") else 1
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
