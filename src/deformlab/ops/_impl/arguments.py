"""Argument handling that all operators share: checks that raise one-line errors, and casts for autocast."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["DTYPES", "LARGEST", "autocast_dtype", "cast", "check_pair", "check_tensor"]

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Kernels compute positions with 64-bit integers, but index the cells and channels of an image with 32 bits.
LARGEST = 2**31 - 1


def check_tensor(
    operator: str,
    name: str,
    value: Any,
    ndim: int,
    dtypes: Sequence[torch.dtype],
    device: torch.device | None = None,
) -> None:
    """Check that an argument is a tensor of a legal dtype, device and number of dimensions.

    Args:
        operator: The operator's name, for the error message.
        name: The argument's name, for the error message.
        value: The argument.
        ndim: The required number of dimensions.
        dtypes: The legal dtypes.
        device: The device of the operator's input; None when `value` is the input itself.

    Raises:
        TypeError: `value` is not a tensor, or its dtype or device is not legal.
        ValueError: `value` does not have `ndim` dimensions.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{operator}: {name} is a {type(value).__name__}; it must be a tensor")
    if device is not None and value.device != device:
        raise TypeError(f"{operator}: {name} is on {value.device}; it must be on input's device, {device}")
    if value.dtype not in dtypes:
        raise TypeError(
            f"{operator}: {name} has dtype {value.dtype}; legal here: {', '.join(map(str, dtypes))}"
        )
    if value.ndim != ndim:
        raise ValueError(
            f"{operator}: {name} has shape {tuple(value.shape)}; it must have {ndim} dimension"
            + ("s" if ndim > 1 else "")
        )


def check_pair(operator: str, name: str, value: int | tuple[int, int], minimum: int) -> tuple[int, int]:
    """Return (height, width) from one integer or a pair of integers.

    Raises:
        TypeError: `value` is neither an integer nor a pair of integers.
        ValueError: A number is less than `minimum` or greater than `LARGEST`.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(isinstance(number, bool) or not isinstance(number, int) for number in pair):
        raise TypeError(f"{operator}: {name} is {value!r}; it must be an integer or a pair of integers")
    if min(pair) < minimum:
        raise ValueError(f"{operator}: {name} is {value!r}; its numbers must be at least {minimum}")
    if max(pair) > LARGEST:
        raise ValueError(f"{operator}: {name} is {value!r}; its numbers must be at most {LARGEST}")
    return pair[0], pair[1]


def autocast_dtype(input: Any) -> torch.dtype | None:
    """Return the dtype that autocast uses on the input's device, or None if autocast is off there."""
    if not isinstance(input, Tensor) or input.device.type not in ("cpu", "cuda"):
        return None
    device_type = input.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Cast a tensor as autocast does for conv2d.

    Other values, including illegal ones, are returned unchanged; the checks reject them later.
    """
    eligible = isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64
    return value.to(dtype) if eligible else value
