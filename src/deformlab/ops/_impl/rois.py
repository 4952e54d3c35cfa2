"""Checks that all operators on regions share."""

from typing import Any

import torch
from torch import Tensor

from deformlab.ops._impl.arguments import DTYPES, LARGEST, check_pair, check_tensor

__all__ = ["check_input", "check_number", "check_output_size", "checked_rois"]


def check_input(operator: str, input: Any) -> None:
    """Check that the input is a feature map (N, C, H, W).

    Raises:
        TypeError: It is no tensor, or its dtype is not legal.
        ValueError: Its shape is not legal.
    """
    check_tensor(operator, "input", input, 4, DTYPES)
    C, H, W = input.shape[1:]
    if C < 1 or H < 1 or W < 1:
        raise ValueError(f"{operator}: input has shape {tuple(input.shape)}; only its batch size may be zero")
    if C > LARGEST or H * W > LARGEST:
        raise ValueError(
            f"{operator}: input has shape {tuple(input.shape)}; it may have at most {LARGEST} channels "
            f"and {LARGEST} cells per channel"
        )


def checked_rois(operator: str, input: Tensor, boxes: Any) -> Tensor:
    """Return the regions as one tensor, in the dtype of coordinates.

    Args:
        operator: The operator's name, for messages.
        input: The checked input (N, C, H, W).
        boxes: (K, 5) with the index of the image first, or a list of N tensors (L, 4).

    Returns:
        (K, 5), in float64 for float64 input and in float32 otherwise.

    Raises:
        TypeError: A type, dtype or device is not legal.
        ValueError: A shape is not legal, or an image index is not an integer from 0 to N - 1. Indices are
            only checked on the CPU and not while a program is traced; a region whose image does not exist
            then pools zeros.
    """
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    if isinstance(boxes, list | tuple):
        if len(boxes) != len(input):
            raise ValueError(
                f"{operator}: boxes is a list of {len(boxes)} tensors; it must have one for each of input's "
                f"{len(input)} images"
            )
        parts = []
        for image, of_image in enumerate(boxes):
            _check_boxes(operator, f"boxes[{image}]", of_image, 4, input)
            index = of_image.new_full((len(of_image), 1), image, dtype=dtype)
            parts.append(torch.cat([index, of_image.to(dtype)], dim=1))
        return torch.cat(parts) if parts else input.new_zeros((0, 5), dtype=dtype)
    _check_boxes(operator, "boxes", boxes, 5, input)
    rois = boxes.to(dtype)
    if input.device.type == "cpu" and not torch.compiler.is_compiling() and not _is_traced(rois):
        index = rois[:, 0]
        legal = (index >= 0) & (index < len(input)) & (index == index.floor())
        if not bool(legal.all()):
            row = int((~legal).nonzero()[0])
            raise ValueError(
                f"{operator}: boxes has {float(index[row]):g} as index of the image in row {row}; it must be "
                f"an integer from 0 to {len(input) - 1}"
            )
    return rois


def check_output_size(operator: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """Return the bins as (height, width), at most 4096 each.

    Raises:
        TypeError: It is neither an integer nor a pair of integers.
        ValueError: A number is out of its range.
    """
    pair = check_pair(operator, "output_size", value, minimum=1)
    if max(pair) > 4096:
        raise ValueError(f"{operator}: output_size is {value!r}; its numbers must be at most 4096")
    return pair


def check_number(operator: str, name: str, value: Any, above: float = 0.0) -> float:
    """Return a finite number greater than `above`.

    Raises:
        TypeError: It is no number.
        ValueError: It is not finite, or not greater than `above`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{operator}: {name} is {value!r}; it must be a number")
    if not above < value < float("inf"):
        raise ValueError(f"{operator}: {name} is {value!r}; it must be finite and greater than {above:g}")
    return float(value)


def _check_boxes(operator: str, name: str, value: Any, columns: int, input: Tensor) -> None:
    check_tensor(operator, name, value, 2, DTYPES, input.device)
    if value.shape[1] != columns:
        what = "the index of the image, x1, y1, x2, y2" if columns == 5 else "x1, y1, x2, y2"
        raise ValueError(
            f"{operator}: {name} has shape {tuple(value.shape)}; it must have {columns} columns: {what}"
        )


def _is_traced(tensor: Tensor) -> bool:
    """Whether the values are unknown: in torch.export, under vmap, on the meta device."""
    return (
        isinstance(tensor, torch._subclasses.FakeTensor)
        or torch._C._are_functorch_transforms_active()
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )
