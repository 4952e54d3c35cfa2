"""The user's own images: with label maps and a list of classes (`Folder`), or without (`ImageFolder`)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch.utils.data import Dataset

from deformlab.data.dataset import Sample, color_map
from deformlab.data.files import FileDataset, SampleFiles, pairs_by_stem, visible_files
from deformlab.data.reading import IMAGE_SUFFIXES, read_image
from deformlab.data.transforms import EvalTransform
from deformlab.errors import DatasetError
from deformlab.labels import IGNORED

# Names that tables use for all classes together and for ignored pixels.
_RESERVED = ("all", "ignored")


class Folder(FileDataset):
    """The user's own data in `root/<split>/images/` and `root/<split>/labels/`.

    Label maps are 8-bit PNG or TIFF files with the stems of their images. Three text files describe the
    labels:

    - `root/classes.txt` lists the class names, one per line. The first line is label value 0, and so on; 255
      is ignored.
    - `root/things.txt` (optional) lists the countable classes, one per line. An object is an 8-connected
      component of such a class, and effective dilation is reported by object size.
    - `root/ignore.txt` (optional) lists further label values that are ignored, one per line.

    Arguments are those of `SegmentationDataset`.

    Raises:
        DatasetError: As in `SegmentationDataset`; also if `classes.txt` is missing, has fewer than two
            classes, an empty line or a duplicate name; if `things.txt` lists an unknown class; or if
            `ignore.txt` lists the label value of a class or something that is not a label value.

    Example:
        >>> Folder("my_data", "train").classes  # doctest: +SKIP
        ('background', 'leaf')
    """

    name = "folder"
    classes: ClassVar[tuple[str, ...]] = ()
    things: ClassVar[tuple[str, ...]] = ()
    palette = color_map(0)
    splits = ("train", "val", "test")
    layout = "classes.txt, train/images/, train/labels/, val/images/ and val/labels/"

    def __new__(
        cls,
        root: str | Path | None,
        split: str = "train",
        transform: Callable[[Sample], Any] | None = None,
        cache: bool = False,
    ) -> "Folder":
        """An instance of the subclass with the classes that `root` lists."""
        return super().__new__(cls.for_root(root))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Pickles the arguments, because the class that was created for `root` cannot be pickled."""
        return Folder, (self.root, self.split, self.transform, self._cache is not None)

    @classmethod
    def for_root(cls, root: str | Path | None) -> type["Folder"]:
        """A subclass with the classes that `root` lists."""
        folder = cls.folder(root)
        classes = _read_classes(folder / "classes.txt")
        described = {
            "classes": classes,
            "things": _read_things(folder / "things.txt", classes),
            "ignored": _read_ignored(folder / "ignore.txt", classes),
            "palette": color_map(len(classes)),
            "label_hint": f"list label values to be ignored in {folder / 'ignore.txt'}, one per line",
            "__doc__": cls.__doc__,
        }
        return type(cls.__name__, (cls,), described)

    @classmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """Pairs images with the label maps of the same stem."""
        return pairs_by_stem(folder / split / "images", folder / split / "labels", cls.name, cls.layout)


class ImageFolder(Dataset[Any]):
    """The images directly in one folder, sorted by name.

    Indexing returns a dictionary of `image` (3, H', W'), `name` (the file's stem) and `size`, the original
    (H, W). EXIF orientation is applied to the image and its size, so that a prediction matches the image as a
    viewer shows it.

    Args:
        root: Folder of images.
        transform: Creates the network's input.

    Raises:
        DatasetError: The folder is missing or contains no images; on indexing: an image is unreadable.
    """

    def __init__(self, root: str | Path, transform: EvalTransform) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; data.predict_root must be a folder of images")
        self.files = [file for file in visible_files(folder) if file.suffix.lower() in IMAGE_SUFFIXES]
        if not self.files:
            raise DatasetError(
                f"{folder}: contains no images ({', '.join(IMAGE_SUFFIXES)}); subfolders are not read"
            )
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = read_image(self.files[index])
        return {
            "image": self.transform.image(image),
            "name": self.files[index].stem,
            "size": image.shape[:2],
        }


def _read_classes(file: Path) -> tuple[str, ...]:
    """The class names, in the order of their label values."""
    lines = _lines(file, "write one class name per line, in label order")
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DatasetError(f"{file}: contains no class; write one class name per line")
    for number, name in enumerate(lines, start=1):
        if not name:
            raise DatasetError(
                f"{file}: line {number} is empty; remove it, or write the name of the class with label value "
                f"{number - 1}"
            )
        if name.startswith("#") or "\t" in name:
            raise DatasetError(
                f"{file}: line {number} is {name!r}; write class names only, without comments and tabs"
            )
        if name in _RESERVED:
            raise DatasetError(
                f"{file}: line {number}: {name!r} has another meaning in reports; rename the class"
            )
        if lines.count(name) > 1:
            raise DatasetError(f"{file}: {name!r} is listed {lines.count(name)} times; keep one")
    if len(lines) < 2:
        raise DatasetError(
            f"{file}: contains one class, {lines[0]!r}; write two or more, one per line (background counts)"
        )
    if len(lines) > IGNORED:
        raise DatasetError(f"{file}: has {len(lines)} classes; an 8-bit label map fits at most {IGNORED}")
    return tuple(lines)


def _read_things(file: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """The countable classes; none if the file does not exist."""
    if not file.exists():
        return ()
    things = [name for name in _lines(file, "write one class name per line") if name]
    for name in things:
        if name not in classes:
            raise DatasetError(f"{file}: {name!r} is not in classes.txt; choose from {', '.join(classes)}")
        if things.count(name) > 1:
            raise DatasetError(f"{file}: {name!r} is listed {things.count(name)} times; keep one")
    return tuple(things)


def _read_ignored(file: Path, classes: Sequence[str]) -> tuple[int, ...]:
    """The label values that are ignored in addition to 255; none if the file does not exist."""
    if not file.exists():
        return ()
    values = set()
    for number, line in enumerate(_lines(file, "write one label value per line"), start=1):
        if not line:
            continue
        if not (line.isascii() and line.isdecimal() and int(line) <= IGNORED):
            raise DatasetError(f"{file}: line {number} is {line!r}; write one label value per line, 0 to 255")
        if int(line) < len(classes):
            raise DatasetError(
                f"{file}: line {number}: {line} is the label value of class {classes[int(line)]!r}; change "
                "the label maps so that classes count from 0 and ignored values follow them"
            )
        values.add(int(line))
    return tuple(sorted(values - {IGNORED}))


def _lines(file: Path, how: str) -> list[str]:
    """The lines of a text file, stripped, including empty ones."""
    try:
        # With or without the byte order mark that Windows editors write.
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{file}: no such file; {how}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); it must be text in UTF-8") from None
    return [line.strip() for line in text.split("\n")]
