"""Anchors of region proposal networks, as in the authors' code.

Source: Faster R-CNN (arXiv 1506.01497), section 3.1.1; py-faster-rcnn's `generate_anchors`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["anchor_grid", "base_anchors"]

BASE = 16


def base_anchors(ratios: Sequence[float], scales: Sequence[float]) -> Tensor:
    """Return the anchors of the cell at the top left corner of the image.

    As in the authors' code, the sides of an anchor of scale 1 are rounded to whole pixels, and its centre is
    that of a box of 16x16 pixels at the corner.

    Args:
        ratios: Heights over widths, each > 0.
        scales: Sizes in units of 16 pixels, each > 0.

    Returns:
        (A, 4) float32, with A = number of ratios times number of scales; all scales of the first ratio come
        first.
    """
    anchors = []
    for ratio in ratios:
        width = round((BASE * BASE / ratio) ** 0.5)
        height = round(width * ratio)
        for scale in scales:
            half_width, half_height = width * scale / 2, height * scale / 2
            anchors.append(
                (BASE / 2 - half_width, BASE / 2 - half_height, BASE / 2 + half_width, BASE / 2 + half_height)
            )
    return torch.tensor(anchors)


def anchor_grid(base: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Return the anchors of all cells of a feature map.

    Args:
        base: (A, 4), from `base_anchors`.
        size: Height and width of the feature map.
        stride: Pixels of the network's input between neighbouring cells.

    Returns:
        (H·W·A, 4): the A anchors of the first cell, then those of the next cell in the same row, and so on.
    """
    height, width = size
    y = torch.arange(height, device=base.device) * stride
    x = torch.arange(width, device=base.device) * stride
    shift = torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1).repeat(1, 2)
    return (shift[:, None] + base[None]).view(-1, 4)
