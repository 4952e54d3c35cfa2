"""Heads that classify pooled regions and refine their boxes: Faster R-CNN's and R-FCN's.

Shape letters: N images, K regions, C classes without the background, k bins per side.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from deformlab.layers import DeformPSRoIPool, DeformRoIPool
from deformlab.models.detection.config import DetectorConfig
from deformlab.models.detection.roi_pooling import (
    PlainPooling,
    PlainPositionSensitivePooling,
    inclusive,
)

__all__ = ["FullyConnectedHead", "PositionSensitiveHead", "RegionScores", "reduction"]


class RegionScores(NamedTuple):
    """What a head says of regions.

    Attributes:
        logits: (K, C + 1), at least float32; column 0 is the background.
        codes: (K, 4·B) box codes relative to the region in units of `REGRESSION_STD`, at least float32; B = 1
            for all classes together, else C + 1.
    """

    logits: Tensor
    codes: Tensor


def reduction(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 1x1 convolution and a ReLU, which reduce the channels of the backbone's last map (DCNv1, 2.3)."""
    layer = nn.Conv2d(in_channels, out_channels, 1)
    initialise(layer)
    return nn.Sequential(layer, nn.ReLU(inplace=True))


def initialise(*layers: nn.Conv2d | nn.Linear) -> None:
    """Initialise new layers as the authors' code does: weights N(0, 0.01), biases 0."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, layer.bias))


class FullyConnectedHead(nn.Module):
    """Two fully connected layers on pooled regions (Faster R-CNN in DCNv1, section 2.3).

    Args:
        in_channels: Channels of the backbone's last map.
        stride: Pixels of the network's input per cell of that map.
        num_classes: C.
        config: Pooling and widths.
    """

    def __init__(self, in_channels: int, stride: int, num_classes: int, config: DetectorConfig) -> None:
        super().__init__()
        self.reduce = reduction(in_channels, config.reduction_channels)
        if config.roi_pooling == "plain":
            self.pool: nn.Module = PlainPooling(config, stride)
        else:
            self.pool = DeformRoIPool(
                config.reduction_channels,
                config.bins,
                1 / stride,
                modulated=config.roi_pooling == "modulated",
                hidden_channels=config.offset_channels if config.roi_pooling == "modulated" else None,
                gamma=config.gamma,
                samples_per_bin=config.samples_per_bin,
            )
        width = config.reduction_channels * config.bins**2
        self.fc1 = nn.Linear(width, config.fc_channels)
        self.fc2 = nn.Linear(config.fc_channels, config.fc_channels)
        boxes = 1 if config.agnostic_boxes else num_classes + 1
        self.classifier = nn.Linear(config.fc_channels, num_classes + 1)
        self.box_regressor = nn.Linear(config.fc_channels, 4 * boxes)
        initialise(self.fc1, self.fc2, self.classifier, self.box_regressor)

    def forward(self, features: Tensor, rois: Tensor) -> RegionScores:
        """Classify regions.

        Args:
            features: (N, channels, H, W), the backbone's last map.
            rois: (K, 5), with continuous edges.
        """
        return self.scores(self.region_features(features, rois))

    def hidden_layers(self) -> list[nn.Conv2d | nn.Linear]:
        """The new layers that are followed by a ReLU."""
        return [cast(nn.Conv2d, self.reduce[0]), self.fc1, self.fc2]

    def region_features(self, features: Tensor, rois: Tensor) -> Tensor:
        """Return the second layer's output, (K, fc_channels)."""
        rois = rois if isinstance(self.pool, PlainPooling) else inclusive(rois)
        pooled = self.pool(self.reduce(features), rois)
        return torch.relu(self.fc2(torch.relu(self.fc1(pooled.flatten(1)))))

    def scores(self, region_features: Tensor) -> RegionScores:
        """Classify the output of `region_features`."""
        return _scores(self.classifier(region_features), self.box_regressor(region_features))


class PositionSensitiveHead(nn.Module):
    """Position-sensitive score maps (R-FCN, arXiv 1605.06409).

    Boxes are regressed once for all classes; the authors' maps have eight outputs for boxes, of which the
    last four are used.

    Args:
        in_channels: Channels of the backbone's last map.
        stride: Pixels of the network's input per cell of that map.
        num_classes: C.
        config: Pooling and widths.
    """

    def __init__(self, in_channels: int, stride: int, num_classes: int, config: DetectorConfig) -> None:
        super().__init__()
        self.reduce = reduction(in_channels, config.reduction_channels)
        bins = config.bins**2
        self.class_maps = nn.Conv2d(config.reduction_channels, bins * (num_classes + 1), 1)
        self.box_maps = nn.Conv2d(config.reduction_channels, bins * 8, 1)
        initialise(self.class_maps, self.box_maps)
        self.deformable = config.roi_pooling != "plain"
        if self.deformable:

            def pooling(classes: int) -> nn.Module:
                return DeformPSRoIPool(
                    config.reduction_channels,
                    config.bins,
                    1 / stride,
                    classes,
                    modulated=config.roi_pooling == "modulated",
                    gamma=config.gamma,
                    samples_per_bin=config.samples_per_bin,
                )

            self.class_pool, self.box_pool = pooling(num_classes + 1), pooling(1)
        else:
            self.class_pool = self.box_pool = PlainPositionSensitivePooling(config, stride)

    def hidden_layers(self) -> list[nn.Conv2d | nn.Linear]:
        """The new layers that are followed by a ReLU."""
        return [cast(nn.Conv2d, self.reduce[0])]

    def forward(self, features: Tensor, rois: Tensor) -> RegionScores:
        """Classify regions.

        Args:
            features: (N, channels, H, W), the backbone's last map.
            rois: (K, 5), with continuous edges.
        """
        reduced = self.reduce(features)
        class_maps, box_maps = self.class_maps(reduced), self.box_maps(reduced)
        if self.deformable:
            regions = inclusive(rois)
            logits = self.class_pool(class_maps, reduced, regions)
            codes = self.box_pool(box_maps, reduced, regions)
        else:
            logits, codes = self.class_pool(class_maps, rois), self.box_pool(box_maps, rois)
        return _scores(logits.mean((2, 3)), codes.mean((2, 3))[:, 4:])


def _scores(logits: Tensor, codes: Tensor) -> RegionScores:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return RegionScores(logits.to(dtype), codes.to(dtype))
