"""Which objects a detector finds, object by object: the source of recall by object size and class.

Shape letters: D detections and K objects of an image, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

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
    share_inside,
)
from deformlab.metrics.image_objects import (
    HEAD,
    ImageObjects,
    head_rows,
    image_key,
    records_of_rows,
    sorted_rows,
)
from deformlab.records import DetectionSums, ObjectRecords

__all__ = ["DetectionScores"]

_COLUMNS = DetectionSums._fields
_THRESHOLDS = (("50", 0.5), ("70", 0.7))

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


class DetectionScores(Metric):
    """Metric that records how well each object was found, and the false positives of each class.

    Detections are matched as in COCO, by decreasing score: each with the object of its class of the largest
    IoU that no earlier one was matched with, if this IoU is at least 0.5 or 0.7. If there is none, and at
    least that share of its area is inside a difficult object or a crowd of its class, it is left out;
    otherwise it is a false positive. AP by object size is `CocoAveragePrecision`; these records are for
    recall by size and class, with intervals from resampling images, beside effective dilation.

    The state is one row per object and image. Therefore any batch size and any number of processes give
    exactly the same result.

    Args:
        num_classes: Number of classes C, >= 1. Legal labels are 0 to C - 1.
        score_threshold: An object counts as found, and a detection as a false positive, if the score is
            greater than this, 0 <= score_threshold < 1. Recall and precision depend on it; AP does not. The
            scores of the matches are recorded, too, so that recall at another threshold can be computed from
            the records.

    Raises:
        ConfigError: An argument is out of its range.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    rows: list[Tensor]

    def __init__(self, num_classes: int, score_threshold: float = 0.5) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"num_classes must be >= 1, got {num_classes}")
        if not 0 <= score_threshold < 1:
            raise ConfigError(f"score_threshold must be from 0 to 1, but not 1, got {score_threshold}")
        self.num_classes = num_classes
        self.score_threshold = score_threshold
        self.add_state("rows", [], dist_reduce_fx="cat")
        self._start()

    def reset(self) -> None:
        """Discard all records."""
        super().reset()
        self._start()

    def _start(self) -> None:
        # A process that receives no image must still have rows of the right width, because rows are
        # concatenated.
        width = HEAD + len(_COLUMNS)
        self.rows.append(torch.zeros(0, width, dtype=torch.float64, device=self.device))

    def update(
        self,
        objects: Sequence[ImageObjects],
        detections: Sequence[DetectionsLike],
        targets: Mapping[str, Any],
    ) -> None:
        """Record one batch.

        Args:
            objects: The objects of each of the N images, as `objects_from_boxes` returns them for all boxes
                of `targets` in their order; the same ones that `EffectiveDilation` gets.
            detections: The detections of each image, in pixels of the original images.
            targets: A batch for evaluation, see `deformlab.metrics.detection_images`.

        Raises:
            ValueError: The batch is not legal (`detection_images`), or `objects` are not those of `targets`.
        """
        if len(objects) != len(detections):
            raise ValueError(f"objects has {len(objects)} images, but detections has {len(detections)}")
        images = detection_images(detections, targets, self.num_classes)
        for image, known in zip(images, objects, strict=True):
            labels = known.label.cpu().numpy()
            if known.name != image.name or not np.array_equal(labels, image.object_labels):
                raise ValueError(
                    f"image {image.name}: objects must be those of targets, in their order, got "
                    f"{len(labels)} objects of image {known.name} for {len(image.object_labels)}"
                )
        for image, known in zip(images, objects, strict=True):
            sums, false = _sums(image, self.num_classes, self.score_threshold)
            count = len(known.ids)
            head = head_rows(known)[:count].cpu().numpy()
            background = np.zeros((self.num_classes, HEAD + len(_COLUMNS)))
            background[:, 0], background[:, 5] = image_key(known.name), known.scale
            background[:, 2] = np.arange(self.num_classes)
            for suffix, counts in false.items():
                background[:, HEAD + _COLUMNS.index(f"false{suffix}")] = counts
            rows = np.concatenate(
                [np.column_stack([head, *sums]), background[(background[:, HEAD:] > 0).any(1)]]
            )
            self.rows.append(torch.from_numpy(rows).to(self.device))

    def compute(self) -> ObjectRecords:
        """Return the records of all objects since the last reset.

        Returns:
            Records with `detections` but without layers. `deformlab.records.join_scores` combines them with
            the records of `EffectiveDilation`. Images are identified by `image_key`; `ObjectRecords.named`
            replaces the keys with the names of the images.
        """
        rows = sorted_rows(dim_zero_cat(self.rows))
        like = DetectionSums.zeros(0)
        columns = (column.astype(empty.dtype) for column, empty in zip(rows[:, HEAD:].T, like, strict=True))
        return records_of_rows(rows)._replace(detections=DetectionSums(*columns))


def _sums(
    image: DetectionImage, num_classes: int, score_threshold: float
) -> tuple[DetectionSums, dict[str, _Integers]]:
    """Return the columns of an image's objects (K,), and the false positives of each class (C,) by suffix."""
    order = np.argsort(-image.scores, kind="stable")
    boxes, scores, labels = image.boxes[order], image.scores[order], image.labels[order]
    shown = scores > score_threshold
    same = labels[:, None] == image.object_labels[None]
    iou = np.where(same & ~image.ignored, box_iou(boxes, image.object_boxes), 0)
    inside = np.where(same & image.ignored, share_inside(boxes, image.object_boxes), 0)
    columns: dict[str, npt.NDArray] = {
        "counted": (~image.ignored).astype(np.int64),
        "best_iou": iou[shown].max(0, initial=0),
    }
    false = {}
    for suffix, threshold in _THRESHOLDS:
        match = _matches(iou, threshold)
        matched = match >= 0
        of_object = np.zeros(len(image.object_labels))
        of_object[match[matched]] = scores[matched]
        columns[f"score{suffix}"] = of_object
        columns[f"found{suffix}"] = (of_object > score_threshold).astype(np.int64)
        columns[f"false{suffix}"] = np.zeros(len(of_object), dtype=np.int64)
        wrong = shown & ~matched & (inside.max(1, initial=0) < threshold)
        false[suffix] = np.bincount(labels[wrong], minlength=num_classes)
    return DetectionSums(**columns), false


def _matches(iou: _Floats, threshold: float) -> _Integers:
    """Return the index of the object that each detection is matched with, (D,); -1 without one.

    Args:
        iou: (D, K), detections by decreasing score; 0 if an object is of another class or ignored.
        threshold: The least IoU of a match.
    """
    match = np.full(len(iou), -1)
    free = np.ones(iou.shape[1], dtype=bool)
    for d in np.flatnonzero(iou.max(1, initial=0) >= threshold):
        available = np.where(free, iou[d], 0)
        best = int(available.argmax())
        if available[best] >= threshold:
            match[d] = best
            free[best] = False
    return match
