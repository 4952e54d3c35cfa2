"""ResNet (arXiv 1512.03385) whose last stages are atrous or deformable: DCNv1 sections 2.3 and 4.1.

Modules are named as torchvision's, so that its ImageNet checkpoints load as they are. As there, a
bottleneck's stride is on its 3x3 convolution; in the authors' network it is on the 1x1 before it.
"""

from collections.abc import Collection
from typing import Literal, NamedTuple

from torch import Tensor, nn

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d
from deformlab.models.batch_norm import BATCH_NORMS, FrozenBatchNorm2d
from deformlab.models.blocks import BasicBlock, Bottleneck

__all__ = ["ResNet"]


class _Architecture(NamedTuple):
    block: type[BasicBlock | Bottleneck]
    depths: tuple[int, int, int, int]


ARCHITECTURES = {
    "resnet10": _Architecture(BasicBlock, (1, 1, 1, 1)),
    "resnet18": _Architecture(BasicBlock, (2, 2, 2, 2)),
    "resnet34": _Architecture(BasicBlock, (3, 4, 6, 3)),
    "resnet50": _Architecture(Bottleneck, (3, 4, 6, 3)),
    "resnet101": _Architecture(Bottleneck, (3, 4, 23, 3)),
    "resnet152": _Architecture(Bottleneck, (3, 8, 36, 3)),
}
# Beyond every network and every feature map; far larger numbers overflow sizes and memory.
MAX_WIDTH = 64
MAX_DILATION = 4096
CONV5 = ("atrous", "deformable", "modulated")
# Strides of layer1 to layer4 and layer3's dilation, which keeps its reach where its stride is gone.
STRIDES = {8: ((1, 2, 1, 1), 2), 16: ((1, 2, 2, 1), 1), 32: ((1, 2, 2, 2), 1)}


class ResNet(nn.Module):
    """The backbone: image to the feature map of conv5 (`layer4`).

    Args:
        name: `resnet10` (one basic block per stage, for small machines), `resnet18`, `resnet34`,
            `resnet50`, `resnet101` or `resnet152`.
        width: Factor on all channels, > 0 and <= 64; they become multiples of 8.
        output_stride: Input pixels per cell of the feature map: 8, 16 or 32. At 8, layer3 has no stride and
            dilation 2.
        conv5: What the last 3x3 convolutions are: `atrous`, `deformable` (DCNv1) or `modulated` (DCNv2).
        dilation: Dilation of every 3x3 convolution of layer4 in cells of its output map, 1 to 4096.
        num_deformable_layers: How many 3x3 convolutions are deformable, counted from the end of the network
            (a basic block has two); `all` for every one of layer2 to layer4 (DCNv2; 13 in resnet50, where
            its text says 12). No meaning for `atrous`.
        deform_groups: Channel groups with offsets of their own, >= 1.
        offset_dilation: Dilation of the convolutions that predict offsets, 1 to 4096; None for that of their
            layer.
        modulation_scale: Largest modulation: 1 (DCNv2's paper) or 2 (its code).
        boundary: Which samples of a deformable layer count at the border of its input: `zeros` (the authors'
            v2 operator) or `clamp` (their v1 operator, DCNv1's code).
        batch_norm: `trainable`, `frozen` (global statistics, fixed γ and β) or `sync` (over all processes).
        freeze_at: Stages that are not trained, from the input: 0 none, 1 the stem, 2 also layer1 (the
            authors), up to 5 for all. Their batch norm is frozen.

    Raises:
        ConfigError: An argument is out of its range.

    Attributes:
        out_channels: Channels of the feature map, 2048 for resnet50 at width 1.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self,
        name: str = "resnet50",
        *,
        width: float = 1.0,
        output_stride: Literal[8, 16, 32] = 16,
        conv5: Literal["atrous", "deformable", "modulated"] = "atrous",
        dilation: int = 2,
        num_deformable_layers: int | Literal["all"] = 3,
        deform_groups: int = 1,
        offset_dilation: int | None = None,
        modulation_scale: float = 1.0,
        boundary: Literal["zeros", "clamp"] = "zeros",
        batch_norm: Literal["trainable", "frozen", "sync"] = "trainable",
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        _check_choice("backbone", name, ARCHITECTURES)
        _check_choice("output_stride", output_stride, STRIDES)
        _check_choice("conv5", conv5, CONV5)
        _check_choice("batch_norm", batch_norm, BATCH_NORMS)
        _check_choice("freeze_at", freeze_at, range(6))
        if not 0 < width <= MAX_WIDTH:
            raise ConfigError(f"width must be > 0 and <= {MAX_WIDTH}, got {width}")
        for argument, cells in (("dilation", dilation), ("offset_dilation", offset_dilation)):
            if cells is not None and not 1 <= cells <= MAX_DILATION:
                raise ConfigError(f"{argument} must be in 1 to {MAX_DILATION}, got {cells}")
        self.name = name
        self.width = width
        block, depths = ARCHITECTURES[name]
        strides, layer3_dilation = STRIDES[output_stride]
        deformable = _deformable_names(block, depths, conv5, num_deformable_layers)

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
                    deform_groups=deform_groups,
                    modulated=conv5 == "modulated",
                    offset_dilation=offset_dilation,
                    modulation_scale=modulation_scale,
                    boundary=boundary,
                )
            except ValueError as error:
                raise ConfigError(f"{name}: {error}") from error

        def norm(stage: int) -> type[nn.Module]:
            return FrozenBatchNorm2d if stage < freeze_at else BATCH_NORMS[batch_norm]

        channels = [_scaled(planes, width) for planes in (64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(3, channels[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(0)(channels[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = channels[0]
        for stage, dilation_of_stage in enumerate((1, 1, layer3_dilation, dilation), start=1):
            blocks = []
            for index in range(depths[stage - 1]):
                blocks.append(
                    block(
                        f"layer{stage}.{index}",
                        in_channels,
                        channels[stage - 1],
                        strides[stage - 1] if index == 0 else 1,
                        dilation_of_stage,
                        conv3x3,
                        norm(stage),
                    )
                )
                in_channels = channels[stage - 1] * block.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.out_channels = in_channels
        self._initialise()
        self._freeze(freeze_at)

    def forward(self, image: Tensor) -> Tensor:
        """The feature map of layer4.

        Args:
            image: (N, 3, H, W), normalised with ImageNet's mean and standard deviation.

        Returns:
            (N, out_channels, ceil(H / output_stride), ceil(W / output_stride)).
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        for stage in self._stages():
            x = stage(x)
        return x

    def conv3x3_layers(self) -> dict[str, nn.Conv2d]:
        """Every 3x3 convolution of layer1 to layer4 by name (`layer4.2.conv2`), in forward order."""
        return {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, nn.Conv2d)
            and module.kernel_size == (3, 3)
            and not name.endswith(".conv_offset")
        }

    def tracked_layers(self) -> dict[str, nn.Conv2d]:
        """The layers whose effective dilation is worth a table: the deformable ones, else the last three."""
        layers = self.conv3x3_layers()
        deformable = [item for item in layers.items() if isinstance(item[1], DeformConv2d)]
        return dict(deformable or list(layers.items())[-3:])

    def pixels_per_cell(self, layer: str) -> int:
        """Pixels of the image from one cell of a 3x3 convolution's input to the next.

        Every convolution and pooling here is centred, so that cell (i, j) has its centre on pixel
        (i, j) times this.

        Args:
            layer: One of `conv3x3_layers`.

        Raises:
            ValueError: There is no such layer.
        """
        pixels = 4  # of the stem; from there on, only 3x3 convolutions have strides
        for name, convolution in self.conv3x3_layers().items():
            if name == layer:
                return pixels
            pixels *= convolution.stride[0]
        raise ValueError(f"layer must be one of {', '.join(self.conv3x3_layers())}, got {layer!r}")

    def _stages(self) -> list[nn.Module]:
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def _freeze(self, stages: int) -> None:
        for module in [nn.ModuleList([self.conv1, self.bn1]), *self._stages()][:stages]:
            module.requires_grad_(False)

    def _initialise(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith("conv_offset"):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _check_choice(name: str, value: object, legal: Collection[object]) -> None:
    if value not in legal:
        raise ConfigError(f"{name} must be one of {', '.join(map(str, legal))}, got {value!r}")


def _scaled(channels: int, width: float) -> int:
    return max(8, 8 * round(channels * width / 8))


def _deformable_names(
    block: type[BasicBlock | Bottleneck],
    depths: tuple[int, int, int, int],
    conv5: str,
    num_deformable_layers: int | str,
) -> set[str]:
    """Names of the 3x3 convolutions that are deformable."""
    if conv5 == "atrous":
        return set()
    names = [
        f"layer{stage}.{index}.{conv}"
        for stage, depth in enumerate(depths, start=1)
        for index in range(depth)
        for conv in block.conv3x3_names
    ]
    if num_deformable_layers == "all":
        return {name for name in names if not name.startswith("layer1")}
    if not isinstance(num_deformable_layers, int) or not 0 <= num_deformable_layers <= len(names):
        raise ConfigError(
            f"num_deformable_layers must be 'all' or 0 to {len(names)}, the 3x3 convolutions of this "
            f"backbone, got {num_deformable_layers!r}"
        )
    return set(names[len(names) - num_deformable_layers :])
