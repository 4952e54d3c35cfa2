"""Exporting a layer: `torch.export` for all sizes at once, to a file and back, and `torch.jit.trace`."""

import io

import pytest
import torch
from torch import nn
from torch.export import Dim

from deformlab.layers import DeformConv2d


@pytest.fixture(params=[False, True], ids=["v1", "v2"])
def layer(request):
    torch.manual_seed(0)
    layer = DeformConv2d(4, 6, 3, 2, padding=1, deform_groups=2, modulated=request.param)
    nn.init.normal_(layer.conv_offset.weight)
    return layer


def test_a_fixed_size(layer):
    image = torch.randn(2, 4, 8, 9)
    exported = torch.export.export(layer, (image,))
    assert torch.equal(exported.module()(image), layer(image))


def test_any_batch_and_any_size(layer):
    sizes = {0: Dim("batch"), 2: Dim("height", min=3), 3: Dim("width", min=3)}
    exported = torch.export.export(layer, (torch.randn(2, 4, 8, 9),), dynamic_shapes=(sizes,)).module()
    for size in ((1, 4, 9, 8), (5, 4, 3, 30), (3, 4, 17, 17)):
        image = torch.randn(size)
        assert torch.equal(exported(image), layer(image))


def test_an_exported_layer_can_be_saved_and_loaded(layer):
    image = torch.randn(2, 4, 8, 9)
    file = io.BytesIO()
    torch.export.save(torch.export.export(layer, (image,)), file)
    file.seek(0)
    assert torch.equal(torch.export.load(file).module()(image), layer(image))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_traced_layer_is_saved_and_takes_other_sizes(layer):
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(layer, torch.randn(2, 4, 8, 9)), file)
    file.seek(0)
    image = torch.randn(3, 4, 13, 7)
    assert torch.equal(torch.jit.load(file)(image), layer(image))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torch_jit_script_is_not_supported(layer):
    with pytest.raises((RuntimeError, torch.jit.frontend.FrontendError)):
        torch.jit.script(layer)
