"""The two residual blocks of ResNet (arXiv 1512.03385, figure 5), with any kind of 3x3 convolutions."""

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from torch import Tensor, nn

__all__ = ["BasicBlock", "Bottleneck", "Conv3x3"]

Conv3x3: TypeAlias = Callable[[str, int, int, int, int], nn.Conv2d]
"""Function that makes a 3x3 convolution, padded to keep the size at stride 1, from its name, input channels,
output channels, stride and dilation."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        name: The name of the block in the network, such as `layer4.0`. `conv3x3` receives the names of the
            convolutions, such as `layer4.0.conv1`.
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution.
        dilation: Dilation of both convolutions.
        conv3x3: Function that makes the convolutions.
        norm: Function that makes a normalisation layer from its number of channels.
    """

    expansion: ClassVar[int] = 1
    conv3x3_names: ClassVar[tuple[str, ...]] = ("conv1", "conv2")

    def __init__(
        self,
        name: str,
        in_channels: int,
        channels: int,
        stride: int,
        dilation: int,
        conv3x3: Conv3x3,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(f"{name}.conv1", in_channels, channels, stride, dilation)
        self.bn1 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(f"{name}.conv2", channels, channels, 1, dilation)
        self.bn2 = norm(channels)
        self.downsample = _shortcut(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (N, channels, ceil(H / stride), ceil(W / stride)) from (N, in_channels, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """A 1x1 convolution that reduces the channels, a 3x3, a 1x1 that expands them again, and a shortcut.

    Args:
        name: The name of the block in the network, such as `layer4.0`. `conv3x3` receives the name of the
            convolution, such as `layer4.0.conv2`.
        in_channels: Channels of the input.
        channels: Channels of the 3x3 convolution; the output has four times as many.
        stride: Stride of the 3x3 convolution.
        dilation: Dilation of the 3x3 convolution.
        conv3x3: Function that makes the 3x3 convolution.
        norm: Function that makes a normalisation layer from its number of channels.
    """

    expansion: ClassVar[int] = 4
    conv3x3_names: ClassVar[tuple[str, ...]] = ("conv2",)

    def __init__(
        self,
        name: str,
        in_channels: int,
        channels: int,
        stride: int,
        dilation: int,
        conv3x3: Conv3x3,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = conv3x3(f"{name}.conv2", channels, channels, stride, dilation)
        self.bn2 = norm(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (N, 4·channels, ceil(H / stride), ceil(W / stride)) from (N, in_channels, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)


def _shortcut(
    in_channels: int, out_channels: int, stride: int, norm: Callable[[int], nn.Module]
) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), norm(out_channels))
