"""Building the detector that a configuration names."""

from deformlab.models.backbone import Backbone
from deformlab.models.detection.class_aware_rpn import ClassAwareRPN
from deformlab.models.detection.config import DetectorConfig
from deformlab.models.detection.two_stage import TwoStageDetector

__all__ = ["build_detector"]


def build_detector(
    config: DetectorConfig, backbone: Backbone, num_classes: int
) -> TwoStageDetector | ClassAwareRPN:
    """Return the detector of `config.architecture` on a backbone.

    Args:
        config: The options.
        backbone: The network whose maps are read.
        num_classes: Number of classes without the background, >= 1.
    """
    kind = ClassAwareRPN if config.architecture == "class_aware_rpn" else TwoStageDetector
    return kind(backbone, num_classes, config)
