"""Data sets that are folders of files: what belongs together, and what is missing."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from deformlab.data.dataset import Sample, SegmentationDataset
from deformlab.errors import DatasetError

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class MissingSplitError(DatasetError):
    """Nothing of a split is there."""


@dataclass(frozen=True)
class SampleFiles:
    """The files of one sample; they need not exist.

    Attributes:
        name: unique in its split.
        image: the image.
        label: the label map.
        instance: the instance map, None where the data set has none for this image.
    """

    name: str
    image: Path
    label: Path
    instance: Path | None = None

    def missing(self) -> list[str]:
        """One line per file that is not there."""
        parts = (("image", self.image), ("label map", self.label), ("instance map", self.instance))
        return [
            f"{file}: {kind} of {self.name} is missing; add it or remove the sample's other files"
            for kind, file in parts
            if file is not None and not file.is_file()
        ]


class FileDataset(SegmentationDataset):
    """Base of data sets that are read from a folder: subclasses define `find` and `read`.

    Attributes:
        layout: what the folder must hold, for messages.
        files: the files of each sample.

    Args and errors as in `SegmentationDataset`.
    """

    layout: ClassVar[str]

    def __init__(
        self,
        root: str | Path | None,
        split: str = "train",
        transform: Callable[[Sample], Any] | None = None,
        cache: bool = False,
    ) -> None:
        super().__init__(root, split, transform, cache)
        self.files = self.find(self.folder(root), split)
        for files in self.files:
            for line in files.missing():
                raise DatasetError(line)
        self.names = [files.name for files in self.files]

    @classmethod
    def folder(cls, root: str | Path | None) -> Path:
        """The data set's folder.

        Raises:
            DatasetError: none was given or it does not exist.
        """
        if root is None:
            raise DatasetError(
                f"data.root is not set: data set {cls.name!r} needs its folder, with {cls.layout}"
            )
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise DatasetError(
                f"{folder}: no such folder; data.root of {cls.name!r} is the one with {cls.layout}"
            )
        return folder

    @classmethod
    @abstractmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """The samples of `split`, at least one, by name; also those of which a part is missing.

        Raises:
            MissingSplitError: nothing of the split is there.
            DatasetError: a folder or list of the split is missing.
        """

    @classmethod
    @abstractmethod
    def read(cls, files: SampleFiles) -> Sample:
        """One sample from its files."""

    def load(self, index: int) -> Sample:
        """Read sample `index` from its files."""
        return self.read(self.files[index])

    def contents(self) -> list[list[Any]]:
        """Each sample's name and the sizes of its files in bytes, 0 for a file that it does not have."""
        return [
            [files.name, *(file_size(file) for file in (files.image, files.label, files.instance))]
            for files in self.files
        ]

    def source(self, index: int) -> str:
        """The label map's file."""
        return str(self.files[index].label)


def file_size(file: Path | None) -> int:
    """Size in bytes; 0 for None.

    Raises:
        DatasetError: the file is not there.
    """
    try:
        return file.stat().st_size if file is not None else 0
    except OSError as error:
        raise DatasetError(f"{file}: {error.strerror}; restore the file") from None


def pairs_by_stem(image_folder: Path, label_folder: Path, name: str, layout: str) -> list[SampleFiles]:
    """Images (PNG or JPEG) and label maps (PNG) of one stem, also where one of the two is missing.

    Args:
        image_folder: holds the images of one split.
        label_folder: holds their label maps.
        name: the data set's name, for messages.
        layout: what its folder must hold, for messages.

    Raises:
        MissingSplitError: neither folder is there.
        DatasetError: one is missing, or both are empty.
    """
    there = [part for part in (image_folder, label_folder) if part.is_dir()]
    if not there:
        raise MissingSplitError(f"{image_folder}: no such folder; {name!r} needs {layout} in data.root")
    if len(there) == 1:
        absent = label_folder if there == [image_folder] else image_folder
        raise DatasetError(
            f"{absent}: no such folder, though there is {there[0].name}/; add the missing half"
        )
    images = {file.stem: file for file in image_folder.iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES}
    stems = sorted(images | {file.stem: file for file in label_folder.glob("*.png")})
    if not stems:
        raise DatasetError(
            f"{image_folder}: holds no {' or '.join(_IMAGE_SUFFIXES)} images; put those of {name!r} there"
        )
    return [
        SampleFiles(stem, images.get(stem, image_folder / f"{stem}.png"), label_folder / f"{stem}.png")
        for stem in stems
    ]
