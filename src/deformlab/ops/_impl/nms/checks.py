"""Argument checks of `nms`, `batched_nms` and `soft_nms`."""

import math
from numbers import Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from deformlab.ops._impl.arguments import DTYPES, check_tensor

__all__ = ["Method", "check_nms", "check_soft_nms"]

Method = Literal["gaussian", "linear"]
_METHODS = get_args(Method)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor | None,
    iou_threshold: float,
    offset: int,
    *,
    name: str = "nms",
) -> None:
    """Check all arguments of `nms`, or of `batched_nms` if there are `idxs`. `name` is for error messages.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal.
    """
    check_tensor(name, "boxes", boxes, 2, DTYPES)
    if boxes.shape[1] != 4:
        raise ValueError(f"{name}: boxes has shape {tuple(boxes.shape)}; it must be (N, 4): x1, y1, x2, y2")
    _check_one_per_box(name, "scores", scores, DTYPES, boxes)
    if idxs is not None:
        _check_one_per_box(name, "idxs", idxs, _INTEGERS, boxes)
    _check_number(name, "iou_threshold", iou_threshold)
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"{name}: iou_threshold is {iou_threshold!r}; it must be from 0 to 1")
    if isinstance(offset, bool) or not isinstance(offset, int):
        raise TypeError(f"{name}: offset is {offset!r}; it must be 0 or 1")
    if offset not in (0, 1):
        raise ValueError(f"{name}: offset is {offset!r}; it must be 0 or 1")


def check_soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    method: str,
    sigma: float,
    min_score: float,
    max_output: int | None,
    offset: int,
) -> None:
    """Check all arguments of `soft_nms`.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal.
    """
    name = "soft_nms"
    check_nms(boxes, scores, None, iou_threshold, offset, name=name)
    if method not in _METHODS:
        raise ValueError(f"{name}: method is {method!r}; it must be 'gaussian' or 'linear'")
    _check_number(name, "sigma", sigma)
    if not 0 < sigma < math.inf:
        raise ValueError(f"{name}: sigma is {sigma!r}; it must be greater than 0 and finite")
    _check_number(name, "min_score", min_score)
    if min_score != min_score:
        raise ValueError(f"{name}: min_score is nan; it must be a number")
    if max_output is not None:
        if isinstance(max_output, bool) or not isinstance(max_output, int):
            raise TypeError(f"{name}: max_output is {max_output!r}; it must be an integer or None")
        if max_output < 0:
            raise ValueError(f"{name}: max_output is {max_output}; it must be at least 0")


def _check_one_per_box(
    operator: str, name: str, value: Any, dtypes: tuple[torch.dtype, ...], boxes: Tensor
) -> None:
    check_tensor(operator, name, value, 1, dtypes)
    if value.device != boxes.device:
        raise TypeError(
            f"{operator}: {name} is on {value.device}; it must be on the boxes' device, {boxes.device}"
        )
    if value.shape[0] != boxes.shape[0]:
        raise ValueError(
            f"{operator}: {name} has {value.shape[0]} values; it must have one per box, {boxes.shape[0]}"
        )


def _check_number(operator: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{operator}: {name} is {value!r}; it must be a number")
