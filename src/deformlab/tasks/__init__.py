"""LightningModules: what is trained, on which loss, measured by what."""

from deformlab.tasks.base import BaseTask
from deformlab.tasks.optimization import Optimization
from deformlab.tasks.segmentation import Evaluation, SemanticSegmentation

__all__ = ["BaseTask", "Evaluation", "Optimization", "SemanticSegmentation"]
