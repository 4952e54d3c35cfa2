"""Counts the labelled pixels, hits and false positives of each object, from which its recall and IoU follow.

Shape letters: K objects of an image, (H, W) the size of its label map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deformlab.labels import IGNORED
from deformlab.metrics.image_objects import (
    HEAD,
    ImageObjects,
    class_codes,
    head_rows,
    records_of_rows,
    sorted_rows,
)
from deformlab.records import BACKGROUND, ObjectRecords

__all__ = ["ObjectScores", "PixelCounts", "count_pixels"]

# Labels and predictions are 8-bit codes. A pair of them is an index into a square table with sides of this
# length.
_CODES = 256


class PixelCounts(NamedTuple):
    """Pixel counts per object (K,) or per class (256,).

    Attributes:
        pixels: Labelled pixels.
        hits: Labelled pixels whose class was predicted correctly.
        false_positives: Pixels of other classes for which the class was predicted.
    """

    pixels: Tensor
    hits: Tensor
    false_positives: Tensor


def count_pixels(objects: ImageObjects, prediction: Tensor) -> tuple[PixelCounts, PixelCounts]:
    """Count the hits and false positives of each object, and of each class outside objects.

    The pixels of an object are those pixels of its mask that have its class. Its false positives are pixels
    of other classes for which its class was predicted, within its region: its bounding box at twice the
    height and width. A false positive near two objects of the same class counts for both; a false positive
    far from all objects counts for none of them. The false positives of a class are counted in the whole
    image.

    Args:
        objects: The objects of the image, with masks and classes.
        prediction: (H, W) predicted classes of an integer type, 0 to 254. 255 is never a hit or a false
            positive.

    Returns:
        The counts of the objects (K,), and of the classes outside objects (256,).

    Raises:
        ValueError: The objects have no masks or no classes, or the prediction does not have the size of the
            label map, is not of an integer type, or has a value outside 0 to 255.
    """
    owner, pixel, label = objects.owner, objects.object_pixels, objects.label_map
    if owner is None or pixel is None or label is None:
        raise ValueError(f"image {objects.name}: scores of objects need masks and classes")
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction must be {tuple(label.shape)} like the label map, got {tuple(prediction.shape)}"
        )
    prediction = _codes_of(prediction)
    count = len(objects.ids)
    codes = label.to(torch.int32) * _CODES + prediction
    table = torch.bincount(codes.flatten(), minlength=_CODES**2).view(_CODES, _CODES)[:IGNORED]
    which = owner.flatten()[pixel]
    own = label.flatten()[pixel] == objects.label[which]
    pixel, which = pixel[own], which[own]
    found = prediction.flatten()[pixel] == objects.label[which]
    pixels = torch.bincount(which, minlength=count)
    hits = torch.bincount(which[found], minlength=count)
    of_class = torch.nn.functional.pad(table.sum(1), (0, 1))
    hits_of_class = torch.nn.functional.pad(table.diagonal(), (0, 1))
    background = PixelCounts(
        of_class.index_add(0, objects.label, -pixels),
        hits_of_class.index_add(0, objects.label, -hits),
        torch.nn.functional.pad(table[:, :IGNORED].sum(0), (0, 1)) - hits_of_class,
    )
    return PixelCounts(pixels, hits, _false_positives(objects, label, prediction)), background


class ObjectScores(Metric):
    """Metric that counts pixels, hits and false positives per object.

    Recall and IoU by object size and class follow from these counts. The state is one row per object and
    image. Therefore any batch size and any number of processes give exactly the same result, and confidence
    intervals can be computed by resampling images.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    rows: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")
        self._start()

    def reset(self) -> None:
        """Discard all counts."""
        super().reset()
        self._start()

    def _start(self) -> None:
        # A process that receives no image must still have rows of the right width, because rows are
        # concatenated.
        self.rows.append(torch.zeros(0, HEAD + 3, dtype=torch.float64, device=self.device))

    def update(self, objects: Sequence[ImageObjects], prediction: Tensor) -> None:
        """Count one batch.

        Args:
            objects: The objects of each image, as `find_objects` returns them, with masks and classes.
            prediction: Predicted classes (N, H, W) of an integer type, 0 to 254. 255 is never a hit or a
                false positive.

        Raises:
            ValueError: The objects have no masks or no classes, shapes do not fit, or `prediction` is not of
                an integer type or has a value outside 0 to 255.
        """
        if len(prediction) != len(objects):
            raise ValueError(f"prediction has {len(prediction)} images, but objects has {len(objects)}")
        for image, predicted in zip(objects, _codes_of(prediction), strict=True):
            counts = [torch.stack(part, dim=1) for part in count_pixels(image, predicted)]
            rows = torch.cat([head_rows(image), torch.cat(counts).double()], dim=1)
            background = rows[:, 1] == BACKGROUND
            # Keep the background rows of classes that occur.
            self.rows.append(rows[~background | (rows[:, HEAD:] > 0).any(1)])

    def compute(self) -> ObjectRecords:
        """Return the counts of all objects since the last reset.

        Returns:
            Records with scores but without layers. `deformlab.records.join_scores` combines them with the
            records of `EffectiveDilation`. Images are identified by `image_key`; `ObjectRecords.named`
            replaces the keys with the names of the images.
        """
        rows = sorted_rows(dim_zero_cat(self.rows))
        records = records_of_rows(rows)
        pixels, hits, false_positives = rows[:, HEAD:].astype(np.int64).T
        return records._replace(pixels=pixels, hits=hits, false_positives=false_positives)


def _codes_of(prediction: Tensor) -> Tensor:
    return class_codes("prediction", prediction, "neither a hit nor a false positive")


def _false_positives(objects: ImageObjects, label: Tensor, prediction: Tensor) -> Tensor:
    """Return the number of false positives in each object's region, (K,).

    Computed from the cumulative sums, along each row, of the false positives of the object's class.
    """
    height, width = label.shape
    classes, index = objects.label.unique(return_inverse=True)
    # 255 marks pixels that are not false positives; no object has this class.
    wrong = prediction.masked_fill((prediction == label) | (label == IGNORED), IGNORED)
    along = torch.zeros(len(classes), height, width + 1, dtype=torch.int32, device=label.device)
    torch.cumsum(wrong == classes.to(torch.uint8)[:, None, None], 2, dtype=torch.int32, out=along[:, :, 1:])
    half_height = (objects.bottom - objects.top + 1) // 2
    half_width = (objects.right - objects.left + 1) // 2
    left, right = (objects.left - half_width).clamp_min(0), (objects.right + half_width).clamp_max(width)
    row = torch.arange(height, device=label.device)
    in_row = along[index[:, None], row, right[:, None]] - along[index[:, None], row, left[:, None]]
    top, bottom = objects.top - half_height, objects.bottom + half_height
    return (in_row * ((row >= top[:, None]) & (row < bottom[:, None]))).sum(1)
