"""Soft non-maximum suppression in plain PyTorch: selects the best box and lowers the scores of the others."""

import torch
from torch import Tensor

from deformlab.ops.reference.nms import overlaps

__all__ = ["soft_nms"]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.3,
    *,
    method: str = "gaussian",
    sigma: float = 0.6,
    min_score: float = 0.0,
    max_output: int | None = None,
    offset: int = 0,
) -> tuple[Tensor, Tensor]:
    """Select boxes by decreasing score, lowering the scores of neighbours; see `deformlab.ops.soft_nms`."""
    boxes, scores = boxes.detach(), scores.detach()
    dtype = torch.float64 if torch.float64 in (boxes.dtype, scores.dtype) else torch.float32
    boxes, current = boxes.to(dtype), scores.to(dtype)
    indices = (current.double() >= min_score).nonzero()[:, 0]
    boxes, current = boxes[indices], current[indices]
    selected, selected_scores = indices[:0], current[:0]
    while len(indices) and (max_output is None or len(selected) < max_output):
        best = (current == current.max()).nonzero()[0, 0]  # of equal scores, the lowest index
        selected = torch.cat((selected, indices[best, None]))
        selected_scores = torch.cat((selected_scores, current[best, None]))
        ious = overlaps(boxes[best], boxes, offset)
        if method == "gaussian":
            # In float64, so that implementations of exp agree once the factor is rounded to float32.
            factors = torch.where(ious > 0, (-(ious.double() ** 2) / sigma).exp().to(dtype), 1)
        else:
            factors = torch.where(ious.double() >= iou_threshold, 1 - ious, 1)
        current = current * factors
        remains = current.double() >= min_score
        remains[best] = False
        boxes, current, indices = boxes[remains], current[remains], indices[remains]
    return selected_scores.to(scores.dtype), selected
