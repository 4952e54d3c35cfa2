"""Deformable convolution in plain PyTorch.

Source: DCNv1 (arXiv 1703.06211), section 2.1; for `mask`, DCNv2 (arXiv 1811.11168), section 3.2.

Shape letters: N batch, C input channels, H W input size, P Q output size, K taps of the kernel,
G offset groups.
"""

from typing import Literal

import torch
from torch import Tensor

__all__ = ["deform_conv2d"]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    mask: Tensor | None = None,
    *,
    boundary: Literal["zeros", "clamp"] = "zeros",
) -> Tensor:
    """Compute the same as `deformlab.ops.deform_conv2d`, with operations that PyTorch differentiates.

    Unlike the compiled operator, it supports second derivatives and forward mode. It keeps all sampled
    columns for the backward pass, which takes about 4·K times the memory of the input.

    Args:
        input: As for `deformlab.ops.deform_conv2d`, like all other arguments. They are not checked here.
        offset: (N, 2·G·K, P, Q).
        weight: (O, C / groups, kh, kw), with K = kh·kw.
        bias: (O,) or None.
        stride: One number or (height, width).
        padding: One number or (height, width).
        dilation: One number or (height, width).
        mask: (N, G·K, P, Q) or None.
        boundary: `zeros` or `clamp`.

    Returns:
        (N, O, P, Q), in the dtype of the input.
    """
    columns_NCKPQ = _sample(
        input, offset, weight.shape[2:], _pair(stride), _pair(padding), _pair(dilation), boundary == "clamp"
    )
    if mask is not None:
        columns_NCKPQ = _modulate(columns_NCKPQ, mask)
    N, C, K, P, Q = columns_NCKPQ.shape
    out_channels, channels_per_group = weight.shape[:2]
    groups = C // channels_per_group
    output = torch.einsum(
        "ngckp,gock->ngop",
        columns_NCKPQ.reshape(N, groups, channels_per_group, K, P * Q),
        weight.reshape(groups, out_channels // groups, channels_per_group, K),
    ).reshape(N, out_channels, P, Q)
    return output if bias is None else output + bias[:, None, None]


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _sample(
    input: Tensor,
    offset: Tensor,
    kernel_size: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    clamp: bool,
) -> Tensor:
    """Return the bilinear samples at every tap of every output position, (N, C, K, P, Q)."""
    N, C, H, W = input.shape
    K = kernel_size[0] * kernel_size[1]
    P, Q = offset.shape[2:]
    G = offset.shape[1] // (2 * K)
    # In bf16, coordinates near 128 are only accurate to a whole cell.
    coordinate_dtype = torch.float64 if input.dtype == torch.float64 else torch.float32

    def grid(axis: int, size: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(size, device=input.device, dtype=coordinate_dtype)
        taps = torch.arange(kernel_size[axis], device=input.device, dtype=coordinate_dtype)
        return positions * stride[axis] - padding[axis], taps * dilation[axis]

    y_P, tap_y = grid(0, P)
    x_Q, tap_x = grid(1, Q)
    base_y = tap_y.repeat_interleave(kernel_size[1])[:, None, None] + y_P[:, None]
    base_x = tap_x.repeat(kernel_size[0])[:, None, None] + x_Q
    offset_NGK2PQ = offset.to(coordinate_dtype).reshape(N, G, K, 2, P, Q)
    y = base_y + offset_NGK2PQ[:, :, :, 0]
    x = base_x + offset_NGK2PQ[:, :, :, 1]

    # A NaN position compares as outside, and `where` also keeps its gradient out.
    inside = (y > -1) & (y < H) & (x > -1) & (x < W)
    if clamp:
        inside = inside & (y >= 0) & (x >= 0)
    y = torch.where(inside, y, torch.zeros_like(y))
    x = torch.where(inside, x, torch.zeros_like(x))
    y0, x0 = y.detach().floor(), x.detach().floor()
    fraction_y, fraction_x = y - y0, x - x0

    pixels = input.reshape(N, G, C // G, H * W)
    samples = pixels.new_zeros(N, G, C // G, K * P * Q, dtype=coordinate_dtype)
    for dy, weight_y in ((0, 1 - fraction_y), (1, fraction_y)):
        for dx, weight_x in ((0, 1 - fraction_x), (1, fraction_x)):
            row, column = (y0 + dy).long(), (x0 + dx).long()
            exists = inside
            if not clamp:  # with clamp, cells beyond the last row or column repeat it
                exists = inside & (row >= 0) & (row < H) & (column >= 0) & (column < W)
            index = row.clamp(0, H - 1) * W + column.clamp(0, W - 1)
            corner_weight = torch.where(exists, weight_y * weight_x, torch.zeros_like(weight_y))
            index = index.reshape(N, G, 1, K * P * Q).expand(-1, -1, C // G, -1)
            corner = pixels.gather(3, index).to(coordinate_dtype)
            # The index of a missing cell was clamped to an existing one, whose value may be NaN: drop that
            # value.
            corner = torch.where(exists.reshape(N, G, 1, K * P * Q), corner, torch.zeros_like(corner))
            samples = samples + corner * corner_weight.reshape(N, G, 1, K * P * Q)
    return samples.reshape(N, C, K, P, Q).to(input.dtype)


def _modulate(columns_NCKPQ: Tensor, mask: Tensor) -> Tensor:
    """Multiply each sample by its mask value, shared by the channels of an offset group."""
    N, C, K, P, Q = columns_NCKPQ.shape
    G = mask.shape[1] // K
    samples = columns_NCKPQ.reshape(N, G, C // G, K, P, Q)
    return (samples * mask.reshape(N, G, 1, K, P, Q)).reshape(N, C, K, P, Q)
