"""Agreement with torchvision: its frozen values everywhere, itself where it can be imported."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "freeze_torchvision_values.py"
specification = importlib.util.spec_from_file_location("freeze_torchvision_values", SCRIPT)
frozen = importlib.util.module_from_spec(specification)
specification.loader.exec_module(frozen)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_frozen_values(operator, version):
    values = json.loads((ROOT / "tests" / "ops" / "data" / "torchvision_deform_conv2d.json").read_text())[
        version
    ]
    tensors = {name: tensor.requires_grad_() for name, tensor in frozen.case(version == "v2").items()}
    output = operator(**tensors, **frozen.GEOMETRY)
    output.backward(frozen.gradient_of_output(output))
    results = {"output": output.detach()} | {f"grad_{name}": tensor.grad for name, tensor in tensors.items()}
    assert results.keys() == values.keys()
    for name, result in results.items():
        torch.testing.assert_close(
            result.flatten(), torch.tensor(values[name], dtype=torch.float64), msg=name
        )


@pytest.mark.parametrize("batch", [0, 33, 37])
@pytest.mark.parametrize("modulated", [False, True])
def test_live(operator, arguments, batch, modulated):
    torchvision = pytest.importorskip("torchvision")
    args = arguments(batch=batch, modulated=modulated)
    tensors = [value.requires_grad_() for value in args.values() if isinstance(value, torch.Tensor)]
    outputs = operator(**args), torchvision.ops.deform_conv2d(**args)
    torch.testing.assert_close(*outputs)
    gradients = (torch.autograd.grad(output.square().sum(), tensors) for output in outputs)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
