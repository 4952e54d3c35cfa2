"""Assignment of objects to anchors and regions, and random sampling of them for training.

Sources: Faster R-CNN (arXiv 1506.01497), section 3.1.2; Fast R-CNN (arXiv 1504.08083), section 2.3; the
thresholds are those of the authors' code.

Shape letters: R anchors or regions, K objects.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from deformlab.models.detection.boxes import box_iou

__all__ = ["Matches", "match_anchors", "match_regions", "sample"]

BACKGROUND, IGNORED = -1, -2


class Matches(NamedTuple):
    """The object of each anchor or region.

    Attributes:
        object: (R,) int64: index of the object; -1 for background; -2 if it takes no part in training.
        overlap: (R,) the IoU with the best object; 0 without objects.
    """

    object: Tensor
    overlap: Tensor

    @property
    def positive(self) -> Tensor:
        """(R,) whether there is an object."""
        return self.object >= 0


def match_anchors(
    anchors: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    positive: float = 0.7,
    negative: float = 0.3,
) -> Matches:
    """Assign objects to anchors.

    Positive are anchors with an IoU of at least `positive` with an object, and the best anchors of each
    object, all of them if several are equal. Of the others, those below `negative` are background. Anchors
    that cross the border of the image take no part.

    Args:
        anchors: (R, 4).
        boxes: (K, 4); K may be 0.
        size: Height and width of the image.
        positive: IoU of positive anchors, in (0, 1].
        negative: IoU below which an anchor is background, in [0, positive].
    """
    height, width = size
    inside = (
        (anchors[:, 0] >= 0) & (anchors[:, 1] >= 0) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
    )
    found = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    if len(boxes) == 0:
        found[~inside] = IGNORED
        return Matches(found, anchors.new_zeros(len(anchors)))
    iou = box_iou(anchors, boxes) * inside[:, None]
    overlap, best = iou.max(1)
    found[overlap >= negative] = IGNORED
    highest = iou.max(0).values
    # An object that overlaps no anchor inside the image has no best anchor.
    is_best = ((iou == highest) & (highest > 0)).any(1)
    chosen = is_best | (overlap >= positive)
    found[chosen] = best[chosen]
    found[~inside] = IGNORED
    return Matches(found, overlap)


def match_regions(
    regions: Tensor, boxes: Tensor, positive: float = 0.5, background: tuple[float, float] = (0.0, 0.5)
) -> Matches:
    """Assign objects to regions.

    Args:
        regions: (R, 4).
        boxes: (K, 4); K may be 0.
        positive: IoU from which a region has the class of its best object, in (0, 1].
        background: IoU from which and below which a region is background. Regions between the intervals take
            no part. Without objects, all regions are background.
    """
    found = torch.full((len(regions),), BACKGROUND, device=regions.device)
    if len(boxes) == 0:
        return Matches(found, regions.new_zeros(len(regions)))
    overlap, best = box_iou(regions, boxes).max(1)
    low, high = background
    found[~((overlap >= low) & (overlap < high))] = IGNORED
    chosen = overlap >= positive
    found[chosen] = best[chosen]
    return Matches(found, overlap)


def sample(matches: Matches, count: int, positive_share: float) -> Tensor:
    """Draw anchors or regions for training, positive ones first.

    At most `count · positive_share` are positive, rounded down; background fills the rest. Both are drawn
    without replacement from PyTorch's random numbers.

    Args:
        matches: The assignment.
        count: Number to draw, >= 1; fewer if there are not as many.
        positive_share: Largest share of positive ones, in [0, 1].

    Returns:
        (at most `count`,) indices.
    """
    positive = matches.positive.nonzero()[:, 0]
    background = (matches.object == BACKGROUND).nonzero()[:, 0]
    positive = _draw(positive, int(count * positive_share))
    return torch.cat([positive, _draw(background, count - len(positive))])


def _draw(indices: Tensor, count: int) -> Tensor:
    if len(indices) <= count:
        return indices
    # Drawn on the CPU, so that a GPU draws the same.
    return indices[torch.randperm(len(indices))[:count].to(indices.device)]
