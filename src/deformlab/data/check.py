"""Is a data set complete and legal, and what is in it: counts, pixel shares, object sizes.

The sizes of objects help to choose thresholds between small, medium and large for a data set.
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
from deformlab.data.reading import LABEL_SUFFIXES, palette_of, turned_without_trace
from deformlab.data.registry import DATASETS
from deformlab.errors import ConfigError, DatasetError
from deformlab.labels import IGNORED
from deformlab.records import SizeRule
from deformlab.yaml_file import read_yaml

_Item = TypeVar("_Item")
DEFAULT_RULE_SOURCE = (
    "the default of model.evaluation.object_sizes; --config FILE.yaml takes those of a configuration"
)
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Files that a line about many of them names.
_NAMED = 3


@dataclass(frozen=True)
class CheckSettings:
    """Arguments of `check_dataset` that depend on the training.

    Attributes:
        rule: how an object's size is measured and where small ends and large begins.
        rule_source: where that comes from.
        options: the data set's own arguments.
    """

    rule: SizeRule = field(default_factory=SizeRule)
    rule_source: str = DEFAULT_RULE_SOURCE
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def choose(
        cls, dataset: str, config: Path | None, object_sizes: Sequence[float] | None
    ) -> "CheckSettings":
        """The settings of a configuration file, or of two areas, or the defaults.

        Args:
            dataset: the data set's name; `data.options` of a configuration for another one are left out.
            config: a configuration of `fit`, for example the config.yaml of a run.
            object_sizes: two increasing areas in pixels.

        Raises:
            ConfigError: the file is missing or no configuration, or the areas are not legal.
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
            source = f"{config} does not set model.evaluation.object_sizes: these are its default"
        options = _part(config, data, "options") if data.get("dataset", "shapes") == dataset else {}
        return cls(rule, source, options)


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


def check_dataset(
    name: str,
    root: str | Path | None = None,
    rule: SizeRule = SizeRule(),  # noqa: B008 (nobody can change it)
    rule_source: str = DEFAULT_RULE_SOURCE,
    options: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> DatasetReport:
    """Read every sample of every split, and report instead of stopping at the first fault.

    Args:
        name: one of `DATASETS`.
        root: the data set's folder; none is needed for shapes.
        rule: what is small and large in the report; `pixels` is not applied, areas are of the label map.
        rule_source: where the rule comes from, for the report.
        options: the data set's own arguments by name, as `data.options` in a configuration.
        progress: show how far it is on the standard error stream.

    Returns:
        The report; its `problems` are empty when the data set is complete and legal.

    Raises:
        ConfigError: there is no such data set, or it has no such option.
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
    # Training first: what other splits share with it is their fault.
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
            # A missing root is the same line for every split.
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
        # Files of training images by a digest of their bytes.
        self._trained_on: dict[bytes, Path] = {}
        # The colour of each label value in palettes, and the first file that has it.
        self._colours: dict[int, tuple[tuple[int, ...], Path]] = {}

    def samples(self, split: str, progress: bool) -> Iterator[Sample]:
        """The legal samples of a split; the others become faults while iterating."""
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
        """Finds what each file by itself does not show."""
        if turned_without_trace(files.image):
            what = "EXIF data turns the image, and sizes do not show whether the label map is turned likewise"
            self._report.remarks.append(Fault(files.image, what))
        digest = hashlib.sha256(files.image.read_bytes()).digest()
        if split == self._class.train_split:
            self._trained_on[digest] = files.image
        elif digest in self._trained_on and split in ("val", "test"):
            what = f"is in {self._class.train_split} too; a score on images of the training is worthless"
            self._report.faults.append(Fault(files.image, what))
        palette = palette_of(files.label) if files.label.suffix.lower() in LABEL_SUFFIXES else None
        if palette is None:
            return
        for value in np.unique(sample["label"]).tolist():
            colour = palette.get(value, ())
            known, first = self._colours.setdefault(value, (colour, files.label))
            if value != IGNORED and colour != known:
                what = (
                    f"its palette has another colour for label value {value} than {first.name}; "
                    "a program may have renumbered the values"
                )
                self._report.remarks.append(Fault(files.label, what))
                return

    def survey(self, split: str, needed: bool, samples: Iterator[Sample]) -> SplitReport:
        """Counts what the samples of a split hold."""
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
        """Says which classes a split lacks."""
        place = Path(report.split) if self._root is None else Path(self._root) / report.split
        labelled, ignored = report.pixels[:-1], report.pixels[-1]
        if not labelled.any():
            what = f"every pixel of every label map is ignored ({IGNORED}): there is nothing to learn"
            self._report.faults.append(Fault(place, what))
        elif np.flatnonzero(labelled).tolist() == [0] and ignored and not self._class.ignored:
            what = (
                f"the label maps hold only 0 and {IGNORED}, which is ignored; if {IGNORED} means a "
                f"class, write its number instead ({self._class.classes[1]!r} is 1)"
            )
            self._report.faults.append(Fault(place, what))
        elif not labelled.all():
            names = [name for name, count in zip(self._class.classes, labelled, strict=True) if not count]
            what = f"no pixel of {report.split} has class {', '.join(names)}"
            self._report.remarks.append(Fault(place, what))


def _fault(message: str, files: SampleFiles | None = None) -> Fault:
    """An error's line, which begins with the file, apart."""
    known = () if files is None else (files.label, files.image, files.instance)
    for path in known:
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
    """(most frequent label value, area in pixels) of each object of a sample, by instance id.

    Args:
        sample: a sample before any transform.
        measure: `box` for the area of the bounding box, `mask` for the object's pixels.
    """
    from scipy import ndimage

    ids, instance = np.unique(sample["instance"], return_inverse=True)
    # find_objects leaves 0 out, so everything moves up by one, and what is no object back to 0.
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


def _read(file: Path) -> Mapping[str, Any]:
    content = read_yaml(file, "configuration")
    if not {"model", "data"} & set(content):
        raise ConfigError(f"{file}: is not a configuration of a training: it has neither model nor data")
    return content


def _part(file: Path, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = content.get(key) or {}
    if not isinstance(part, Mapping):
        raise ConfigError(f"{file}: {key} must hold options by name, got {part!r}")
    return part
