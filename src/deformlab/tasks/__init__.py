"""Training tasks as LightningModules: each defines its network, losses and metrics."""

import deformlab._needs_toolkit  # noqa: F401
from deformlab.tasks.base import BaseTask
from deformlab.tasks.detection import Detection, DetectionEvaluation
from deformlab.tasks.optimization import Optimization
from deformlab.tasks.segmentation import Evaluation, SemanticSegmentation

__all__ = [
    "BaseTask",
    "Detection",
    "DetectionEvaluation",
    "Evaluation",
    "Optimization",
    "SemanticSegmentation",
]
