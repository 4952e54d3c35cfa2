"""Detection data sets, transforms and loaders.

`DetectionDataModule` is imported on first use, because it needs Lightning, whose import takes seconds.
"""

from typing import TYPE_CHECKING, Any

from deformlab.data.detection.boxes import Boxes
from deformlab.data.detection.check import DetectionReport, check_detection_dataset
from deformlab.data.detection.coco import CocoBoxes
from deformlab.data.detection.dataset import Annotation, DetectionDataset, DetectionSample, ImageAnnotations
from deformlab.data.detection.registry import DETECTION_DATASETS
from deformlab.data.detection.shapes import ShapeBoxes
from deformlab.data.detection.transforms import DetectionEvalTransform, DetectionTrainTransform
from deformlab.data.detection.voc import VocBoxes

if TYPE_CHECKING:
    from deformlab.data.detection.datamodule import DetectionDataModule

__all__ = [
    "DETECTION_DATASETS",
    "Annotation",
    "Boxes",
    "CocoBoxes",
    "DetectionDataModule",
    "DetectionDataset",
    "DetectionEvalTransform",
    "DetectionReport",
    "DetectionSample",
    "DetectionTrainTransform",
    "ImageAnnotations",
    "ShapeBoxes",
    "VocBoxes",
    "check_detection_dataset",
]


def __getattr__(name: str) -> Any:
    if name == "DetectionDataModule":
        from deformlab.data.detection.datamodule import DetectionDataModule

        return DetectionDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
