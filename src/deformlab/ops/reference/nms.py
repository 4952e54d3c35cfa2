"""Non-maximum suppression in plain PyTorch.

Source: py-faster-rcnn and the authors' code, lib/nms.
"""

import torch
from torch import Tensor

__all__ = ["nms"]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, *, offset: int = 0) -> Tensor:
    """Compute the same as `deformlab.ops.nms`, with operations of PyTorch.

    Args:
        boxes: As for `deformlab.ops.nms`, like all other arguments. They are not checked here.
        scores: (R,).
        iou_threshold: From 0 to 1.
        offset: 0 or 1.
    """
    dtype = torch.promote_types(boxes.dtype, torch.float32)
    order = scores.sort(descending=True, stable=True).indices
    left = boxes[order].to(dtype)
    kept = []
    while len(order):
        kept.append(order[0])
        first, left, order = left[0], left[1:], order[1:]
        survives = ~(_iou(first, left, offset) > iou_threshold)
        left, order = left[survives], order[survives]
    return torch.stack(kept) if kept else order


def _iou(box: Tensor, boxes: Tensor, offset: int) -> Tensor:
    """Return the IoU of one box with others, (R,)."""
    size = (torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2]) + offset).clamp_min(0)
    intersection = size[:, 0] * size[:, 1]
    own = box[2:] - box[:2] + offset
    area = boxes[:, 2:] - boxes[:, :2] + offset
    return intersection / (own[0] * own[1] + area[:, 0] * area[:, 1] - intersection)
