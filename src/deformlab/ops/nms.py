"""Non-maximum suppression: the public function."""

from torch import Tensor

from deformlab.ops import reference
from deformlab.ops._impl.arguments import DTYPES, check_tensor

__all__ = ["nms"]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, *, offset: int = 0) -> Tensor:
    """Suppress boxes that overlap a box of a higher score.

    Args:
        boxes: (R, 4) left, top, right and bottom edges.
        scores: (R,).
        iou_threshold: IoU above which the box of the lower score is suppressed, 0 to 1.
        offset: Added to widths and heights: 0, or 1 as in the authors' code.

    Returns:
        (at most R,) int64 indices of the remaining boxes, by decreasing score.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal.
    """
    check_tensor("nms", "boxes", boxes, 2, DTYPES)
    check_tensor("nms", "scores", scores, 1, DTYPES, boxes.device)
    if boxes.shape[1] != 4 or len(boxes) != len(scores):
        raise ValueError(
            f"nms: boxes has shape {tuple(boxes.shape)} and scores {tuple(scores.shape)}; they must be "
            "(R, 4) and (R,)"
        )
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"nms: iou_threshold is {iou_threshold!r}; it must be in 0 to 1")
    if offset not in (0, 1):
        raise ValueError(f"nms: offset is {offset!r}; it must be 0 or 1")
    return reference.nms(boxes.detach(), scores.detach(), iou_threshold, offset=offset)
