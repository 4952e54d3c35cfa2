"""What all operators do with their arguments: checks whose errors are one line, and the casts of autocast."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["DTYPES", "LARGEST", "autocast_dtype", "cast", "check_pair", "check_tensor"]

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Kernels compute positions in 64 bits; they number the cells of an image, and its channels, in 32.
LARGEST = 2**31 - 1


def check_tensor(
    operator: str,
    name: str,
    value: Any,
    ndim: int,
    dtypes: Sequence[torch.dtype],
    device: torch.device | None = None,
) -> None:
    """Raise TypeError unless `value` is a tensor of a legal dtype and device, ValueError for its shape.

    `device` is input's device, or None for input itself.
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
    """Return (height, width) from a number or a pair; TypeError for other types, ValueError out of range."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(isinstance(number, bool) or not isinstance(number, int) for number in pair):
        raise TypeError(f"{operator}: {name} is {value!r}; it must be an integer or a pair of integers")
    if min(pair) < minimum:
        raise ValueError(f"{operator}: {name} is {value!r}; its numbers must be at least {minimum}")
    if max(pair) > LARGEST:
        raise ValueError(f"{operator}: {name} is {value!r}; its numbers must be at most {LARGEST}")
    return pair[0], pair[1]


def autocast_dtype(input: Any) -> torch.dtype | None:
    """Return the dtype that autocast asks for on input's device, or None where autocast is off."""
    if not isinstance(input, Tensor) or input.device.type not in ("cpu", "cuda"):
        return None
    device_type = input.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Cast as autocast casts conv2d's arguments; other values, also illegal ones, stay for the checks."""
    eligible = isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64
    return value.to(dtype) if eligible else value
