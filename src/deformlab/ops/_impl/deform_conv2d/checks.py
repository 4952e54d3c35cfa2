"""Argument checks of `deform_conv2d`. An error is one line: the argument, its value and what is legal."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from deformlab.ops._impl.arguments import DTYPES, LARGEST, check_pair, check_tensor

__all__ = ["Boundary", "Geometry", "check_deform_conv2d"]

Boundary = Literal["zeros", "clamp"]
_BOUNDARIES = get_args(Boundary)
_NAME = "deform_conv2d"


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
    """Check all arguments of `deform_conv2d` and return its geometry as pairs.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal.
    """
    geometry = Geometry(
        check_pair(_NAME, "stride", stride, minimum=1),
        check_pair(_NAME, "padding", padding, minimum=0),
        check_pair(_NAME, "dilation", dilation, minimum=1),
    )
    if boundary not in _BOUNDARIES:
        raise ValueError(f"{_NAME}: boundary is {boundary!r}; it must be 'zeros' or 'clamp'")
    _check_tensors(input, offset, weight, bias, mask)
    _check_shapes(input, offset, weight, bias, mask, geometry)
    return geometry


def _check_tensors(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None
) -> None:
    check_tensor(_NAME, "input", input, 4, DTYPES)
    beside = (input.dtype,)
    with_float32 = (*beside, torch.float32) if input.dtype.itemsize == 2 else beside
    check_tensor(_NAME, "offset", offset, 4, with_float32, input.device)
    check_tensor(_NAME, "weight", weight, 4, beside, input.device)
    if bias is not None:
        check_tensor(_NAME, "bias", bias, 1, beside, input.device)
    if mask is not None:
        check_tensor(_NAME, "mask", mask, 4, beside, input.device)


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
    # Each size is checked separately: `min` would compare sizes with each other, and `torch.export` would
    # turn the comparison into a constraint of the exported program.
    if C < 1 or H < 1 or W < 1:
        raise ValueError(f"{_NAME}: input has shape {tuple(input.shape)}; only its batch size may be zero")
    if out_channels < 1 or channels_per_group < 1 or K < 1:
        raise ValueError(f"{_NAME}: weight has shape {tuple(weight.shape)}; none of its sizes may be zero")
    if C > LARGEST or H * W > LARGEST:
        raise ValueError(
            f"{_NAME}: input has shape {tuple(input.shape)}; it may have at most {LARGEST} channels "
            f"and {LARGEST} cells per channel"
        )
    if C % channels_per_group:
        raise ValueError(
            f"{_NAME}: weight has {channels_per_group} input channels per group; that must divide "
            f"input's {C} channels"
        )
    if out_channels % (C // channels_per_group):
        raise ValueError(
            f"{_NAME}: weight has {out_channels} output channels; that must be a multiple of the "
            f"{C // channels_per_group} groups"
        )
    size = _output_size(input, weight, geometry)
    if size[0] < 1 or size[1] < 1:
        raise ValueError(
            f"{_NAME}: input of {H}x{W} gives an output of {size[0]}x{size[1]} with kernel "
            f"{kernel_h}x{kernel_w}, {_text(geometry)}; both sizes must be at least 1"
        )
    if offset.shape[1] < 2 * K or offset.shape[1] % (2 * K):
        raise ValueError(
            f"{_NAME}: offset has {offset.shape[1]} channels; it must have a multiple of 2·K = {2 * K} "
            f"for a {kernel_h}x{kernel_w} kernel"
        )
    offset_groups = offset.shape[1] // (2 * K)
    if C % offset_groups:
        raise ValueError(
            f"{_NAME}: offset has {offset.shape[1]} channels, so {offset_groups} offset groups; that "
            f"must divide input's {C} channels"
        )
    _check_map("offset", offset, (N, 2 * offset_groups * K, *size))
    if mask is not None:
        _check_map("mask", mask, (N, offset_groups * K, *size))
    if bias is not None and bias.shape[0] != out_channels:
        raise ValueError(
            f"{_NAME}: bias has {bias.shape[0]} values; it must have one per output channel, {out_channels}"
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
            f"{_NAME}: {name} has shape {tuple(tensor.shape)}; with this input, weight and geometry it "
            f"must be {expected}"
        )


def _text(geometry: Geometry) -> str:
    return ", ".join(f"{name} {pair[0]}x{pair[1]}" for name, pair in geometry._asdict().items())
