"""Checks a detection data set: every image and box is read, problems are reported, boxes are counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deformlab.data.detection.dataset import DetectionDataset, annotated_sample
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
        problems: One line each.
    """

    name: str
    root: str | None
    classes: tuple[str, ...]
    images: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    areas: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
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
        lines += ["", *self._format_problems()]
        return "\n".join(lines)

    def _format_problems(self) -> list[str]:
        if not self.problems:
            return ["no problems found"]
        more = len(self.problems) - NAMED
        return [
            f"problems: {len(self.problems)}",
            *self.problems[:NAMED],
            *([f"... and {more} more"] if more > 0 else []),
        ]


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
            dataset: Any = kind(root, split, **(options or {}))
        except DatasetError as error:
            if split == "test" and "no such file" in str(error):
                report.absent.append(split)
            else:
                report.problems.append(str(error))
            continue
        report.images[split], report.empty[split] = len(dataset), 0
        report.areas[split] = {}
        for index in range(len(dataset)):
            for sample in _samples(dataset, index, report.problems):
                _count(sample, kind.classes, split, report)
    return report


def _samples(dataset: Any, index: int, problems: list[str]) -> list[Any]:
    """The sample with all legal boxes, after its problems have been listed; empty if it cannot be read."""
    if not isinstance(dataset, DetectionDataset):
        return [dataset.raw(index)]
    annotations = dataset.images[index]
    try:
        image = read_image(annotations.image)
        # Each box on its own, so that every illegal one is reported.
        for entry in annotations.objects:
            single = type(annotations)(
                annotations.name, annotations.image, annotations.source, annotations.size, (entry,)
            )
            try:
                annotated_sample(single, image, index)
            except DatasetError as error:
                problems.append(str(error))
                if "but" in str(error) and "is for" in str(error):
                    return []
        return [annotated_sample(annotations, image, index, "skip")]
    except DatasetError as error:
        problems.append(str(error))
        return []


def _count(sample: Any, classes: tuple[str, ...], split: str, report: DetectionReport) -> None:
    report.empty[split] += not len(sample["boxes"])
    sides = sample["boxes"][:, 2:] - sample["boxes"][:, :2]
    for label, area in zip(sample["labels"], sides.prod(axis=1), strict=True):
        report.areas[split].setdefault(classes[label], []).append(float(area))


def _row(area: npt.NDArray[np.float64]) -> str:
    bins = Counter(np.digitize(area, SIZES).tolist())
    counts = [len(area), *(bins[i] for i in range(3))]
    side = f"{np.median(np.sqrt(area)):.0f} px" if len(area) else "-"
    return "".join(f"{count:>8}" for count in counts) + f"{side:>13}"
