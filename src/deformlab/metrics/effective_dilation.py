"""Effective dilation of a filter: how far apart its taps really lie.

DCNv1 section 3 and table 2: "the mean of the distances between all adjacent pairs of sampling locations".
"""

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair

__all__ = ["effective_dilation", "effective_dilation_where_it_counts"]


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
    vertical, horizontal = _pair_lengths(offset, kernel_size, dilation)
    pairs = vertical.shape[2] * vertical.shape[3] + horizontal.shape[2] * horizontal.shape[3]
    return (vertical.sum((2, 3)) + horizontal.sum((2, 3))) / pairs


def effective_dilation_where_it_counts(
    offset: Tensor,
    modulation: Tensor,
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int],
) -> Tensor:
    """Effective dilation with each pair of neighbouring taps weighted by the product of their modulations.

    A tap that is modulated to nothing is not looked at, wherever it lies. With equal modulations it is
    `effective_dilation`.

    Args:
        offset: As for `effective_dilation`.
        modulation: (N, G·K, H, W), each >= 0.
        kernel_size: As for `effective_dilation`.
        dilation: As for `effective_dilation`.

    Returns:
        (N, G, H, W) in cells; that of `effective_dilation` where every pair's weight is 0.

    Raises:
        ValueError: As `effective_dilation`, or the modulation does not fit the offsets.
    """
    vertical, horizontal = _pair_lengths(offset, kernel_size, dilation)
    kernel_h, kernel_w = _pair(kernel_size)
    batch, groups, height, width = vertical.shape[0], vertical.shape[1], *vertical.shape[-2:]
    expected = (batch, groups * kernel_h * kernel_w, height, width)
    if tuple(modulation.shape) != expected:
        raise ValueError(f"modulation must be {expected} for these offsets, got {tuple(modulation.shape)}")
    # Doubles, so that the product of two small modulations does not vanish.
    weight = modulation.double().reshape(batch, groups, kernel_h, kernel_w, height, width)
    above = weight[:, :, :-1] * weight[:, :, 1:]
    beside = weight[:, :, :, :-1] * weight[:, :, :, 1:]
    total = above.sum((2, 3)) + beside.sum((2, 3))
    mean = ((above * vertical).sum((2, 3)) + (beside * horizontal).sum((2, 3))) / total
    return torch.where(total > 0, mean, effective_dilation(offset, kernel_size, dilation).double())


def _pair_lengths(
    offset: Tensor, kernel_size: int | tuple[int, int], dilation: int | tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Distances of neighbours: vertical (N, G, K_h - 1, K_w, H, W), horizontal (N, G, K_h, K_w - 1, H, W)."""
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
    return vertical, horizontal


def _length(y: Tensor, x: Tensor) -> Tensor:
    return (y * y + x * x).sqrt()
