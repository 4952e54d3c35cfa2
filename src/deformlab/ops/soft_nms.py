"""Soft non-maximum suppression (Bodla et al., arXiv 1704.04503): the public function."""

from torch import Tensor

from deformlab.ops._impl.nms import Method, call_soft_nms, check_soft_nms

__all__ = ["soft_nms"]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.3,
    *,
    method: Method = "gaussian",
    sigma: float = 0.6,
    min_score: float = 0.0,
    max_output: int | None = None,
    offset: int = 0,
) -> tuple[Tensor, Tensor]:
    """Select boxes by decreasing score, and lower the scores of boxes that overlap a selected one.

    In each round, the box with the highest score is selected; of equal scores, the lower index. The scores of
    the others are then multiplied by a factor that depends on their IoU with it:

    - `gaussian`: exp(-IoU² / sigma), for each IoU. The authors' release uses sigma 0.6, mmcv and detectron2
      0.5. `iou_threshold` has no effect.
    - `linear`: 1 - IoU if IoU >= `iou_threshold`, otherwise 1. `sigma` has no effect.

    Boxes are of one class: for several classes, call it once per class. The names of the arguments are those
    of mmcv's `soft_nms`; its defaults differ (`method="linear"`, sigma 0.5, min_score 0.001). With the
    defaults here, no box is left out, as in the authors' release, which stops after `max_output` boxes per
    class.

    IoU and scores are computed in float32, or in float64 if the boxes or the scores are float64, also under
    `torch.autocast`. Boxes with NaN, infinite coordinates or x2 < x1 have no overlap. A score of NaN is not
    at least `min_score`, so its box is left out.

    Neither result has a derivative: the scores are detached.

    Args:
        boxes: (N, 4), as (x1, y1, x2, y2), in float64, float32, bfloat16 or float16. N may be zero.
        scores: (N,), in any of these dtypes, not negative: the lowered score of a box with a negative score
            would be higher.
        iou_threshold: From 0 to 1.
        method: `gaussian` or `linear`, see above.
        sigma: Greater than 0.
        min_score: Boxes with a lower score, also a lowered one, are left out.
        max_output: The largest number of boxes to select, or None for all.
        offset: Added to widths and heights: 0 if coordinates are edges; 1 if they are the first and the last
            pixel, as in the authors' code.

    Returns:
        The lowered scores of the selected boxes, in the dtype of `scores`, and their indices, int64. Both
        have the order of selection, which is by decreasing lowered score.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal.
    """
    check_soft_nms(boxes, scores, iou_threshold, method, sigma, min_score, max_output, offset)
    return call_soft_nms(
        boxes, scores, iou_threshold, method == "gaussian", sigma, min_score, max_output, offset
    )
