"""Detectors: Faster R-CNN, R-FCN and the class-aware RPN; deformable convolution and RoI pooling."""

from deformlab.models.detection.build import build_detector
from deformlab.models.detection.class_aware_rpn import ClassAwareRPN
from deformlab.models.detection.config import DetectorConfig
from deformlab.models.detection.detections import Detections
from deformlab.models.detection.postprocess import DetectionPostprocessing, average_boxes, select_detections
from deformlab.models.detection.rpn import ScoredAnchors
from deformlab.models.detection.two_stage import Candidates, Targets, TwoStageDetector

__all__ = [
    "Candidates",
    "ClassAwareRPN",
    "DetectionPostprocessing",
    "Detections",
    "DetectorConfig",
    "ScoredAnchors",
    "Targets",
    "TwoStageDetector",
    "average_boxes",
    "build_detector",
    "select_detections",
]
