"""COCO's instances as label and instance maps: 118,287 / 5,000 images, 80 classes and background.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deformlab.data.dataset import Sample, color_map
from deformlab.data.files import FileDataset, MissingSplitError, SampleFiles, file_inside, file_size
from deformlab.data.reading import read_image
from deformlab.errors import DatasetError
from deformlab.labels import IGNORED

# In the order of COCO's category ids, which run from 1 to 90 with gaps.
_THINGS = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""
_HELD_OUT = 4


@dataclass(frozen=True)
class CocoFiles(SampleFiles):
    """One image and its annotations.

    Attributes:
        size: Height and width of the annotated image.
        annotations: This image's annotations as JSON text, which takes a tenth of the memory of Python lists.
    """

    size: tuple[int, int] = (0, 0)
    annotations: str = "[]"


class Coco(FileDataset):
    """COCO as `root/train2017/`, `root/val2017/` and `root/annotations/instances_{train,val}2017.json`.

    Pixels on no object are background. Crowds, whose members are not annotated separately, are ignored. Where
    masks overlap, the mask with fewer pixels is on top; of two equal masks, the later one. Crowds are below
    all objects. Instance ids count an image's annotations from 1. Images without annotations are entirely
    background.

    If both `val2017/` and its annotations are missing, as in excerpts of COCO, every fourth image of
    `train2017/`, sorted by name, is held out for validation. Arguments and errors are those of
    `SegmentationDataset`.
    """

    name = "coco"
    classes = ("background", *" ".join(_THINGS.split()).split(", "))
    things = classes[1:]
    palette = color_map(len(classes))
    layout = "train2017/, val2017/ and annotations/instances_train2017.json, instances_val2017.json"

    @classmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """The images that the annotation file lists, sorted by name."""
        train, val = _parts(folder, "train"), _parts(folder, "val")
        if any(part.exists() for part in val):
            return list(cls._listed(*_parts(folder, split)))
        if not any(part.exists() for part in train):
            raise MissingSplitError(f"{train[1]}: no such file; {cls.name!r} needs {cls.layout} in data.root")
        listed = cls._listed(*train)
        return [
            files for i, files in enumerate(listed) if (i % _HELD_OUT == _HELD_OUT - 1) == (split == "val")
        ]

    @classmethod
    def _listed(cls, images: Path, annotations: Path) -> tuple[CocoFiles, ...]:
        for path, archive in ((images, f"{images.name}.zip"), (annotations, "annotations_trainval2017.zip")):
            if not path.exists():
                raise DatasetError(f"{path}: no such {'file' if path.suffix else 'folder'}; unpack {archive}")
        return _read_annotations(images, annotations, annotations.stat().st_mtime_ns)

    def contents(self) -> list[list[Any]]:
        """The size of the annotation file, and each image's name and size."""
        annotations = [["annotations", file_size(file)] for file in {files.label for files in self.files}]
        return [*annotations, *([files.name, file_size(files.image)] for files in self.files)]

    @classmethod
    def read(cls, files: SampleFiles) -> Sample:
        """One sample; masks are painted from the largest to the smallest."""
        assert isinstance(files, CocoFiles)
        image = read_image(files.image)
        if image.shape[:2] != files.size:
            height, width = files.size
            raise DatasetError(
                f"{files.image}: is {image.shape[1]}x{image.shape[0]} but its annotations are for "
                f"{width}x{height}; unpack both again"
            )
        label = np.zeros(files.size, dtype=np.uint8)
        instance = np.zeros(files.size, dtype=np.int32)
        painted = []
        for number, annotation in enumerate(json.loads(files.annotations), start=1):
            try:
                mask = decode_mask(annotation["segmentation"], files.size)
            except (KeyError, ValueError) as error:
                raise DatasetError(
                    f"{files.label}: annotation {annotation.get('id')} of image {files.name}: {error}; "
                    "fix or remove it"
                ) from None
            crowd = bool(annotation.get("iscrowd"))
            painted.append((not crowd, -int(mask.sum()), number, mask, annotation["label"]))
        for is_object, _, number, mask, value in sorted(painted, key=lambda item: item[:3]):
            label[mask] = value if is_object else IGNORED
            instance[mask] = number if is_object else 0
        return Sample(image=image, label=label, instance=instance, name=files.name)


def _parts(folder: Path, split: str) -> tuple[Path, Path]:
    return folder / f"{split}2017", folder / "annotations" / f"instances_{split}2017.json"


@lru_cache(maxsize=2)
def _read_annotations(images: Path, path: Path, modified: int) -> tuple[CocoFiles, ...]:
    """The images of an annotation file, sorted by name.

    `modified` is part of the cache's key, so that a changed file is read again.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path}: not readable as JSON ({str(error).splitlines()[0]}); unpack it again"
        ) from None
    try:
        labels = _labels(content["categories"], path)
        annotations: dict[int, list[Mapping[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
        for entry in content["annotations"]:
            kept = {key: entry.get(key) for key in ("id", "segmentation", "iscrowd")}
            annotations[entry["image_id"]].append(kept | {"label": labels[entry["category_id"]]})
        found = [
            CocoFiles(
                name=Path(entry["file_name"]).stem,
                image=file_inside(images, entry["file_name"], path),
                label=path,
                size=(int(entry["height"]), int(entry["width"])),
                annotations=json.dumps(annotations.pop(entry["id"]), separators=(",", ":")),
            )
            for entry in content["images"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path}: not a file of COCO instance annotations: {error} is missing or has the wrong type"
        ) from None
    if not found:
        raise DatasetError(f"{path}: lists no images; unpack annotations_trainval2017.zip again")
    return tuple(sorted(found, key=lambda files: files.name))


def _labels(categories: list[Mapping[str, Any]], path: Path) -> dict[int, int]:
    """Label value by category id."""
    for category in categories:
        if category["name"] not in Coco.things:
            raise DatasetError(
                f"{path}: category {category['name']!r} is not one of COCO's 80; convert other data sets to "
                "label maps and read them as 'folder'"
            )
    return {category["id"]: Coco.classes.index(category["name"]) for category in categories}


def decode_mask(
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """The mask of one annotation, rasterised by COCO's own code, shape `size`.

    Args:
        segmentation: Polygons, each a list x, y, x, y, ... of three points or more, in pixels; or run lengths
            as `{"size": [height, width], "counts": ...}`, where the counts are a list of integers or COCO's
            compressed text.
        size: Height and width of the image.

    Raises:
        ValueError: The segmentation is neither, or its run lengths are for another size.
    """
    # Imported here, because it is compiled and only COCO needs it.
    from pycocotools import mask

    height, width = size
    if isinstance(segmentation, Mapping):
        return _from_run_lengths(segmentation, size)
    if not isinstance(segmentation, Sequence) or not segmentation:
        raise ValueError("its segmentation is neither polygons nor run lengths")
    for polygon in segmentation:
        # pycocotools would read four numbers as a box.
        if not isinstance(polygon, Sequence) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon must be the x and y of three points or more")
        if not np.isfinite(np.asarray(polygon, dtype=np.float64)).all():
            raise ValueError("a polygon has a coordinate that is not finite")
    encoded = mask.merge(mask.frPyObjects([list(polygon) for polygon in segmentation], height, width))
    return decoded_run_lengths(encoded)


def decoded_run_lengths(encoded: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """The mask of run lengths in COCO's compressed form, shape (H, W)."""
    from pycocotools import mask

    with warnings.catch_warnings():
        # For every mask, pycocotools 2.0.11 uses an array interface that NumPy 2 deprecates.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return mask.decode(encoded).astype(bool)


def _from_run_lengths(segmentation: Mapping[str, Any], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    from pycocotools import mask

    counts = segmentation.get("counts")
    if list(segmentation.get("size", ())) != list(size):
        raise ValueError(
            f"its run lengths are for height and width {segmentation.get('size')}, the image has {list(size)}"
        )
    if isinstance(counts, str):
        encoded = {"size": list(size), "counts": counts.encode("ascii")}
        if int(mask.area(encoded)) > size[0] * size[1]:
            raise ValueError("its run lengths are longer than the image")
        return decoded_run_lengths(encoded)
    if not isinstance(counts, Sequence) or not all(isinstance(run, int) and run >= 0 for run in counts):
        raise ValueError("its counts are neither integers >= 0 nor COCO's compressed text")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(
            f"its run lengths add up to {sum(counts)}, not to the image's {size[0] * size[1]} pixels"
        )
    # Runs of 0 and 1 alternate, in column-major order.
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[1], size[0]).T
