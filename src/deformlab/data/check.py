"""Checks that a data set is complete and legal, and counts its images, pixels and objects.

The distribution of object sizes helps to choose a data set's thresholds between small, medium and large.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from deformlab.data.dataset import Sample, SegmentationDataset
from deformlab.data.files import Fault, FileDataset, MissingSplitError, SampleFiles
from deformlab.data.reading import LABEL_SUFFIXES, palette_of, turned_at_same_size
from deformlab.data.registry import DATASETS
from deformlab.errors import ConfigError, DatasetError
from deformlab.labels import IGNORED
from deformlab.records import SizeRule
from deformlab.yaml_file import read_yaml

_Item = TypeVar("_Item")
DEFAULT_RULE_SOURCE = (
    "the default of model.evaluation.object_sizes; --config FILE.yaml reads it from a configuration"
)
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# At most as many files are named in one line.
_FILES_NAMED = 3


@dataclass(frozen=True)
class CheckSettings:
    """Arguments of `check_dataset` that depend on the training.

    Attributes:
        rule: How an object's size is measured, and the thresholds between small, medium and large.
        rule_source: Where the rule comes from, for the report.
        options: The data set's own arguments by name.
    """

    rule: SizeRule = field(default_factory=SizeRule)
    rule_source: str = DEFAULT_RULE_SOURCE
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def choose(
        cls, dataset: str, config: Path | None, object_sizes: Sequence[float] | None
    ) -> "CheckSettings":
        """The settings with the given areas, those of a configuration file, or the defaults.

        Args:
            dataset: The data set's name; `data.options` of a configuration for another data set are ignored.
            config: A configuration of `fit`, for example the config.yaml of a run; None if there is none.
            object_sizes: Two areas in pixels, 0 < first <= second, which take precedence over `config`;
                or None.

        Raises:
            ConfigError: The file is missing or not a configuration, or the areas are illegal.
        """
        if object_sizes is not None:
            return cls(SizeRule(tuple(object_sizes)), "given by --object-sizes")
        if config is None:
            return cls()
        content = _read(config)
        evaluation = _part(config, _part(config, content, "model"), "evaluation")
        data = _part(config, content, "data")
        names = {"object_sizes": "thresholds", "object_area": "area", "object_pixels": "pixels"}
        try:
            rule = SizeRule(**{names[key]: value for key, value in evaluation.items() if key in names})
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{config}: model.evaluation: {error}") from None
        source = f"model.evaluation.object_sizes of {config}"
        if "object_sizes" not in evaluation:
            source = f"the default, because {config} does not set model.evaluation.object_sizes"
        options = _part(config, data, "options") if data.get("dataset", "shapes") == dataset else {}
        return cls(rule, source, options)


@dataclass
class SplitReport:
    """The contents of one split.

    Attributes:
        split: The split's name.
        needed: Whether training needs the split.
        images: Number of legal samples.
        sizes: Number of images by (height, width).
        pixels: Number of pixels per class, ignored pixels last, shape (C + 1,).
        objects: Areas of the objects in pixels, by class name.
    """

    split: str
    needed: bool
    images: int
    sizes: Counter[tuple[int, int]]
    pixels: npt.NDArray[np.int64]
    objects: dict[str, list[int]]


@dataclass
class DatasetReport:
    """The result of `check_dataset`.

    Attributes:
        name: The data set's name.
        root: The data set's folder; None for generated data.
        classes: Class names in the order of their label values.
        rule: How an object's size is measured, and the thresholds between small, medium and large.
        rule_source: Where the rule comes from.
        splits: One report per existing split.
        absent: Missing splits that training does not need.
        faults: Errors, each with its file or folder; empty if the data set is complete and legal.
        remarks: Legal but suspicious findings, each with its file or folder.
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
        """One line per kind of fault, with the number of its files and the names of the first three."""
        return _grouped(self.faults, self.root)

    @property
    def notes(self) -> list[str]:
        """One line per kind of remark, in the form of `problems`."""
        return _grouped(self.remarks, self.root)

    def pixel_shares(self, split: str) -> npt.NDArray[np.float64]:
        """Share of the split's pixels per class, in [0, 1], ignored pixels last, shape (C + 1,)."""
        pixels = next(report.pixels for report in self.splits if report.split == split)
        return pixels / max(1, pixels.sum())

    def object_areas(self) -> dict[str, npt.NDArray[np.int64]]:
        """Sorted object areas by class name, over the training and validation splits, in pixels."""
        reports = [report for report in self.splits if report.needed]
        names = sorted({name for report in reports for name in report.objects}, key=self._position)
        return {
            name: np.sort([area for report in reports for area in report.objects.get(name, [])])
            for name in names
        }

    @property
    def thresholds(self) -> tuple[float, float] | None:
        """The two areas that separate small, medium and large objects, in pixels.

        None if the rule is `thirds` and the val split has no objects.
        """
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
        """The report as plain text, with the problems last."""
        lines = [f"{self.name}{f' in {self.root}' if self.root else ''}"]
        if self.splits:
            lines += [""]
            lines += _table(
                ["split", "images", "sizes (width x height)"],
                [[report.split, str(report.images), _sizes(report.sizes)] for report in self.splits]
                + [[split, "-", "missing (training does not need it)"] for split in self.absent],
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
            lines.append("training measures in pixels of the network's input (object_pixels: network)")
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


def check_dataset(
    name: str,
    root: str | Path | None = None,
    rule: SizeRule = SizeRule(),  # noqa: B008 (it is frozen)
    rule_source: str = DEFAULT_RULE_SOURCE,
    options: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> DatasetReport:
    """Reads every sample of every split and reports all faults.

    Args:
        name: One of `DATASETS`.
        root: The data set's folder; not needed for shapes.
        rule: How an object's size is measured, and the thresholds between small, medium and large. The
            report's areas are always in pixels of the label map, even if `rule.pixels` is `network`.
        rule_source: Where the rule comes from, for the report.
        options: The data set's own arguments by name, as `data.options` in a configuration.
        progress: Whether to show a progress bar on the standard error stream.

    Returns:
        The report; its `problems` are empty if the data set is complete and legal.

    Raises:
        ConfigError: The data set is unknown, or an option is unknown or illegal.
    """
    if name not in DATASETS:
        raise ConfigError(f"{name!r}: unknown data set; choose one of {', '.join(DATASETS)}")
    where = str(root) if root is not None and issubclass(DATASETS[name], FileDataset) else None
    try:
        dataset_class = DATASETS[name].for_root(root)
    except DatasetError as error:
        return DatasetReport(name, where, (), rule, rule_source, faults=[_fault(str(error))])
    report = DatasetReport(name, where, dataset_class.classes, rule, rule_source)
    check = _Check(dataset_class, root, options or {}, report)
    # The training split comes first, so that images in two splits are reported for the other one.
    for split in sorted(dataset_class.splits, key=lambda split: split != dataset_class.train_split):
        needed = split in (dataset_class.train_split, "val")
        try:
            samples = check.samples(split, progress)
        except MissingSplitError as error:
            if needed:
                report.faults.append(_fault(str(error)))
            else:
                report.absent.append(split)
        except DatasetError as error:
            # A missing root gives the same line for every split.
            if _fault(str(error)) not in report.faults:
                report.faults.append(_fault(str(error)))
        else:
            report.splits.append(check.survey(split, needed, samples))
    return report


class _Check:
    """Reads the splits of one data set and adds to its report."""

    def __init__(
        self,
        dataset_class: type[SegmentationDataset],
        root: str | Path | None,
        options: Mapping[str, Any],
        report: DatasetReport,
    ) -> None:
        self._class = dataset_class
        self._root = root
        self._options = options
        self._report = report
        # Training images, by a digest of their bytes.
        self._training_images: dict[bytes, Path] = {}
        # The palette colour of each label value, and the first file that has it.
        self._colours: dict[int, tuple[tuple[int, ...], Path]] = {}

    def samples(self, split: str, progress: bool) -> Iterator[Sample]:
        """Yields the legal samples of a split and reports the others as faults."""
        if not issubclass(self._class, FileDataset):
            try:
                dataset = self._class(self._root, split, **self._options)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"data.options: {error}") from None
            return (dataset.raw(index) for index in _watched(range(len(dataset)), split, progress))
        found = self._class.listed(self._class.folder(self._root), split)
        return self._read(self._class, split, _watched(found, split, progress))

    def _read(
        self, dataset_class: type[FileDataset], split: str, listed: Iterable[SampleFiles]
    ) -> Iterator[Sample]:
        for files in listed:
            faults = files.faults()
            if faults:
                self._report.faults.extend(faults)
                continue
            try:
                sample = dataset_class.read(files)
                dataset_class.check(sample, str(files.label))
                self._look_closer(split, files, sample)
            except DatasetError as error:
                self._report.faults.append(_fault(str(error), files))
            else:
                yield sample

    def _look_closer(self, split: str, files: SampleFiles, sample: Sample) -> None:
        """Finds problems that reading and checking a sample does not show."""
        if turned_at_same_size(files.image):
            what = "EXIF data turns or mirrors the image; make sure that its label map is turned likewise"
            self._report.remarks.append(Fault(files.image, what))
        digest = hashlib.sha256(files.image.read_bytes()).digest()
        if split == self._class.train_split:
            self._training_images[digest] = files.image
        elif digest in self._training_images and split in ("val", "test"):
            what = f"is also in {self._class.train_split}; a score on training images is meaningless"
            self._report.faults.append(Fault(files.image, what))
        palette = palette_of(files.label) if files.label.suffix.lower() in LABEL_SUFFIXES else None
        if palette is None:
            return
        for value in np.unique(sample["label"]).tolist():
            colour = palette.get(value, ())
            expected, first = self._colours.setdefault(value, (colour, files.label))
            if value != IGNORED and colour != expected:
                what = (
                    f"its palette colour for label value {value} differs from {first.name}; "
                    "a program may have renumbered the values"
                )
                self._report.remarks.append(Fault(files.label, what))
                return

    def survey(self, split: str, needed: bool, samples: Iterator[Sample]) -> SplitReport:
        """Counts images, pixels and objects of a split."""
        classes = self._class.classes
        report = SplitReport(split, needed, 0, Counter(), np.zeros(len(classes) + 1, dtype=np.int64), {})
        for sample in samples:
            report.images += 1
            height, width = sample["label"].shape
            report.sizes[height, width] += 1
            counts = np.bincount(sample["label"].ravel(), minlength=IGNORED + 1)
            report.pixels[:-1] += counts[: len(classes)]
            report.pixels[-1] += counts[IGNORED]
            for label, area in object_areas(sample, self._report.rule.area):
                name = "ignored" if label == IGNORED else classes[label]
                report.objects.setdefault(name, []).append(area)
        if needed and report.images:
            self._judge(report)
        return report

    def _judge(self, report: SplitReport) -> None:
        """Reports classes that a split lacks."""
        folder = Path(report.split) if self._root is None else Path(self._root) / report.split
        labelled, ignored = report.pixels[:-1], report.pixels[-1]
        if not labelled.any():
            what = f"every pixel of every label map is ignored ({IGNORED}); write class numbers into them"
            self._report.faults.append(Fault(folder, what))
        elif np.flatnonzero(labelled).tolist() == [0] and ignored and not self._class.ignored:
            what = (
                f"the label maps contain only 0 and {IGNORED}, which is ignored; if {IGNORED} means a "
                f"class, write its number instead ({self._class.classes[1]!r} is 1)"
            )
            self._report.faults.append(Fault(folder, what))
        elif not labelled.all():
            names = [name for name, count in zip(self._class.classes, labelled, strict=True) if not count]
            what = f"no pixel of {report.split} has class {', '.join(names)}"
            self._report.remarks.append(Fault(folder, what))


def _fault(message: str, files: SampleFiles | None = None) -> Fault:
    """Splits an error's line into the file at its beginning and the rest."""
    candidates = () if files is None else (files.label, files.image, files.instance)
    for path in candidates:
        if path is not None and message.startswith(f"{path}: "):
            return Fault(path, message.removeprefix(f"{path}: "))
    file, _, what = message.partition(": ")
    return Fault(Path(file), what)


def _watched(items: Sequence[_Item], split: str, progress: bool) -> Iterable[_Item]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, description=split, console=console, transient=True, disable=not progress)


def object_areas(sample: Sample, measure: str = "box") -> list[tuple[int, int]]:
    """The label value and area of each object of a sample.

    Args:
        sample: A sample before any transform.
        measure: `box` for the area of the bounding box, `mask` for the object's number of pixels.

    Returns:
        For each object, in the order of instance ids, its most frequent label value and its area in pixels.
    """
    from scipy import ndimage

    ids, instance = np.unique(sample["instance"], return_inverse=True)
    # find_objects skips 0: objects are numbered from 1, and pixels on no object are 0.
    numbered = np.where(sample["instance"] <= 0, 0, instance.reshape(sample["instance"].shape) + 1)
    objects = []
    for number, box in enumerate(ndimage.find_objects(numbered, max_label=len(ids)), start=1):
        if box is not None:
            rows, columns = box
            labels = sample["label"][box][numbered[box] == number]
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            objects.append((int(np.bincount(labels).argmax()), area if measure == "box" else len(labels)))
    return objects


def _grouped(faults: Sequence[Fault], root: str | None) -> list[str]:
    files: dict[str, list[Path]] = {}
    for fault in faults:
        files.setdefault(fault.what, []).append(fault.file)
    lines = []
    for what, at in files.items():
        if len(at) == 1:
            lines.append(f"{at[0]}: {what}")
            continue
        named = ", ".join(_relative(file, root) for file in at[:_FILES_NAMED])
        more = f" and {len(at) - _FILES_NAMED} more" if len(at) > _FILES_NAMED else ""
        lines.append(f"{what} ({len(at)} places: {named}{more})")
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


def _read(file: Path) -> Mapping[str, Any]:
    content = read_yaml(file, "configuration")
    if not {"model", "data"} & set(content):
        raise ConfigError(f"{file}: is not a configuration of a training: it has neither model nor data")
    return content


def _part(file: Path, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = content.get(key) or {}
    if not isinstance(part, Mapping):
        raise ConfigError(f"{file}: {key} must be a mapping of options, got {part!r}")
    return part
