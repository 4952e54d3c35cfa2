"""From the scores and boxes of RoIs to the detections of an image.

Sources: the test of DCNv1's authors (msracver/Deformable-ConvNets, `rfcn/core/tester.py`); soft-NMS: Bodla et
al. (arXiv 1704.04503); box averaging: Gidaris and Komodakis (arXiv 1505.01749), section 5.

Shape letters: R RoIs of one scale of an image, C classes of objects, N candidates, D detections.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from deformlab.errors import ConfigError
from deformlab.models.detection.detections import Detections
from deformlab.ops import batched_nms, soft_nms

__all__ = ["DetectionPostprocessing", "average_boxes", "select_detections"]

Suppression = Literal["nms", "soft_nms"]
SoftNmsMethod = Literal["gaussian", "linear"]
AverageWeight = Literal["score", "score+1.5"]


@dataclass(frozen=True)
class DetectionPostprocessing:
    """How the detections of an image are chosen; the defaults are the authors' of DCNv1 on COCO.

    Args:
        score_threshold: A class of an RoI is a candidate if its probability is greater than this, from 0 to
            1, but not 1. DCNv2 and Detectron: 0.05.
        nms: `nms`: candidates that overlap a better one of their class are removed. `soft_nms`: their scores
            are lowered.
        nms_threshold: The IoU above which NMS removes a candidate, and from which linear soft-NMS lowers its
            score, from 0 to 1. Gaussian soft-NMS does not use it. DCNv2 and Detectron: 0.5.
        soft_nms_method: `gaussian` multiplies a score by exp(-IoU² / sigma), as the authors do; `linear` by
            1 - IoU.
        soft_nms_sigma: Sigma of Gaussian soft-NMS, > 0.
        max_detections: Number of detections of an image, all classes together, >= 1: those of the highest
            scores. The authors: 100 on COCO, 300 on VOC.
        box_average: Replace each detection's box by the weighted mean of all candidates of its class that
            overlap it; its score stays.
        box_average_threshold: The least IoU of a candidate with the box that it contributes to, greater than
            0 and at most 1.
        box_average_weight: `score`, for probabilities, as in Detectron; `score+1.5`, as in the paper, whose
            scores are those of SVMs (0 if it would be negative).

    Raises:
        ConfigError: A value is out of its range.
    """

    score_threshold: float = 1e-3
    nms: Suppression = "nms"
    nms_threshold: float = 0.3
    soft_nms_method: SoftNmsMethod = "gaussian"
    soft_nms_sigma: float = 0.6
    max_detections: int = 100
    box_average: bool = False
    box_average_threshold: float = 0.5
    box_average_weight: AverageWeight = "score"

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, legal, expected in (
            ("score_threshold", 0 <= self.score_threshold < 1, "from 0 to 1, but not 1"),
            ("nms_threshold", 0 <= self.nms_threshold <= 1, "from 0 to 1"),
            ("soft_nms_sigma", 0 < self.soft_nms_sigma < math.inf, "a number > 0"),
            ("max_detections", self.max_detections >= 1, ">= 1"),
            ("box_average_threshold", 0 < self.box_average_threshold <= 1, "greater than 0 and at most 1"),
            ("nms", self.nms in get_args(Suppression), "nms or soft_nms"),
            ("soft_nms_method", self.soft_nms_method in get_args(SoftNmsMethod), "gaussian or linear"),
            ("box_average_weight", self.box_average_weight in get_args(AverageWeight), "score or score+1.5"),
        ):
            if not legal:
                raise ConfigError(f"{name} must be {expected}, got {getattr(self, name)!r}")


def select_detections(
    scores: Sequence[Tensor],
    boxes: Sequence[Tensor],
    options: DetectionPostprocessing | None = None,
    size: tuple[int, int] | None = None,
) -> Detections:
    """Choose the detections of one image.

    The candidates of all scales, flips and rounds are put together before a single NMS or soft-NMS, as the
    authors do when they test on several scales. For the iterative box regression of Gidaris and Komodakis,
    pass both rounds: the boxes of the proposals, and the boxes and scores when those boxes are the RoIs.

    Args:
        scores: For each scale, flip or round: (R, C + 1) probabilities, the background first. R may differ.
        boxes: For each of them: (R, 4) boxes for all classes together, or (R, 4·C) boxes of each class; in
            pixels of the original, unflipped image, with continuous edges.
        options: How they are chosen; None for the defaults.
        size: Height and width of the original image, to which boxes are clipped before NMS; None to not clip.

    Returns:
        At most `max_detections` detections without masks, sorted by decreasing score; of equal scores, the
        earlier RoI comes first, and of one RoI the lower class. Candidates whose box or score is not finite,
        and boxes without an area, are left out. On the device of the boxes, without gradient.

    Raises:
        ValueError: There are no scores, or shapes do not fit.
    """
    options = options or DetectionPostprocessing()
    if not scores or len(scores) != len(boxes):
        raise ValueError(
            f"scores and boxes must have one tensor per scale, got {len(scores)} and {len(boxes)}"
        )
    with torch.no_grad():
        parts = [
            _candidates(score, box, options.score_threshold) for score, box in zip(scores, boxes, strict=True)
        ]
        columns = [score.shape[1] for score in scores]
        if len(set(columns)) > 1:
            raise ValueError(f"scores must be of the same classes at all scales, got {columns} columns")
        box, score, label = (torch.cat(column) for column in zip(*parts, strict=True))
        if size is not None:
            height, width = size
            limit = box.new_tensor([width, height, width, height])
            box = torch.minimum(box.clamp_min(0), limit)
        sides = box[:, 2:] - box[:, :2]
        legal = (sides > 0).all(1) & box.isfinite().all(1) & score.isfinite()
        box, score, label = box[legal], score[legal], label[legal]
        kept, kept_score = _suppressed(box, score, label, options)
        best = kept_score.sort(descending=True, stable=True).indices[: options.max_detections]
        kept, kept_score = kept[best], kept_score[best]
        found = box[kept]
        if options.box_average:
            found = average_boxes(
                found,
                label[kept],
                box,
                score,
                label,
                threshold=options.box_average_threshold,
                weight=options.box_average_weight,
            )
        return Detections(found, kept_score, label[kept])


def average_boxes(
    boxes: Tensor,
    labels: Tensor,
    candidates: Tensor,
    scores: Tensor,
    candidate_labels: Tensor,
    *,
    threshold: float = 0.5,
    weight: AverageWeight = "score",
) -> Tensor:
    """Replace each box by the weighted mean of the candidates of its class that overlap it.

    Source: Gidaris and Komodakis (arXiv 1505.01749), section 5.

    Args:
        boxes: (D, 4) boxes that are left after NMS.
        labels: (D,) their classes.
        candidates: (N, 4) boxes before NMS.
        scores: (N,) their scores before NMS or soft-NMS.
        candidate_labels: (N,) their classes.
        threshold: The least IoU of a candidate with the box that it contributes to, > 0.
        weight: `score` or `score+1.5`; weights below 0 are 0.

    Returns:
        (D, 4) mean boxes. A box that no candidate contributes to stays as it is.
    """
    weights = (scores + 1.5 if weight == "score+1.5" else scores).clamp_min(0)
    means = boxes.clone()
    # Class by class, because tests on several scales have many candidates.
    for label in labels.unique().tolist():
        of_class, same = labels == label, candidate_labels == label
        means[of_class] = _weighted_means(boxes[of_class], candidates[same], weights[same], threshold)
    return means


def _weighted_means(boxes: Tensor, candidates: Tensor, weights: Tensor, threshold: float) -> Tensor:
    """Return the mean candidates (D, 4) of the boxes of one class."""
    lowest = torch.maximum(boxes[:, None, :2], candidates[None, :, :2])
    highest = torch.minimum(boxes[:, None, 2:], candidates[None, :, 2:])
    overlap = (highest - lowest).clamp_min(0).prod(2)
    area, candidate_area = ((part[:, 2:] - part[:, :2]).prod(1) for part in (boxes, candidates))
    union = area[:, None] + candidate_area[None] - overlap
    # In float64, which autocast leaves alone: half precision has too few digits for coordinates.
    shares = (((overlap >= threshold * union) & (overlap > 0)) * weights).double()
    total = shares.sum(1, keepdim=True)
    mean = (shares @ candidates.double() / total.where(total > 0, 1)).to(boxes.dtype)
    return torch.where(total > 0, mean, boxes)


def _candidates(scores: Tensor, boxes: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes, scores and labels of the candidates of one scale."""
    if scores.dim() != 2 or scores.shape[1] < 2:
        raise ValueError(f"scores must be (R, C + 1) with the background first, got {tuple(scores.shape)}")
    rois, classes = scores.shape[0], scores.shape[1] - 1
    if tuple(boxes.shape) not in ((rois, 4), (rois, 4 * classes)):
        raise ValueError(
            f"boxes must be ({rois}, 4) or ({rois}, {4 * classes}) for these scores, got {tuple(boxes.shape)}"
        )
    # Coordinates need more digits than half precision has.
    scores, boxes = (part if part.dtype == torch.float64 else part.float() for part in (scores, boxes))
    roi, label = (scores[:, 1:] > threshold).nonzero(as_tuple=True)
    of_classes = boxes.reshape(rois, boxes.shape[1] // 4, 4).expand(rois, classes, 4)
    return of_classes[roi, label], scores[roi, label + 1], label


def _suppressed(
    boxes: Tensor, scores: Tensor, labels: Tensor, options: DetectionPostprocessing
) -> tuple[Tensor, Tensor]:
    """Return the indices of the candidates that are left, in increasing order, and their scores."""
    if options.nms == "nms":
        kept = batched_nms(boxes, scores, labels, options.nms_threshold).sort().values
        return kept, scores[kept]
    parts: list[tuple[Tensor, Tensor]] = [(labels[:0], scores[:0])]
    for label in labels.unique().tolist():
        of_class = (labels == label).nonzero()[:, 0]
        lowered, best = soft_nms(
            boxes[of_class],
            scores[of_class],
            options.nms_threshold,
            method=options.soft_nms_method,
            sigma=options.soft_nms_sigma,
            # The authors keep as many boxes of each class as they keep of an image.
            max_output=options.max_detections,
        )
        parts.append((of_class[best], lowered))
    kept, lowered = (torch.cat([part[i] for part in parts]) for i in range(2))
    kept, order = kept.sort()
    return kept, lowered[order]
