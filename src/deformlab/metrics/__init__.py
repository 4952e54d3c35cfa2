"""Metrics as torchmetrics: sums as states, so that any batching and any number of processes agree."""

from deformlab.metrics.effective_dilation import effective_dilation, effective_dilation_where_it_counts
from deformlab.metrics.filter_centre import filter_centre
from deformlab.metrics.layer_geometry import LayerGeometry, distance_from_border
from deformlab.metrics.mean_iou import MeanIoU, MeanIoUResult
from deformlab.metrics.object_dilation import (
    EffectiveDilation,
    EffectiveDilationResult,
    EffectiveDilationRow,
    image_key,
)
from deformlab.metrics.offset_statistics import (
    FilterSample,
    OffsetStatistics,
    offset_statistics,
    sample_filters,
)

__all__ = [
    "EffectiveDilation",
    "EffectiveDilationResult",
    "EffectiveDilationRow",
    "FilterSample",
    "LayerGeometry",
    "MeanIoU",
    "MeanIoUResult",
    "OffsetStatistics",
    "distance_from_border",
    "effective_dilation",
    "effective_dilation_where_it_counts",
    "filter_centre",
    "image_key",
    "offset_statistics",
    "sample_filters",
]
