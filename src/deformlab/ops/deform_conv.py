"""Deformable convolution, v1 and modulated: the function that users and layers call.

Deformable ConvNets, section 2.1; Deformable ConvNets v2, section 2.1.
"""

import torch
from torch import Tensor

from deformlab.ops import reference
from deformlab.ops._check import check_deform_conv2d
from deformlab.ops._deform_conv_op import native_deform_conv2d
from deformlab.ops._native import backend, warn_without_native

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
) -> Tensor:
    """Convolve at learned positions: each tap of each output position reads the input at its own offset.

    The signature is that of torchvision.ops.deform_conv2d. Groups follow from the shapes: weight groups
    C / weight.shape[1], offset groups G = offset.shape[1] / (2·kh·kw); channels are split
    among them in order.

    A sample at (y, x) is bilinear between the four cells around it; cells outside the image are zero. It
    counts where -1 < y < H and -1 < x < W and is zero elsewhere, with zero gradient to its offset (convention
    B of the authors' v2 operator and of mmcv; torchvision differs only in that gradient at exactly -1).
    An offset that is NaN or infinite is outside. Zero offsets give conv2d's result up to rounding.

    Coordinates are computed in float32, or float64 for float64 input, whatever the other types are. Under
    `torch.autocast` input, weight, bias and mask are cast as conv2d's are; the offset keeps its type.

    Args:
        input: (N, C, H, W), float64, float32, bfloat16 or float16; contiguous or channels_last, and so is the
            output. N may be zero.
        offset: (N, 2·G·kh·kw, P, Q) in cells of the input, (dy, dx) interleaved per tap; channel
            2·(g·kh·kw + k) is dy of tap k of group g. Input's type, or float32 beside 16-bit input.
        weight: (O, C / groups, kh, kw).
        bias: (O,) or None.
        stride: Step between output positions, at least 1; one number or (height, width).
        padding: Zero cells around the image, at least 0.
        dilation: Distance between taps before they are moved, at least 1.
        mask: (N, G·kh·kw, P, Q) factors of the samples (v2's modulation), or None for v1.

    Returns:
        (N, O, P, Q) of input's type, P = (H + 2·padding - dilation·(kh - 1) - 1) // stride + 1, Q likewise.

    Raises:
        TypeError: An argument is of a wrong type, dtype or device.
        ValueError: A shape or number does not fit; the text names it and what would.
    """
    device_type = input.device.type if isinstance(input, Tensor) else "cpu"
    if device_type in ("cpu", "cuda") and torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
        with torch.autocast(device_type, enabled=False):
            return deform_conv2d(
                _cast(input, dtype),
                offset,
                _cast(weight, dtype),
                None if bias is None else _cast(bias, dtype),
                stride,
                padding,
                dilation,
                None if mask is None else _cast(mask, dtype),
            )
    geometry = check_deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)
    if backend(device_type) == "native":
        return native_deform_conv2d(input, offset, weight, bias, mask, geometry)
    warn_without_native()
    return reference.deform_conv2d(input, offset, weight, bias, *geometry, mask)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast as autocast casts conv2d's arguments: float64 and what is no floating point stay as they are."""
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor
