"""Region proposal network, as in Faster R-CNN (arXiv 1506.01497), section 3.1, and the authors' code.

Shape letters: N images, A anchors per cell, R = H·W·A anchors of an image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deformlab.models.detection.anchors import anchor_grid, base_anchors
from deformlab.models.detection.boxes import clip_boxes, decode_boxes, encode_boxes
from deformlab.models.detection.config import DetectorConfig
from deformlab.models.detection.losses import smooth_l1_sum
from deformlab.models.detection.matching import match_anchors, sample
from deformlab.ops import nms

__all__ = ["RegionProposalNetwork", "ScoredAnchors"]

SMOOTH_L1_SIGMA = 3.0


class ScoredAnchors(NamedTuple):
    """What the network says of the anchors of a batch.

    Attributes:
        logits: (N, R, 2) of background and object, at least float32.
        codes: (N, R, 4) boxes relative to the anchors, at least float32.
        anchors: (R, 4).
    """

    logits: Tensor
    codes: Tensor
    anchors: Tensor


class RegionProposalNetwork(nn.Module):
    """Scores anchors as object or background, and moves them onto objects.

    Args:
        in_channels: Channels of the feature map.
        stride: Pixels of the network's input between neighbouring cells of the feature map.
        config: Width, anchors, proposals and sampling.
    """

    anchors: Tensor

    def __init__(self, in_channels: int, stride: int, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.stride = stride
        base = base_anchors(config.anchor_ratios, config.anchor_scales)
        self.register_buffer("anchors", base, persistent=False)
        self.conv = nn.Conv2d(in_channels, config.rpn_channels, 3, padding=1)
        # Channels 0 to A - 1 are the background's.
        self.scores = nn.Conv2d(config.rpn_channels, 2 * len(base), 1)
        self.boxes = nn.Conv2d(config.rpn_channels, 4 * len(base), 1)
        for layer in (self.conv, self.scores, self.boxes):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> ScoredAnchors:
        """Score and move the anchors of a feature map.

        Args:
            features: (N, C, H, W).
        """
        hidden = F.relu(self.conv(features))
        number, count = len(features), len(self.anchors)
        logits = self.scores(hidden).unflatten(1, (2, count)).permute(0, 3, 4, 2, 1).reshape(number, -1, 2)
        codes = self.boxes(hidden).unflatten(1, (count, 4)).permute(0, 3, 4, 1, 2).reshape(number, -1, 4)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        anchors = anchor_grid(self.anchors, (features.shape[-2], features.shape[-1]), self.stride)
        return ScoredAnchors(logits.to(dtype), codes.to(dtype), anchors)

    @torch.no_grad()
    def proposals(self, scored: ScoredAnchors, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Return the best proposals of each image. No gradient flows through them.

        Args:
            scored: The anchors.
            sizes: Height and width of the valid part of each image.

        Returns:
            For each image, at most `config.proposals` boxes (P, 4), by decreasing score.
        """
        config = self.config
        found = []
        for of_image, code, size in zip(scored.logits, scored.codes, sizes, strict=True):
            score = of_image.softmax(1)[:, 1]
            score, order = score.topk(min(config.proposals_before_nms, len(score)))
            boxes = clip_boxes(decode_boxes(scored.anchors[order], code[order]), size)
            # Anchors beyond the padding of a smaller image of the batch leave nothing when they are clipped.
            whole = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
            boxes, score = boxes[whole], score[whole]
            found.append(boxes[nms(boxes, score, config.proposal_nms)[: config.proposals]])
        return found

    def losses(
        self, scored: ScoredAnchors, sizes: Sequence[tuple[int, int]], boxes: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses of anchors: cross-entropy and smooth L1 (sigma 3), means over the images.

        Args:
            scored: The anchors.
            sizes: Height and width of the valid part of each image.
            boxes: The objects of each image, (K, 4).

        Returns:
            `rpn_class` and `rpn_box`. An image's losses are divided by `config.rpn_batch`, or for the
            classes by the number of sampled anchors, as in the authors' code.
        """
        of_class, of_box = [], []
        anchors = scored.anchors
        for of_image, code, size, objects in zip(scored.logits, scored.codes, sizes, boxes, strict=True):
            matches = match_anchors(anchors, objects, size)
            chosen = sample(matches, self.config.rpn_batch, 0.5)
            positive = matches.positive[chosen]
            # An image that is smaller than every anchor has none to learn from.
            if len(chosen):
                of_class.append(F.cross_entropy(of_image[chosen], positive.long()))
            else:
                of_class.append(of_image.sum() * 0)
            moved = chosen[positive]
            target = encode_boxes(anchors[moved], objects[matches.object[moved]])
            of_box.append(smooth_l1_sum(code[moved], target, SMOOTH_L1_SIGMA) / self.config.rpn_batch)
        return {"rpn_class": torch.stack(of_class).mean(), "rpn_box": torch.stack(of_box).mean()}
