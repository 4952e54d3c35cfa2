"""What every segmentation data set returns, and the errors that name the file at fault.

A data set is one file with one class: it lists its samples once, and `load` reads one of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.utils.data import Dataset

from deformlab.errors import DatasetError

IGNORE_INDEX = 255


class Sample(TypedDict):
    """One annotated image as a data set returns it, before any transform.

    Attributes:
        image: RGB, shape (H, W, 3).
        label: class index or 255 (ignored), shape (H, W).
        instance: object id, 0 where there is none, shape (H, W). An id is unique in its image only.
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
        palette: one RGB colour per class, shape (C, 3).
        splits: legal values of `split`.
        train_split: the split that training uses when nothing else is said.
        names: one name per sample of this split.

    Args:
        root: folder of the data set.
        split: one of `splits`.
        transform: called with a `Sample`; what it returns is what indexing returns.
        cache: keep decoded samples in memory (5 to 8 bytes per pixel, in every worker process).

    Raises:
        DatasetError: the folder is missing or half there; on indexing: a file is unreadable, image and label
            differ in size, or a label value is illegal. One line each, naming the file.
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
        transform: Callable[[Sample], Any] | None = None,
        cache: bool = False,
    ) -> None:
        if split not in self.splits:
            raise ValueError(
                f"split={split!r} of data set {self.name!r}: choose one of {', '.join(self.splits)}"
            )
        self.root = Path(root) if root is not None else None
        self.split = split
        self.transform = transform
        self._cache: dict[int, Sample] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        """Sample `index`, transformed if there is a transform."""
        sample = self.raw(index)
        return sample if self.transform is None else self.transform(sample)

    def raw(self, index: int) -> Sample:
        """Sample `index` before the transform, checked, from memory if it is cached."""
        if self._cache is not None and index in self._cache:
            sample = self._cache[index]
        else:
            sample = self.load(index)
            self._check(sample, index)
            if self._cache is not None:
                self._cache[index] = sample
        return sample

    def load(self, index: int) -> Sample:
        """Read sample `index` from its files."""
        raise NotImplementedError

    def label_file(self, index: int) -> Path | None:
        """The file that `label` comes from, for error messages; None for generated data."""
        return None

    def _check(self, sample: Sample, index: int) -> None:
        where = self.label_file(index) or sample["name"]
        height, width = sample["image"].shape[:2]
        for kind in ("label", "instance"):
            found = sample[kind].shape
            if found != (height, width):
                raise DatasetError(
                    f"{where}: its {kind} map is {found[1]}x{found[0]} but its image is {width}x{height}; "
                    "both must have the same size, replace one of them"
                )
        label = sample["label"]
        illegal = label[(label >= len(self.classes)) & (label != IGNORE_INDEX)]
        if illegal.size:
            raise DatasetError(
                f"{where}: label values {_shortened(np.unique(illegal))} are illegal; "
                f"data set {self.name!r} has 0 to {len(self.classes) - 1} and {IGNORE_INDEX} (ignored)"
            )


def require_root(root: str | Path | None, dataset: str, layout: str) -> Path:
    """The data set's folder as a path.

    Args:
        root: what the user gave.
        dataset: the data set's name, for the message.
        layout: what must be inside, for the message.

    Raises:
        DatasetError: no folder was given or it does not exist.
    """
    if root is None:
        raise DatasetError(
            f"data set {dataset!r} needs its folder: set data.root to the folder with {layout}"
        )
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder; data.root of {dataset!r} must be the folder with {layout}"
        )
    return folder


def require_folder(folder: Path, hint: str) -> Path:
    """`folder` itself; DatasetError with the way out in `hint` when it is not there."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; {hint}")
    return folder


def read_image(file: Path) -> npt.NDArray[np.uint8]:
    """An image file as RGB, shape (H, W, 3)."""
    return _decode(file, lambda image: np.asarray(image.convert("RGB"), dtype=np.uint8))


def read_label(file: Path) -> npt.NDArray[np.uint8]:
    """An 8-bit single-channel label map, palette indices unchanged, shape (H, W)."""
    values = read_integers(file)
    if values.size and (values.min() < 0 or values.max() > 255):
        raise DatasetError(
            f"{file}: label values up to {values.max()}; a label map is an 8-bit PNG, 0 to 255"
        )
    return values.astype(np.uint8)


def read_integers(file: Path) -> npt.NDArray[np.int32]:
    """A single-channel map of integers (8-bit, palette or 16-bit PNG), shape (H, W)."""
    values = _decode(file, np.asarray)
    if values.ndim != 2:
        raise DatasetError(
            f"{file}: has {values.shape[-1]} channels; a label map has one (class numbers, not colours)"
        )
    return values.astype(np.int32)


def _decode(file: Path, convert: Callable[[Image.Image], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    try:
        with Image.open(file) as image:
            return convert(image)
    except FileNotFoundError:
        raise DatasetError(f"{file}: file is missing; restore it or remove its partner") from None
    # Pillow raises OSError, SyntaxError (broken PNG), ValueError or its own bomb error, by format and damage.
    except Exception as error:
        raise DatasetError(
            f"{file}: cannot be read ({_one_line(error)}); replace or remove the file"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _shortened(values: npt.NDArray[Any], limit: int = 8) -> str:
    text = ", ".join(str(value) for value in values[:limit])
    return text if len(values) <= limit else f"{text}, ..."
