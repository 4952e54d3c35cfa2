"""Data sets that are read from folders: which files form a sample, and which are missing."""

import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from deformlab.data.dataset import Sample, SegmentationDataset, connected_objects
from deformlab.data.reading import IMAGE_SUFFIXES, LABEL_SUFFIXES, read_image, read_label
from deformlab.errors import DatasetError


class MissingSplitError(DatasetError):
    """Neither images nor labels of a split exist."""


class Fault(NamedTuple):
    """A problem with a file; its text is one line.

    Attributes:
        file: The file or folder.
        what: The problem, without the file's name.
    """

    file: Path
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class SampleFiles:
    """The paths of one sample's files, which need not exist.

    Attributes:
        name: Unique in its split.
        image: The image.
        label: The label map.
        instance: The instance map; None if the data set has none for this image.
        ambiguous: The reasons why other files may belong to the sample.
    """

    name: str
    image: Path
    label: Path
    instance: Path | None = None
    ambiguous: tuple[Fault, ...] = ()

    def faults(self) -> list[Fault]:
        """One fault for each file that is missing or ambiguous."""
        if self.ambiguous:
            return list(self.ambiguous)
        parts = (("image", self.image), ("label map", self.label), ("instance map", self.instance))
        return [
            Fault(file, f"the {kind} is missing; add it or remove the sample's other files")
            for kind, file in parts
            if file is not None and not file.is_file()
        ]


class FileDataset(SegmentationDataset):
    """Base class of data sets that are read from a folder.

    Subclasses define `find`. They also define `read` if a sample has more than an image and a label map.
    Arguments and errors are those of `SegmentationDataset`.

    Attributes:
        layout: The folder's required contents, for messages.
        files: The files of each sample.
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
        self.files = self.listed(self.folder(root), split)
        for files in self.files:
            for fault in files.faults():
                raise DatasetError(str(fault))
        self.names = [files.name for files in self.files]

    @classmethod
    def folder(cls, root: str | Path | None) -> Path:
        """The data set's folder.

        Raises:
            DatasetError: `root` is None or the folder does not exist.
        """
        if root is None:
            raise DatasetError(
                f"data.root is not set: data set {cls.name!r} needs its folder, with {cls.layout}"
            )
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; {cls.name!r} needs a folder with {cls.layout}")
        return folder

    @classmethod
    def listed(cls, folder: Path, split: str) -> list[SampleFiles]:
        """The samples of `split` from `find`, with names that are checked.

        Raises:
            DatasetError: Two samples have the same name, or a name is not UTF-8 or has control characters,
                which tables cannot contain; also the errors of `find`.
        """
        found = cls.find(folder, split)
        for files in found:
            # Control characters, and bytes that are not UTF-8.
            if any(unicodedata.category(character) in ("Cc", "Cs") for character in files.name):
                raise DatasetError(
                    f"{folder}: a sample of {split} is called {files.name!a}; rename its files in plain text"
                )
        name, count = Counter(files.name for files in found).most_common(1)[0]
        if count > 1:
            raise DatasetError(
                f"{folder}: {count} samples of {split} are called {name!r}; every name may occur once"
            )
        return found

    @classmethod
    @abstractmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """The samples of `split`, at least one, in a fixed order, including incomplete ones.

        Raises:
            MissingSplitError: Neither images nor labels of the split exist.
            DatasetError: A folder or list of the split is missing or empty.
        """

    @classmethod
    def read(cls, files: SampleFiles) -> Sample:
        """One sample from its files.

        Label values in `ignored` become 255. Objects are the connected components of the thing classes.
        """
        label = read_label(files.label, cls.ignored)
        return Sample(
            image=read_image(files.image),
            label=label,
            instance=connected_objects(label, [cls.classes.index(thing) for thing in cls.things]),
            name=files.name,
        )

    def load(self, index: int) -> Sample:
        """Read sample `index` from its files."""
        return self.read(self.files[index])

    def contents(self) -> list[list[Any]]:
        """Each sample's name and the sizes of its files in bytes; 0 if it has no instance map."""
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
        DatasetError: The file does not exist.
    """
    try:
        return file.stat().st_size if file is not None else 0
    except OSError as error:
        raise DatasetError(f"{file}: {error.strerror}; restore the file") from None


def file_inside(folder: Path, name: str, source: Path) -> Path:
    """The path of file `name` in `folder`.

    Args:
        folder: The folder that contains all files of this kind.
        name: A name or relative path that was read from `source`.
        source: The file that contains the name, for messages.

    Raises:
        DatasetError: The path is outside the folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DatasetError(f"{source}: {name!r} is outside {folder}; name files inside it")
    return folder / path


def pairs_by_stem(image_folder: Path, label_folder: Path, name: str, layout: str) -> list[SampleFiles]:
    """Pairs images with the label maps of the same stem.

    A pair with a missing file, or with several files for one part, is included; its `faults` report it.
    Suffixes may be in upper or lower case. Hidden files and files with other suffixes are left out.

    Args:
        image_folder: Contains the images of one split.
        label_folder: Contains their label maps.
        name: The data set's name, for messages.
        layout: The required contents of its folder, for messages.

    Raises:
        MissingSplitError: Neither folder exists.
        DatasetError: One of them is missing, both are empty, or there are images in subfolders.
    """
    existing = [part for part in (image_folder, label_folder) if part.is_dir()]
    if not existing:
        raise MissingSplitError(f"{image_folder}: no such folder; {name!r} needs {layout} in data.root")
    if len(existing) == 1:
        absent = label_folder if existing == [image_folder] else image_folder
        raise DatasetError(f"{absent}: no such folder, but {existing[0].name}/ exists; add the missing one")
    refuse_subfolders(image_folder)
    images, labels = visible_files(image_folder), visible_files(label_folder)
    stems = {file.stem for file in images if file.suffix.lower() in IMAGE_SUFFIXES}
    stems |= {file.stem for file in labels if file.suffix.lower() in LABEL_SUFFIXES}
    if not stems:
        raise DatasetError(
            f"{image_folder}: contains no images ({', '.join(IMAGE_SUFFIXES)}); put those of {name!r} there"
        )
    of_images = _by_stem(images, stems, IMAGE_SUFFIXES, "image")
    of_labels = _by_stem(labels, stems, LABEL_SUFFIXES, "label map")
    nothing: tuple[None, tuple[Fault, ...]] = (None, ())
    found = []
    for stem in sorted(stems):
        image, image_faults = of_images.get(stem, nothing)
        label, label_faults = of_labels.get(stem, nothing)
        found.append(
            SampleFiles(
                stem,
                image or image_folder / f"{stem}.png",
                label or label_folder / f"{stem}.png",
                ambiguous=image_faults + label_faults,
            )
        )
    return found


def visible_files(folder: Path) -> list[Path]:
    """The files directly in a folder, sorted by name, without hidden ones.

    Hidden files are not samples: macOS puts `._a.png` beside `a.png`.

    Raises:
        DatasetError: The folder cannot be listed.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be listed ({error.strerror}); fix its permissions") from None
    return [entry for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]


def refuse_subfolders(folder: Path) -> None:
    """Refuses images in subfolders, which would otherwise be silently left out.

    Raises:
        DatasetError: Names the first subfolder with images.
    """
    for inner in sorted(folder.iterdir()):
        if inner.name.startswith(".") or not inner.is_dir():
            continue
        if any(file.suffix.lower() in IMAGE_SUFFIXES for file in inner.rglob("*")):
            raise DatasetError(
                f"{inner}: this subfolder contains images, but only those directly in {folder} are read; "
                "move the images there, or move the subfolder away"
            )


def _by_stem(
    files: Sequence[Path], stems: set[str], suffixes: Sequence[str], kind: str
) -> dict[str, tuple[Path, tuple[Fault, ...]]]:
    """The file of each stem, or the first of several, and the faults of the others."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        if file.stem in stems:
            groups.setdefault(file.stem, []).append(file)
    found = {}
    for stem, group in groups.items():
        legal = [file for file in group if file.suffix.lower() in suffixes]
        faults = [
            Fault(file, f"is a second {kind} with the name of {legal[0].name}; keep one of them")
            for file in legal[1:]
        ]
        if not legal:
            formats = ", ".join(suffixes)
            faults = [Fault(group[0], f"not a supported {kind} format ({formats}); save it as PNG")]
        found[stem] = (legal[0] if legal else group[0], tuple(faults))
    return found
