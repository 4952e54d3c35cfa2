"""Poolings of regions agree with torchvision: with frozen values, and with itself if it can be imported."""

import importlib.util
import inspect
import json
from pathlib import Path

import pytest
import torch

from deformlab import ops

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "freeze_torchvision_rois.py"
specification = importlib.util.spec_from_file_location("freeze_torchvision_rois", SCRIPT)
frozen = importlib.util.module_from_spec(specification)
specification.loader.exec_module(frozen)


def options_of(operator):
    return {"convention": "torchvision"} if operator == "ps_roi_pool" else {}


def test_arguments_and_defaults_are_torchvisions():
    common = {"input": None, "boxes": None, "output_size": None, "spatial_scale": 1.0}
    expected = {
        "roi_align": common | {"sampling_ratio": -1, "aligned": False},
        "ps_roi_align": common | {"sampling_ratio": -1},
        "roi_pool": common,
        "ps_roi_pool": common,
    }
    for name, arguments in expected.items():
        parameters = inspect.signature(getattr(ops, name)).parameters.values()
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert {p.name: None if p.default is p.empty else p.default for p in positional} == arguments


@pytest.mark.parametrize("name", frozen.CASES)
def test_frozen_values_and_gradients(name):
    theirs = json.loads(frozen.OUTPUT.read_text())[name]
    operator = frozen.CASES[name][0]
    ours = frozen.results(getattr(ops, operator), name, **options_of(operator))
    for actual, expected in zip(ours, theirs, strict=True):
        expected = torch.tensor(expected, dtype=torch.float64).view_as(actual)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-8)
        assert actual.abs().max() > 0.2


def random_case(sensitive, bins, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    channels = 3 * (bins[0] * bins[1] if sensitive else 1)
    input = torch.randn((2, channels, 12, 15), generator=generator, dtype=torch.float64)
    corner = 6 + 6 * torch.randn((40, 2), generator=generator, dtype=torch.float64)
    size = 18 * torch.rand((40, 2), generator=generator, dtype=torch.float64) ** 2
    image = torch.randint(0, 2, (40, 1), generator=generator)
    return input, torch.cat([image, corner / scale, (corner + size) / scale], dim=1)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("scale", [0.25, 1 / 3, 1.0])
@pytest.mark.parametrize("bins", [(1, 1), (2, 3), (7, 7)])
@pytest.mark.parametrize(
    ("operator", "further"),
    [
        ("roi_align", (-1,)),
        ("roi_align", (0, True)),
        ("roi_align", (3, False)),
        ("roi_align", (2, True)),
        ("ps_roi_align", (-1,)),
        ("ps_roi_align", (2,)),
        ("roi_pool", ()),
        ("ps_roi_pool", ()),
    ],
)
def test_live_values_and_gradients(operator, further, bins, scale, memory_format):
    torchvision = pytest.importorskip("torchvision")
    for seed in range(3):
        input, boxes = random_case(operator.startswith("ps_"), bins, seed, scale)
        if operator == "ps_roi_pool":  # away from the last row and column; see below
            boxes[:, 1:] = boxes[:, 1:].clamp_max(9 / scale)
        leaf = input.contiguous(memory_format=memory_format).requires_grad_()
        args = (leaf, boxes, bins, scale, *further)
        outputs = (
            getattr(ops, operator)(*args, **options_of(operator)),
            getattr(torchvision.ops, operator)(*args),
        )
        torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
        assert (outputs[0] != 0).sum() > 20
        weight = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(seed)).double()
        gradients = [torch.autograd.grad(output, leaf, weight)[0] for output in outputs]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


def test_live_values_of_ps_roi_pool_at_the_border_agree_but_torchvisions_gradient_is_not_theirs():
    torchvision = pytest.importorskip("torchvision")
    input, boxes = random_case(True, (2, 2), 0)
    leaf = input.requires_grad_()
    outputs = (
        ops.ps_roi_pool(leaf, boxes, 2, convention="torchvision"),
        torchvision.ops.ps_roi_pool(leaf, boxes, 2),
    )
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
    ours, theirs = (torch.autograd.grad(output.sum(), leaf)[0] for output in outputs)
    assert (ours[..., -1, :] == 0).all()
    assert (ours[..., -1] == 0).all()
    assert (theirs[..., -1, :] != 0).any()


def test_live_a_region_without_area_has_zeros_in_ps_roi_align_where_torchvision_has_nan():
    torchvision = pytest.importorskip("torchvision")
    input, _ = random_case(True, (2, 2), 0)
    boxes = torch.tensor([[0, 4, 4, 4, 4]], dtype=torch.float64)
    assert torchvision.ops.ps_roi_align(input, boxes, 2).isnan().all()
    assert (ops.ps_roi_align(input, boxes, 2) == 0).all()
