"""Networks: backbones whose last layers are atrous or deformable, DeepLab, and loading of weights."""

from deformlab.models.backbone import BACKBONES, Backbone, BackboneConfig, build_backbone, register
from deformlab.models.deeplab import DeepLab
from deformlab.models.resnet import ResNet
from deformlab.models.weights import load_backbone_weights, load_model_weights

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneConfig",
    "DeepLab",
    "ResNet",
    "build_backbone",
    "load_backbone_weights",
    "load_model_weights",
    "register",
]
