"""Is a data set complete and legal, and what is in it: counts, pixel shares, object sizes.

The sizes of objects help to choose thresholds between small, medium and large for a data set.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy import ndimage

from deformlab.data.check_report import DatasetReport, SplitReport
from deformlab.data.dataset import Sample, SegmentationDataset
from deformlab.data.files import Fault, FileDataset, MissingSplitError, SampleFiles
from deformlab.data.reading import LABEL_SUFFIXES, palette_of, turned_without_trace
from deformlab.data.registry import DATASETS
from deformlab.errors import ConfigError, DatasetError
from deformlab.labels import IGNORED
from deformlab.records import SizeRule

_Item = TypeVar("_Item")
DEFAULT_RULE_SOURCE = (
    "the default of model.evaluation.object_sizes; --config FILE.yaml takes those of a configuration"
)


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
    console = Console(stderr=True)
    return track(items, description=split, console=console, transient=True, disable=not progress)


def object_areas(sample: Sample, measure: str = "box") -> list[tuple[int, int]]:
    """(most frequent label value, area in pixels) of each object of a sample, by instance id.

    Args:
        sample: a sample before any transform.
        measure: `box` for the area of the bounding box, `mask` for the object's pixels.
    """
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
