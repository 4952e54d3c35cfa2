"""`DeepLab`: features, reduction, classifier, bilinear upsampling."""

import copy

import pytest
import torch
from torch.nn import functional as F

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d
from deformlab.models import BackboneConfig, DeepLab, ResNet


def resnet(backbone="resnet10", width=0.125, conv5="atrous", **options):
    return ResNet(BackboneConfig(backbone, width, conv5=conv5, **options))


def small_deeplab(seed=0, **options):
    torch.manual_seed(seed)
    return DeepLab(resnet(**options), num_classes=5, head_channels=16)


def test_scores_have_the_size_of_the_image():
    assert small_deeplab()(torch.randn(2, 3, 45, 61)).shape == (2, 5, 45, 61)


def test_scores_have_the_size_that_is_asked_for():
    assert small_deeplab()(torch.randn(2, 3, 45, 61), size=(90, 33)).shape == (2, 5, 90, 33)


def test_the_head_is_reduction_relu_classifier_and_bilinear_upsampling():
    model = small_deeplab().eval()
    image = torch.randn(1, 3, 48, 64)
    scores = model.classifier(model.reduce(model.backbone(image)).relu())
    torch.testing.assert_close(model(image), F.interpolate(scores, (48, 64), mode="bilinear"))


def test_the_relu_can_be_left_out():
    model = DeepLab(resnet(), 5, 16, head_relu=False).eval()
    image = torch.randn(1, 3, 48, 64)
    scores = model.classifier(model.reduce(model.backbone(image)))
    torch.testing.assert_close(model(image), F.interpolate(scores, (48, 64), mode="bilinear"))


def test_the_paper_reduces_2048_channels_to_1024():
    with torch.device("meta"):
        model = DeepLab(resnet("resnet101", width=1), 19)
    assert model.reduce.weight.shape == (1024, 2048, 1, 1)
    assert model.classifier.weight.shape == (19, 1024, 1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"conv5": "deformable"},
        {"conv5": "deformable", "num_deformable_layers": 6, "deform_groups": 2},
        {"conv5": "modulated", "num_deformable_layers": "all", "modulation_scale": 2.0},
    ],
)
def test_deformable_equals_atrous_at_the_start(options):
    image = torch.randn(2, 3, 45, 61)
    torch.testing.assert_close(small_deeplab(**options).eval()(image), small_deeplab().eval()(image))


def test_every_parameter_learns():
    model = small_deeplab(conv5="deformable")
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    offsets = [m.conv_offset.weight.grad for m in model.modules() if isinstance(m, DeformConv2d)]
    assert len(offsets) == 3
    assert all(gradient.abs().sum() > 0 for gradient in offsets)


def test_scores_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        scores = small_deeplab(conv5="deformable")(torch.randn(1, 3, 32, 32))
    assert scores.dtype == torch.float32


def test_float64_stays_float64():
    model = small_deeplab(conv5="deformable").double()
    assert model(torch.randn(2, 3, 32, 32, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("conv5", ["deformable", "modulated"])
def test_compiles_as_one_graph_forward_and_backward(conv5):
    model = small_deeplab(conv5=conv5)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    image = torch.randn(2, 3, 33, 41)
    scores, expected = compiled(image), model(image)
    torch.testing.assert_close(scores, expected)
    scores.sum().backward()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be >= 1, got 0"),
        ({"num_classes": 5, "head_channels": 0}, "head_channels must be in 1 to 65536, got 0"),
        ({"num_classes": 5, "head_channels": 10**20}, "head_channels must be in 1 to 65536, got 1000"),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        DeepLab(resnet(), **arguments)
