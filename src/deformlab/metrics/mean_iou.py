"""Mean intersection over union (mIoU), computed as by the official evaluator of Cityscapes.

Source: DCNv1 (arXiv 1703.06211), section 4.1. The results equal those of `evalPixelLevelSemanticLabeling` in
cityscapesscripts on the same maps.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["MeanIoU", "MeanIoUResult"]


class MeanIoUResult(NamedTuple):
    """Scores as fractions from 0 to 1.

    Attributes:
        miou: Scalar, the mean IoU over the classes that occur in targets or predictions; nan if none does.
        iou: (C,), the IoU of each class; nan for a class that occurs in neither targets nor predictions.
        pixels: (C,), the number of pixels of each class in the targets.
    """

    miou: Tensor
    iou: Tensor
    pixels: Tensor


class MeanIoU(Metric):
    """Metric that computes the intersection over union (IoU) of each class and their mean.

    Pixels are counted over all images since the last reset, as by the official evaluator of Cityscapes.

    Args:
        num_classes: Number of classes C, >= 2. Legal labels are 0 to C - 1.
        ignore_index: Label of ignored pixels, from -255 to 255 but not from 0 to C - 1. Pixels with this
            target do not count. If it is predicted on a labelled pixel, this is a miss, as in the official
            evaluator.

    Raises:
        ValueError: An argument is out of its range.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusion: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be >= 2, got {num_classes}")
        if 0 <= ignore_index < num_classes:
            raise ValueError(
                f"ignore_index must not be one of the classes 0 to {num_classes - 1}, got {ignore_index}"
            )
        if abs(ignore_index) > 255:
            raise ValueError(f"ignore_index must be in -255 to 255, got {ignore_index}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        # The counts cover all values between the smallest and the largest legal one. Illegal values are thus
        # detected in the counts, which is cheaper than checking every pixel.
        self._lowest = min(0, ignore_index)
        self._highest = max(num_classes - 1, ignore_index)
        # Rows are targets, columns predictions; the last row and column are for `ignore_index`.
        size = num_classes + 1
        self.add_state("confusion", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count the pixels of one batch.

        Args:
            preds: Predicted classes, (N, H, W) or any other shape, of an integer type.
            target: Labels of the same shape, of an integer type.

        Raises:
            ValueError: The shapes differ, a type is not an integer type, or a value is neither a class nor
                `ignore_index`. The message lists the illegal values, and nothing is counted.
        """
        if preds.shape != target.shape:
            raise ValueError(
                f"preds and target must have the same shape, got {tuple(preds.shape)} and "
                f"{tuple(target.shape)}; preds are class maps, not scores"
            )
        maps = {"preds": preds, "target": target}
        for name, values in maps.items():
            self._check_extremes(name, values)
        span = self._highest - self._lowest + 1
        smallest = torch.int32 if span**2 < 2**31 else torch.int64
        dtype = torch.promote_types(torch.promote_types(preds.dtype, target.dtype), smallest)
        codes = torch.add(preds.to(dtype), target.to(dtype), alpha=span).flatten()
        if self._lowest:
            codes -= self._lowest * (span + 1)
        counts = torch.bincount(codes, minlength=span**2).view(span, span)
        legal = torch.arange(self.num_classes + 1, device=counts.device)
        legal[-1] = self.ignore_index
        confusion = counts[legal[:, None] - self._lowest, legal - self._lowest]
        if confusion.sum() != preds.numel():
            for name, values in maps.items():
                self._check_all(name, values)
        self.confusion += confusion

    def compute(self) -> MeanIoUResult:
        """Compute the scores of all pixels counted since the last reset, in float64."""
        counted = self.confusion[:-1].double()
        hits = counted.diagonal()
        union = counted.sum(1) + counted[:, :-1].sum(0) - hits
        iou = hits / union
        return MeanIoUResult(iou.nanmean(), iou, self.confusion[:-1].sum(1))

    def _check_extremes(self, name: str, values: Tensor) -> None:
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ValueError(f"{name} must be of an integer type, got {values.dtype}")
        if values.numel():
            lowest, highest = values.aminmax()
            if lowest < self._lowest or highest > self._highest:
                self._check_all(name, values)

    def _check_all(self, name: str, values: Tensor) -> None:
        legal = ((values >= 0) & (values < self.num_classes)) | (values == self.ignore_index)
        found = values[~legal].unique().tolist()
        if found:
            shown = ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
            raise ValueError(
                f"{name} contains illegal values: {shown}; legal are the classes 0 to {self.num_classes - 1} "
                f"and {self.ignore_index} (ignored)"
            )
