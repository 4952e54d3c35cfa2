"""The layer `DeformConv2d`: deformable convolution that predicts its own offsets, optionally with modulation.

Source: DCNv1 (arXiv 1703.06211), section 2.1; DCNv2 (arXiv 1811.11168), section 3.2.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from deformlab.ops import deform_conv2d

__all__ = ["DeformConv2d"]


class _OffsetConv2d(nn.Conv2d):
    """A convolution whose parameters are zero initially and after every reset. It draws no random numbers."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class DeformConv2d(nn.Conv2d):
    """A replacement for `nn.Conv2d` that learns where each output cell samples the input.

    Unlike `nn.Conv2d`, it always pads with zeros (there is no `padding_mode`) and needs a batched input
    (N, C, H, W).

    A convolution over the same input, `conv_offset`, predicts the offsets. Its parameters start at zero, so
    the layer initially computes the plain convolution (times `modulation_scale / 2` if it is modulated).

    `weight` and `bias` have the same names, shapes and initial values as in `nn.Conv2d`. A checkpoint of a
    plain convolution therefore loads with `strict=False`; only `conv_offset.*` is missing from it. mmcv uses
    the same names as this layer. For a checkpoint of detectron2, use `convert_offset_names`.

    The layer is a subclass of `nn.Conv2d` and changes only the sampling.

    Source: DCNv1 (arXiv 1703.06211), section 2.1; DCNv2 (arXiv 1811.11168), section 3.2.

    Args:
        in_channels: Channels of the input; a multiple of `groups` and of `deform_groups`.
        out_channels: Channels of the output; a multiple of `groups`.
        kernel_size: Number of taps, one number or (height, width), each >= 1.
        stride: Input cells per output cell, one number or (height, width), each >= 1.
        padding: Rows and columns of zeros on each side, one number or (height, width), each >= 0. Or `valid`
            for no padding, or `same` for an output of the input's size; `same` requires stride 1 and a kernel
            that needs equal padding on both sides.
        dilation: Cells between neighbouring taps of the undeformed filter, one number or (height, width),
            each >= 1.
        groups: Number of channel groups of the weight, >= 1.
        bias: Whether to add a learned bias.
        deform_groups: Number of channel groups of the input with separate offsets, >= 1; must divide
            `in_channels`.
        modulated: Whether to multiply each sample by `modulation_scale * sigmoid(logit)` (DCNv2).
        offset_dilation: Dilation of `conv_offset`, one number or (height, width), each >= 1. None uses
            `dilation`, as in the paper; the authors' DeepLab code uses 1. In each direction,
            (dilation - offset_dilation)·(kernel_size - 1) must be even and at most 2·padding.
        modulation_scale: Largest factor of a sample, > 0. The DCNv2 paper uses 1. Its code uses 2, so that
            the layer initially computes exactly the plain convolution.
        boundary: Which samples near the border count: `zeros` (the authors' v2 operator) or `clamp` (their v1
            operator). See `deformlab.ops.deform_conv2d`.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        Input (N, C_in, H, W); output (N, C_out, H_out, W_out) as for `nn.Conv2d`.

    Raises:
        ValueError: An argument is out of its range, or `offset_dilation` does not allow `conv_offset` to have
            the output size of the layer.

    Example:
        >>> DeformConv2d(8, 16, 3, padding=2, dilation=2)(torch.rand(1, 8, 32, 32)).shape
        torch.Size([1, 16, 32, 32])
    """

    # Narrower types than in `nn.Conv2d`, whose annotations allow any number of dimensions and strings.
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        deform_groups: int = 1,
        modulated: bool = False,
        offset_dilation: int | tuple[int, int] | None = None,
        modulation_scale: float = 1.0,
        boundary: Literal["zeros", "clamp"] = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        kernel_size = _checked_pair("kernel_size", kernel_size, minimum=1)
        stride = _checked_pair("stride", stride, minimum=1)
        dilation = _checked_pair("dilation", dilation, minimum=1)
        if isinstance(padding, str):
            padding = _named_padding(padding, kernel_size, stride, dilation)
        padding = _checked_pair("padding", padding, minimum=0)
        for name, value in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("deform_groups", deform_groups),
        ):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        if in_channels % deform_groups:
            raise ValueError(
                f"deform_groups must divide in_channels, got deform_groups={deform_groups} and "
                f"in_channels={in_channels}"
            )
        if not modulation_scale > 0:
            raise ValueError(f"modulation_scale must be > 0, got {modulation_scale}")
        if boundary not in ("zeros", "clamp"):
            raise ValueError(f"boundary must be 'zeros' or 'clamp', got {boundary!r}")
        if offset_dilation is None:
            offset_dilation = dilation
        offset_dilation = _checked_pair("offset_dilation", offset_dilation, minimum=1)

        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            device=device,
            dtype=dtype,
        )
        self.deform_groups = deform_groups
        self.modulated = modulated
        self.modulation_scale = modulation_scale
        self.boundary = boundary
        self.num_samples = deform_groups * kernel_size[0] * kernel_size[1]
        self.conv_offset = _OffsetConv2d(
            in_channels,
            (3 if modulated else 2) * self.num_samples,
            kernel_size,
            stride,
            _offset_padding(kernel_size, padding, dilation, offset_dilation),
            offset_dilation,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Predict the offsets, sample the input at the shifted positions, and convolve.

        Args:
            input: (N, C_in, H, W).

        Returns:
            (N, C_out, H_out, W_out).

        Raises:
            ValueError: The input does not have four dimensions.
            RuntimeError: The input has a wrong number of channels or dtype, or is too small for the kernel.
        """
        return self.sample(input, *self.predict_offsets(input))

    def predict_offsets(self, input: Tensor) -> tuple[Tensor, Tensor | None]:
        """Predict where the layer samples its input, without sampling it.

        Args:
            input: (N, C_in, H, W).

        Returns:
            The offsets (N, 2·G·K, H_out, W_out), in cells of the input, with (dy, dx) interleaved per tap;
            and the modulation (N, G·K, H_out, W_out), from 0 to `modulation_scale`, or None if the layer is
            not modulated. G is `deform_groups`, and K is the number of taps.

        Raises:
            ValueError: The input does not have four dimensions.
        """
        if input.dim() != 4:
            raise ValueError(f"input must be (N, C, H, W), got a tensor of shape {tuple(input.shape)}")
        offset = self.conv_offset(input)
        if not self.modulated:
            return offset, None
        offset, logits = offset.split([2 * self.num_samples, self.num_samples], dim=1)
        return offset, self.modulation_scale * logits.sigmoid()

    def sample(self, input: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """Convolve with the given offsets instead of the predicted ones.

        Args:
            input: (N, C_in, H, W).
            offset: (N, 2·G·K, H_out, W_out), as `predict_offsets` returns it.
            mask: (N, G·K, H_out, W_out), as `predict_offsets` returns it, or None for no modulation.

        Returns:
            (N, C_out, H_out, W_out).
        """
        return deform_conv2d(
            input,
            offset,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            mask,
            boundary=self.boundary,
        )

    def extra_repr(self) -> str:
        """Return the text of `nn.Conv2d`, followed by the options of deformable convolution."""
        extra = f", deform_groups={self.deform_groups}"
        if self.modulated:
            extra += f", modulated=True, modulation_scale={self.modulation_scale}"
        if self.boundary != "zeros":
            extra += f", boundary={self.boundary!r}"
        return super().extra_repr() + extra


def _checked_pair(name: str, value: int | tuple[int, int], minimum: int) -> tuple[int, int]:
    pair = tuple(_pair(value))
    if len(pair) != 2 or not all(isinstance(v, int) and v >= minimum for v in pair):
        raise ValueError(f"{name} must be one integer or two, each >= {minimum}, got {value!r}")
    return pair


def _named_padding(
    name: str, kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    if name == "valid":
        return (0, 0)
    if name != "same":
        raise ValueError(f"padding must be integers, 'valid' or 'same', got {name!r}")
    if stride != (1, 1):
        raise ValueError(f"padding='same' needs stride 1, got stride={stride}")
    total = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
    if any(t % 2 for t in total):
        raise ValueError(
            f"padding='same' needs equal padding on both sides, which kernel_size={kernel_size} with "
            f"dilation={dilation} does not allow; pad the input before the layer"
        )
    return (total[0] // 2, total[1] // 2)


def _offset_padding(
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    offset_dilation: tuple[int, int],
) -> tuple[int, int]:
    """Return the padding that gives `conv_offset` the same output size and filter centres as the layer."""
    result = []
    for k, p, d, o in zip(kernel_size, padding, dilation, offset_dilation, strict=True):
        excess = (d - o) * (k - 1)
        if excess % 2 or p < excess // 2:
            raise ValueError(
                f"offset_dilation={offset_dilation} cannot give the layer's output size with "
                f"kernel_size={kernel_size}, padding={padding}, dilation={dilation}; set offset_dilation=None"
            )
        result.append(p - excess // 2)
    return (result[0], result[1])
