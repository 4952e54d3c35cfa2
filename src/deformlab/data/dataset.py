"""What every segmentation data set returns, and the errors that name the file at fault.

A data set is one file with one class: it lists its samples once, and `load` reads one of them.
`connected_objects` and `color_map` are for data sets without annotated objects or colours of their own.
"""

import hashlib
import json
import unicodedata
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from deformlab.errors import DatasetError
from deformlab.labels import IGNORED

UNKNOWN_OBJECT = -1
"""The id of objects that the annotators did not tell apart."""


class Sample(TypedDict):
    """One annotated image as a data set returns it, before any transform.

    Attributes:
        image: RGB, shape (H, W, 3).
        label: class index or `IGNORED`, shape (H, W).
        instance: object id, 0 where there is none, `UNKNOWN_OBJECT` where there are objects that are not told
            apart, shape (H, W). An id is unique in its image only.
        name: unique in its split; a file's stem where there is a file.
    """

    image: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.int32]
    name: str


class SegmentationDataset(Dataset[Any]):
    """Base of all data sets: subclasses set the class attributes, fill `names` and define `load`.

    Attributes:
        name: what the data set is called in a configuration.
        classes: class names in the order of their label values.
        things: the classes that come as countable objects.
        ignored: label values of the files that become `IGNORED`, besides it.
        label_hint: what a message about an illegal label value adds; empty for nothing.
        palette: one RGB colour per class, shape (C, 3).
        splits: legal values of `split`.
        train_split: the split that training uses when nothing else is said.
        names: one name per sample of this split.

    Args:
        root: folder of the data set.
        split: one of `splits`.
        transform: called with a `Sample`; what it returns is what indexing returns.
        cache: keep decoded samples in memory (mostly 5 bytes per pixel, in every worker process).

    Raises:
        DatasetError: the folder is missing or half there; on indexing: a file is unreadable, image and label
            differ in size, or a label value is illegal. One line each, naming the file.
        ValueError: `split` is not one of `splits`.
    """

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    things: ClassVar[tuple[str, ...]]
    ignored: ClassVar[tuple[int, ...]] = ()
    label_hint: ClassVar[str] = ""
    palette: ClassVar[npt.NDArray[np.uint8]]
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    train_split: ClassVar[str] = "train"
    names: list[str]

    def __init__(
        self,
        root: str | Path | None,
        split: str,
        transform: Callable[[Sample], Any] | None = None,
        cache: bool = False,
    ) -> None:
        if split not in self.splits:
            raise ValueError(
                f"split={split!r} of data set {self.name!r}: choose one of {', '.join(self.splits)}"
            )
        self.root = root
        self.split = split
        self.transform = transform
        self._cache: dict[int, tuple[npt.NDArray[Any], ...]] | None = {} if cache else None

    @classmethod
    def for_root(cls, root: str | Path | None) -> "type[SegmentationDataset]":
        """The data set as it is in `root`: itself, unless it is the folder that says which classes there are.

        Raises:
            DatasetError: the folder does not say it as it should.
        """
        return cls

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        """Sample `index`, transformed if there is a transform."""
        sample = self.raw(index)
        return sample if self.transform is None else self.transform(sample)

    def raw(self, index: int) -> Sample:
        """Sample `index` before the transform, checked, from memory if it is cached."""
        if self._cache is not None and index in self._cache:
            image, label, instance = self._cache[index]
            return Sample(
                image=image, label=label, instance=instance.astype(np.int32), name=self.names[index]
            )
        sample = self.load(index)
        self.check(sample, self.source(index))
        if self._cache is not None:
            # Most images have fewer than 256 objects: one byte per pixel instead of four.
            instance = sample["instance"]
            kinds = (
                np.min_scalar_type(limit) for limit in (instance.min(initial=0), instance.max(initial=0))
            )
            compact = instance.astype(np.result_type(*kinds))
            self._cache[index] = (sample["image"], sample["label"], compact)
        return sample

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Read or generate sample `index`."""

    def fingerprint(self) -> str:
        """16 hexadecimal digits that say on which data a number was measured.

        A SHA-256 digest of the data set's name, the split, the classes, the things, the ignored values and
        `contents`. It does not depend on the folder's path, the order of files on the disk or the machine. It
        differs where a file was added, removed, renamed or replaced by one of another size. Nothing is
        decoded: a file that was replaced by another one of the same size is not noticed.

        Raises:
            DatasetError: a file has gone since the data set was opened.
        """
        described = {
            "name": self.name,
            "split": self.split,
            "classes": self.classes,
            "things": self.things,
            "ignored": sorted({*self.ignored, IGNORED}),
            "contents": sorted(_plain(entry) for entry in self.contents()),
        }
        return hashlib.sha256(_plain(described).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @abstractmethod
    def contents(self) -> Sequence[Sequence[Any]]:
        """What `fingerprint` covers of the samples: entries of names and numbers, in any order."""

    def source(self, index: int) -> str:
        """Where the labels of sample `index` come from, for error messages."""
        return self.names[index]

    @classmethod
    def check(cls, sample: Sample, source: str) -> None:
        """Refuse maps of another size than the image, and label values without a class.

        Raises:
            DatasetError: names `source`.
        """
        height, width = sample["image"].shape[:2]
        for kind in ("label", "instance"):
            found = sample[kind].shape
            if found != (height, width):
                way_out = (
                    "turn it as a viewer shows the image, which EXIF data may turn"
                    if found == (width, height)
                    else "both must have the same size, replace one of them"
                )
                raise DatasetError(
                    f"{source}: its {kind} map is {found[1]}x{found[0]} but its image is {width}x{height}; "
                    f"{way_out}"
                )
        label = sample["label"]
        illegal = label[(label >= len(cls.classes)) & (label != IGNORED)]
        if illegal.size:
            raise DatasetError(
                f"{source}: label values {_shortened(np.unique(illegal))} are illegal; "
                f"data set {cls.name!r} has 0 to {len(cls.classes) - 1} and "
                f"{', '.join(map(str, sorted({*cls.ignored, IGNORED})))} (ignored)"
                + (f"; {cls.label_hint}" if cls.label_hint else "")
            )


def connected_objects(label: npt.NDArray[np.uint8], things: list[int]) -> npt.NDArray[np.int32]:
    """Objects where none are annotated: the 8-connected components of each thing class.

    Args:
        label: shape (H, W).
        things: label values of the classes to take apart.

    Returns:
        Ids from 1, 0 outside the thing classes, shape (H, W).
    """
    from scipy import ndimage

    instance = np.zeros(label.shape, dtype=np.int32)
    count = 0
    for value in things:
        mask = label == value
        if mask.any():
            components, found = ndimage.label(mask, structure=np.ones((3, 3)))
            instance[mask] = components[mask] + count
            count += found
    return instance


def color_map(count: int) -> npt.NDArray[np.uint8]:
    """Colours for classes: the first `count` of the VOC development kit, shape (count, 3).

    Bit `3 i + c` of a class number is bit `7 - i` of its colour's channel `c`.
    """
    bits = (np.arange(count)[:, None] >> np.arange(24)) & 1
    weights = 1 << (7 - np.arange(8))
    return (bits.reshape(count, 8, 3) * weights[:, None]).sum(axis=1).astype(np.uint8)


def _plain(value: Any) -> str:
    """The same JSON on every machine: some file systems store a letter and its accent as two characters."""
    return unicodedata.normalize("NFC", json.dumps(value, sort_keys=True, ensure_ascii=False))


def _shortened(values: npt.NDArray[Any], limit: int = 8) -> str:
    text = ", ".join(str(value) for value in values[:limit])
    return text if len(values) <= limit else f"{text}, ..."
