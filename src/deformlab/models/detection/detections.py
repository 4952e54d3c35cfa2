"""What a detector found in one image."""

from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Detections"]


class Detections(NamedTuple):
    """The detections of one image, sorted by decreasing score.

    Attributes:
        boxes: (D, 4) boxes `(x1, y1, x2, y2)` in pixels of the original image, with continuous edges: the
            width is x2 - x1.
        scores: (D,) probabilities.
        labels: (D,) int64 classes, 0 to C - 1.
        masks: D run lengths of COCO, `{"size": [height, width], "counts": bytes}`; None if the network
            predicts no masks.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: list[dict[str, Any]] | None = None
