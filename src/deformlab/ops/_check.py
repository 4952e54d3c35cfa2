"""What `deform_conv2d` accepts: an illegal argument becomes one line: name, value, what is legal."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

__all__ = ["Boundary", "Geometry", "check_deform_conv2d"]

Boundary = Literal["zeros", "clamp"]
_BOUNDARIES = get_args(Boundary)
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# The kernels compute positions in 64 bits and number an image's cells, and its channels, in 32.
_LARGEST = 2**31 - 1


class Geometry(NamedTuple):
    """Stride, padding and dilation as (height, width) pairs."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


def check_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
    dilation: int | tuple[int, int],
    mask: Tensor | None,
    boundary: str = "zeros",
) -> Geometry:
    """Return the geometry as pairs; raise TypeError for types and devices, ValueError for shapes."""
    geometry = Geometry(
        _pair("stride", stride, minimum=1),
        _pair("padding", padding, minimum=0),
        _pair("dilation", dilation, minimum=1),
    )
    if boundary not in _BOUNDARIES:
        raise ValueError(f"deform_conv2d: boundary is {boundary!r}; it must be 'zeros' or 'clamp'")
    _check_tensors(input, offset, weight, bias, mask)
    _check_shapes(input, offset, weight, bias, mask, geometry)
    return geometry


def _pair(name: str, value: int | tuple[int, int], minimum: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(isinstance(number, bool) or not isinstance(number, int) for number in pair):
        raise TypeError(f"deform_conv2d: {name} is {value!r}; it must be an integer or a pair of integers")
    if min(pair) < minimum:
        raise ValueError(f"deform_conv2d: {name} is {value!r}; its numbers must be at least {minimum}")
    if max(pair) > _LARGEST:
        raise ValueError(f"deform_conv2d: {name} is {value!r}; its numbers must be at most {_LARGEST}")
    return pair[0], pair[1]


def _check_tensors(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None
) -> None:
    named = {"input": input, "offset": offset, "weight": weight, "bias": bias, "mask": mask}
    for name, tensor in named.items():
        if tensor is None and name in ("bias", "mask"):
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"deform_conv2d: {name} is a {type(tensor).__name__}; it must be a tensor")
        if tensor.device != input.device:
            raise TypeError(
                f"deform_conv2d: {name} is on {tensor.device}; it must be on input's device, {input.device}"
            )
        legal = _legal_dtypes(name, input.dtype)
        if tensor.dtype not in legal:
            raise TypeError(
                f"deform_conv2d: {name} has dtype {tensor.dtype}; legal here: {', '.join(map(str, legal))}"
            )
        ndim = 1 if name == "bias" else 4
        if tensor.ndim != ndim:
            raise ValueError(
                f"deform_conv2d: {name} has shape {tuple(tensor.shape)}; it must have {ndim} dimension"
                + ("s" if ndim > 1 else "")
            )


def _legal_dtypes(name: str, input_dtype: torch.dtype) -> tuple[torch.dtype, ...]:
    if name == "input":
        return _DTYPES
    if name == "offset" and input_dtype in (torch.bfloat16, torch.float16):
        return (input_dtype, torch.float32)
    return (input_dtype,)


def _check_shapes(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    geometry: Geometry,
) -> None:
    N, C, H, W = input.shape
    out_channels, channels_per_group, kernel_h, kernel_w = weight.shape
    K = kernel_h * kernel_w
    # Each size by itself: `min` compares sizes with each other, and an exported program insists on that.
    if C < 1 or H < 1 or W < 1:
        raise ValueError(
            f"deform_conv2d: input has shape {tuple(input.shape)}; only its batch size may be zero"
        )
    if out_channels < 1 or channels_per_group < 1 or K < 1:
        raise ValueError(
            f"deform_conv2d: weight has shape {tuple(weight.shape)}; none of its sizes may be zero"
        )
    if C > _LARGEST or H * W > _LARGEST:
        raise ValueError(
            f"deform_conv2d: input has shape {tuple(input.shape)}; it may have at most {_LARGEST} channels "
            f"and {_LARGEST} cells per channel"
        )
    if C % channels_per_group:
        raise ValueError(
            f"deform_conv2d: weight has {channels_per_group} input channels per group; that must divide "
            f"input's {C} channels"
        )
    if out_channels % (C // channels_per_group):
        raise ValueError(
            f"deform_conv2d: weight has {out_channels} output channels; that must be a multiple of the "
            f"{C // channels_per_group} groups"
        )
    size = _output_size(input, weight, geometry)
    if size[0] < 1 or size[1] < 1:
        raise ValueError(
            f"deform_conv2d: input of {H}x{W} gives an output of {size[0]}x{size[1]} with kernel "
            f"{kernel_h}x{kernel_w}, {_text(geometry)}; both sizes must be at least 1"
        )
    if offset.shape[1] < 2 * K or offset.shape[1] % (2 * K):
        raise ValueError(
            f"deform_conv2d: offset has {offset.shape[1]} channels; it must have a multiple of 2·K = {2 * K} "
            f"for a {kernel_h}x{kernel_w} kernel"
        )
    offset_groups = offset.shape[1] // (2 * K)
    if C % offset_groups:
        raise ValueError(
            f"deform_conv2d: offset has {offset.shape[1]} channels, so {offset_groups} offset groups; that "
            f"must divide input's {C} channels"
        )
    _check_map("offset", offset, (N, 2 * offset_groups * K, *size))
    if mask is not None:
        _check_map("mask", mask, (N, offset_groups * K, *size))
    if bias is not None and bias.shape[0] != out_channels:
        raise ValueError(
            f"deform_conv2d: bias has {bias.shape[0]} values; it must have one per output channel, "
            f"{out_channels}"
        )


def _output_size(input: Tensor, weight: Tensor, geometry: Geometry) -> tuple[int, int]:
    height, width = (
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, padding, dilation in zip(
            input.shape[2:], weight.shape[2:], *geometry, strict=True
        )
    )
    return height, width


def _check_map(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(
            f"deform_conv2d: {name} has shape {tuple(tensor.shape)}; with this input, weight and geometry it "
            f"must be {expected}"
        )


def _text(geometry: Geometry) -> str:
    return ", ".join(f"{name} {pair[0]}x{pair[1]}" for name, pair in geometry._asdict().items())
