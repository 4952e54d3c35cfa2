"""What a detector finds in an image."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Detections"]


class Detections(NamedTuple):
    """The detections of one image, by decreasing score.

    Attributes:
        boxes: (D, 4) left, top, right and bottom edges, in pixels of the original image.
        scores: (D,), from 0 to 1.
        labels: (D,) int64, classes from 0.
        masks: D masks as COCO's run lengths of the original image's size; None for networks without masks.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Sequence[Mapping[str, Any]] | None = None
