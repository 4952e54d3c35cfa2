"""Mean intersection over union, as Cityscapes' official evaluator counts it.

DCNv1 section 4.1; equal to cityscapesscripts' evalPixelLevelSemanticLabeling on the same maps.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["MeanIoU", "MeanIoUResult"]


class MeanIoUResult(NamedTuple):
    """Scores as fractions in [0, 1].

    Attributes:
        miou: Scalar, the mean over the classes that occur; nan where none does.
        iou: (C,), nan for a class that is in neither target nor prediction.
        pixels: (C,), pixels of each class in the targets.
    """

    miou: Tensor
    iou: Tensor
    pixels: Tensor


class MeanIoU(Metric):
    """Intersection over union per class and their mean, over all pixels seen since the last reset.

    Args:
        num_classes: Classes C, >= 2; legal labels are 0 to C - 1.
        ignore_index: Label that is left out where it is the target. Where it is predicted on a labelled
            pixel it counts as a miss, as in the official evaluator. In -255 to 255 and not in 0 to C - 1.

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
        # All values between the extremes of what is legal have a place in the counts, so that what is illegal
        # shows there rather than in a look at every pixel.
        self._lowest = min(0, ignore_index)
        self._highest = max(num_classes - 1, ignore_index)
        # Row: target, column: prediction; the last of each is `ignore_index`.
        size = num_classes + 1
        self.add_state("confusion", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Counts one batch.

        Args:
            preds: Predicted classes (N, H, W) or any other shape, of an integer type.
            target: Labels of the same shape, of an integer type.

        Raises:
            ValueError: The shapes differ, a type is not an integer one, or a value is neither a class nor
                `ignore_index`; the values are named.
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
        """The scores of everything counted so far, in float64."""
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
                f"{name} has values that are no class: {shown}; legal are 0 to {self.num_classes - 1} and "
                f"{self.ignore_index} (ignored)"
            )
