"""What `deformlab data check` found, and how it says it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deformlab.data.files import Fault
from deformlab.records import SizeRule

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Files that a line about many of them names.
_NAMED = 3


@dataclass
class SplitReport:
    """What one split holds.

    Attributes:
        split: its name.
        needed: whether training needs it.
        images: number of samples that were read and are legal.
        sizes: number of images by (height, width).
        pixels: pixels per class, ignored ones last, shape (C + 1,).
        objects: areas of the objects in pixels, by class.
    """

    split: str
    needed: bool
    images: int
    sizes: Counter[tuple[int, int]]
    pixels: npt.NDArray[np.int64]
    objects: dict[str, list[int]]


@dataclass
class DatasetReport:
    """What `check_dataset` found.

    Attributes:
        name: the data set's name.
        root: its folder; None for generated data.
        classes: class names in the order of their label values.
        rule: how an object's size is measured and where small ends and large begins.
        rule_source: where that rule comes from.
        splits: one report per split that is there.
        absent: splits that are not there and that training does not need.
        faults: what is wrong, with the file or folder; empty when the data set is complete and legal.
        remarks: what is legal but may not be meant, likewise.
    """

    name: str
    root: str | None
    classes: tuple[str, ...]
    rule: SizeRule
    rule_source: str
    splits: list[SplitReport] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    remarks: list[Fault] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """One line for each kind of fault; that of many files has their number and the first of them."""
        return _grouped(self.faults, self.root)

    @property
    def notes(self) -> list[str]:
        """One line for each kind of remark, likewise."""
        return _grouped(self.remarks, self.root)

    def pixel_shares(self, split: str) -> npt.NDArray[np.float64]:
        """Share of each class in the split's pixels, ignored ones last, shape (C + 1,)."""
        pixels = next(report.pixels for report in self.splits if report.split == split)
        return pixels / max(1, pixels.sum())

    def object_areas(self) -> dict[str, npt.NDArray[np.int64]]:
        """Objects' areas in the splits of training and validation in increasing order, by class."""
        reports = [report for report in self.splits if report.needed]
        names = sorted({name for report in reports for name in report.objects}, key=self._position)
        return {
            name: np.sort([area for report in reports for area in report.objects.get(name, [])])
            for name in names
        }

    @property
    def thresholds(self) -> tuple[float, float] | None:
        """Areas that separate small, medium and large; None for thirds of a val split without objects."""
        if not isinstance(self.rule.thresholds, str):
            return float(self.rule.thresholds[0]), float(self.rule.thresholds[1])
        areas = [
            area
            for report in self.splits
            if report.split == "val"
            for values in report.objects.values()
            for area in values
        ]
        return _thirds(areas) if areas else None

    def _position(self, name: str) -> int:
        return self.classes.index(name) if name in self.classes else len(self.classes)

    def format(self) -> str:
        """The report as plain text, problems last."""
        lines = [f"{self.name}{f' in {self.root}' if self.root else ''}"]
        if self.splits:
            lines += [""]
            lines += _table(
                ["split", "images", "sizes (width x height)"],
                [[report.split, str(report.images), _sizes(report.sizes)] for report in self.splits]
                + [[split, "-", "not there (training does not need it)"] for split in self.absent],
            )
            shares = {report.split: self.pixel_shares(report.split) for report in self.splits}
            lines += ["", "pixels per class, percent"]
            lines += _table(
                ["class", *shares],
                [
                    [name, *(f"{100 * share[index]:.2f}" for share in shares.values())]
                    for index, name in enumerate((*self.classes, "ignored"))
                ],
            )
            lines += ["", *self._format_objects()]
        if self.remarks:
            lines += ["", "notes:", *self.notes]
        lines += ["", *self._format_problems()]
        return "\n".join(lines)

    def _format_objects(self) -> list[str]:
        areas = self.object_areas()
        if not areas:
            return ["no objects: the data set has no instance maps"]
        everything = np.sort(np.concatenate(list(areas.values())))
        small, large = self.thresholds or (np.nan, np.nan)
        low, high = _thirds(everything)
        rows = []
        for name, values in {**areas, "all": everything}.items():
            parts = (values < small, (values >= small) & (values <= large), values > large)
            quantiles = np.quantile(values, _QUANTILES)
            rows.append(
                [name, str(len(values))]
                + [f"{100 * part.mean():.0f}" for part in parts]
                + [f"{value:.0f}" for value in quantiles]
            )
        header = ["class", "objects", "small %", "medium %", "large %"]
        measure = {"box": "bounding-box area", "mask": "area of the mask"}[self.rule.area]
        lines = [
            f"object sizes in {' and '.join(report.split for report in self.splits if report.needed)}: "
            f"{measure} in pixels of the label map, small below {small:g}, large above {large:g}",
            f"({self.rule_source})",
        ]
        if self.rule.pixels == "network":
            lines.append("training counts in pixels of the network's input instead (object_pixels: network)")
        return [
            *lines,
            *_table(header + [f"{100 * quantile:g} %" for quantile in _QUANTILES], rows),
            f"thresholds that make three equal parts: {low:.0f} and {high:.0f}",
        ]

    def _format_problems(self) -> list[str]:
        lines = self.problems
        if not lines:
            return ["no problems"]
        return [f"{len(lines)} problem{'s' if len(lines) > 1 else ''}:", *lines]


def _grouped(faults: Sequence[Fault], root: str | None) -> list[str]:
    files: dict[str, list[Path]] = {}
    for fault in faults:
        files.setdefault(fault.what, []).append(fault.file)
    lines = []
    for what, at in files.items():
        if len(at) == 1:
            lines.append(f"{at[0]}: {what}")
            continue
        named = ", ".join(_relative(file, root) for file in at[:_NAMED])
        more = f" and {len(at) - _NAMED} more" if len(at) > _NAMED else ""
        lines.append(f"{len(at)} files, each: {what}: {named}{more}")
    return lines


def _relative(file: Path, root: str | None) -> str:
    folder = None if root is None else Path(root).expanduser()
    return str(file.relative_to(folder) if folder is not None and file.is_relative_to(folder) else file)


def _thirds(areas: Sequence[int] | npt.NDArray[np.int64]) -> tuple[float, float]:
    low, high = np.quantile(areas, (1 / 3, 2 / 3))
    return float(low), float(high)


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    text = ", ".join(f"{width}x{height} ({count})" for (height, width), count in sizes.most_common(3))
    return text if len(sizes) <= 3 else f"{text} and {len(sizes) - 3} more"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in (header, *rows)
    ]
