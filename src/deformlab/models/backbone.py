"""The interface of backbones, their options, and the registry of backbones by name.

To add another family, write a subclass of `Backbone` and decorate it with `register`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeGuard, TypeVar

from torch import Tensor, nn

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d
from deformlab.options import check_choices

__all__ = ["BACKBONES", "Backbone", "BackboneConfig", "build_backbone", "register"]

# More than any real network or feature map needs. Much larger numbers would overflow sizes or exhaust the
# memory.
MAX_WIDTH = 64
MAX_DILATION = 4096


@dataclass(frozen=True)
class BackboneConfig:
    """The options of a backbone's architecture.

    Raises:
        ConfigError: An option is out of its range.
    """

    backbone: str = "resnet50"
    """`resnet10` (one basic block per stage, for small machines), `resnet18`, `resnet34`, `resnet50`,
    `resnet101` or `resnet152`."""

    width: float = 1.0
    """Factor on the number of channels of every layer, > 0 and <= 64. The results are rounded to multiples of
    8, at least 8."""

    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per cell of the last feature map. At 8, conv4 has dilation 2 instead of a stride."""

    conv5: Literal["atrous", "deformable", "modulated"] = "deformable"
    """The kind of the last 3x3 convolutions: `atrous`, `deformable` (DCNv1) or `modulated` (DCNv2)."""

    dilation: int = 2
    """Dilation of every 3x3 convolution of conv5, in cells of the convolution's input,
    1 to 4096."""

    num_deformable_layers: int | Literal["all"] = 3
    """How many 3x3 convolutions are deformable, counted from the end of the backbone; a basic block has two.
    `all` for every 3x3 convolution of conv3 to conv5, as in DCNv2 (these are 13 in resnet50, although the
    paper says 12). Has no effect with `atrous`."""

    deform_groups: int = 1
    """Number of channel groups with separate offsets, >= 1."""

    offset_dilation: int | None = None
    """Dilation of the convolutions that predict offsets, 1 to 4096. None uses the dilation of the deformable
    layer, as in the paper; the authors' code uses 1."""

    modulation_scale: float = 1.0
    """Largest modulation, > 0. DCNv2's paper uses 1, its code 2."""

    boundary: Literal["zeros", "clamp"] = "zeros"
    """Which samples of a deformable layer count at the border of its input: `zeros` (the authors' v2
    operator) or `clamp` (their v1 operator, DCNv1's code)."""

    batch_norm: Literal["trainable", "frozen", "sync"] = "trainable"
    """`trainable`, `frozen` (running statistics, fixed γ and β, as in the papers) or `sync` (statistics over
    all processes)."""

    freeze_at: Literal[0, 1, 2, 3, 4, 5] = 0
    """How many stages, counted from the input, are not trained: 0 for none, 1 for the stem, 2 for the stem
    and conv2 (as in the authors' code), up to 5 for all. Batch norm is frozen in these stages."""

    def __post_init__(self) -> None:
        """Refuse options that are illegal for every backbone."""
        check_choices(self)
        if self.backbone not in BACKBONES:
            raise ConfigError(f"backbone must be one of {', '.join(BACKBONES)}, got {self.backbone!r}")
        if not _is_number(self.width) or not 0 < self.width <= MAX_WIDTH:
            raise ConfigError(f"width must be > 0 and <= {MAX_WIDTH}, got {self.width!r}")
        for name, cells in (("dilation", self.dilation), ("offset_dilation", self.offset_dilation)):
            if cells is not None and not (_is_integer(cells) and 1 <= cells <= MAX_DILATION):
                raise ConfigError(f"{name} must be an integer in 1 to {MAX_DILATION}, got {cells!r}")
        count = self.num_deformable_layers
        if count != "all" and not (_is_integer(count) and count >= 0):
            raise ConfigError(f"num_deformable_layers must be 'all' or >= 0, got {count!r}")
        if not _is_integer(self.deform_groups) or self.deform_groups < 1:
            raise ConfigError(f"deform_groups must be an integer >= 1, got {self.deform_groups!r}")
        if not _is_number(self.modulation_scale) or not self.modulation_scale > 0:
            raise ConfigError(f"modulation_scale must be a number > 0, got {self.modulation_scale!r}")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Backbone(nn.Module, ABC):
    """Base class of backbones, which turn an image into feature maps, stage by stage.

    Args:
        config: The options.

    Attributes:
        config: The options.
        channels: Number of channels of each stage's feature map, from the first stage to the last.
        strides: Input pixels per cell of each stage's feature map, from the first stage to the last.
    """

    imagenet_files: ClassVar[dict[str, str]] = {}
    """File names of torchvision's ImageNet weights, by the name of the backbone."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def stem(self, image: Tensor) -> Tensor:
        """Compute the input of the first stage.

        Args:
            image: (N, 3, H, W), normalised.

        Returns:
            (N, C, ceil(H / s), ceil(W / s)), where s is the stride of the stem.
        """

    @abstractmethod
    def stages(self) -> Sequence[nn.Module]:
        """Return the stages in forward order. Each is a module that takes and returns a feature map."""

    @abstractmethod
    def conv3x3_layers(self) -> dict[str, nn.Conv2d]:
        """Return all 3x3 convolutions of the stages by name (such as `layer4.2.conv2`), in forward order."""

    @abstractmethod
    def pixels_per_cell(self, layer: str) -> int:
        """Return the distance in image pixels between neighbouring cells of a 3x3 convolution's input.

        Cell (i, j) is centred on pixel (i·d, j·d), where d is this distance.

        Args:
            layer: The name of the convolution, one of `conv3x3_layers`.

        Raises:
            ValueError: No layer has this name.
        """

    def forward(self, image: Tensor) -> Tensor:
        """Compute the feature map of the last stage.

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
        """Compute the feature maps of all stages, for heads that need several, such as feature pyramids.

        Args:
            image: (N, 3, H, W), normalised.

        Returns:
            One feature map (N, channels[i], ceil(H / strides[i]), ceil(W / strides[i])) for each stage i.
        """
        maps = [self.stem(image)]
        for stage in self.stages():
            maps.append(stage(maps[-1]))
        return maps[1:]

    def tracked_layers(self) -> dict[str, nn.Conv2d]:
        """Return the layers whose effective dilation is reported.

        These are the deformable layers, or the last three 3x3 convolutions if no layer is deformable.
        """
        layers = self.conv3x3_layers()
        deformable = [item for item in layers.items() if isinstance(item[1], DeformConv2d)]
        return dict(deformable or list(layers.items())[-3:])


BACKBONES: dict[str, type[Backbone]] = {}
"""Backbone classes by the name that configurations use; filled by `register`."""

B = TypeVar("B", bound=type[Backbone])


def register(*names: str) -> Callable[[B], B]:
    """Register the decorated class as the backbone of the given names.

    Args:
        names: The values of `BackboneConfig.backbone` that select the class.
    """

    def add(backbone: B) -> B:
        BACKBONES.update(dict.fromkeys(names, backbone))
        return backbone

    return add


def build_backbone(config: BackboneConfig) -> Backbone:
    """Build the backbone of a configuration, with random weights.

    Raises:
        ConfigError: The options do not fit this backbone.
    """
    return BACKBONES[config.backbone](config)
