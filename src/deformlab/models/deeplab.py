"""DeepLab as in DCNv1 (arXiv 1703.06211), sections 2.3 and 4.1."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deformlab.errors import ConfigError
from deformlab.models.backbone import Backbone

__all__ = ["DeepLab"]

MAX_HEAD_CHANNELS = 65536


class DeepLab(nn.Module):
    """Semantic segmentation network that computes class scores for every pixel.

    A 1x1 convolution reduces the channels of the backbone's last feature map, another one classifies each
    cell, and the scores are upsampled bilinearly.

    Source: DCNv1 (arXiv 1703.06211), sections 2.3 and 4.1.

    Args:
        backbone: The network whose last feature map is classified.
        num_classes: Number of classes C, >= 1.
        head_channels: Output channels of the first 1x1 convolution, 1 to 65536.
        head_relu: Whether a ReLU follows the first 1x1 convolution. It does in the authors' code; the paper
            mentions none.

    Raises:
        ConfigError: An argument is out of its range.
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, head_channels: int = 1024, head_relu: bool = True
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"num_classes must be >= 1, got {num_classes}")
        if not 1 <= head_channels <= MAX_HEAD_CHANNELS:
            raise ConfigError(f"head_channels must be in 1 to {MAX_HEAD_CHANNELS}, got {head_channels}")
        self.backbone = backbone
        self.reduce = nn.Conv2d(backbone.channels[-1], head_channels, 1)
        self.relu = nn.ReLU(inplace=True) if head_relu else nn.Identity()
        self.classifier = nn.Conv2d(head_channels, num_classes, 1)
        nn.init.kaiming_normal_(self.reduce.weight, nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.01)
        for layer in (self.reduce, self.classifier):
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, image: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Compute the scores before the softmax, upsampled bilinearly.

        Args:
            image: (N, 3, H, W), normalised.
            size: Height and width of the scores; None for the size of the image.

        Returns:
            (N, C, height, width). At least float32, even under autocast, because upsampled scores in bf16
            would often be equal for several classes.
        """
        scores = self.classifier(self.relu(self.reduce(self.backbone(image))))
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        size = (image.shape[-2], image.shape[-1]) if size is None else size
        return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
