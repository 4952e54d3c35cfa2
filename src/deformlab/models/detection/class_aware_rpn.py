"""The class-aware region proposal network, a detector of one stage (DCNv1, arXiv 1703.06211, section 4).

The paper says little about it, and no code is public. Ours reads the map of conv5, because the paper's
results change with the layers of conv5. It regresses one box for all classes unless options say otherwise.

Shape letters: N images, A anchors per cell, R = H·W·A anchors of an image, C classes without the background,
B boxes per anchor (1, or C + 1).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deformlab.errors import ConfigError
from deformlab.models.backbone import Backbone
from deformlab.models.detection.anchors import anchor_grid, base_anchors
from deformlab.models.detection.boxes import clip_boxes, decode_boxes, encode_boxes
from deformlab.models.detection.config import DetectorConfig
from deformlab.models.detection.heads import initialise, reduction
from deformlab.models.detection.losses import smooth_l1_sum
from deformlab.models.detection.matching import match_anchors, sample
from deformlab.models.detection.rpn import SMOOTH_L1_SIGMA, ScoredAnchors
from deformlab.models.detection.two_stage import Candidates, Targets

__all__ = ["ClassAwareRPN"]


class ClassAwareRPN(nn.Module):
    """A region proposal network whose anchors have C + 1 scores. It pools no regions.

    Args:
        backbone: The network whose last map is read.
        num_classes: Number of classes C without the background, >= 1.
        config: Widths, anchors and sampling: `rpn_batch` anchors per image, at most half of them positive.
    """

    anchors: Tensor

    def __init__(self, backbone: Backbone, num_classes: int, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.backbone = backbone
        base = base_anchors(config.anchor_ratios, config.anchor_scales)
        self.register_buffer("anchors", base, persistent=False)
        self.reduce = reduction(backbone.channels[-1], config.reduction_channels)
        self.conv = nn.Conv2d(config.reduction_channels, config.rpn_channels, 3, padding=1)
        boxes = 1 if config.agnostic_boxes else num_classes + 1
        self.scores = nn.Conv2d(config.rpn_channels, (num_classes + 1) * len(base), 1)
        self.boxes = nn.Conv2d(config.rpn_channels, 4 * boxes * len(base), 1)
        initialise(self.conv, self.scores, self.boxes)
        if config.initialization == "kaiming":
            for layer in (self.reduce[0], self.conv):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]

    def scored(self, image: Tensor) -> ScoredAnchors:
        """Score and move all anchors.

        Args:
            image: (N, 3, H, W), normalised, padded on the right and at the bottom.

        Returns:
            `logits` (N, R, C + 1), `codes` (N, R, 4·B) and `anchors` (R, 4).
        """
        hidden = F.relu(self.conv(self.reduce(self.backbone(image))))
        number, count = len(hidden), len(self.anchors)

        def of_anchors(values: Tensor) -> Tensor:
            dtype = torch.promote_types(values.dtype, torch.float32)
            each = values.unflatten(1, (count, -1)).permute(0, 3, 4, 1, 2)
            return each.reshape(number, -1, each.shape[-1]).to(dtype)

        size = (hidden.shape[-2], hidden.shape[-1])
        anchors = anchor_grid(self.anchors, size, self.backbone.strides[-1])
        return ScoredAnchors(of_anchors(self.scores(hidden)), of_anchors(self.boxes(hidden)), anchors)

    def forward(self, image: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Candidates]:
        """Find candidates: the `proposals_before_nms` anchors with the lowest background score.

        Args:
            image: (N, 3, H, W), normalised, padded on the right and at the bottom.
            sizes: Height and width of the valid part of each image.
        """
        scored = self.scored(image)
        found = []
        for logits, codes, size in zip(scored.logits, scored.codes, sizes, strict=True):
            scores = logits.softmax(1)
            count = min(self.config.proposals_before_nms, len(scores))
            order = scores[:, 0].topk(count, largest=False).indices
            boxes = clip_boxes(decode_boxes(scored.anchors[order], codes[order]), size)
            # Anchors beyond the padding of a smaller image of the batch leave nothing when they are clipped.
            edges = boxes.unflatten(1, (-1, 4))
            whole = ((edges[..., 2:] - edges[..., :2]) > 0).all(2).all(1)
            found.append(Candidates(boxes[whole], scores[order][whole]))
        return found

    def rescore(
        self, image: Tensor, boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Candidates]:
        """Refuse to score given boxes, since this detector pools no regions.

        Args:
            image: As for `forward`.
            boxes: For each image (K, 4).
            sizes: As for `forward`.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "rescoring: class_aware_rpn pools no regions, so it cannot score boxes again; remove the option"
        )

    def losses(self, image: Tensor, sizes: Sequence[tuple[int, int]], targets: Targets) -> dict[str, Tensor]:
        """Compute the losses of a batch, each a mean over images.

        Args:
            image: (N, 3, H, W), normalised, padded on the right and at the bottom.
            sizes: Height and width of the valid part of each image.
            targets: The objects.

        Returns:
            `class`, the mean cross-entropy of the sampled anchors, and `box`, the smooth L1 loss (sigma 3) of
            the positive ones divided by `rpn_batch`.
        """
        scored = self.scored(image)
        of_class, of_box = [], []
        for logits, codes, size, objects, labels in zip(
            scored.logits, scored.codes, sizes, targets.boxes, targets.labels, strict=True
        ):
            matches = match_anchors(scored.anchors, objects, size)
            chosen = sample(matches, self.config.rpn_batch, 0.5)
            moved = chosen[matches.positive[chosen]]
            label = torch.zeros_like(matches.object)
            label[moved] = labels[matches.object[moved]] + 1
            # An image that is smaller than every anchor has none to learn from.
            of_class.append(
                F.cross_entropy(logits[chosen], label[chosen]) if len(chosen) else logits.sum() * 0
            )
            each = codes[moved].unflatten(1, (-1, 4))
            column = label[moved] if each.shape[1] > 1 else torch.zeros_like(moved)
            code = each[torch.arange(len(each), device=each.device), column]
            target = encode_boxes(scored.anchors[moved], objects[matches.object[moved]])
            of_box.append(smooth_l1_sum(code, target, SMOOTH_L1_SIGMA) / self.config.rpn_batch)
        return {"class": torch.stack(of_class).mean(), "box": torch.stack(of_box).mean()}
