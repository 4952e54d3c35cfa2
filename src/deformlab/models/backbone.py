"""What every backbone offers, its options, and the backbones by name.

Another family is a subclass of `Backbone` with the decorator `register`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from torch import Tensor, nn

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d
from deformlab.options import check_choices

__all__ = ["BACKBONES", "Backbone", "BackboneConfig", "build_backbone", "register"]

# Larger than any network and any feature map; far larger numbers overflow sizes and memory.
MAX_WIDTH = 64
MAX_DILATION = 4096


@dataclass(frozen=True)
class BackboneConfig:
    """The architecture of a backbone.

    Raises:
        ConfigError: An option is out of its range.
    """

    backbone: str = "resnet50"
    """`resnet10` (one basic block per stage, for small machines), `resnet18`, `resnet34`, `resnet50`,
    `resnet101` or `resnet152`."""

    width: float = 1.0
    """Factor on all channels, > 0 and <= 64; they become multiples of 8."""

    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per cell of the last feature map. At 8, conv4 has no stride and dilation 2."""

    conv5: Literal["atrous", "deformable", "modulated"] = "deformable"
    """What the last 3x3 convolutions are: `atrous`, `deformable` (DCNv1) or `modulated` (DCNv2)."""

    dilation: int = 2
    """Dilation of every 3x3 convolution of conv5, in cells of its output map, 1 to 4096."""

    num_deformable_layers: int | Literal["all"] = 3
    """How many 3x3 convolutions are deformable, counted from the end of the backbone (a basic block has two);
    `all` for every one of conv3 to conv5 (DCNv2; 13 in resnet50, where its text says 12). Without effect for
    `atrous`."""

    deform_groups: int = 1
    """Channel groups with offsets of their own, >= 1."""

    offset_dilation: int | None = None
    """Dilation of the convolutions that predict offsets, 1 to 4096; None for that of their layer (the paper),
    1 for the authors' code."""

    modulation_scale: float = 1.0
    """Largest modulation, > 0: 1 (DCNv2's paper) or 2 (its code)."""

    boundary: Literal["zeros", "clamp"] = "zeros"
    """Which samples of a deformable layer count at the border of its input: `zeros` (the authors' v2
    operator) or `clamp` (their v1 operator, DCNv1's code)."""

    batch_norm: Literal["trainable", "frozen", "sync"] = "trainable"
    """`trainable`, `frozen` (global statistics, fixed γ and β: the papers) or `sync` (over all processes)."""

    freeze_at: Literal[0, 1, 2, 3, 4, 5] = 0
    """Stages that are not trained, from the input: 0 none, 1 the stem, 2 also conv2 (the authors), up to 5
    for all. Their batch norm is frozen."""

    def __post_init__(self) -> None:
        """Refuses options that no backbone can have."""
        check_choices(self)
        if self.backbone not in BACKBONES:
            raise ConfigError(f"backbone must be one of {', '.join(BACKBONES)}, got {self.backbone!r}")
        if not 0 < self.width <= MAX_WIDTH:
            raise ConfigError(f"width must be > 0 and <= {MAX_WIDTH}, got {self.width}")
        for name, cells in (("dilation", self.dilation), ("offset_dilation", self.offset_dilation)):
            if cells is not None and not 1 <= cells <= MAX_DILATION:
                raise ConfigError(f"{name} must be in 1 to {MAX_DILATION}, got {cells}")
        count = self.num_deformable_layers
        if count != "all" and not (isinstance(count, int) and count >= 0):
            raise ConfigError(f"num_deformable_layers must be 'all' or >= 0, got {count!r}")
        if self.deform_groups < 1:
            raise ConfigError(f"deform_groups must be >= 1, got {self.deform_groups}")
        if not self.modulation_scale > 0:
            raise ConfigError(f"modulation_scale must be > 0, got {self.modulation_scale}")


class Backbone(nn.Module, ABC):
    """Turns an image into feature maps, stage by stage.

    Args:
        config: The options.

    Attributes:
        config: The options.
        channels: Channels of each stage's feature map, from the input to the output.
        strides: Input pixels per cell of each stage's feature map.
    """

    imagenet_files: ClassVar[dict[str, str]] = {}
    """File names of torchvision's ImageNet weights, by the backbone's name."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def stem(self, image: Tensor) -> Tensor:
        """What the first stage takes: (N, 3, H, W) to (N, C, H / s, W / s)."""

    @abstractmethod
    def stages(self) -> Sequence[nn.Module]:
        """The stages in forward order, each a module from feature map to feature map."""

    @abstractmethod
    def conv3x3_layers(self) -> dict[str, nn.Conv2d]:
        """Every 3x3 convolution of the stages by name (`layer4.2.conv2`), in forward order."""

    @abstractmethod
    def pixels_per_cell(self, layer: str) -> int:
        """Input pixels from one cell of a 3x3 convolution's input to the next.

        Cell (i, j) has its centre on pixel (i, j) times this.

        Args:
            layer: One of `conv3x3_layers`.

        Raises:
            ValueError: There is no such layer.
        """

    def forward(self, image: Tensor) -> Tensor:
        """The feature map of the last stage.

        Args:
            image: (N, 3, H, W), normalised.

        Returns:
            (N, channels[-1], ceil(H / strides[-1]), ceil(W / strides[-1])).
        """
        x = self.stem(image)
        for stage in self.stages():
            x = stage(x)
        return x

    def feature_maps(self, image: Tensor) -> list[Tensor]:
        """The feature maps of all stages, for heads that need several, as feature pyramids.

        Args:
            image: (N, 3, H, W), normalised.

        Returns:
            (N, channels[i], ceil(H / strides[i]), ceil(W / strides[i])) for each stage i.
        """
        maps = [self.stem(image)]
        for stage in self.stages():
            maps.append(stage(maps[-1]))
        return maps[1:]

    def tracked_layers(self) -> dict[str, nn.Conv2d]:
        """The layers whose effective dilation is reported: the deformable ones, else the last three."""
        layers = self.conv3x3_layers()
        deformable = [item for item in layers.items() if isinstance(item[1], DeformConv2d)]
        return dict(deformable or list(layers.items())[-3:])


BACKBONES: dict[str, type[Backbone]] = {}
"""The backbones by the name that configurations use; filled by `register`."""

B = TypeVar("B", bound=type[Backbone])


def register(*names: str) -> Callable[[B], B]:
    """Makes a class the backbone of these names.

    Args:
        names: Legal values of `BackboneConfig.backbone`.
    """

    def add(backbone: B) -> B:
        BACKBONES.update(dict.fromkeys(names, backbone))
        return backbone

    return add


def build_backbone(config: BackboneConfig) -> Backbone:
    """The backbone of a configuration, with random weights.

    Raises:
        ConfigError: The options do not fit this backbone.
    """
    return BACKBONES[config.backbone](config)
