"""Networks: ResNet with an atrous or deformable conv5, DeepLab on top, and their weights."""

from deformlab.models.deeplab import DeepLab
from deformlab.models.resnet import ResNet
from deformlab.models.weights import load_backbone_weights, load_model_weights

__all__ = ["DeepLab", "ResNet", "load_backbone_weights", "load_model_weights"]
