"""Networks: backbones with an atrous or deformable end, DeepLab on top, and their weights."""

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
