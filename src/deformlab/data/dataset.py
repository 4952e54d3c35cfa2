"""The base classes of data sets, and the sample of a segmentation data set.

Each data set is one class in one module: it lists its samples once, and `load` reads one of them.
`connected_objects` is for data sets without annotated objects, `color_map` for those without a palette.
"""

import hashlib
import json
import unicodedata
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from deformlab.errors import DatasetError
from deformlab.labels import IGNORED

if TYPE_CHECKING:
    from typing_extensions import Self

UNKNOWN_OBJECT = -1
"""Instance id of pixels on objects that the annotation does not separate."""


class Sample(TypedDict):
    """One annotated image as a data set returns it, before any transform.

    Attributes:
        image: RGB, shape (H, W, 3).
        label: Class index or `IGNORED`, shape (H, W).
        instance: Object id, shape (H, W): 0 on no object, `UNKNOWN_OBJECT` on objects that the annotation
            does not separate. Ids are unique within one image only.
        name: Unique in its split; the file's stem if the sample is read from a file.
    """

    image: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.int32]
    name: str


class ImageDataset(Dataset[Any]):
    """Base class of all data sets of annotated images.

    Subclasses set the class attributes, fill `names`, and define `load` and `contents`.

    Attributes:
        name: The data set's name in a configuration.
        classes: Class names in the order of their label values.
        things: Names of the classes whose objects can be counted.
        palette: One RGB colour per class, shape (C, 3).
        splits: Legal values of `split`.
        train_split: The split that is used for training.
        names: One name per sample of this split.

    Args:
        root: Folder of the data set.
        split: One of `splits`.
        transform: Called with a sample; indexing returns its result. None returns the sample.
        cache: Keep decoded samples in memory, in every worker process.

    Raises:
        DatasetError: The folder is missing or incomplete; on indexing: a file is unreadable or an annotation
            is illegal. The message is one line and names the file.
        ValueError: `split` is not one of `splits`.
    """

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    things: ClassVar[tuple[str, ...]]
    palette: ClassVar[npt.NDArray[np.uint8]]
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    train_split: ClassVar[str] = "train"
    names: list[str]

    def __init__(
        self,
        root: str | Path | None,
        split: str,
        transform: Callable[[Any], Any] | None = None,
        cache: bool = False,
    ) -> None:
        if split not in self.splits:
            raise ValueError(
                f"split={split!r} of data set {self.name!r}: choose one of {', '.join(self.splits)}"
            )
        self.root = root
        self.split = split
        self.transform = transform
        self._cache: dict[int, Any] | None = {} if cache else None

    @classmethod
    def for_root(cls, root: str | Path | None) -> "type[Self]":
        """The class that reads the data set in `root`.

        This is the class itself, unless the classes are listed in the folder; see `Folder`.

        Args:
            root: Folder of the data set.

        Raises:
            DatasetError: The folder's list of classes is missing or illegal.
        """
        return cls

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        """The transformed sample `index`, or the sample itself without a transform."""
        sample = self.raw(index)
        return sample if self.transform is None else self.transform(sample)

    def raw(self, index: int) -> Any:
        """Sample `index`, checked but not transformed; from memory if it is cached.

        Raises:
            DatasetError: As in the class, on indexing.
        """
        if self._cache is not None and index in self._cache:
            return self.unpacked(self._cache[index], self.names[index])
        sample = self.load(index)
        self.check(sample, self.source(index))
        if self._cache is not None:
            self._cache[index] = self.packed(sample)
        return sample

    def packed(self, sample: Any) -> Any:
        """A sample in the form that the cache keeps."""
        return sample

    def unpacked(self, packed: Any, name: str) -> Any:
        """The sample that `packed` returned."""
        return packed

    @abstractmethod
    def load(self, index: int) -> Any:
        """Read or generate sample `index`."""

    @classmethod
    @abstractmethod
    def check(cls, sample: Any, source: str) -> None:
        """Refuse an illegal sample.

        Args:
            sample: A sample before any transform.
            source: Its annotation's file or its name, for the message.

        Raises:
            DatasetError: The sample is illegal.
        """

    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify the data on which a number was measured.

        They are the start of a SHA-256 digest of the data set's name, the split, `described` and `contents`.
        The fingerprint does not depend on the folder's path, the order of files on the disk or the machine.
        It changes when a file is added, removed, renamed or replaced by one of another size. Files are not
        read, so a replacement of the same size goes unnoticed.

        Raises:
            DatasetError: A file was removed after the data set was opened.
        """
        described = {
            "name": self.name,
            "split": self.split,
            **self.described(),
            "contents": sorted(_plain(entry) for entry in self.contents()),
        }
        return hashlib.sha256(_plain(described).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def described(self) -> dict[str, Any]:
        """The part of `fingerprint` that is not about single samples."""
        return {"classes": self.classes, "things": self.things}

    @abstractmethod
    def contents(self) -> Sequence[Sequence[Any]]:
        """The samples' part of `fingerprint`: entries of names and numbers, in any order."""

    def source(self, index: int) -> str:
        """The file or name that error messages give for sample `index`."""
        return self.names[index]


class SegmentationDataset(ImageDataset):
    """Base class of all data sets with label maps.

    Arguments are those of `ImageDataset`. A cache usually takes 5 bytes per pixel in every worker process.

    Attributes:
        ignored: Label values in the files that become `IGNORED`, in addition to `IGNORED` itself.
        label_hint: Advice that ends the message about an illegal label value; may be empty.

    Raises:
        DatasetError: As in `ImageDataset`; on indexing also: image and label map differ in size, or a label
            value is illegal.
        ValueError: `split` is not one of `splits`.
    """

    ignored: ClassVar[tuple[int, ...]] = ()
    label_hint: ClassVar[str] = ""

    def packed(self, sample: Sample) -> tuple[npt.NDArray[Any], ...]:
        """The maps of a sample, with object ids of as few bytes as possible."""
        # Most images have fewer than 256 objects: one byte per pixel instead of four.
        instance = sample["instance"]
        kinds = (np.min_scalar_type(limit) for limit in (instance.min(initial=0), instance.max(initial=0)))
        return sample["image"], sample["label"], instance.astype(np.result_type(*kinds))

    def unpacked(self, packed: tuple[npt.NDArray[Any], ...], name: str) -> Sample:
        """The sample of `packed`."""
        image, label, instance = packed
        return Sample(image=image, label=label, instance=instance.astype(np.int32), name=name)

    def described(self) -> dict[str, Any]:
        """Also the ignored values."""
        return super().described() | {"ignored": sorted({*self.ignored, IGNORED})}

    @classmethod
    def check(cls, sample: Sample, source: str) -> None:
        """Refuse maps that differ from the image in size, and label values without a class.

        Args:
            sample: A sample before any transform.
            source: Its label map's file or its name, for the message.

        Raises:
            DatasetError: The sample is illegal.
        """
        height, width = sample["image"].shape[:2]
        for kind in ("label", "instance"):
            found = sample[kind].shape
            if found != (height, width):
                way_out = (
                    "rotate it to match the image as a viewer shows it (EXIF data may rotate the image)"
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
    """Objects for data sets that annotate none: the 8-connected components of each thing class.

    Args:
        label: Label map, shape (H, W).
        things: Label values of the thing classes.

    Returns:
        Object ids, shape (H, W): counted from 1; 0 outside the thing classes.
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
    """The first `count` class colours of the PASCAL VOC development kit, shape (count, 3).

    Bit `3 i + c` of the class number is bit `7 - i` of channel `c` of its colour.
    """
    bits = (np.arange(count)[:, None] >> np.arange(24)) & 1
    weights = 1 << (7 - np.arange(8))
    return (bits.reshape(count, 8, 3) * weights[:, None]).sum(axis=1).astype(np.uint8)


def _plain(value: Any) -> str:
    """JSON that is the same on every machine.

    Names are normalised, because some file systems store a letter and its accent as two characters.
    """
    return unicodedata.normalize("NFC", json.dumps(value, sort_keys=True, ensure_ascii=False))


def _shortened(values: npt.NDArray[Any], limit: int = 8) -> str:
    text = ", ".join(str(value) for value in values[:limit])
    return text if len(values) <= limit else f"{text}, ..."
