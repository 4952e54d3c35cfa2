"""COCO 2017 with boxes and masks: 118,287 / 5,000 images, 80 classes.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deformlab.data.coco import Coco
from deformlab.data.detection.coco_json import held_out, read_coco_json
from deformlab.data.detection.dataset import DetectionDataset, IllegalBoxes, ImageAnnotations
from deformlab.errors import DatasetError

__all__ = ["CocoBoxes"]


class CocoBoxes(DetectionDataset):
    """COCO as `root/train2017/`, `root/val2017/` and `root/annotations/instances_{train,val}2017.json`.

    Crowds are marked; with `masks`, objects have their masks. Areas are those of the annotations, by which
    COCO tells sizes apart.

    If both `val2017/` and its annotations are missing, as in excerpts of COCO, every fourth image of
    `train2017/`, sorted by name, is held out for validation. Other data sets in this format are read as
    `boxes`.

    Arguments are those of `DetectionDataset`, but illegal boxes are left out unless `illegal_boxes` is
    `error`: two boxes of the official train2017 have no height (images 200365 and 550395).

    Raises:
        DatasetError: As in `DetectionDataset`; also if images or annotations are missing, or a category with
            objects is not one of COCO's.
    """

    name = "coco"
    classes = Coco.things
    things = classes
    palette = Coco.palette[1:]
    layout = Coco.layout

    def __init__(
        self,
        root: str | Path | None,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        cache: bool = False,
        illegal_boxes: IllegalBoxes = "skip",
        masks: bool = False,
    ) -> None:
        super().__init__(root, split, transform, cache, illegal_boxes, masks)

    @classmethod
    def find(cls, folder: Path, split: str) -> Sequence[ImageAnnotations]:
        """The images of a split, sorted by name."""
        if any(part.exists() for part in _parts(folder, "val")):
            return cls._listed(*_parts(folder, split))
        return held_out(cls._listed(*_parts(folder, "train")), split)

    @classmethod
    def _listed(cls, images: Path, annotations: Path) -> Sequence[ImageAnnotations]:
        for path, archive in ((images, f"{images.name}.zip"), (annotations, "annotations_trainval2017.zip")):
            if not path.exists():
                raise DatasetError(
                    f"{path}: no such {'file' if path.suffix else 'folder'}; unpack {archive}, or read "
                    "another folder of boxes as 'boxes'"
                )
        return read_coco_json(annotations, images, cls.classes)


def _parts(folder: Path, split: str) -> tuple[Path, Path]:
    return folder / f"{split}2017", folder / "annotations" / f"instances_{split}2017.json"
