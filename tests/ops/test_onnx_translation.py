"""deform_conv2d exported as ONNX's DeformConv gives the same results in the programs that run ONNX files."""

import importlib.util
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from deformlab.layers import DeformConv2d
from deformlab.models import BackboneConfig, DeepLab, build_backbone
from deformlab.ops import NativeStatus, deform_conv2d, onnx_translation_table
from deformlab.ops._impl import native

pytestmark = pytest.mark.usefixtures("native")
NAMES = ("input", "offset", "weight", "bias", "mask")


class Call(nn.Module):
    """The operator as a network whose inputs and output are float32, whatever it computes in."""

    def __init__(self, names=NAMES, dtype=torch.float32, **geometry):
        super().__init__()
        self.names, self.dtype, self.geometry = names, dtype, geometry

    def forward(self, *tensors):
        named = dict(zip(self.names, tensors, strict=True))
        cast = {name: tensor.to(self.dtype) for name, tensor in named.items() if name != "offset"}
        return deform_conv2d(**cast, offset=named["offset"], **self.geometry).float()


def to_onnx(network, tensors, opset_version=20, dynamic_shapes=None):
    pytest.importorskip("onnxscript")
    return torch.onnx.export(
        network.eval(),
        tuple(tensors),
        dynamo=True,
        opset_version=opset_version,
        dynamic_shapes=dynamic_shapes,
        verbose=False,
        custom_translation_table=onnx_translation_table(),
    ).model_proto


def feeds(model, tensors):
    return {value.name: tensor.numpy() for value, tensor in zip(model.graph.input, tensors, strict=True)}


def run_reference(model, tensors):
    """With the standard's own implementation."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, feeds(model, tensors))[0]


def run_onnxruntime(model, tensors):
    """With what people use."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds(model, tensors))[0]


# ONNX Runtime with DeformConv has no wheels for the oldest Python that we support.
HAS_RUNTIME = importlib.util.find_spec("onnxruntime") is not None
RUNS = [run_reference, run_onnxruntime] if HAS_RUNTIME else [run_reference]


@pytest.mark.parametrize("names", [(*NAMES[:3], "mask"), NAMES[:4]], ids=",".join)
def test_groups_geometry_and_optional_tensors(arguments, names):
    args = arguments(torch.float32)
    args["offset"] *= 2  # many samples are outside the image
    geometry = {name: value for name, value in args.items() if name not in NAMES}
    tensors = [args[name] for name in names]
    network = Call(names, **geometry)
    model = to_onnx(network, tensors)
    assert [node.op_type for node in model.graph.node] == ["DeformConv"]
    for run in RUNS:
        np.testing.assert_allclose(run(model, tensors), network(*tensors), rtol=1e-5, atol=1e-5)


def test_the_exported_operator_agrees_with_ours_at_the_border():
    """Each cell samples a position where conventions differ: along y in one image, along x in the other."""
    positions = [-1.25, -1, -0.999, -0.75, -0.25, 0, 0.5, 4, 4.25, 4.75, 4.999, 5, 5.25, 1e10, -1e10]
    not_finite = [math.nan, math.inf, -math.inf]
    image = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    offset = torch.zeros(2, 2, 5, 5)
    for axis, base in ((0, y), (1, x)):
        target = torch.tensor([*positions, *not_finite, *[0.0] * 7]).reshape(5, 5)
        offset[axis, axis] = target - base
    weight = torch.ones(1, 1, 1, 1)
    network = Call(NAMES[:3])
    model = to_onnx(network, [image, offset, weight], opset_version=19)  # the oldest
    for run in RUNS:
        if run is run_reference:  # it cannot convert nan and infinity to integers
            tensors = [image, torch.where(offset.isfinite(), offset, 0.0), weight]
        else:
            tensors = [image, offset, weight]
        np.testing.assert_allclose(run(model, tensors), network(*tensors), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_types_keep_float32_coordinates(dtype):
    """With 16 bits, a position near 1000 would be a multiple of 4 (bfloat16) or of 0.5 (float16)."""
    image = torch.arange(1024.0).remainder(2).expand(1, 1, 2, 1024).contiguous()
    offset = torch.tensor([0, 0.25]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2).contiguous()
    tensors = [image, offset, torch.ones(1, 1, 1, 1)]
    model = to_onnx(Call(NAMES[:3], dtype, stride=(1, 1001)), tensors)
    for run in RUNS:
        assert run(model, tensors)[0, 0, 0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_output_of_16_bit_types_has_the_type_of_the_input(dtype):
    """The sample is 0.1 in float32, and the operator returns the nearest value of the 16-bit type."""
    image = torch.tensor([[0.0, 1.0]]).expand(1, 1, 2, 2).contiguous()
    offset = torch.tensor([0, 0.1]).reshape(1, 2, 1, 1).expand(1, 2, 2, 1).contiguous()
    tensors = [image, offset, torch.ones(1, 1, 1, 1)]
    model = to_onnx(Call(NAMES[:3], dtype, stride=(1, 2)), tensors)
    nearest = torch.tensor(0.1).to(dtype).item()
    for run in RUNS:
        assert run(model, tensors).flatten().tolist() == [nearest, nearest]


def moved(network):
    """Give all offset convolutions random weights, so that offsets are not zero."""
    for module in network.modules():
        if isinstance(module, DeformConv2d):
            nn.init.normal_(module.conv_offset.weight, std=0.1)
    return network.eval()


ANY_SIZE = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)


@torch.no_grad()
def test_an_exported_layer_runs_at_other_sizes():
    torch.manual_seed(0)
    layer = moved(DeformConv2d(4, 6, 3, 2, 1, groups=2, deform_groups=2, modulated=True))
    model = to_onnx(layer, [torch.randn(2, 4, 8, 9)], dynamic_shapes=ANY_SIZE)
    other = torch.randn(1, 4, 11, 6)
    for run in RUNS:
        np.testing.assert_allclose(run(model, [other]), layer(other), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not HAS_RUNTIME, reason="the standard's own implementation takes minutes")
@torch.no_grad()
def test_an_exported_network_runs_at_other_sizes():
    torch.manual_seed(0)
    config = BackboneConfig("resnet10", width=0.125, output_stride=32, num_deformable_layers=2)
    network = moved(DeepLab(build_backbone(config), num_classes=5, head_channels=16))
    model = to_onnx(network, [torch.randn(2, 3, 64, 96)], dynamic_shapes=ANY_SIZE)
    assert [node.op_type for node in model.graph.node].count("DeformConv") == 2
    other = torch.randn(1, 3, 65, 40)
    np.testing.assert_allclose(run_onnxruntime(model, [other]), network(other), rtol=1e-4, atol=1e-5)


def test_an_opset_without_the_operator_is_refused(arguments):
    args = arguments(torch.float32)
    tensors = [args.pop(name) for name in NAMES]
    with pytest.raises(Exception, match=r"ONNX has DeformConv from opset 19 on; .* opset_version=18"):
        to_onnx(Call(**args), tensors, opset_version=18)


def test_a_boundary_that_the_standard_does_not_define_is_refused(arguments):
    args = arguments(torch.float32)
    tensors = [args.pop(name) for name in NAMES]
    with pytest.raises(Exception, match=r"DeformConv has no boundary='clamp'; export with 'zeros'"):
        to_onnx(Call(**args, boundary="clamp"), tensors)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"onnxscript is missing; install it with: pip install onnxscript"):
        onnx_translation_table()


def test_without_the_library_the_translation_table_is_empty(monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(native, "_STATUS", NativeStatus(False, None, False, "nothing was compiled"))
    assert onnx_translation_table() == {}
