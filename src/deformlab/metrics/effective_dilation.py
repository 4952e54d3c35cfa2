"""Effective dilation: how far apart a deformable filter's taps really lie, per layer and object size.

DCNv1 section 3 and table 2: "the mean of the distances between all adjacent pairs of sampling locations".
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair
from torchmetrics import Metric

__all__ = ["EffectiveDilation", "EffectiveDilationRow", "LayerGeometry", "effective_dilation"]

SIZES = ("small", "medium", "large", "background")
NOTHING = len(SIZES)


def effective_dilation(
    offset: Tensor, kernel_size: int | tuple[int, int], dilation: int | tuple[int, int]
) -> Tensor:
    """The mean distance between neighbouring taps of each filter.

    Neighbours are horizontal and vertical ones in the kernel's grid, 12 pairs in a 3x3 kernel; an undeformed
    filter of dilation d then has exactly d.

    Args:
        offset: (N, 2·G·K, H, W), (dy, dx) interleaved per tap, in cells.
        kernel_size: Taps (K_h, K_w), not 1x1, which has no neighbours.
        dilation: The undeformed filter's dilation, each >= 1.

    Returns:
        (N, G, H, W) in cells of the layer's input; float32, or float64 where the offsets are.

    Raises:
        ValueError: An argument is out of its range or the offsets do not fit the kernel.
    """
    kernel_h, kernel_w = _pair(kernel_size)
    dilation_h, dilation_w = _pair(dilation)
    if min(kernel_h, kernel_w) < 1 or kernel_h * kernel_w < 2:
        raise ValueError(f"kernel_size must have two taps or more, got {(kernel_h, kernel_w)}")
    if min(dilation_h, dilation_w) < 1:
        raise ValueError(f"dilation must be >= 1, got {(dilation_h, dilation_w)}")
    taps = kernel_h * kernel_w
    if offset.dim() != 4 or offset.shape[1] == 0 or offset.shape[1] % (2 * taps):
        raise ValueError(
            f"offset must be (N, {2 * taps}·G, H, W) for a {kernel_h}x{kernel_w} kernel, got "
            f"{tuple(offset.shape)}"
        )
    batch, channels, height, width = offset.shape
    offset = offset.to(torch.promote_types(offset.dtype, torch.float32))
    offset = offset.reshape(batch, channels // (2 * taps), kernel_h, kernel_w, 2, height, width)
    dy, dx = offset.unbind(4)
    vertical = _length(dilation_h + dy.diff(dim=2), dx.diff(dim=2))
    horizontal = _length(dy.diff(dim=3), dilation_w + dx.diff(dim=3))
    pairs = vertical.shape[2] * vertical.shape[3] + horizontal.shape[2] * horizontal.shape[3]
    return (vertical.sum((2, 3)) + horizontal.sum((2, 3))) / pairs


def _length(y: Tensor, x: Tensor) -> Tensor:
    return (y * y + x * x).sqrt()


class LayerGeometry(NamedTuple):
    """A convolution's taps and undeformed dilation, each (height, width)."""

    kernel_size: tuple[int, int]
    dilation: tuple[int, int]


class EffectiveDilationRow(NamedTuple):
    """One cell of the paper's table 2; mean and std in cells, nan where count is 0.

    Attributes:
        layer: The layer's name.
        size: `small`, `medium`, `large` or `background`.
        mean: Mean effective dilation of the filters.
        std: Their standard deviation (of the population).
        count: Number of filters.
    """

    layer: str
    size: str
    mean: float
    std: float
    count: int  # type: ignore[assignment] # the table's word, though tuples have a method of this name


class EffectiveDilation(Metric):
    """Mean and standard deviation of effective dilation per layer and size of the object under the filter.

    A filter is one output position of one layer. It belongs to the object whose instance mask covers its
    centre, which also settles which of two overlapping boxes it belongs to; to the background where there
    is no instance. The centre of cell (i, j) of an (H_f, W_f) map is pixel ((i + 0.5)·H/H_f,
    (j + 0.5)·W/W_f) of the instance map. Deform groups are averaged.

    Args:
        layers: Kernel and dilation of each layer by name; kernels of two taps or more.
        thresholds: Two areas in pixels of the instance map, 0 < first < second. An object's size is the area
            of its mask's bounding box: small below the first, large above the second, medium between
            (paper: 96², 224²).

    Raises:
        ValueError: An argument is out of its range.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    total: Tensor
    total_of_squares: Tensor
    filters: Tensor

    def __init__(
        self, layers: Mapping[str, LayerGeometry], thresholds: Sequence[float] = (96.0**2, 224.0**2)
    ) -> None:
        super().__init__()
        if len(thresholds) != 2 or not 0 < thresholds[0] < thresholds[1]:
            raise ValueError(f"thresholds must be two increasing areas > 0, got {list(thresholds)}")
        for name, geometry in layers.items():
            if geometry.kernel_size[0] * geometry.kernel_size[1] < 2:
                raise ValueError(f"layers: {name} is 1x1 and has no neighbouring taps")
        self.layers = {name: LayerGeometry(*geometry) for name, geometry in layers.items()}
        self.thresholds = (float(thresholds[0]), float(thresholds[1]))
        shape = (len(layers), len(SIZES))
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total_of_squares", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("filters", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, offsets: Mapping[str, Tensor], instances: Tensor, label: Tensor | None = None) -> None:
        """Counts the filters of one batch.

        Args:
            offsets: By layer name, (N, 2·G·K, H_f, W_f) each, as `record_offsets` gives them.
            instances: Instance ids (N, H, W) of an integer type, unique within an image; 0 for none.
            label: Labels (N, H, W); filters centred on 255 belong to nothing. None counts all.

        Raises:
            ValueError: A layer is missing or shapes do not fit.
        """
        if instances.dim() != 3 or (label is not None and label.shape != instances.shape):
            raise ValueError(
                f"instances and label must both be (N, H, W), got {tuple(instances.shape)} and "
                f"{None if label is None else tuple(label.shape)}"
            )
        size_maps = torch.stack([_object_sizes(image, self.thresholds) for image in instances])
        if label is not None:
            size_maps[label == 255] = NOTHING
        for row, (name, geometry) in enumerate(self.layers.items()):
            if name not in offsets:
                raise ValueError(f"offsets has no layer {name}, only {', '.join(offsets) or 'none'}")
            if len(offsets[name]) != len(instances):
                raise ValueError(
                    f"offsets[{name!r}] has {len(offsets[name])} images, instances {len(instances)}"
                )
            dilation = effective_dilation(offsets[name], *geometry).mean(1).double()
            sizes = _at_centres(size_maps, dilation.shape[-2:])
            for column in range(len(SIZES)):
                chosen = dilation[sizes == column]
                self.total[row, column] += chosen.sum()
                self.total_of_squares[row, column] += chosen.square().sum()
                self.filters[row, column] += chosen.numel()

    def compute(self) -> list[EffectiveDilationRow]:
        """The table: layers in their order, sizes from small to large, then background."""
        mean = self.total / self.filters
        std = (self.total_of_squares / self.filters - mean.square()).clamp_min(0).sqrt()
        return [
            EffectiveDilationRow(
                name, size, mean[i, j].item(), std[i, j].item(), int(self.filters[i, j].item())
            )
            for i, name in enumerate(self.layers)
            for j, size in enumerate(SIZES)
        ]


def _object_sizes(instances: Tensor, thresholds: tuple[float, float]) -> Tensor:
    """The index into `SIZES` of each pixel's object, (H, W) uint8."""
    ids, compact = instances.unique(return_inverse=True)
    height = _extent(compact, len(ids))
    width = _extent(compact.T, len(ids))
    area = height * width
    size = 1 + (area > thresholds[1]).to(torch.uint8) - (area < thresholds[0]).to(torch.uint8)
    size[ids == 0] = SIZES.index("background")
    return size[compact]


def _extent(compact: Tensor, count: int) -> Tensor:
    """Rows from the first to the last that each of `count` instances touches, (count,)."""
    rows = torch.arange(len(compact), device=compact.device)
    touched = torch.zeros(count, len(compact), dtype=torch.bool, device=compact.device)
    touched[compact, rows[:, None].expand_as(compact)] = True
    first = torch.where(touched, rows, len(compact)).amin(1)
    last = torch.where(touched, rows, -1).amax(1)
    return last - first + 1


def _at_centres(maps: Tensor, size: Sequence[int]) -> Tensor:
    """The values of (N, H, W) maps at the centres of the cells of a coarser (or finer) grid."""
    index = [
        ((torch.arange(cells, device=maps.device) + 0.5) * (pixels / cells)).long()
        for cells, pixels in zip(size, maps.shape[-2:], strict=True)
    ]
    return maps[:, index[0][:, None], index[1]]
