"""The options of detectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deformlab.errors import ConfigError
from deformlab.options import check_choices

__all__ = ["DetectorConfig"]

MAX_CHANNELS = 65536


@dataclass(frozen=True)
class DetectorConfig:
    """The options of a detector's architecture and training. Defaults are those of DCNv1.

    Raises:
        ConfigError: An option is out of its range, or two options do not go together.
    """

    architecture: Literal["faster_rcnn", "rfcn", "class_aware_rpn"] = "faster_rcnn"
    """`faster_rcnn` (two fully connected layers on pooled regions), `rfcn` (position-sensitive score maps) or
    `class_aware_rpn` (a region proposal network that tells classes apart and pools no regions)."""

    roi_pooling: Literal["plain", "deformable", "modulated"] = "plain"
    """How regions are pooled: `plain`, `deformable` (DCNv1) or `modulated` (DCNv2). Has no effect on
    `class_aware_rpn`."""

    plain_pooling: Literal["mean", "max", "align"] = "max"
    """The plain pooling of `faster_rcnn`: `max` (Fast R-CNN, and the authors' code), `mean` (DCNv1, equation
    5) or `align` (RoIAlign, as in DCNv2)."""

    bins: int = 7
    """Bins per side of a pooled region, 1 to 64."""

    gamma: float = 0.1
    """Factor on the offsets of bins, > 0, in units of the region's width and height (DCNv1: 0.1)."""

    samples_per_bin: int = 4
    """Bilinear samples per side of a bin in deformable pooling, 1 to 64 (DCNv1's code: 4, DCNv2's: 2)."""

    reduction_channels: int = 256
    """Output channels of the 1x1 convolution after the backbone, 1 to 65536 (DCNv1: 256 in Faster R-CNN, 1024
    in R-FCN; 512 fits its parameter count of the class-aware RPN)."""

    fc_channels: int = 1024
    """Width of the two fully connected layers of `faster_rcnn`, 1 to 65536."""

    offset_channels: int = 1024
    """Width of the two hidden layers that predict the offsets of modulated pooling, 1 to 65536 (DCNv2)."""

    initialization: Literal["normal", "kaiming"] = "normal"
    """Weights of new hidden layers before training: `normal`, N(0, 0.01) as in the authors' code, for wide
    layers on a pretrained backbone; `kaiming` for narrow layers or training from scratch. Layers that give
    scores, boxes or offsets are not affected."""

    rpn_channels: int = 512
    """Channels of the 3x3 convolution of the region proposal network, 1 to 65536."""

    anchor_scales: Sequence[float] = (8.0, 16.0, 32.0)
    """Sides of the square anchor in units of 16 pixels, each > 0 (DCNv1: 8, 16, 32 on VOC; also 4 on
    COCO)."""

    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0)
    """Heights over widths of the anchors, each > 0."""

    proposals_before_nms: int = 6000
    """Proposals of the highest scores that non-maximum suppression gets, >= 1."""

    proposals: int = 300
    """Proposals that are kept per image, in training and evaluation, >= 1."""

    proposal_nms: float = 0.7
    """IoU above which the proposal of the lower score is suppressed, in (0, 1]."""

    rpn_batch: int = 256
    """Anchors per image in the loss of the region proposal network, at most half of them positive, >= 2."""

    roi_batch: int = 128
    """Regions per image in the loss of the detector, >= 1."""

    roi_positive_share: float = 0.25
    """Largest share of positive regions in a training batch without OHEM, in (0, 1]."""

    ohem: bool | None = None
    """Online hard example mining: the loss counts the `roi_batch` regions with the largest loss of all
    proposals. None: on for `rfcn`, off for the others, as in the authors' code."""

    class_agnostic_boxes: bool | None = None
    """Whether one box is regressed for all classes. None: no for `faster_rcnn`, yes for the others
    (R-FCN as in the authors' code; the papers do not say it of the class-aware RPN)."""

    @property
    def mines_hard_examples(self) -> bool:
        """Whether online hard example mining is on."""
        return self.architecture == "rfcn" if self.ohem is None else self.ohem

    @property
    def agnostic_boxes(self) -> bool:
        """Whether one box is regressed for all classes."""
        if self.class_agnostic_boxes is None:
            return self.architecture != "faster_rcnn"
        return self.class_agnostic_boxes

    def __post_init__(self) -> None:
        """Refuse illegal options."""
        check_choices(self)
        for name, largest in (
            ("bins", 64),
            ("samples_per_bin", 64),
            ("reduction_channels", MAX_CHANNELS),
            ("fc_channels", MAX_CHANNELS),
            ("offset_channels", MAX_CHANNELS),
            ("rpn_channels", MAX_CHANNELS),
            ("proposals_before_nms", 2**31 - 1),
            ("proposals", 2**31 - 1),
            ("rpn_batch", 2**31 - 1),
            ("roi_batch", 2**31 - 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
                raise ConfigError(f"{name} must be an integer in 1 to {largest}, got {value!r}")
        for name in ("proposal_nms", "roi_positive_share"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ConfigError(f"{name} must be in (0, 1], got {value!r}")
        if not self.gamma > 0:
            raise ConfigError(f"gamma must be > 0, got {self.gamma!r}")
        for name in ("anchor_scales", "anchor_ratios"):
            values = getattr(self, name)
            if not values or not all(value > 0 for value in values):
                raise ConfigError(f"{name} must be one or more numbers > 0, got {list(values)!r}")
        if self.architecture == "rfcn" and not self.agnostic_boxes:
            raise ConfigError("class_agnostic_boxes: rfcn regresses one box for all classes; leave it out")
        if self.architecture == "class_aware_rpn" and self.ohem:
            raise ConfigError("ohem: class_aware_rpn samples its anchors at random; leave it out")
