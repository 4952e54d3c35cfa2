"""Exporting a complete network with `torch.export`, for all batch sizes and image sizes at once."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from deformlab.layers import DeformConv2d
from deformlab.models import BackboneConfig, DeepLab, ResNet


@pytest.fixture(params=["atrous", "deformable", "modulated"])
def network(request):
    torch.manual_seed(0)
    config = BackboneConfig("resnet10", width=0.125, conv5=request.param, num_deformable_layers=2)
    network = DeepLab(ResNet(config), num_classes=5, head_channels=16)
    for module in network.modules():
        if isinstance(module, DeformConv2d):
            nn.init.normal_(module.conv_offset.weight, std=0.1)
    return network.eval()


def test_a_fixed_size(network):
    image = torch.randn(1, 3, 64, 48)
    exported = torch.export.export(network, (image,))
    assert torch.equal(exported.module()(image), network(image))


def test_any_batch_and_any_size(network):
    sizes = {0: Dim("batch"), 2: Dim("height", min=17), 3: Dim("width", min=17)}
    exported = torch.export.export(network, (torch.randn(2, 3, 64, 48),), dynamic_shapes=(sizes,)).module()
    for size in ((1, 3, 17, 100), (5, 3, 81, 50), (1, 3, 224, 224)):
        image = torch.randn(size)
        assert torch.equal(exported(image), network(image))
