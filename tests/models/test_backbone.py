"""`Backbone`: the interface of all families of backbones, and how to add a family."""

import pytest
import torch
from torch import nn

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d
from deformlab.models import BACKBONES, Backbone, BackboneConfig, DeepLab, build_backbone, register


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["resnet10", "resnet50"])
def test_every_stage_has_the_declared_channels_and_stride(name, output_stride):
    network = build_backbone(BackboneConfig(name, width=0.125, output_stride=output_stride)).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = network.feature_maps(image)
        assert torch.equal(network(image), maps[-1])
    assert [tuple(m.shape) for m in maps] == [
        (1, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(network.channels, network.strides, strict=True)
    ]
    assert network.strides[-1] == output_stride


@pytest.fixture
def plain_family(monkeypatch):
    """Three stages of one 3x3 convolution each."""
    monkeypatch.setattr("deformlab.models.backbone.BACKBONES", dict(BACKBONES))

    @register("plain3")
    class Plain(Backbone):
        def __init__(self, config):
            super().__init__(config)
            self.channels, self.strides = (8, 16, 24), (2, 4, 8)
            self.blocks = nn.ModuleList(
                [nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), DeformConv2d(16, 24, 3, 2, 1)]
            )

        def stem(self, image):
            return image

        def stages(self):
            return list(self.blocks)

        def conv3x3_layers(self):
            return {f"blocks.{i}": block for i, block in enumerate(self.blocks)}

        def pixels_per_cell(self, layer):
            return 2 ** int(layer[-1])

    return Plain


def test_another_family_is_built_by_name_and_works_with_a_head(plain_family):
    network = build_backbone(BackboneConfig("plain3"))
    assert isinstance(network, plain_family)
    assert list(network.tracked_layers()) == ["blocks.2"]
    assert DeepLab(network, num_classes=2, head_channels=4)(torch.randn(1, 3, 32, 32)).shape == (1, 2, 32, 32)


def test_an_unknown_name_lists_all_families(plain_family):
    with pytest.raises(ConfigError, match=r"backbone must be one of resnet10, .*, plain3, got 'vgg'"):
        BackboneConfig("vgg")


def test_an_incomplete_family_cannot_be_built():
    class Half(Backbone):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Half(BackboneConfig())
