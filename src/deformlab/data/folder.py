"""Your own images: with label maps and a list of classes (`Folder`), or without (`ImageFolder`)."""

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

# What tables call all classes together, and pixels of none.
_RESERVED = ("all", "ignored")


class Folder(FileDataset):
    """Own data as `root/<split>/images/` and `root/<split>/labels/` (8-bit PNG or TIFF of the same stem).

    `root/classes.txt` holds one class name per line: the first is label value 0, and so on; 255 is ignored.
    `root/things.txt`, which may be missing, names those classes that come as countable objects, one per line;
    an object is then an 8-connected component of its class, and effective dilation is reported by its size.
    `root/ignore.txt`, which may be missing, holds further label values that are ignored, one per line.

    Args and errors as in `SegmentationDataset`; also a DatasetError when `classes.txt` is missing, has fewer
    than two classes, an empty line or a name twice, `things.txt` names something else, or `ignore.txt` holds
    what is no label value, or the value of a class.

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
        """An instance that knows its classes."""
        return super().__new__(cls.for_root(root))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Opens the folder again in another process, to which a class made for one root cannot be sent."""
        return Folder, (self.root, self.split, self.transform, self._cache is not None)

    @classmethod
    def for_root(cls, root: str | Path | None) -> type["Folder"]:
        """The data set with the classes that `root` lists."""
        folder = cls.folder(root)
        classes = _read_classes(folder / "classes.txt")
        described = {
            "classes": classes,
            "things": _read_things(folder / "things.txt", classes),
            "ignored": _read_ignored(folder / "ignore.txt", classes),
            "palette": color_map(len(classes)),
            "label_hint": f"values that mean ignored can be listed in {folder / 'ignore.txt'}, one per line",
            "__doc__": cls.__doc__,
        }
        return type(cls.__name__, (cls,), described)

    @classmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """Images and label maps of one stem."""
        return pairs_by_stem(folder / split / "images", folder / split / "labels", cls.name, cls.layout)


class ImageFolder(Dataset[Any]):
    """The images right in one folder, by name.

    Indexing gives `image` (3, H', W'), `name` (the file's stem) and `size`, the original (H, W). An image is
    turned as its EXIF orientation says, and so is its size: what is predicted lies on the image as a viewer
    shows it.

    Args:
        root: folder of images.
        transform: makes the network's input.

    Raises:
        DatasetError: the folder is missing or holds no image; on indexing: an image is unreadable.
    """

    def __init__(self, root: str | Path, transform: EvalTransform) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; data.predict_root must be a folder of images")
        self.files = [file for file in visible_files(folder) if file.suffix.lower() in IMAGE_SUFFIXES]
        if not self.files:
            raise DatasetError(
                f"{folder}: holds no images ({', '.join(IMAGE_SUFFIXES)}); those in subfolders are not read"
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
    """The class names, whose line number is their label value."""
    lines = _lines(file, "write one class name per line, in label order")
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DatasetError(f"{file}: holds no class; write one class name per line")
    for number, name in enumerate(lines, start=1):
        if not name:
            raise DatasetError(
                f"{file}: line {number} is empty, which would shift every class after it; remove it, or name "
                f"the class of label value {number - 1} there"
            )
        if name.startswith("#") or "\t" in name:
            raise DatasetError(
                f"{file}: line {number} is {name!r}; write class names only, without comments and tabs"
            )
        if name in _RESERVED:
            raise DatasetError(f"{file}: line {number}: {name!r} means something else in reports; rename it")
        if lines.count(name) > 1:
            raise DatasetError(f"{file}: {name!r} stands there {lines.count(name)} times; keep one")
    if len(lines) < 2:
        raise DatasetError(
            f"{file}: holds one class, {lines[0]!r}; write two or more, one per line (background counts)"
        )
    if len(lines) > IGNORED:
        raise DatasetError(f"{file}: has {len(lines)} classes; at most {IGNORED} fit a label")
    return tuple(lines)


def _read_things(file: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """The countable classes; none where there is no such file."""
    if not file.exists():
        return ()
    things = [name for name in _lines(file, "write one class name per line") if name]
    for name in things:
        if name not in classes:
            raise DatasetError(f"{file}: {name!r} is not in classes.txt; choose from {', '.join(classes)}")
        if things.count(name) > 1:
            raise DatasetError(f"{file}: {name!r} stands there {things.count(name)} times; keep one")
    return tuple(things)


def _read_ignored(file: Path, classes: Sequence[str]) -> tuple[int, ...]:
    """The label values that are ignored besides 255; none where there is no such file."""
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
                "the label maps so that classes count from 0 and ignored values come after them"
            )
        values.add(int(line))
    return tuple(sorted(values - {IGNORED}))


def _lines(file: Path, how: str) -> list[str]:
    """The lines of a text without the spaces around them, with empty ones."""
    try:
        # With or without the mark that Windows editors put at the beginning.
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{file}: no such file; {how}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); it must be text in UTF-8") from None
    return [line.strip() for line in text.split("\n")]
