"""Checks a batch of detections and objects, and converts it for the metrics of detectors.

Shape letters: D detections and K objects of an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deformlab.metrics.image_objects import has_integers, image_key

__all__ = [
    "DetectionImage",
    "DetectionsLike",
    "box_iou",
    "detection_images",
    "refuse_duplicate_images",
    "share_inside",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
_KEYS = ("boxes", "labels", "difficult", "crowd", "area", "name", "image_id", "original_size")


class DetectionsLike(Protocol):
    """The detections of one image; `deformlab.models.detection.Detections` is the usual type."""

    @property
    def boxes(self) -> Tensor:
        """(D, 4) boxes `(x1, y1, x2, y2)` in pixels of the original image; the width is x2 - x1."""

    @property
    def scores(self) -> Tensor:
        """(D,) scores; the detections are sorted by decreasing score."""

    @property
    def labels(self) -> Tensor:
        """(D,) classes, 0 to C - 1."""

    @property
    def masks(self) -> Any:
        """D run lengths in the format of COCO, or None."""


class DetectionImage(NamedTuple):
    """The detections and the objects of one image, as arrays on the CPU.

    Attributes:
        name: Name of the image, unique in the data set.
        image_id: Number of the image in the data set; metrics process images in this order.
        size: Height and width of the original image.
        boxes: (D, 4) boxes of the detections `(x1, y1, x2, y2)`, in pixels of the original image.
        scores: (D,) their scores.
        labels: (D,) their classes.
        masks: Their D run lengths, or None.
        object_boxes: (K, 4) boxes of the objects.
        object_labels: (K,) their classes.
        ignored: (K,) whether an object is difficult (VOC) or a crowd (COCO). It need not be found, and a
            detection of it is neither right nor wrong.
        area: (K,) areas of the objects in pixels, as annotated.
        object_masks: Their K run lengths, or None.
    """

    name: str
    image_id: int
    size: tuple[int, int]
    boxes: Floats
    scores: Floats
    labels: Integers
    masks: Sequence[Mapping[str, Any]] | None
    object_boxes: Floats
    object_labels: Integers
    ignored: Booleans
    area: Floats
    object_masks: Sequence[Mapping[str, Any]] | None

    @property
    def key(self) -> int:
        """The image's name as a number (`image_key`)."""
        return image_key(self.name)


def detection_images(
    detections: Sequence[DetectionsLike], targets: Mapping[str, Any], num_classes: int
) -> list[DetectionImage]:
    """Check a batch and convert it to arrays on the CPU.

    Args:
        detections: The detections of each of the N images.
        targets: A batch for evaluation. It has lists of N entries: `boxes` (K, 4), `labels`, `difficult`,
            `crowd` and `area` (K,), in pixels of the original images; `name`; `image_id`; `original_size`
            (height, width); and, for metrics of masks, `masks` (run lengths).
        num_classes: Number of classes C; labels are 0 to C - 1.

    Returns:
        The N images.

    Raises:
        ValueError: A key of `targets` is missing; the number of detections and images differ; a tensor has a
            wrong shape or type; a value is not finite; a box has x2 < x1 or y2 < y1; or a label is not a
            class. The message names the image.
    """
    missing = [key for key in _KEYS if key not in targets]
    if missing:
        raise ValueError(f"targets lacks {', '.join(missing)}")
    if len(detections) != len(targets["name"]):
        raise ValueError(f"detections has {len(detections)} images, but targets has {len(targets['name'])}")
    object_masks = targets.get("masks") or [None] * len(detections)
    images = []
    for i, found in enumerate(detections):
        name = targets["name"][i]
        boxes, labels = _boxes_and_labels(name, "detection", found.boxes, found.labels, num_classes)
        scores = _column(name, "scores of detections", found.scores, len(boxes))
        object_boxes, object_labels = _boxes_and_labels(
            name, "object", targets["boxes"][i], targets["labels"][i], num_classes
        )
        difficult, crowd, area = (
            _column(name, key, targets[key][i], len(object_boxes)) for key in ("difficult", "crowd", "area")
        )
        for what, masks, count in (
            ("detections", found.masks, len(boxes)),
            ("objects", object_masks[i], len(object_boxes)),
        ):
            if masks is not None and len(masks) != count:
                raise ValueError(f"image {name}: {count} boxes but {len(masks)} masks of {what}")
        height, width = targets["original_size"][i]
        images.append(
            DetectionImage(
                name=name,
                image_id=int(targets["image_id"][i]),
                size=(int(height), int(width)),
                boxes=boxes,
                scores=scores,
                labels=labels,
                masks=found.masks,
                object_boxes=object_boxes,
                object_labels=object_labels,
                ignored=(difficult != 0) | (crowd != 0),
                area=area,
                object_masks=object_masks[i],
            )
        )
    return images


def box_iou(boxes: Floats, others: Floats) -> Floats:
    """Return the intersection over union of each pair of boxes.

    Args:
        boxes: (N, 4) boxes `(x1, y1, x2, y2)` with x1 <= x2 and y1 <= y2.
        others: (M, 4) boxes.

    Returns:
        (N, M), from 0 to 1; 0 if both boxes have no area.
    """
    overlap = _overlap(boxes, others)
    union = _area(boxes)[:, None] + _area(others)[None] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def share_inside(boxes: Floats, others: Floats) -> Floats:
    """Return the share of each box's area that is inside each other box, (N, M).

    Boxes are as in `box_iou`; the share is 0 for a box without an area.
    """
    overlap, area = _overlap(boxes, others), _area(boxes)[:, None]
    return np.divide(overlap, area, out=np.zeros_like(overlap), where=area > 0)


def _overlap(boxes: Floats, others: Floats) -> Floats:
    lowest = np.maximum(boxes[:, None, :2], others[None, :, :2])
    highest = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.maximum(highest - lowest, 0).prod(2)


def _area(boxes: Floats) -> Floats:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def refuse_duplicate_images(keys: Integers, image_ids: Integers, names: Mapping[int, str]) -> None:
    """Refuse an image that was evaluated twice; its objects and detections would count twice.

    Args:
        keys: (I,) the `image_key` of each image, of all processes.
        image_ids: (I,) the number of each image in the data set.
        names: Names by key of the images that this process evaluated.

    Raises:
        ValueError: Two keys are equal. The message names the first such image.
    """
    unique, first, counts = np.unique(keys, return_index=True, return_counts=True)
    twice = np.flatnonzero(counts > 1)
    if len(twice):
        key, image_id = int(unique[twice[0]]), int(image_ids[first[twice[0]]])
        shown = names.get(key, f"with the image_id {image_id}")
        raise ValueError(
            f"image {shown} was evaluated {counts[twice[0]]} times; names of images must be unique, and each "
            "image must be evaluated once"
        )


def _boxes_and_labels(
    name: str, what: str, boxes: Tensor, labels: Tensor, num_classes: int
) -> tuple[Floats, Integers]:
    boxes, labels = torch.as_tensor(boxes), torch.as_tensor(labels)
    if boxes.dim() != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"image {name}: boxes and labels of {what}s must be (n, 4) and (n,), got {tuple(boxes.shape)} "
            f"and {tuple(labels.shape)}"
        )
    if not has_integers(labels):
        raise ValueError(f"image {name}: labels of {what}s must be of an integer type, got {labels.dtype}")
    corners, classes = boxes.detach().cpu().double().numpy(), labels.detach().cpu().long().numpy()
    with np.errstate(invalid="ignore"):  # a comparison with nan
        wrong = ~(np.isfinite(corners).all(1) & (corners[:, :2] <= corners[:, 2:]).all(1))
    if wrong.any():
        bad = int(wrong.argmax())
        raise ValueError(
            f"image {name}: {what} {bad} has the box {corners[bad].tolist()}; boxes must be finite with "
            "x1 <= x2 and y1 <= y2"
        )
    illegal = (classes < 0) | (classes >= num_classes)
    if illegal.any():
        bad = int(illegal.argmax())
        raise ValueError(
            f"image {name}: {what} {bad} has the label {classes[bad]}; legal are 0 to {num_classes - 1}"
        )
    return corners, classes


def _column(name: str, what: str, values: Tensor, count: int) -> Floats:
    values = torch.as_tensor(values)
    if values.shape != (count,):
        raise ValueError(f"image {name}: {what} must be ({count},) like the boxes, got {tuple(values.shape)}")
    column = values.detach().cpu().double().numpy()
    wrong = ~np.isfinite(column)
    if wrong.any():
        bad = int(wrong.argmax())
        raise ValueError(f"image {name}: {what} has the value {column[bad]} at index {bad}")
    return column
