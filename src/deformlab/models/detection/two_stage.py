"""Detectors with two stages: region proposals, then a head on each region. Faster R-CNN and R-FCN.

Sources: Faster R-CNN (arXiv 1506.01497); R-FCN (arXiv 1605.06409) with online hard example mining (arXiv
1604.03540); both as DCNv1 (arXiv 1703.06211), section 2.3, and its code have them.

Shape letters: N images, K regions, C classes without the background.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deformlab.models.backbone import Backbone
from deformlab.models.detection.boxes import REGRESSION_STD, clip_boxes, decode_boxes, encode_boxes
from deformlab.models.detection.config import DetectorConfig
from deformlab.models.detection.heads import FullyConnectedHead, PositionSensitiveHead, RegionScores
from deformlab.models.detection.losses import smooth_l1_sum
from deformlab.models.detection.matching import IGNORED, Matches, match_regions, sample
from deformlab.models.detection.roi_pooling import rois_of
from deformlab.models.detection.rpn import RegionProposalNetwork

__all__ = ["Candidates", "Targets", "TwoStageDetector"]

SMOOTH_L1_SIGMA = 1.0


class Targets(NamedTuple):
    """The objects of a batch of training images.

    Attributes:
        boxes: For each image (K, 4), in pixels of the network's input.
        labels: For each image (K,) int64, classes from 0.
    """

    boxes: Sequence[Tensor]
    labels: Sequence[Tensor]


class Candidates(NamedTuple):
    """The classified regions of one image, before non-maximum suppression.

    Attributes:
        boxes: (K, 4·B), in pixels of the network's input; B = 1 for all classes together, else C + 1.
        scores: (K, C + 1) probabilities; column 0 is the background.
    """

    boxes: Tensor
    scores: Tensor


class TwoStageDetector(nn.Module):
    """Faster R-CNN or R-FCN.

    The region proposal network reads the map of conv4, the head that of conv5, which has stride 1 and
    dilation 2 (output stride 16).

    Args:
        backbone: The network whose last two maps are read.
        num_classes: Number of classes C without the background, >= 1.
        config: The options.
    """

    def __init__(self, backbone: Backbone, num_classes: int, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.backbone = backbone
        self.rpn = RegionProposalNetwork(backbone.channels[-2], backbone.strides[-2], config)
        head = FullyConnectedHead if config.architecture == "faster_rcnn" else PositionSensitiveHead
        self.head = head(backbone.channels[-1], backbone.strides[-1], num_classes, config)
        if config.initialization == "kaiming":
            for layer in (self.rpn.conv, *self.head.hidden_layers()):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, image: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Candidates]:
        """Find candidates.

        Args:
            image: (N, 3, H, W), normalised, padded on the right and at the bottom.
            sizes: Height and width of the valid part of each image.
        """
        maps = self.backbone.feature_maps(image)
        proposals = self.rpn.proposals(self.rpn(maps[-2]), sizes)
        return self.classify(maps[-1], proposals, sizes)

    def rescore(
        self, image: Tensor, boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Candidates]:
        """Classify given boxes instead of proposals, for example detections of a first round.

        Args:
            image: As for `forward`.
            boxes: For each image (K, 4), in pixels of the network's input.
            sizes: As for `forward`.
        """
        return self.classify(self.backbone(image), boxes, sizes)

    def classify(
        self, features: Tensor, proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Candidates]:
        """Classify given boxes, for example the proposals, or detections that are scored again.

        Args:
            features: (N, channels, H, W), the backbone's last map.
            proposals: For each image (K, 4), in pixels of the network's input.
            sizes: As for `forward`.
        """
        found = self.head(features, rois_of(proposals))
        counts = [len(of_image) for of_image in proposals]
        return [
            Candidates(clip_boxes(decode_boxes(boxes, codes, REGRESSION_STD), size), logits.softmax(1))
            for boxes, logits, codes, size in zip(
                proposals, found.logits.split(counts), found.codes.split(counts), sizes, strict=True
            )
        ]

    def losses(self, image: Tensor, sizes: Sequence[tuple[int, int]], targets: Targets) -> dict[str, Tensor]:
        """Compute the losses of a batch, each a mean over images.

        Args:
            image: (N, 3, H, W), normalised, padded on the right and at the bottom.
            sizes: Height and width of the valid part of each image.
            targets: The objects.

        Returns:
            `rpn_class`, `rpn_box`, `class` and `box`; their sum is trained.
        """
        maps = self.backbone.feature_maps(image)
        anchors = self.rpn(maps[-2])
        losses = self.rpn.losses(anchors, sizes, targets.boxes)
        proposals = self.rpn.proposals(anchors, sizes)
        # The objects join the proposals, so that there are good regions from the first step on.
        regions = [torch.cat(pair) for pair in zip(proposals, targets.boxes, strict=True)]
        matches = [self._match(*pair) for pair in zip(regions, targets.boxes, strict=True)]
        if not self.config.mines_hard_examples:
            chosen = [
                sample(found, self.config.roi_batch, self.config.roi_positive_share) for found in matches
            ]
            regions = [of_image[index] for of_image, index in zip(regions, chosen, strict=True)]
            matches = [
                Matches(found.object[i], found.overlap[i]) for found, i in zip(matches, chosen, strict=True)
            ]
        found = self.head(maps[-1], rois_of(regions))
        counts = [len(of_image) for of_image in regions]
        of_images = [
            self._region_losses(RegionScores(logits, codes), boxes, match, objects, labels)
            for logits, codes, boxes, match, objects, labels in zip(
                found.logits.split(counts),
                found.codes.split(counts),
                regions,
                matches,
                targets.boxes,
                targets.labels,
                strict=True,
            )
        ]
        of_class, of_box = (torch.stack(parts).mean() for parts in zip(*of_images, strict=True))
        return losses | {"class": of_class, "box": of_box}

    def _match(self, regions: Tensor, objects: Tensor) -> Matches:
        # Mining uses all regions as background; sampling leaves out those far from any object.
        low = 0.0 if self.config.mines_hard_examples or len(objects) == 0 else 0.1
        return match_regions(regions, objects, 0.5, (low, 0.5))

    def _region_losses(
        self, found: RegionScores, regions: Tensor, matches: Matches, objects: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of one image's regions: cross-entropy and smooth L1."""
        positive = matches.positive
        label = torch.zeros_like(matches.object)
        label[positive] = labels[matches.object[positive]] + 1
        of_class = F.cross_entropy(found.logits, label, reduction="none")
        target = encode_boxes(regions[positive], objects[matches.object[positive]], REGRESSION_STD)
        codes = found.codes[positive].unflatten(1, (-1, 4))
        column = label[positive] if codes.shape[1] > 1 else torch.zeros_like(label[positive])
        codes = codes[torch.arange(len(codes), device=codes.device), column]
        weight = (matches.object != IGNORED).to(of_class.dtype)
        if self.config.mines_hard_examples:
            weight = weight * self._hardest(of_class, codes, target, positive, weight)
        kept = weight[positive][:, None]
        # As in the authors' code: the class loss is a mean over the regions, the box loss is divided by their
        # intended number.
        return (
            (of_class * weight).sum() / weight.sum().clamp_min(1),
            smooth_l1_sum(codes * kept, target * kept, SMOOTH_L1_SIGMA) / self.config.roi_batch,
        )

    @torch.no_grad()
    def _hardest(
        self, of_class: Tensor, codes: Tensor, target: Tensor, positive: Tensor, weight: Tensor
    ) -> Tensor:
        """Return 1 for the `roi_batch` regions with the largest sum of class and box loss, else 0."""
        loss = of_class.detach().clone()
        loss[positive] += F.smooth_l1_loss(codes, target, reduction="none").sum(1)
        loss = torch.where(weight > 0, loss, -torch.ones_like(loss))
        hardest = loss.topk(min(self.config.roi_batch, len(loss))).indices
        return torch.zeros_like(loss).index_fill(0, hardest, 1.0)
