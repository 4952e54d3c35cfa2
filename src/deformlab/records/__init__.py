"""Object measurements of a validation and their statistics: size, scores and effective dilation per object.

Needs NumPy only. Training writes these records; `deformlab.analysis` reads them without PyTorch.
"""

import deformlab._needs_toolkit  # noqa: F401
from deformlab.records.estimates import (
    ALL,
    Correlation,
    DetectionCells,
    DilationCells,
    Ring,
    ScoreCells,
    SizeRow,
    by_size,
    correlations,
    detection_cells,
    dilation_cells,
    iou_difference,
    recall_difference,
    rings,
    score_cells,
)
from deformlab.records.records import (
    BACKGROUND,
    REGIONS,
    DetectionSums,
    FilterSums,
    ObjectMeasurement,
    ObjectRecords,
    PositionRecords,
    Region,
    alike,
    join_scores,
    merge_records,
)
from deformlab.records.same_position import Effect, Explained, SizeEffects, size_effects
from deformlab.records.sizes import SIZES, SizeRule
from deformlab.records.statistics import Interval, draws, spearman
from deformlab.records.text import NO_OBJECTS, measurement_lines

__all__ = [
    "ALL",
    "BACKGROUND",
    "NO_OBJECTS",
    "REGIONS",
    "SIZES",
    "Correlation",
    "DetectionCells",
    "DetectionSums",
    "DilationCells",
    "Effect",
    "Explained",
    "FilterSums",
    "Interval",
    "ObjectMeasurement",
    "ObjectRecords",
    "PositionRecords",
    "Region",
    "Ring",
    "ScoreCells",
    "SizeEffects",
    "SizeRow",
    "SizeRule",
    "alike",
    "by_size",
    "correlations",
    "detection_cells",
    "dilation_cells",
    "draws",
    "iou_difference",
    "join_scores",
    "measurement_lines",
    "merge_records",
    "recall_difference",
    "rings",
    "score_cells",
    "size_effects",
    "spearman",
]
