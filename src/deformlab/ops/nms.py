"""Non-maximum suppression, of all boxes or of each class alone: the public functions."""

from torch import Tensor

from deformlab.ops._impl.nms import call_nms, check_nms

__all__ = ["batched_nms", "nms"]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, *, offset: int = 0) -> Tensor:
    """Keep the boxes that do not overlap a kept box with a higher score.

    Arguments, results and order are those of `torchvision.ops.nms`, plus `offset`. The boxes are visited by
    decreasing score; of equal scores, the lower index comes first. A box is kept unless its intersection over
    union (IoU) with a kept box is **greater than** `iou_threshold`. This is the rule of torchvision and of
    the authors' Python and GPU code; their Cython code also suppresses at equality.

    IoU is computed in the dtype of the boxes, in float32 if they are 16-bit, also under `torch.autocast`.
    Every operation is rounded separately, so results are the same on each device and for any number of
    threads, and equal to torchvision's CPU results bit for bit.

    A box with NaN, infinite coordinates or x2 < x1 neither suppresses nor is suppressed; neither are two
    boxes of zero area. NaN counts as the highest score, as in `torch.sort`. If it matters, remove such boxes
    first.

    The result is a tensor of indices and has no derivative. Its size depends on the values: on a GPU, the
    call waits for the result; `torch.compile` and `torch.export` get a size that is not known in advance.

    Args:
        boxes: (N, 4), as (x1, y1, x2, y2), in float64, float32, bfloat16 or float16. N may be zero.
        scores: (N,), in any of these dtypes.
        iou_threshold: From 0 to 1. The authors use 0.7 for proposals and 0.3 for detections.
        offset: Added to widths and heights: 0 if coordinates are edges; 1 if they are the first and the last
            pixel, as in the authors' code (their "+1"; mmcv has the same argument).

    Returns:
        (number of kept boxes,), int64: their indices by decreasing score.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal.
    """
    check_nms(boxes, scores, None, iou_threshold, offset)
    return call_nms(boxes, scores, None, iou_threshold, offset)


def batched_nms(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float, *, offset: int = 0
) -> Tensor:
    """Do `nms` for each class, or each image, alone: only boxes with equal `idxs` are compared.

    Arguments and order are those of `torchvision.ops.batched_nms`, plus `offset`. The result is exact. For
    few boxes, torchvision moves each class to a place of its own and suppresses all of them together; in
    float32, the moved coordinates are rounded, which can change which boxes are kept.

    Args:
        boxes: (N, 4), as in `nms`.
        scores: (N,), as in `nms`.
        idxs: (N,), the class or image of each box, in any integer dtype; negative numbers are legal.
        iou_threshold: From 0 to 1, as in `nms`.
        offset: 0 or 1, as in `nms`.

    Returns:
        (number of kept boxes,), int64: the indices of all kept boxes by decreasing score; of equal scores,
        the lower index comes first.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal.
    """
    if idxs is None:
        raise TypeError("batched_nms: idxs is None; it must be a tensor. Without classes, use nms")
    check_nms(boxes, scores, idxs, iou_threshold, offset, name="batched_nms")
    return call_nms(boxes, scores, idxs, iou_threshold, offset)
