"""Metrics as torchmetrics: sums as states, so that any batching and any number of processes agree."""

from deformlab.metrics.effective_dilation import (
    EffectiveDilation,
    EffectiveDilationRow,
    LayerGeometry,
    effective_dilation,
)
from deformlab.metrics.mean_iou import MeanIoU, MeanIoUResult

__all__ = [
    "EffectiveDilation",
    "EffectiveDilationRow",
    "LayerGeometry",
    "MeanIoU",
    "MeanIoUResult",
    "effective_dilation",
]
