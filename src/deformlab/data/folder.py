"""Your own images and label maps in folders, with class names from a text file.

For data that has no loader of its own; what a folder holds is all that needs to be said about it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from deformlab.data.components import connected_objects
from deformlab.data.dataset import IGNORE_INDEX, Sample
from deformlab.data.files import FileDataset, SampleFiles, pairs_by_stem
from deformlab.data.palette import color_map
from deformlab.data.reading import read_image, read_label
from deformlab.errors import DatasetError


class Folder(FileDataset):
    """Own data as `root/<split>/images/` (PNG or JPEG) and `root/<split>/labels/` (8-bit PNG, same stem).

    `root/classes.txt` holds one class name per line: the first is label value 0, and so on; 255 is ignored.
    `root/things.txt`, which may be missing, names those classes that come as countable objects, one per line;
    an object is then an 8-connected component of its class, and effective dilation is reported by its size.

    Args and errors as in `SegmentationDataset`; also a DatasetError when `classes.txt` is missing, empty or
    repeats a name, or `things.txt` names something else.

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
        names, objects = folder / "classes.txt", folder / "things.txt"
        classes = _lines(names)
        if not classes:
            raise DatasetError(f"{names}: holds no class; write one class name per line")
        if len(classes) > IGNORE_INDEX:
            raise DatasetError(f"{names}: has {len(classes)} classes; at most {IGNORE_INDEX} fit a label")
        things = _lines(objects) if objects.exists() else []
        for name in things:
            if name not in classes:
                raise DatasetError(
                    f"{objects}: {name!r} is not in classes.txt; choose from {', '.join(classes)}"
                )
        described = {
            "classes": tuple(classes),
            "things": tuple(things),
            "palette": color_map(len(classes)),
            "__doc__": cls.__doc__,
        }
        return type(cls.__name__, (cls,), described)

    @classmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """Images and label maps of one stem."""
        return pairs_by_stem(folder / split / "images", folder / split / "labels", cls.name, cls.layout)

    @classmethod
    def read(cls, files: SampleFiles) -> Sample:
        """One sample; label values are taken as they are."""
        label = read_label(files.label)
        return Sample(
            image=read_image(files.image),
            label=label,
            instance=connected_objects(label, [cls.classes.index(thing) for thing in cls.things]),
            name=files.name,
        )


def _lines(file: Path) -> list[str]:
    """The lines of a list of names, without empty ones."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetError(f"{file}: no such file; write one class name per line, in label order") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); it must be text in UTF-8") from None
    names = [line.strip() for line in text.splitlines() if line.strip()]
    for name in names:
        if names.count(name) > 1:
            raise DatasetError(f"{file}: {name!r} stands there {names.count(name)} times; keep one")
    return names
