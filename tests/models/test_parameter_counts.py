"""The number of DeepLab's parameters, compared with DCNv1's table 4.

| ResNet-101, 19 classes             | plain       | deformable  |
|------------------------------------|-------------|-------------|
| convolutions of the backbone       | 42,394,816  | 42,394,816  |
| batch norm's γ and β               | 105,344     | 105,344     |
| offset convolutions, 3 of 82,962   |             | 248,886     |
| reduction 2048 -> 1024             | 2,098,176   | 2,098,176   |
| classifier 1024 -> 19              | 19,475      | 19,475      |
| total                              | 44,617,811  | 44,866,697  |
| paper                              | 46.0 M      | 46.1 M      |

The backbone has exactly as many parameters as torchvision's. We cannot explain the paper's 46.0 M. With
everything that one might also count, the total is 44.7 M: the global statistics of batch norm (105,344), 21
classes instead of 19 (2,050) and the authors' fixed bilinear upsampling filters (19·32·32 = 19,456). The
difference between the paper's two totals, 0.1 M, is also less than the 0.25 M of three offset convolutions of
3·3·512·18 + 18 parameters, even allowing for rounding.
"""

import pytest
import torch

from deformlab.models import BackboneConfig, DeepLab, ResNet


def count(module):
    return sum(p.numel() for p in module.parameters())


def resnet101_deeplab(conv5="atrous", num_classes=19):
    with torch.device("meta"):
        return DeepLab(ResNet(BackboneConfig("resnet101", conv5=conv5)), num_classes)


@pytest.mark.parametrize(
    ("conv5", "num_classes", "total"),
    [
        ("atrous", 19, 44_617_811),
        ("atrous", 21, 44_619_861),
        ("deformable", 19, 44_866_697),
        ("deformable", 21, 44_868_747),
        ("modulated", 19, 44_991_140),
    ],
)
def test_total(conv5, num_classes, total):
    assert count(resnet101_deeplab(conv5, num_classes)) == total


def test_rows_of_the_table():
    model = resnet101_deeplab("deformable")
    convolutions = sum(p.numel() for p in model.backbone.parameters() if p.dim() == 4)
    offsets = sum(count(layer.conv_offset) for layer in model.backbone.tracked_layers().values())
    offset_weights = offsets - 3 * 18
    norms = count(model.backbone) - convolutions - 3 * 18
    assert convolutions - offset_weights == 42_394_816
    assert norms == 105_344
    assert offsets == 3 * (3 * 3 * 512 * 18 + 18) == 248_886
    assert count(model.reduce) == 2_098_176
    assert count(model.classifier) == 19_475


def test_no_way_of_counting_reaches_the_papers_plain_network():
    model = resnet101_deeplab(num_classes=21)
    statistics = sum(b.numel() for name, b in model.named_buffers() if "running" in name)
    upsampling = 21 * 32 * 32
    assert statistics == 105_344
    assert count(model) + statistics + upsampling < 44.8e6 < 45.95e6


@pytest.mark.parametrize(
    ("name", "with_classifier"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_backbones_have_torchvisions_published_counts(name, with_classifier):
    with torch.device("meta"):
        backbone = ResNet(BackboneConfig(name, conv5="atrous"))
    fully_connected = backbone.channels[-1] * 1000 + 1000
    assert count(backbone) + fully_connected == with_classifier
