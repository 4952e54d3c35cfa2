"""Is a data set complete and legal, and what is in it: counts, pixel shares, object sizes.

Object size is the area of the bounding box, the measure of table 2 of the paper; the report helps to choose
thresholds between small, medium and large for a data set of another resolution.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from scipy import ndimage

from deformlab.data.dataset import IGNORE_INDEX, Sample, SegmentationDataset
from deformlab.data.files import FileDataset, MissingSplitError, SampleFiles
from deformlab.data.registry import DATASETS
from deformlab.errors import ConfigError, DatasetError

_Item = TypeVar("_Item")
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass
class SplitReport:
    """What one split holds.

    Attributes:
        split: its name.
        images: number of samples that were read and are legal.
        sizes: number of images by (height, width).
        pixels: pixels per class, ignored ones last, shape (C + 1,).
        objects: bounding-box areas in pixels, by class.
    """

    split: str
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
        thresholds: bounding-box areas that separate small, medium and large.
        splits: one report per split that is there.
        absent: splits that are not there and that training does not need.
        problems: one line each; empty when the data set is complete and legal.
    """

    name: str
    root: str | None
    classes: tuple[str, ...]
    thresholds: tuple[float, float]
    splits: list[SplitReport] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def pixel_shares(self, split: str) -> npt.NDArray[np.float64]:
        """Share of each class in the split's pixels, ignored ones last, shape (C + 1,)."""
        pixels = next(report.pixels for report in self.splits if report.split == split)
        return pixels / max(1, pixels.sum())

    def object_areas(self) -> dict[str, npt.NDArray[np.int64]]:
        """Bounding-box areas in the splits of training and validation in increasing order, by class."""
        reports = [report for report in self.splits if report.split in _main_splits(self.name)]
        names = sorted({name for report in reports for name in report.objects}, key=self._position)
        return {
            name: np.sort([area for report in reports for area in report.objects.get(name, [])])
            for name in names
        }

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
        lines += ["", *self._format_problems()]
        return "\n".join(lines)

    def _format_objects(self) -> list[str]:
        areas = self.object_areas()
        if not areas:
            return ["no objects: the data set has no instance maps"]
        everything = np.sort(np.concatenate(list(areas.values())))
        small, large = self.thresholds
        low, high = np.quantile(everything, (1 / 3, 2 / 3))
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
        return [
            f"object sizes in {' and '.join(_main_splits(self.name))}: bounding-box area in pixels, "
            f"small below {small:g}, large above {large:g}",
            *_table(header + [f"{100 * quantile:g} %" for quantile in _QUANTILES], rows),
            f"thresholds that make three equal parts: {low:.0f} and {high:.0f}",
        ]

    def _format_problems(self) -> list[str]:
        if not self.problems:
            return ["no problems"]
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}:"
        return [count, *self.problems]


def check_dataset(
    name: str,
    root: str | Path | None = None,
    thresholds: tuple[float, float] = (96.0**2, 224.0**2),
    progress: bool = False,
) -> DatasetReport:
    """Read every sample of every split, and report instead of stopping at the first fault.

    Args:
        name: one of `DATASETS`.
        root: the data set's folder; none is needed for shapes.
        thresholds: bounding-box areas in pixels that separate small, medium and large.
        progress: show how far it is on the standard error stream.

    Returns:
        The report; its `problems` are empty when the data set is complete and legal.

    Raises:
        ConfigError: there is no such data set.
    """
    if name not in DATASETS:
        raise ConfigError(f"{name!r}: unknown data set; choose one of {', '.join(DATASETS)}")
    where = str(root) if root is not None and issubclass(DATASETS[name], FileDataset) else None
    try:
        dataset_class = DATASETS[name].for_root(root)
    except DatasetError as error:
        return DatasetReport(name, where, (), thresholds, problems=[str(error)])
    report = DatasetReport(name, where, dataset_class.classes, thresholds)
    for split in dataset_class.splits:
        try:
            samples = _samples(dataset_class, root, split, report.problems, progress)
        except MissingSplitError as error:
            if split in _main_splits(name):
                report.problems.append(str(error))
            else:
                report.absent.append(split)
        except DatasetError as error:
            # A missing root is the same line for every split.
            if str(error) not in report.problems:
                report.problems.append(str(error))
        else:
            report.splits.append(_survey(dataset_class, split, samples))
    return report


def _main_splits(name: str) -> tuple[str, str]:
    """The splits that training needs."""
    return DATASETS[name].train_split, "val"


def _samples(
    dataset_class: type[SegmentationDataset],
    root: str | Path | None,
    split: str,
    problems: list[str],
    progress: bool,
) -> Iterator[Sample]:
    """The legal samples of a split; the others become problems while iterating."""
    if not issubclass(dataset_class, FileDataset):
        dataset = dataset_class(root, split)
        return (dataset.raw(index) for index in _watched(range(len(dataset)), split, progress))
    found = dataset_class.find(dataset_class.folder(root), split)
    return _read_samples(dataset_class, _watched(found, split, progress), problems)


def _read_samples(
    dataset_class: type[FileDataset], split: Iterable[SampleFiles], problems: list[str]
) -> Iterator[Sample]:
    for files in split:
        missing = files.missing()
        if missing:
            problems.extend(missing)
            continue
        try:
            sample = dataset_class.read(files)
            dataset_class.check(sample, str(files.label))
        except DatasetError as error:
            problems.append(str(error))
        else:
            yield sample


def _watched(items: Sequence[_Item], split: str, progress: bool) -> Iterable[_Item]:
    console = Console(stderr=True)
    return track(items, description=split, console=console, transient=True, disable=not progress)


def _survey(dataset_class: type[SegmentationDataset], split: str, samples: Iterator[Sample]) -> SplitReport:
    classes = dataset_class.classes
    report = SplitReport(split, 0, Counter(), np.zeros(len(classes) + 1, dtype=np.int64), {})
    for sample in samples:
        report.images += 1
        height, width = sample["label"].shape
        report.sizes[height, width] += 1
        counts = np.bincount(sample["label"].ravel(), minlength=IGNORE_INDEX + 1)
        report.pixels[:-1] += counts[: len(classes)]
        report.pixels[-1] += counts[IGNORE_INDEX]
        for label, area in object_boxes(sample):
            name = "ignored" if label == IGNORE_INDEX else classes[label]
            report.objects.setdefault(name, []).append(area)
    return report


def object_boxes(sample: Sample) -> list[tuple[int, int]]:
    """(most frequent label value, bounding-box area in pixels) of each object of a sample, by instance id."""
    ids, instance = np.unique(sample["instance"], return_inverse=True)
    # find_objects leaves 0 out, so everything moves up by one, and what is no object back to 0.
    numbered = np.where(sample["instance"] <= 0, 0, instance.reshape(sample["instance"].shape) + 1)
    objects = []
    for number, box in enumerate(ndimage.find_objects(numbered, max_label=len(ids)), start=1):
        if box is not None:
            rows, columns = box
            labels = sample["label"][box][numbered[box] == number]
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            objects.append((int(np.bincount(labels).argmax()), area))
    return objects


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
