"""Plain pooling of regions for detectors; deformable pooling is in `deformlab.layers`.

Shape letters: N images, C channels of the map, K regions, k bins per side, O outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deformlab.models.detection.config import DetectorConfig
from deformlab.ops import ps_roi_pool, roi_align, roi_mean_pool, roi_pool

__all__ = ["PlainPooling", "PlainPositionSensitivePooling", "inclusive", "rois_of"]


def rois_of(boxes: Sequence[Tensor]) -> Tensor:
    """Return the boxes of N images as regions for the operators.

    Args:
        boxes: For each image (L, 4).

    Returns:
        (K, 5), the index of the image first.
    """
    parts = [
        torch.cat([of_image.new_full((len(of_image), 1), image), of_image], dim=1)
        for image, of_image in enumerate(boxes)
    ]
    return torch.cat(parts)


def inclusive(rois: Tensor) -> Tensor:
    """Return regions whose right and bottom edges are their last pixels, as the authors' operators expect.

    Args:
        rois: (K, 5), with continuous edges.
    """
    return rois - rois.new_tensor([0, 0, 0, 1, 1])


class PlainPooling(nn.Module):
    """Pools regions of all channels: max, mean or RoIAlign.

    Args:
        config: `plain_pooling` and `bins`.
        stride: Pixels of the network's input per cell of the map.
    """

    def __init__(self, config: DetectorConfig, stride: int) -> None:
        super().__init__()
        self.kind = config.plain_pooling
        self.bins = config.bins
        self.scale = 1 / stride

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Pool regions.

        Args:
            features: (N, C, H, W).
            rois: (K, 5), with continuous edges.

        Returns:
            (K, C, k, k).
        """
        if self.kind == "align":
            return roi_align(features, rois, self.bins, self.scale, sampling_ratio=2, aligned=True)
        pool = roi_pool if self.kind == "max" else roi_mean_pool
        return pool(features, inclusive(rois), self.bins, self.scale)


class PlainPositionSensitivePooling(nn.Module):
    """Pools the score maps of R-FCN: the mean of each bin's own channels.

    Args:
        config: `bins`.
        stride: Pixels of the network's input per cell of the map.
    """

    def __init__(self, config: DetectorConfig, stride: int) -> None:
        super().__init__()
        self.bins = config.bins
        self.scale = 1 / stride

    def forward(self, maps: Tensor, rois: Tensor) -> Tensor:
        """Pool regions.

        Args:
            maps: (N, O·k·k, H, W).
            rois: (K, 5), with continuous edges.

        Returns:
            (K, O, k, k).
        """
        return ps_roi_pool(maps, inclusive(rois), self.bins, self.scale)
