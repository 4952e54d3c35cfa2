"""Boxes: overlap, the coding of one box relative to another, and clipping.

A box is (x1, y1, x2, y2) with continuous edges: x1 is the left edge and x2 the right edge, so its width is
x2 - x1. The authors' code has inclusive pixels instead: its x2 is ours minus 1, and its width is
x2 - x1 + 1. Both give the same widths, centres and overlaps.

Shape letters: K objects, R regions or anchors, C classes.
"""

import math

import torch
from torch import Tensor

__all__ = [
    "MAX_LOG_SIZE",
    "REGRESSION_STD",
    "box_area",
    "box_iou",
    "clip_boxes",
    "decode_boxes",
    "encode_boxes",
]

MAX_LOG_SIZE = math.log(1e4)
"""Largest |dw| and |dh| that are decoded. The papers have no such limit; it only prevents infinite boxes."""

REGRESSION_STD = (0.1, 0.1, 0.2, 0.2)
"""Standard deviations by which the targets of R-CNN's box regression are divided (authors' code)."""


def box_area(boxes: Tensor) -> Tensor:
    """Return the areas of boxes.

    Args:
        boxes: (..., 4). A box with x2 < x1 or y2 < y1 has area 0.

    Returns:
        (...,), in squared pixels.
    """
    size = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0)
    return size[..., 0] * size[..., 1]


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of each pair of boxes.

    Args:
        boxes: (R, 4).
        others: (K, 4).

    Returns:
        (R, K), from 0 to 1. Two boxes without area have an IoU of 0.
    """
    top_left = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    size = (bottom_right - top_left).clamp_min(0)
    intersection = size[..., 0] * size[..., 1]
    union = box_area(boxes)[:, None] + box_area(others)[None] - intersection
    return intersection / union.clamp_min(torch.finfo(union.dtype).tiny)


def encode_boxes(
    reference: Tensor, boxes: Tensor, std: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Express boxes relative to reference boxes, as targets of box regression (R-CNN, appendix C).

    Args:
        reference: (R, 4), each with a width and height > 0.
        boxes: (R, 4), each with a width and height > 0.
        std: The numbers by which dx, dy, dw and dh are divided, each > 0.

    Returns:
        (R, 4): dx and dy, the shift of the centre in units of the reference's size; dw and dh, the logarithms
        of the ratio of the sizes.
    """
    size, target_size = reference[:, 2:] - reference[:, :2], boxes[:, 2:] - boxes[:, :2]
    centre, target_centre = (reference[:, :2] + reference[:, 2:]) / 2, (boxes[:, :2] + boxes[:, 2:]) / 2
    codes = torch.cat([(target_centre - centre) / size, (target_size / size).log()], dim=1)
    return codes / codes.new_tensor(std)


def decode_boxes(
    reference: Tensor, codes: Tensor, std: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Invert `encode_boxes`, for one or several codes per reference box.

    Args:
        reference: (R, 4).
        codes: (R, 4·C): C times dx, dy, dw, dh.
        std: As for `encode_boxes`.

    Returns:
        (R, 4·C), in at least float32.
    """
    dtype = torch.promote_types(torch.promote_types(reference.dtype, codes.dtype), torch.float32)
    reference, codes = reference.to(dtype), codes.to(dtype)
    each = codes.view(len(codes), -1, 4) * codes.new_tensor(std)
    size = (reference[:, 2:] - reference[:, :2])[:, None]
    centre = (reference[:, :2] + reference[:, 2:])[:, None] / 2 + each[..., :2] * size
    half = each[..., 2:].clamp(-MAX_LOG_SIZE, MAX_LOG_SIZE).exp() * size / 2
    return torch.cat([centre - half, centre + half], dim=2).view(len(codes), -1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip boxes to an image.

    Args:
        boxes: (R, 4·C).
        size: Height and width of the image in pixels.

    Returns:
        (R, 4·C), with every x in [0, width] and every y in [0, height].
    """
    height, width = size
    edges = boxes.view(len(boxes), -1, 4)
    x, y = edges[..., 0::2].clamp(0, width), edges[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1).view(boxes.shape)
