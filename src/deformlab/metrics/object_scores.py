"""Recall and IoU of objects: labelled pixels, hits and false positives of each object of every image.

Shapes: K objects of an image, (H, W) the label map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deformlab.labels import IGNORED
from deformlab.metrics.image_objects import HEAD, ImageObjects, head_rows, records_of_rows, sorted_rows
from deformlab.records import BACKGROUND, ObjectRecords

__all__ = ["ObjectScores", "PixelCounts", "count_pixels"]

# Labels and predictions are 8-bit codes: a pair of them is an index into a table of this side.
_CODES = 256


class PixelCounts(NamedTuple):
    """Labelled pixels, those of them found, and false positives, per object (K,) or per class (256,)."""

    pixels: Tensor
    hits: Tensor
    false_positives: Tensor


def count_pixels(objects: ImageObjects, prediction: Tensor) -> tuple[PixelCounts, PixelCounts]:
    """Hits and false positives of each object, and of each class on what is on no object.

    An object's pixels are those of its mask that have its class. Its false positives are pixels of other
    classes that were predicted as its class within its region: its box, made twice as high and as wide. A
    false positive near two objects of a class counts for both, one far from all for none of them. Those of a
    class are counted in the whole image.

    Args:
        objects: The image's objects, with masks and classes.
        prediction: (H, W) predicted classes as uint8.

    Raises:
        ValueError: The objects have no masks or no classes, or the prediction has another size.
    """
    owner, pixel, label = objects.owner, objects.object_pixels, objects.label_map
    if owner is None or pixel is None or label is None:
        raise ValueError(f"image {objects.name}: scores of objects need masks and classes")
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction must be {tuple(label.shape)}, as the label map, got {tuple(prediction.shape)}"
        )
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
        table.sum(0) - hits_of_class,
    )
    return PixelCounts(pixels, hits, _false_positives(objects, label, prediction)), background


class ObjectScores(Metric):
    """Pixels, hits and false positives per object, from which recall and IoU by size and class follow.

    The state is one row per object and image, so that any batching and any number of processes give the same,
    and intervals can be had by resampling images.
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
        """Forgets everything that was counted."""
        super().reset()
        self._start()

    def _start(self) -> None:
        # A process that gets no image must still have rows of the right width to put together.
        self.rows.append(torch.zeros(0, HEAD + 3, dtype=torch.float64, device=self.device))

    def update(self, objects: Sequence[ImageObjects], prediction: Tensor) -> None:
        """Counts one batch.

        Args:
            objects: Of each image, as `find_objects` gives them, with masks and classes.
            prediction: Predicted classes (N, H, W).

        Raises:
            ValueError: The objects have no masks or no classes, or shapes do not fit.
        """
        if len(prediction) != len(objects):
            raise ValueError(f"prediction has {len(prediction)} images, objects {len(objects)}")
        for image, predicted in zip(objects, prediction.to(torch.uint8), strict=True):
            counts = [torch.stack(part, dim=1) for part in count_pixels(image, predicted)]
            rows = torch.cat([head_rows(image), torch.cat(counts).double()], dim=1)
            background = rows[:, 1] == BACKGROUND
            # Of the background's classes those that occur.
            self.rows.append(rows[~background | (rows[:, HEAD:] > 0).any(1)])

    def compute(self) -> ObjectRecords:
        """Records with scores and without layers; `join_scores` puts them together with those of filters.

        Images are named by `image_key`; `ObjectRecords.named` gives them their names.
        """
        rows = sorted_rows(dim_zero_cat(self.rows))
        records = records_of_rows(rows)
        pixels, hits, false_positives = rows[:, HEAD:].astype(np.int64).T
        return records._replace(pixels=pixels, hits=hits, false_positives=false_positives)


def _false_positives(objects: ImageObjects, label: Tensor, prediction: Tensor) -> Tensor:
    """Of each object in its region, (K,): from the false positives of its class, summed along each row."""
    height, width = label.shape
    classes, index = objects.label.unique(return_inverse=True)
    # No object has class 255.
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
