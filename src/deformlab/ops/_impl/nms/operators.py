"""Connects nms and soft_nms to PyTorch, compiled or in plain PyTorch. Neither has derivatives."""

import torch
from torch import Tensor

from deformlab.ops import reference
from deformlab.ops._impl.native import backend, native_status, warn_without_native

__all__ = ["call_nms", "call_soft_nms"]


def call_nms(boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float, offset: int) -> Tensor:
    """Call the operator that runs on the boxes' device. The caller has checked the arguments."""
    args = (boxes.detach(), scores.detach(), idxs, float(iou_threshold), offset)
    if backend(boxes.device.type) == "native":
        return torch.ops.deformlab.nms(*args)
    warn_without_native()
    return _nms_in_pytorch(*args)


def call_soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    gaussian: bool,
    sigma: float,
    min_score: float,
    max_output: int | None,
    offset: int,
) -> tuple[Tensor, Tensor]:
    """Call the operator that runs on the boxes' device. The caller has checked the arguments."""
    most = -1 if max_output is None else max_output
    numbers = (float(iou_threshold), gaussian, float(sigma), float(min_score), most, offset)
    if backend(boxes.device.type) == "native":
        return torch.ops.deformlab.soft_nms(boxes.detach(), scores.detach(), *numbers)
    warn_without_native()
    return _soft_nms_in_pytorch(boxes.detach(), scores.detach(), *numbers)


# torch.compile cannot trace the loops of the references, which depend on values.
@torch.library.custom_op("deformlab::nms_in_pytorch", mutates_args=())
def _nms_in_pytorch(
    boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float, offset: int
) -> Tensor:
    if idxs is None:
        return reference.nms(boxes, scores, iou_threshold, offset=offset)
    return reference.batched_nms(boxes, scores, idxs, iou_threshold, offset=offset)


@torch.library.custom_op("deformlab::soft_nms_in_pytorch", mutates_args=())
def _soft_nms_in_pytorch(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    gaussian: bool,
    sigma: float,
    min_score: float,
    max_output: int,
    offset: int,
) -> tuple[Tensor, Tensor]:
    return reference.soft_nms(
        boxes,
        scores,
        iou_threshold,
        method="gaussian" if gaussian else "linear",
        sigma=sigma,
        min_score=min_score,
        max_output=None if max_output < 0 else max_output,
        offset=offset,
    )


def _nms_fake(
    boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float, offset: int
) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


def _soft_nms_fake(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    gaussian: bool,
    sigma: float,
    min_score: float,
    max_output: int,
    offset: int,
) -> tuple[Tensor, Tensor]:
    selected = torch.library.get_ctx().new_dynamic_size()
    return scores.new_empty(selected), boxes.new_empty(selected, dtype=torch.int64)


torch.library.register_fake("deformlab::nms_in_pytorch", _nms_fake)
torch.library.register_fake("deformlab::soft_nms_in_pytorch", _soft_nms_fake)
if native_status().loaded:
    torch.library.register_fake("deformlab::nms", _nms_fake)
    torch.library.register_fake("deformlab::soft_nms", _soft_nms_fake)
