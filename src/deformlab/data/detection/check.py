"""Checks a detection data set: every image and box is read, problems are reported, boxes are counted."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deformlab.data.detection.dataset import DetectionDataset, ImageAnnotations, annotated_sample, faults
from deformlab.data.detection.registry import DETECTION_DATASETS
from deformlab.data.reading import read_image
from deformlab.errors import ConfigError, DatasetError

__all__ = ["DetectionReport", "check_detection_dataset"]

# COCO's limits between small, medium and large, in pixels.
SIZES = (32.0**2, 96.0**2)
# Problems that the report names; it counts the others.
NAMED = 20


@dataclass
class DetectionReport:
    """The result of `check_detection_dataset`.

    Attributes:
        name: The data set's name.
        root: The data set's folder; None for generated data.
        classes: The names of the classes.
        images: Number of images by split.
        empty: Number of images without objects by split.
        areas: Areas of the boxes in pixels by split and class.
        absent: Splits that the data set does not have.
        skipped: Number of illegal boxes that the data set leaves out, as its option says.
        single_pixels: Boxes one pixel wide or high, one line each. They are legal, but rarely meant.
        problems: One line each.
    """

    name: str
    root: str | None
    classes: tuple[str, ...]
    images: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    areas: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    skipped: int = 0
    single_pixels: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def format(self) -> str:
        """The report as plain text, with the problems last."""
        lines = [f"{self.name}{f' in {self.root}' if self.root else ''}: {len(self.classes)} classes", ""]
        lines.append(f"{'split':<8}{'images':>8}{'boxes':>8}{'without boxes':>15}")
        for split, count in self.images.items():
            boxes = sum(map(len, self.areas[split].values()))
            lines.append(f"{split:<8}{count:>8}{boxes:>8}{self.empty[split]:>15}")
        lines += [f"{split:<8}{'missing (training does not need it)':>39}" for split in self.absent]
        small, large = SIZES
        lines += [
            "",
            f"boxes per class; small below {round(small**0.5)}² pixels, large above {round(large**0.5)}²",
        ]
        width = max(map(len, (*self.classes, "class")), default=5) + 2
        lines.append(
            f"{'class':<{width}}{'boxes':>8}{'small':>8}{'medium':>8}{'large':>8}{'median side':>13}"
        )
        for name in self.classes:
            area = np.array([value for split in self.areas.values() for value in split.get(name, [])])
            lines.append(f"{name:<{width}}" + _row(area))
        if self.skipped:
            lines += ["", f"illegal boxes that are left out (illegal_boxes: skip): {self.skipped}"]
        if self.single_pixels:
            lines += ["", *_listed("boxes one pixel wide or high", self.single_pixels)]
        lines += ["", *_listed("problems", self.problems)] if self.problems else ["", "no problems found"]
        return "\n".join(lines)


def check_detection_dataset(
    name: str, root: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> DetectionReport:
    """Reads every image and every box of all splits.

    Args:
        name: One of `DETECTION_DATASETS`.
        root: The data set's folder; not needed for shapes.
        options: The data set's own arguments by name.

    Returns:
        The report; its `problems` are empty if the data set is complete and legal.

    Raises:
        ConfigError: The data set is unknown.
    """
    if name not in DETECTION_DATASETS:
        raise ConfigError(f"{name!r}: unknown data set; choose one of {', '.join(DETECTION_DATASETS)}")
    try:
        kind = DETECTION_DATASETS[name].for_root(root)
    except DatasetError as error:
        return DetectionReport(name, str(root), (), problems=[str(error)])
    report = DetectionReport(name, None if root is None else str(root), kind.classes)
    for split in kind.splits:
        try:
            if issubclass(kind, DetectionDataset):
                samples = _file_samples(kind, split, options or {}, report)
            else:
                samples = _generated_samples(kind, split, options or {}, report)
            for sample in samples:
                _count(sample, split, report)
        except DatasetError as error:
            if split == "test" and "no such file" in str(error):
                report.absent.append(split)
            else:
                report.problems.append(str(error))
    return report


def _generated_samples(
    kind: Any, split: str, options: Mapping[str, Any], report: DetectionReport
) -> Iterator[Any]:
    dataset = kind(None, split, **options)
    _start(split, len(dataset), report)
    return (dataset.raw(index) for index in range(len(dataset)))


def _file_samples(
    kind: type[DetectionDataset], split: str, options: Mapping[str, Any], report: DetectionReport
) -> Iterator[Any]:
    """The samples that can be read, with all legal boxes; adds problems to the report."""
    # Not a data set, which refuses to open if one image is missing.
    images = kind.find(kind.folder(report.root), split)
    illegal = options.get("illegal_boxes", signature(kind).parameters["illegal_boxes"].default)
    _start(split, len(images), report)
    report.problems += faults(images)
    for number, annotations in enumerate(images):
        if annotations.image.is_file():
            yield from _legal(annotations, number, illegal == "skip", report)


def _legal(annotations: ImageAnnotations, number: int, skip: bool, report: DetectionReport) -> list[Any]:
    try:
        image = read_image(annotations.image)
        # Without objects, only the image's size can be wrong.
        annotated_sample(replace(annotations, objects=()), image, number)
        sample = annotated_sample(annotations, image, number, "skip")
    except DatasetError as error:
        report.problems.append(str(error))
        return []
    left_out = len(annotations.objects) - len(sample["boxes"])
    if skip:
        report.skipped += left_out
    elif left_out:
        # Each box on its own, so that every illegal one is reported.
        for entry in annotations.objects:
            try:
                annotated_sample(replace(annotations, objects=(entry,)), image, number)
            except DatasetError as error:
                report.problems.append(str(error))
    kept = {int(identifier): sides for identifier, sides in zip(sample["ids"], _sides(sample), strict=True)}
    report.single_pixels += [
        f"{annotations.source}: {entry.id} of image {annotations.name}"
        for entry in annotations.objects
        if entry.number in kept and min(kept[entry.number]) <= 1
    ]
    return [sample]


def _start(split: str, images: int, report: DetectionReport) -> None:
    report.images[split], report.empty[split], report.areas[split] = images, 0, {}


def _sides(sample: Any) -> npt.NDArray[np.float32]:
    """Widths and heights, shape (K, 2)."""
    return np.asarray(sample["boxes"][:, 2:] - sample["boxes"][:, :2])


def _count(sample: Any, split: str, report: DetectionReport) -> None:
    report.empty[split] += not len(sample["boxes"])
    for label, area in zip(sample["labels"], _sides(sample).prod(axis=1), strict=True):
        report.areas[split].setdefault(report.classes[label], []).append(float(area))


def _listed(what: str, entries: Sequence[str]) -> list[str]:
    more = len(entries) - NAMED
    return [
        f"{what}: {len(entries)}",
        *entries[:NAMED],
        *([f"... and {more} more"] if more > 0 else []),
    ]


def _row(area: npt.NDArray[np.float64]) -> str:
    bins = Counter(np.digitize(area, SIZES).tolist())
    counts = [len(area), *(bins[i] for i in range(3))]
    side = f"{np.median(np.sqrt(area)):.0f} px" if len(area) else "-"
    return "".join(f"{count:>8}" for count in counts) + f"{side:>13}"
