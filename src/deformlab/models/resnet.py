"""ResNet (arXiv 1512.03385) whose last layers are atrous or deformable, as in DCNv1, sections 2.3 and 4.1.

Modules have the same names as in torchvision, so torchvision's ImageNet checkpoints load without conversion.
As in torchvision, a bottleneck has its stride in the 3x3 convolution. In the authors' network, the stride is
in the 1x1 convolution before it.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import NamedTuple

from torch import Tensor, nn

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d
from deformlab.models.backbone import Backbone, BackboneConfig, register
from deformlab.models.batch_norm import BATCH_NORMS, FrozenBatchNorm2d
from deformlab.models.blocks import BasicBlock, Bottleneck

__all__ = ["ResNet"]


class _Architecture(NamedTuple):
    block: type[BasicBlock | Bottleneck]
    depths: tuple[int, int, int, int]

    def conv3x3_names(self) -> list[str]:
        """Return the names of the 3x3 convolutions of all stages, in forward order."""
        return [
            f"layer{stage}.{index}.{conv}"
            for stage, depth in enumerate(self.depths, start=1)
            for index in range(depth)
            for conv in self.block.conv3x3_names
        ]


ARCHITECTURES = {
    "resnet10": _Architecture(BasicBlock, (1, 1, 1, 1)),
    "resnet18": _Architecture(BasicBlock, (2, 2, 2, 2)),
    "resnet34": _Architecture(BasicBlock, (3, 4, 6, 3)),
    "resnet50": _Architecture(Bottleneck, (3, 4, 6, 3)),
    "resnet101": _Architecture(Bottleneck, (3, 4, 23, 3)),
    "resnet152": _Architecture(Bottleneck, (3, 8, 36, 3)),
}
STEM_STRIDE = 4
# By output stride: the strides of layer1 to layer4, and the dilation of layer3. Without its stride, layer3
# needs dilation 2 to keep its receptive field.
STRIDES = {8: ((1, 2, 1, 1), 2), 16: ((1, 2, 2, 1), 1), 32: ((1, 2, 2, 2), 1)}


@register(*ARCHITECTURES)
class ResNet(Backbone):
    """ResNet-10 to ResNet-152. The stages conv2 to conv5 of the papers are called `layer1` to `layer4`.

    Source: arXiv 1512.03385; for atrous and deformable layers, DCNv1 (arXiv 1703.06211), sections 2.3 and
        4.1.

    Args:
        config: The options. `config.backbone` is `resnet10`, `resnet18`, `resnet34`, `resnet50`, `resnet101`
            or `resnet152`.

    Raises:
        ConfigError: `num_deformable_layers` or `deform_groups` does not fit this network.
    """

    # The weights IMAGENET1K_V1 of torchvision. It has none for resnet10.
    imagenet_files = {  # noqa: RUF012 (declared in the base class)
        "resnet18": "resnet18-f37072fd.pth",
        "resnet34": "resnet34-b627a593.pth",
        "resnet50": "resnet50-0676ba61.pth",
        "resnet101": "resnet101-63fe2227.pth",
        "resnet152": "resnet152-394f9c45.pth",
    }

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        architecture = ARCHITECTURES[config.backbone]
        block = architecture.block
        strides, layer3_dilation = STRIDES[config.output_stride]
        dilations = (1, 1, layer3_dilation, config.dilation)
        widths = [_scaled(channels, config.width) for channels in (64, 128, 256, 512)]
        deformable = _deformable_names(architecture.conv3x3_names(), config)

        def conv3x3(name: str, in_channels: int, out_channels: int, stride: int, dilation: int) -> nn.Conv2d:
            if name not in deformable:
                return nn.Conv2d(in_channels, out_channels, 3, stride, dilation, dilation, bias=False)
            try:
                return DeformConv2d(
                    in_channels,
                    out_channels,
                    3,
                    stride,
                    dilation,
                    dilation,
                    bias=False,
                    deform_groups=config.deform_groups,
                    modulated=config.conv5 == "modulated",
                    offset_dilation=config.offset_dilation,
                    modulation_scale=config.modulation_scale,
                    boundary=config.boundary,
                )
            except ValueError as error:
                raise ConfigError(f"{name}: {error}") from error

        def norm(stage: int) -> type[nn.Module]:
            return FrozenBatchNorm2d if stage < config.freeze_at else BATCH_NORMS[config.batch_norm]

        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(0)(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = widths[0]
        for stage, (depth, width, stride, dilation) in enumerate(
            zip(architecture.depths, widths, strides, dilations, strict=True), start=1
        ):
            blocks = []
            for index in range(depth):
                name = f"layer{stage}.{index}"
                stride_here = stride if index == 0 else 1
                blocks.append(block(name, in_channels, width, stride_here, dilation, conv3x3, norm(stage)))
                in_channels = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.channels = tuple(width * block.expansion for width in widths)
        self.strides = tuple(accumulate(strides, mul, initial=STEM_STRIDE))[1:]
        self._initialise()
        self._freeze(config.freeze_at)

    def stem(self, image: Tensor) -> Tensor:
        """Compute the input of `layer1`, (N, C, ceil(H / 4), ceil(W / 4)), from an image (N, 3, H, W)."""
        return self.maxpool(self.relu(self.bn1(self.conv1(image))))

    def stages(self) -> Sequence[nn.Module]:
        """Return `layer1` to `layer4`."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def conv3x3_layers(self) -> dict[str, nn.Conv2d]:
        """Return all 3x3 convolutions of layer1 to layer4 by name (`layer4.2.conv2`), in forward order."""
        return {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, nn.Conv2d)
            and module.kernel_size == (3, 3)
            and not name.endswith(".conv_offset")
        }

    def pixels_per_cell(self, layer: str) -> int:
        """Return the distance between neighbouring cells of a 3x3 convolution's input; see `Backbone`."""
        pixels = STEM_STRIDE  # after the stem, only 3x3 convolutions are strided, and all of them are centred
        for name, convolution in self.conv3x3_layers().items():
            if name == layer:
                return pixels
            pixels *= convolution.stride[0]
        raise ValueError(f"layer must be one of {', '.join(self.conv3x3_layers())}, got {layer!r}")

    def _freeze(self, stages: int) -> None:
        for module in [nn.ModuleList([self.conv1, self.bn1]), *self.stages()][:stages]:
            module.requires_grad_(False)

    def _initialise(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith("conv_offset"):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _scaled(channels: int, width: float) -> int:
    return max(8, 8 * round(channels * width / 8))


def _deformable_names(names: Sequence[str], config: BackboneConfig) -> set[str]:
    """Return the names of the 3x3 convolutions that are deformable."""
    if config.conv5 == "atrous":
        return set()
    count = config.num_deformable_layers
    if count == "all":
        return {name for name in names if not name.startswith("layer1")}
    if count > len(names):
        raise ConfigError(
            f"num_deformable_layers must be 'all' or 0 to {len(names)}, the 3x3 convolutions of "
            f"{config.backbone}, got {count}"
        )
    return set(names[len(names) - count :])
