"""The user's own boxes, as VOC's XML files or as COCO's JSON."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from deformlab.data.dataset import color_map
from deformlab.data.detection.coco_json import category_names, held_out, read_coco_json
from deformlab.data.detection.dataset import DetectionDataset, IllegalBoxes, ImageAnnotations
from deformlab.data.detection.voc_xml import class_names, read_voc_list
from deformlab.errors import DatasetError

__all__ = ["Boxes"]

SPLITS = ("train", "val", "test")


class Boxes(DetectionDataset):
    """Your own images with boxes, in one of two layouts.

    VOC: `root/JPEGImages/`, `root/Annotations/` with one XML file per image, and
    `root/ImageSets/Main/{train,val,test}.txt` with the names of the images of each split.

    COCO: `root/annotations/<split>.json` (or `instances_<split>.json`, `instances_<split>2017.json`) and the
    images in `root/<split>/` (or `<split>2017/`, or `images/`). Without a file for val, every fourth image of
    train, sorted by name, is held out for validation.

    Classes come from `root/classes.txt`, one name per line; without it, from the categories of the training
    JSON in the order of their ids, or from all XML files, sorted by name. Split test is optional. Arguments
    are those of `DetectionDataset`.

    Raises:
        DatasetError: As in `DetectionDataset`; also if the folder has neither layout, a split is missing, or
            an object has an unknown class.
    """

    name = "boxes"
    classes: ClassVar[tuple[str, ...]] = ()
    things: ClassVar[tuple[str, ...]] = ()
    palette = color_map(1)[:0]
    splits = SPLITS
    layout = "JPEGImages/, Annotations/ and ImageSets/Main/, or train/, val/ and annotations/{train,val}.json"

    def __new__(
        cls,
        root: str | Path | None,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        cache: bool = False,
        illegal_boxes: IllegalBoxes = "error",
        masks: bool = False,
    ) -> "Boxes":
        """An instance of the subclass with the classes that `root` lists."""
        return super().__new__(cls.for_root(root))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Pickles the arguments, because the class that was created for `root` cannot be pickled."""
        arguments = (self.root, self.split, self.transform, self._cache is not None)
        return _rebuilt, (*arguments, self.illegal_boxes, self.masks, self.names)

    @classmethod
    def for_root(cls, root: str | Path | None) -> "type[Boxes]":
        """The subclass with the classes of a folder; see `ImageDataset.for_root`."""
        if cls.classes:
            return cls
        folder = cls.folder(root)
        names = _classes(folder)
        return type(
            "Boxes",
            (cls,),
            {
                "__doc__": cls.__doc__,
                "__module__": cls.__module__,
                "classes": names,
                "things": names,
                "palette": color_map(len(names) + 1)[1:],
            },
        )

    @classmethod
    def find(cls, folder: Path, split: str) -> Sequence[ImageAnnotations]:
        """The images of a split, sorted by name."""
        if (folder / "Annotations").is_dir():
            return read_voc_list(folder, split, cls.classes)
        files = {part: _json(folder, part) for part in ("train", "val", split)}
        from_train = split in ("train", "val") and files["val"] is None
        file = files["train" if from_train else split]
        if file is None:
            raise DatasetError(
                f"{folder / 'annotations' / f'{split}.json'}: no such file; {cls.name!r} needs {cls.layout}"
            )
        listed = read_coco_json(file, _images(folder, "train" if from_train else split), cls.classes)
        return held_out(listed, split) if from_train else listed


def _rebuilt(*arguments: Any) -> Boxes:
    """A pickled data set, with the images that it had kept."""
    *of_class, names = arguments
    dataset = Boxes(*of_class)
    kept = set(names)
    dataset.keep([index for index, name in enumerate(dataset.names) if name in kept])
    return dataset


def _classes(folder: Path) -> tuple[str, ...]:
    listing = folder / "classes.txt"
    if listing.is_file():
        try:
            lines = listing.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{listing}: cannot be read ({error}); save it as UTF-8") from None
        names = tuple(line.strip() for line in lines if line.strip())
        if not names or len(set(names)) < len(names):
            raise DatasetError(f"{listing}: must list one or more different class names, one per line")
        return names
    if (folder / "Annotations").is_dir():
        files = sorted((folder / "Annotations").glob("*.xml"))
        names = class_names(files)
        if not names:
            raise DatasetError(f"{folder / 'Annotations'}: contains no XML file with an object")
        return names
    file = _json(folder, "train")
    if file is None:
        raise DatasetError(f"{folder}: needs {Boxes.layout}")
    return category_names(file)


def _json(folder: Path, split: str) -> Path | None:
    stems = (split, f"instances_{split}", f"instances_{split}2017")
    files = (folder / "annotations" / f"{stem}.json" for stem in stems)
    return next((file for file in files if file.is_file()), None)


def _images(folder: Path, split: str) -> Path:
    folders = (folder / name for name in (split, f"{split}2017", "images"))
    return next((images for images in folders if images.is_dir()), folder / split)
