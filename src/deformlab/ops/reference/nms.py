"""Non-maximum suppression in plain PyTorch: one loop over the boxes, by decreasing score."""

import torch
from torch import Tensor

__all__ = ["batched_nms", "nms", "overlaps"]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, *, offset: int = 0) -> Tensor:
    """Keep each box that no kept box with a higher score overlaps; see `deformlab.ops.nms`."""
    return batched_nms(boxes, scores, torch.zeros_like(scores), iou_threshold, offset=offset)


def batched_nms(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float, *, offset: int = 0
) -> Tensor:
    """Do the same for each class alone; see `deformlab.ops.batched_nms`."""
    order = scores.sort(descending=True, stable=True).indices
    boxes, idxs = boxes[order], idxs[order]
    keeps = torch.ones_like(order, dtype=torch.bool)
    for i in range(len(order)):
        if keeps[i]:
            # Compared in float64: in float32, the threshold would be rounded first.
            too_close = overlaps(boxes[i], boxes[i + 1 :], offset).double() > iou_threshold
            keeps[i + 1 :] &= ~(too_close & (idxs[i + 1 :] == idxs[i]))
    return order[keeps]


def overlaps(box: Tensor, boxes: Tensor, offset: int) -> Tensor:
    """Return the IoU of one box with each of others.

    Args:
        box: (4,), as (x1, y1, x2, y2), in any of the four floating dtypes.
        boxes: (N, 4), in the same dtype.
        offset: Added to widths and heights: 0 or 1.

    Returns:
        (N,), in float64 if the boxes are, otherwise in float32. Each operation is rounded separately. Where
        both areas are zero, and where a box has NaN or is infinite, the IoU is zero or NaN.
    """
    dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
    box, boxes = box.to(dtype), boxes.to(dtype)
    area, areas = ((b[..., 2:] - b[..., :2] + offset).prod(-1) for b in (box, boxes))
    first, last = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    intersections = (last - first + offset).clamp(min=0).prod(-1)
    return intersections / (area + areas - intersections)
