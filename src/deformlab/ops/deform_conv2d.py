"""Deformable convolution, v1 and modulated (v2): the public function.

Source: DCNv1 (arXiv 1703.06211), section 2.1; for `mask`, DCNv2 (arXiv 1811.11168), section 3.2.
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
    """Convolve at shifted positions: each tap of each output position reads the input at its own offset.

    The signature is that of `torchvision.ops.deform_conv2d`, plus `boundary`. The numbers of groups follow
    from the shapes: there are C / weight.shape[1] weight groups and G = offset.shape[1] / (2·kh·kw) offset
    groups, and each kind splits the channels in order. With zero offsets, the result is that of `conv2d` up
    to rounding.

    A sample at position (y, x) is interpolated bilinearly between the four cells around it. `boundary`
    determines which samples count near the border; the rules below are for y; the same rules apply to x. A
    sample that does not count is zero and passes no gradient.

    - `zeros` (the authors' v2 operator, mmcv): samples with -1 < y < H count. Cells outside the image are
      zero, so samples fade to zero within one cell of the border.
    - `clamp` (the authors' v1 operator): samples with 0 <= y < H count. Beyond its last row, the image
      continues with that row: for H - 1 <= y < H, the sample and the gradient with respect to the input
      belong entirely to the last row, and the gradient with respect to dy is zero. The sample jumps to zero
      for y < 0 and for y >= H.

    torchvision computes the same values as `zeros`. One gradient differs: at exactly y = -1, where the sample
    is zero, torchvision returns the gradient with respect to dy of a position slightly greater than -1. This
    matters if offsets start at zero, because padding puts taps exactly at y = -1. With `zeros`, the offset of
    such a tap receives no gradient until the tap moves.

    A sample whose offset is NaN, infinite or very large (such as 1e10) does not count.

    Coordinates are computed in float64 for float64 input and in float32 otherwise. Under `torch.autocast`,
    input, weight, bias and mask are cast as for `conv2d`; the offset keeps its dtype.

    Args:
        input: (N, C, H, W), in float64, float32, bfloat16 or float16. Contiguous or channels_last; the output
            has the same memory format. N may be zero.
        offset: (N, 2·G·kh·kw, P, Q), in cells of the input, with (dy, dx) interleaved per tap: channel
            2·(g·kh·kw + k) is dy of tap k of group g. Has the dtype of the input; float32 is also legal if
            the input is 16-bit.
        weight: (O, C / groups, kh, kw), in the dtype of the input.
        bias: (O,), in the dtype of the input, or None.
        stride: Input cells between neighbouring output positions, at least 1; one number or (height, width).
        padding: Rows and columns of zeros on each side of the image, at least 0; one number or (height,
            width).
        dilation: Cells between neighbouring taps before the offsets are added, at least 1; one number or
            (height, width).
        mask: (N, G·kh·kw, P, Q), the factor of each sample (modulation, v2), in the dtype of the input. None
            for v1.
        boundary: `zeros` or `clamp`, see above.

    Returns:
        (N, O, P, Q), in the dtype of the input, with
        P = (H + 2·padding - dilation·(kh - 1) - 1) // stride + 1, and likewise for Q.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal. The message names the argument, its value and what is
            legal.
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
