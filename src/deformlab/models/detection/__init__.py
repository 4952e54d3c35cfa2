"""Detectors: Faster R-CNN and R-FCN with deformable convolution and deformable RoI pooling."""

from deformlab.models.detection.config import DetectorConfig
from deformlab.models.detection.detections import Detections
from deformlab.models.detection.postprocess import DetectionPostprocessing, average_boxes, select_detections
from deformlab.models.detection.two_stage import Candidates, Targets, TwoStageDetector

__all__ = [
    "Candidates",
    "DetectionPostprocessing",
    "Detections",
    "DetectorConfig",
    "Targets",
    "TwoStageDetector",
    "average_boxes",
    "select_detections",
]
