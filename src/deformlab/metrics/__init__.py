"""Metrics as torchmetrics classes. The result does not depend on batch size or number of processes."""

import deformlab._needs_toolkit  # noqa: F401
from deformlab.metrics.average_precision import CocoAveragePrecision, CocoAveragePrecisionResult
from deformlab.metrics.detection_images import DetectionsLike
from deformlab.metrics.detection_scores import DetectionScores
from deformlab.metrics.effective_dilation import (
    EffectiveDilation,
    LayerGeometry,
    distance_from_border,
    effective_dilation,
    filter_centre,
    weighted_effective_dilation,
)
from deformlab.metrics.image_objects import ImageObjects, find_objects, image_key, objects_from_boxes
from deformlab.metrics.mean_iou import MeanIoU, MeanIoUResult
from deformlab.metrics.object_scores import ObjectScores
from deformlab.metrics.offset_statistics import (
    FilterSample,
    OffsetStatistics,
    offset_statistics,
    sample_filters,
)
from deformlab.metrics.voc_average_precision import VocAveragePrecision, VocAveragePrecisionResult, voc_ap

__all__ = [
    "CocoAveragePrecision",
    "CocoAveragePrecisionResult",
    "DetectionScores",
    "DetectionsLike",
    "EffectiveDilation",
    "FilterSample",
    "ImageObjects",
    "LayerGeometry",
    "MeanIoU",
    "MeanIoUResult",
    "ObjectScores",
    "OffsetStatistics",
    "VocAveragePrecision",
    "VocAveragePrecisionResult",
    "distance_from_border",
    "effective_dilation",
    "filter_centre",
    "find_objects",
    "image_key",
    "objects_from_boxes",
    "offset_statistics",
    "sample_filters",
    "voc_ap",
    "weighted_effective_dilation",
]
