"""The sample of a detection data set, and the base class of these data sets."""

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt

from deformlab.data.dataset import ImageDataset
from deformlab.data.reading import read_image
from deformlab.errors import DatasetError

__all__ = [
    "Annotation",
    "DetectionDataset",
    "DetectionSample",
    "ImageAnnotations",
    "annotated_sample",
    "faults",
]

IllegalBoxes = Literal["error", "skip"]


class DetectionSample(TypedDict):
    """One annotated image, before any transform.

    Attributes:
        image: RGB, shape (H, W, 3).
        boxes: Left, top, right and bottom edges in pixels from the top left corner of the image, shape
            (K, 4). Edges are continuous: the width is right - left.
        labels: Class indices from 0, shape (K,).
        difficult: Objects that are ignored in evaluation and left out of training (VOC), shape (K,).
        crowd: Boxes around several objects, treated alike (COCO), shape (K,).
        area: Areas by which object sizes are told apart: of the mask if there is one, else of the box, shape
            (K,).
        ids: Numbers of the annotations, shape (K,).
        masks: Run lengths in COCO's format, one per object; None without masks.
        name: Unique in its split; the file's stem if the sample is read from a file.
        image_id: Number of the image in its split.
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]
    crowd: npt.NDArray[np.bool_]
    area: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    masks: list[Mapping[str, Any]] | None
    name: str
    image_id: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object as its file has it.

    Attributes:
        id: What messages call it, for example `annotation 17` or `object 3`.
        number: Its number in the data set or in its image.
        box: Left, top, right and bottom edges.
        label: Class index.
        difficult: Whether it is difficult (VOC).
        crowd: Whether it stands for several objects (COCO).
        area: The annotated area; None for that of the box.
        segmentation: COCO's polygons or run lengths as JSON text, which takes a tenth of the memory of
            Python lists; None without a mask.
    """

    id: str
    number: int
    box: tuple[float, float, float, float]
    label: int
    difficult: bool = False
    crowd: bool = False
    area: float | None = None
    segmentation: str | None = None


@dataclass(frozen=True)
class ImageAnnotations:
    """One image and its objects.

    Attributes:
        name: Unique in its split.
        image: The image's file.
        source: The annotations' file.
        size: Height and width according to the annotations; None if they do not say.
        objects: The objects.
    """

    name: str
    image: Path
    source: Path
    size: tuple[int, int] | None
    objects: tuple[Annotation, ...]


class DetectionDataset(ImageDataset):
    """Base class of data sets with boxes. `classes` has no background.

    Subclasses define `find`. The other arguments are those of `ImageDataset`.

    Args:
        illegal_boxes: What to do with a box that has no area, a coordinate that is not finite, or no pixel
            inside the image: `error`, or `skip` to leave it out. Boxes that are partly outside are clipped.
        masks: Whether samples have masks, for data sets with masks.

    Attributes:
        layout: The folder's required contents, for messages; empty for generated images.
        images: The annotated images of the split.

    Raises:
        DatasetError: As in `ImageDataset`; on indexing also: a box is illegal.
    """

    layout: ClassVar[str] = ""
    images: Sequence[ImageAnnotations]

    def __init__(
        self,
        root: str | Path | None,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        cache: bool = False,
        illegal_boxes: IllegalBoxes = "error",
        masks: bool = False,
    ) -> None:
        super().__init__(root, split, transform, cache)
        if illegal_boxes not in get_args(IllegalBoxes):
            raise ValueError(f"illegal_boxes={illegal_boxes!r}: must be 'error' or 'skip'")
        self.illegal_boxes = illegal_boxes
        self.masks = masks
        self.images = self.find(self.folder(root), split)
        self.names = [image.name for image in self.images]
        for fault in faults(self.images):
            raise DatasetError(fault)

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
    @abstractmethod
    def find(cls, folder: Path, split: str) -> Sequence[ImageAnnotations]:
        """The annotated images of a split, sorted by name.

        Raises:
            DatasetError: A file of the split is missing or illegal.
        """

    def load(self, index: int) -> DetectionSample:
        """Read sample `index`."""
        return annotated_sample(
            self.images[index], read_image(self.images[index].image), index, self.illegal_boxes, self.masks
        )

    @classmethod
    def check(cls, sample: DetectionSample, source: str) -> None:
        """Refuse nothing more: `load` has checked the boxes."""

    def object_counts(self) -> list[int]:
        """The number of objects of each image that are neither difficult nor crowds."""
        return [sum(not (entry.difficult or entry.crowd) for entry in image.objects) for image in self.images]

    def keep(self, indices: Sequence[int]) -> None:
        """Leave out all images but some."""
        self.images = [self.images[index] for index in indices]
        self.names = [image.name for image in self.images]

    def sizes(self) -> list[tuple[int, int] | None]:
        """The height and width of each image as annotated; None where the annotations do not say."""
        return [image.size for image in self.images]

    def contents(self) -> list[list[Any]]:
        """Each image's name and size in bytes, and its boxes."""
        return [
            [image.name, image.image.stat().st_size, [[*entry.box, entry.label] for entry in image.objects]]
            for image in self.images
        ]

    def source(self, index: int) -> str:
        """The annotations' file."""
        return str(self.images[index].source)


def faults(images: Sequence[ImageAnnotations]) -> list[str]:
    """One line for each image that is missing or listed twice."""
    found = [
        f"{image.image}: the image is missing, but {image.source} lists it; add it or remove the entry"
        for image in images
        if not image.image.is_file()
    ]
    names = Counter(image.name for image in images)
    last = {image.name: image.source for image in images}
    return found + [
        f"{last[name]}: lists the image {name} twice; remove one of the entries"
        for name, count in names.items()
        if count > 1
    ]


def annotated_sample(
    annotations: ImageAnnotations,
    image: npt.NDArray[np.uint8],
    image_id: int,
    illegal_boxes: IllegalBoxes = "error",
    masks: bool = False,
) -> DetectionSample:
    """A sample with checked and clipped boxes.

    Args:
        annotations: The objects.
        image: The image, shape (H, W, 3).
        image_id: Number of the image in its split.
        illegal_boxes: As in `DetectionDataset`.
        masks: Whether the sample has masks.

    Raises:
        DatasetError: The image has another size than the annotations say, or a box or mask is illegal. The
            message names the file, the image and the annotation.
    """
    height, width = image.shape[:2]
    if annotations.size not in (None, (height, width)):
        assert annotations.size is not None
        raise DatasetError(
            f"{annotations.image}: is {width}x{height} but {annotations.source} is for "
            f"{annotations.size[1]}x{annotations.size[0]}; put the matching image there, or correct the size"
        )
    kept, boxes, rles = [], [], []
    for entry in annotations.objects:
        clipped = np.clip(np.asarray(entry.box, dtype=np.float64), 0, (width, height, width, height))
        left, top, right, bottom = clipped
        if not (np.isfinite(entry.box).all() and left < right and top < bottom):
            if illegal_boxes == "skip":
                continue
            raise DatasetError(
                f"{annotations.source}: {entry.id} of image {annotations.name}: the box "
                f"{[round(float(edge), 2) for edge in entry.box]} (left, top, right, bottom) "
                f"{_fault(entry.box, width, height)}; correct it, or leave such boxes out with "
                "--data.options '{illegal_boxes: skip}'"
            )
        if masks:
            rles.append(_run_lengths(entry, annotations, (height, width)))
        kept.append(entry)
        boxes.append(clipped)
    box_array = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    sides = box_array[:, 2:].astype(np.float64) - box_array[:, :2]
    areas = [
        side[0] * side[1] if entry.area is None else entry.area
        for entry, side in zip(kept, sides, strict=True)
    ]
    return DetectionSample(
        image=image,
        boxes=box_array,
        labels=np.asarray([entry.label for entry in kept], dtype=np.int64),
        difficult=np.asarray([entry.difficult for entry in kept], dtype=np.bool_),
        crowd=np.asarray([entry.crowd for entry in kept], dtype=np.bool_),
        area=np.asarray(areas, dtype=np.float64),
        ids=np.asarray([entry.number for entry in kept], dtype=np.int64),
        masks=rles if masks else None,
        name=annotations.name,
        image_id=image_id,
    )


def _fault(box: tuple[float, float, float, float], width: int, height: int) -> str:
    if not np.isfinite(box).all():
        return "has a coordinate that is not finite"
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        return "has no area"
    return f"is outside the image of {width}x{height}"


def _run_lengths(
    entry: Annotation, annotations: ImageAnnotations, size: tuple[int, int]
) -> Mapping[str, Any]:
    from pycocotools import mask as coco_mask

    from deformlab.data.coco import decode_mask

    try:
        if entry.segmentation is None:
            raise ValueError("it has no segmentation")
        decoded = decode_mask(json.loads(entry.segmentation), size)
    except ValueError as error:
        raise DatasetError(
            f"{annotations.source}: {entry.id} of image {annotations.name}: {error}; fix or remove it"
        ) from None
    return coco_mask.encode(np.asfortranarray(decoded.astype(np.uint8)))
