"""Metrics as torchmetrics: sums as states, so that any batching and any number of processes agree."""

from deformlab.metrics.effective_dilation import effective_dilation, effective_dilation_where_it_counts
from deformlab.metrics.mean_iou import MeanIoU, MeanIoUResult
from deformlab.metrics.object_dilation import (
    EffectiveDilation,
    EffectiveDilationResult,
    EffectiveDilationRow,
    LayerGeometry,
    image_key,
)

__all__ = [
    "EffectiveDilation",
    "EffectiveDilationResult",
    "EffectiveDilationRow",
    "LayerGeometry",
    "MeanIoU",
    "MeanIoUResult",
    "effective_dilation",
    "effective_dilation_where_it_counts",
    "image_key",
]
