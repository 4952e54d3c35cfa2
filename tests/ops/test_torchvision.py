"""Agreement with torchvision: with frozen values, and with torchvision itself if it can be imported."""

import importlib.util
import inspect
import json
from pathlib import Path

import pytest
import torch

from deformlab.ops import deform_conv2d

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "freeze_torchvision_values.py"
specification = importlib.util.spec_from_file_location("freeze_torchvision_values", SCRIPT)
frozen = importlib.util.module_from_spec(specification)
specification.loader.exec_module(frozen)


def test_the_signature_is_that_of_torchvision_plus_boundary():
    theirs = ["input", "offset", "weight", "bias", "stride", "padding", "dilation", "mask"]
    defaults = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "mask": None}
    *parameters, boundary = inspect.signature(deform_conv2d).parameters.values()
    assert [parameter.name for parameter in parameters] == theirs
    assert {p.name: p.default for p in parameters if p.default is not p.empty} == defaults
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
    assert (boundary.name, boundary.kind) == ("boundary", boundary.KEYWORD_ONLY)


def results_and_frozen(operator, name, tensors, geometry):
    """The output and all gradients, and what torchvision's were."""
    values = json.loads((ROOT / "tests" / "ops" / "data" / "torchvision_deform_conv2d.json").read_text())
    tensors = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    output = operator(**tensors, **geometry)
    output.backward(frozen.gradient_of_output(output))
    results = {"output": output.detach()} | {f"grad_{name}": tensor.grad for name, tensor in tensors.items()}
    assert results.keys() == values[name].keys()
    theirs = {
        key: torch.tensor(values[name][key], dtype=torch.float64).view_as(result)
        for key, result in results.items()
    }
    return results, theirs


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_frozen_values(operator, version):
    results, theirs = results_and_frozen(operator, version, frozen.case(version == "v2"), frozen.GEOMETRY)
    torch.testing.assert_close(results, theirs)


def test_frozen_values_at_the_border_differ_only_in_the_gradient_of_an_offset_at_exactly_minus_1(operator):
    tensors, positions = frozen.border_case()
    results, theirs = results_and_frozen(operator, "border", tensors, frozen.BORDER_GEOMETRY)
    at_minus_1 = (positions == -1)[None]
    assert not results["grad_offset"][at_minus_1].any()
    assert theirs["grad_offset"][at_minus_1].count_nonzero() > 5
    theirs["grad_offset"][at_minus_1] = 0
    torch.testing.assert_close(results, theirs)


@pytest.mark.parametrize("batch", [0, 33, 37])
@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("memory", ["contiguous", "permuted"])
def test_live(operator, arguments, batch, modulated, memory):
    torchvision = pytest.importorskip("torchvision")
    args = arguments(batch=batch, modulated=modulated)
    if memory == "permuted":
        for name in ("input", "offset", "weight", "mask"):
            if name in args:
                args[name] = args[name].permute(1, 3, 0, 2).contiguous().permute(2, 0, 3, 1)
    tensors = [value.requires_grad_() for value in args.values() if isinstance(value, torch.Tensor)]
    outputs = operator(**args), torchvision.ops.deform_conv2d(**args)
    torch.testing.assert_close(*outputs)
    gradients = (torch.autograd.grad(output.square().sum(), tensors) for output in outputs)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_live_difference_at_the_border(operator):
    """Where offsets start at zero: with padding 1, taps lie exactly on -1."""
    torchvision = pytest.importorskip("torchvision")
    generator = torch.Generator().manual_seed(0)
    input, weight = torch.rand(1, 2, 4, 5, generator=generator), torch.ones(1, 2, 3, 3)
    offsets = [torch.zeros(1, 18, 4, 5, requires_grad=True) for _ in range(2)]
    outputs = [
        function(input, offset, weight, padding=1)
        for function, offset in zip((operator, torchvision.ops.deform_conv2d), offsets, strict=True)
    ]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.sum().backward()
    ours, theirs = (offset.grad.reshape(3, 3, 2, 4, 5) for offset in offsets)
    on_edge = torch.zeros(ours.shape, dtype=torch.bool)
    on_edge[0, :, :, 0] = True  # the upper taps of the first row
    on_edge[:, 0, :, :, 0] = True  # the left taps of the first column
    torch.testing.assert_close(ours[~on_edge], theirs[~on_edge])
    assert not ours[on_edge].any()
    # Theirs is the derivative of a sample a little further in: the cell below.
    torch.testing.assert_close(theirs[0, 1, 0, 0], input.sum(1)[0, 0])
