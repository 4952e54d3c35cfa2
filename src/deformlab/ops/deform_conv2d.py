"""Deformable convolution, v1 and modulated: the function that users and layers call.

Deformable ConvNets, section 2.1; Deformable ConvNets v2, section 2.1.
"""

import torch
from torch import Tensor

from deformlab.ops import reference
from deformlab.ops._impl.arguments import autocast_dtype, cast
from deformlab.ops._impl.deform_conv2d import Boundary, check_deform_conv2d, native_deform_conv2d
from deformlab.ops._impl.native import backend, warn_without_native

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
    boundary: Boundary = "zeros",
) -> Tensor:
    """Convolve at learned positions: each tap of each output position reads the input at its own offset.

    The signature is that of torchvision.ops.deform_conv2d, and `boundary`. Groups follow from the shapes:
    weight groups C / weight.shape[1], offset groups G = offset.shape[1] / (2·kh·kw); channels are split
    among them in order. Zero offsets give conv2d's result up to rounding.

    A sample at (y, x) is bilinear between the four cells around it. Which samples count is a convention
    (here for y; x likewise); one that does not count is zero, and so is every gradient through it:

    - `zeros`: -1 < y < H counts, and cells outside the image are zero, so that samples fade out within a
      cell of the border. The authors' v2 operator and mmcv.
    - `clamp`: 0 <= y < H counts, and the last row goes on below: from H - 1 to H the sample is the last
      row's, the whole gradient to the input goes there, and the gradient to dy is zero, at H - 1 itself
      too. The sample jumps to zero below 0 and at H. The authors' v1 operator.
    - torchvision gives the values of `zeros`, but at exactly y = -1, where the sample is zero, its gradient
      to dy is that of y > -1. It matters where offsets start at zero: with padding, taps lie exactly there.
      `zeros` gives them no gradient, until they move.

    An offset that is NaN, infinite or far out, as 1e10, gives a sample that does not count.

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
        boundary: `zeros` or `clamp`, see above.

    Returns:
        (N, O, P, Q) of input's type, P = (H + 2·padding - dilation·(kh - 1) - 1) // stride + 1, Q likewise.

    Raises:
        TypeError: An argument is of a wrong type, dtype or device.
        ValueError: A shape or number does not fit; the text names it and what would.
    """
    dtype = autocast_dtype(input)
    if dtype is not None:
        input, weight, bias, mask = (cast(value, dtype) for value in (input, weight, bias, mask))
        with torch.autocast(input.device.type, enabled=False):
            return deform_conv2d(
                input, offset, weight, bias, stride, padding, dilation, mask, boundary=boundary
            )
    geometry = check_deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask, boundary)
    if backend(input.device.type) == "native":
        return native_deform_conv2d(input, offset, weight, bias, mask, geometry, clamp=boundary == "clamp")
    warn_without_native()
    return reference.deform_conv2d(input, offset, weight, bias, *geometry, mask, boundary=boundary)
