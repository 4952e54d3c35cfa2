"""Average precision (AP) of PASCAL VOC at IoU 0.5 and 0.7, as the authors of DCNv1 evaluate it.

Source: `voc_eval` of the authors' code (msracver/Deformable-ConvNets, `lib/dataset/pascal_voc_eval.py`),
which follows the development kit of VOC. The authors' code writes scores with three decimals and coordinates
with one before it evaluates them; this module does not round.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deformlab.errors import ConfigError
from deformlab.metrics.detection_images import (
    DetectionImage,
    DetectionsLike,
    box_iou,
    detection_images,
    refuse_duplicate_images,
)

__all__ = ["Area", "VocAveragePrecision", "VocAveragePrecisionResult", "voc_ap"]

Area = Literal["11-point", "all-point"]
"""How the area under the curve of precision over recall is computed."""

# The IoU that a match must exceed.
_THRESHOLDS = (0.5, 0.7)
# The authors' eleven recall values. In floating point the fourth is a little more than 0.3, which a recall of
# 3 of 10 objects does not reach.
_ELEVEN = np.arange(0.0, 1.1, 0.1)
_FALSE, _TRUE, _IGNORED = 0, 1, 2

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


class VocAveragePrecisionResult(NamedTuple):
    """AP as fractions from 0 to 1; nan if there is no object to find.

    Attributes:
        ap50: Mean over classes of AP at IoU > 0.5; classes without objects are left out.
        ap70: The same at IoU > 0.7.
        class_ap50: AP at IoU > 0.5 of each of the C classes; nan for a class without objects.
        class_ap70: AP at IoU > 0.7 of each class.
        class_objects: Number of objects of each class, without ignored ones.
    """

    ap50: float
    ap70: float
    class_ap50: tuple[float, ...]
    class_ap70: tuple[float, ...]
    class_objects: tuple[int, ...]


class VocAveragePrecision(Metric):
    """Metric that computes the AP of PASCAL VOC.

    Each detection is compared with the object of its class, in its image, of the largest IoU. Of the
    detections whose IoU with an object is greater than the threshold (not equal to it), the one of the
    highest score is right; the others are wrong, and so are detections without such an object. In contrast
    to COCO, a detection does not turn to its second best object when the best is taken. Detections of
    difficult objects are neither right nor wrong, and difficult objects need not be found. Crowds (COCO)
    count as difficult. Detections of equal scores are ordered by image (`image_id`), and within an image as
    given.

    The result does not depend on batch size, order of images or number of processes.

    Args:
        num_classes: Number of classes C, >= 1. Legal labels are 0 to C - 1.
        area: `11-point`: the mean over recall 0, 0.1, ..., 1 of the largest precision at that recall or a
            larger one; the rule of VOC 2007 to 2009. `all-point`: the area under the same envelope of
            precision, at all recall values; the rule since VOC 2010.
        plus_one: Whether a box that covers the pixels x1 to x2, both included, is x2 - x1 + 1 wide, as in the
            authors' code and in VOC's. Boxes here have continuous edges, so this is the plain IoU. False:
            the IoU of the coordinates of the first and last pixels, x1 and x2 - 1 in our boxes, without that
            +1. A box is then one pixel narrower and lower; a box one pixel wide has no area, and matches
            nothing. Codes that forget the +1 compute this; small boxes lose.

    Raises:
        ConfigError: An argument is not legal.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    images: list[Tensor]
    rows: list[Tensor]
    class_objects: Tensor

    def __init__(self, num_classes: int, area: Area = "11-point", plus_one: bool = True) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"num_classes must be >= 1, got {num_classes}")
        if area not in get_args(Area):
            raise ConfigError(f"area must be one of {', '.join(get_args(Area))}, got {area!r}")
        self.num_classes = num_classes
        self.area: Area = area
        self.plus_one = plus_one
        self.add_state("images", [], dist_reduce_fx="cat")
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("class_objects", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self._start()

    def reset(self) -> None:
        """Discard all detections."""
        super().reset()
        self._start()

    def _start(self) -> None:
        self._names: dict[int, str] = {}
        # A process that receives no image must still have states of the right shape, because states are
        # concatenated.
        self.images.append(torch.zeros(0, 2, dtype=torch.int64, device=self.device))
        # Image (key and image_id), label, score, and the outcome at each threshold.
        self.rows.append(torch.zeros(0, 4 + len(_THRESHOLDS), dtype=torch.float64, device=self.device))

    def update(self, detections: Sequence[DetectionsLike], targets: Mapping[str, Any]) -> None:
        """Match the detections of one batch with its objects.

        Args:
            detections: The detections of each of the N images, in pixels of the original images.
            targets: A batch for evaluation, see `deformlab.metrics.detection_images`.

        Raises:
            ValueError: The batch is not legal (`detection_images`). The message names the image, and nothing
                is recorded.
        """
        for image in detection_images(detections, targets, self.num_classes):
            self._names[image.key] = image.name
            order = np.argsort(-image.scores, kind="stable")
            outcomes = _outcomes(image, order, self.plus_one)
            which = np.broadcast_to([image.key, image.image_id], (len(order), 2))
            rows = np.column_stack([which, image.labels[order], image.scores[order], outcomes])
            counted = image.object_labels[~image.ignored]
            self.images.append(torch.tensor([[image.key, image.image_id]], device=self.device))
            self.rows.append(torch.from_numpy(rows.astype(np.float64)).to(self.device))
            counts = torch.from_numpy(np.bincount(counted, minlength=self.num_classes))
            self.class_objects += counts.to(self.device)

    def compute(self) -> VocAveragePrecisionResult:
        """Compute AP of everything since the last reset.

        Raises:
            ValueError: Two images have the same name.
        """
        images = dim_zero_cat(self.images).cpu().numpy()
        refuse_duplicate_images(images[:, 0], images[:, 1], self._names)
        key, image_id, label, score, *outcomes = dim_zero_cat(self.rows).cpu().numpy().T
        # Within an image, rows are in the order of their scores; the sort is stable.
        order = np.lexsort((key, image_id, -score))
        objects = self.class_objects.tolist()
        label = label[order]
        class_ap = [
            tuple(voc_ap(outcome[order][label == c], count, self.area) for c, count in enumerate(objects))
            for outcome in outcomes
        ]
        means = [_mean(values) for values in class_ap]
        return VocAveragePrecisionResult(means[0], means[1], class_ap[0], class_ap[1], tuple(objects))


def voc_ap(outcomes: npt.ArrayLike, objects: int, area: Area) -> float:
    """Compute the AP of one class from the outcomes of its detections.

    Args:
        outcomes: (n,) outcomes by decreasing score: 1 right, 0 wrong, 2 ignored.
        objects: Number of objects to find.
        area: See `VocAveragePrecision`.

    Returns:
        AP from 0 to 1; nan without objects.
    """
    if not objects:
        return math.nan
    outcome = np.asarray(outcomes)
    right, wrong = np.cumsum(outcome == _TRUE), np.cumsum(outcome == _FALSE)
    recall = right / objects
    # Only ignored detections so far: a precision of 0, as the authors have it.
    precision = right / np.maximum(right + wrong, np.finfo(np.float64).eps)
    # The largest precision at this recall or a larger one; 0 beyond the largest recall.
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if area == "11-point":
        return float(envelope[np.searchsorted(recall, _ELEVEN, side="left")].sum() / len(_ELEVEN))
    steps = np.diff(recall, prepend=0.0)
    return float((steps * envelope[:-1]).sum())


def _outcomes(image: DetectionImage, order: _Integers, plus_one: bool) -> _Integers:
    """Return the outcome of each detection at each threshold, (D, 2), in the order `order`."""
    outcomes = np.full((len(order), len(_THRESHOLDS)), _FALSE)
    if not len(image.object_boxes) or not len(order):
        return outcomes
    boxes, object_boxes = image.boxes[order], image.object_boxes
    if not plus_one:
        boxes, object_boxes = _inclusive(boxes), _inclusive(object_boxes)
    iou = box_iou(boxes, object_boxes)
    iou[image.labels[order, None] != image.object_labels[None]] = -1
    best = iou.argmax(1)
    largest = iou.max(1)
    for t, threshold in enumerate(_THRESHOLDS):
        matches = np.flatnonzero(largest > threshold)
        _, first = np.unique(best[matches], return_index=True)
        outcomes[matches[first], t] = _TRUE
        outcomes[matches[image.ignored[best[matches]]], t] = _IGNORED
    return outcomes


def _inclusive(boxes: _Floats) -> _Floats:
    """Return the coordinates of the first and the last pixel; no box gets a negative width."""
    corners = boxes.copy()
    corners[:, 2:] = np.maximum(corners[:, 2:] - 1, corners[:, :2])
    return corners


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
