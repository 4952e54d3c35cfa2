"""`deform_roi_pool` against direct ports of the authors' and mmcv's kernels, sample by sample.

The known answers and odd regions are in test_roi_average.py.
"""

import math
import sys
from functools import partial
from typing import get_args

import pytest
import torch
from torch import Tensor

from deformlab.ops import deform_roi_pool
from deformlab.ops._impl.roi_average import call
from deformlab.ops.reference.roi_average import Kind


@pytest.fixture(params=["native", "reference", "cuda on host"])
def implementation(request, monkeypatch):
    """Each implementation of the public function in turn."""
    if request.param == "cuda on host":
        operators = request.getfixturevalue("host_operators")
        if not hasattr(operators, "roi_average"):
            pytest.skip("the CUDA sources do not have roi_average")
        module = sys.modules["deformlab.ops.deform_roi_pool"]  # the package has the function by this name
        monkeypatch.setattr(module, "call_roi_average", partial(on_host, operators))
        return request.param
    if request.param == "native":
        request.getfixturevalue("native")
    monkeypatch.setattr(call, "backend", lambda device: request.param)
    return request.param


class OnHost(torch.autograd.Function):
    """roi_average from the CUDA source, with its gradients."""

    @staticmethod
    def forward(ctx, operators, input, rois, offset, mask, *options):
        ctx.save_for_backward(input, rois, offset, mask)
        ctx.operators, ctx.options = operators, options
        return operators.roi_average(input, rois, offset, mask, *options)

    @staticmethod
    def backward(ctx, grad):
        needs = [ctx.needs_input_grad[i] for i in (1, 3, 4)]
        gradients = ctx.operators.roi_average_backward(grad, *ctx.saved_tensors, *ctx.options, *needs)
        input, offset, mask = (
            gradient if need else None for gradient, need in zip(gradients, needs, strict=True)
        )
        return None, input, None, offset, mask, *(None,) * len(ctx.options)


def on_host(operators, input, rois, rule, offset=None, mask=None):
    kind = get_args(Kind).index(rule.kind)
    options = [kind, list(rule.output_size), rule.spatial_scale, rule.samples, list(rule.groups), rule.gamma]
    return OnHost.apply(operators, input, rois, offset, mask, *options)


def half_away(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value)


def authors_kernel(input, rois, offset, k, scale, group, part, samples, gamma, grad):
    """deformable_psroi_pooling.cu, forward and backward: (output, gradients of input and offset)."""
    _, C, H, W = input.shape
    outputs = C // group**2
    output = torch.zeros(len(rois), outputs, k, k, dtype=torch.float64)
    grad_input, grad_offset = torch.zeros_like(input), torch.zeros_like(offset)
    class_outputs = outputs // (offset.shape[1] // 2)
    for r, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        start_x, start_y = half_away(x1) * scale - 0.5, half_away(y1) * scale - 0.5
        width = max((half_away(x2) + 1) * scale - 0.5 - start_x, 0.1)
        height = max((half_away(y2) + 1) * scale - 0.5 - start_y, 0.1)
        for o in range(outputs):
            for p in range(k):
                for q in range(k):
                    cls, part_y, part_x = o // class_outputs, p * part // k, q * part // k
                    bin_x = q * width / k + start_x + offset[r, 2 * cls, part_y, part_x] * gamma * width
                    bin_y = p * height / k + start_y + offset[r, 2 * cls + 1, part_y, part_x] * gamma * height
                    plane = (int(image), (o * group + p * group // k) * group + q * group // k)
                    taken = []
                    for i in range(samples):
                        for j in range(samples):
                            x = float(bin_x + j * (width / k / samples))
                            y = float(bin_y + i * (height / k / samples))
                            if -0.5 <= x <= W - 0.5 and -0.5 <= y <= H - 0.5:
                                taken.append((min(max(x, 0.0), W - 1.0), min(max(y, 0.0), H - 1.0)))
                    for x, y in taken:
                        x0, y0, x3, y3 = math.floor(x), math.floor(y), math.ceil(x), math.ceil(y)
                        u, v = x - x0, y - y0
                        a, b = input[plane][y0, x0], input[plane][y0, x3]
                        c, d = input[plane][y3, x0], input[plane][y3, x3]
                        value = (1 - u) * (1 - v) * a + u * (1 - v) * b + (1 - u) * v * c + u * v * d
                        output[r, o, p, q] += value / len(taken)
                        each = grad[r, o, p, q] / len(taken)
                        grad_input[plane][y0, x0] += each * (1 - u) * (1 - v)
                        grad_input[plane][y0, x3] += each * u * (1 - v)
                        grad_input[plane][y3, x0] += each * (1 - u) * v
                        grad_input[plane][y3, x3] += each * u * v
                        slope_x = (1 - v) * (b - a) + v * (d - c)
                        slope_y = (1 - u) * (c - a) + u * (d - b)
                        grad_offset[r, 2 * cls, part_y, part_x] += each * gamma * width * slope_x
                        grad_offset[r, 2 * cls + 1, part_y, part_x] += each * gamma * height * slope_y
    return output, grad_input, grad_offset


def mmcv_kernel(input, rois, offset, k, scale, samples, gamma):
    """deform_roi_pool_cuda_kernel.cuh, forward."""
    _, C, H, W = input.shape
    output = torch.zeros(len(rois), C, k, k, dtype=torch.float64)

    def interpolate(plane: Tensor, y: float, x: float) -> float:
        if y < -1.0 or y > H or x < -1.0 or x > W:
            return 0.0
        y, x = max(y, 0.0), max(x, 0.0)
        y0, x0 = int(y), int(x)
        if y0 >= H - 1:
            y0 = y1 = H - 1
            y = float(y0)
        else:
            y1 = y0 + 1
        if x0 >= W - 1:
            x0 = x1 = W - 1
            x = float(x0)
        else:
            x1 = x0 + 1
        v, u = y - y0, x - x0
        top = (1 - u) * plane[y0, x0] + u * plane[y0, x1]
        return float((1 - v) * top + v * ((1 - u) * plane[y1, x0] + u * plane[y1, x1]))

    for r, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        start_x, start_y = x1 * scale - 0.5, y1 * scale - 0.5
        width, height = x2 * scale - 0.5 - start_x, y2 * scale - 0.5 - start_y
        rows = samples or math.ceil(height / k)
        columns = samples or math.ceil(width / k)
        for p in range(k):
            for q in range(k):
                left = start_x + q * width / k + gamma * width * float(offset[r, 0, p, q])
                top = start_y + p * height / k + gamma * height * float(offset[r, 1, p, q])
                for c in range(C):
                    values = [
                        interpolate(
                            input[int(image), c],
                            top + (i + 0.5) * height / k / rows,
                            left + (j + 0.5) * width / k / columns,
                        )
                        for i in range(rows)
                        for j in range(columns)
                    ]
                    output[r, c, p, q] = sum(values) / max(rows * columns, 1)
    return output


def case(k, group, part, classes, seed):
    """Random arguments; some regions cross the border, some have halves as coordinates."""
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    input = random(2, 2 * group**2 * classes, 6, 7)
    corner = 10 * random(5, 2)
    size = 20 * torch.rand((5, 2), generator=generator, dtype=torch.float64)
    image = torch.tensor([[0.0], [1], [1], [0], [1]], dtype=torch.float64)
    rois = torch.cat([image, corner, corner + size], dim=1)
    rois[0, 1:] = torch.tensor([2.5, -0.5, 10.5, 11.5])
    rois[1, 1:] = torch.tensor([6.0, 6, 6, 6])  # a single pixel
    return input, rois, 2 * random(5, 2 * classes, part, part), random(5, 2 * classes, k, k)


@pytest.mark.parametrize(
    ("k", "group", "part", "classes", "samples", "scale"),
    [
        pytest.param(3, 1, 3, 1, 4, 0.25, id="Faster R-CNN"),
        pytest.param(3, 3, 3, 2, 4, 0.25, id="R-FCN"),
        pytest.param(4, 2, 2, 1, 2, 0.3, id="fewer groups and parts than bins"),
        pytest.param(2, 1, 3, 2, 1, 0.5, id="more parts than bins"),
        pytest.param(1, 1, 1, 1, 2, 1.0, id="one bin, positions at whole cells"),
    ],
)
def test_values_and_gradients_are_those_of_the_authors_kernel(
    implementation, k, group, part, classes, samples, scale
):
    input, rois, offset, grad = case(k, group, part, classes, seed=k)
    gamma = 0.1 if k > 1 else 0.25
    if k == 1:  # exact positions: whole and half cells, at and beyond the border
        offset = offset.round()
        rois = rois.round()
    expected = authors_kernel(input, rois, offset, k, scale, group, part, samples, gamma, grad)
    leaves = [input.requires_grad_(), offset.requires_grad_()]
    output = deform_roi_pool(
        input,
        rois,
        k,
        scale,
        offset,
        group_size=group,
        part_size=part,
        samples_per_bin=samples,
        gamma=gamma,
    )
    actual = (output.detach(), *torch.autograd.grad(output, leaves, grad))
    assert all((values != 0).any() for values in expected)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("samples", [0, 1, 3])
@pytest.mark.parametrize("k", [1, 3])
def test_aligned_values_are_those_of_mmcvs_kernel(implementation, k, samples):
    input, rois, offset, _ = case(k, 1, k, 1, seed=samples)
    output = deform_roi_pool(
        input, rois, k, 0.25, offset, samples_per_bin=samples, gamma=0.2, convention="aligned"
    )
    expected = mmcv_kernel(input, rois, offset, k, 0.25, samples, 0.2)
    assert (expected != 0).any()
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("side", "slope"), [(-0.75, 0.0), (6.75, 0.0), (5.5, 1.0)])
def test_the_aligned_gradient_is_the_true_derivative_at_the_border(implementation, side, slope):
    """One sample at x = `side`. There, the slopes of mmcv's kernel are others."""
    ramp = torch.arange(7.0, dtype=torch.float64).expand(1, 1, 6, 7).contiguous()
    region = torch.tensor([[0, side, 2, side + 1, 3]], dtype=torch.float64)
    offset = torch.zeros(1, 2, 1, 1, dtype=torch.float64, requires_grad=True)

    def pool(offset):
        return deform_roi_pool(
            ramp, region, 1, 1.0, offset, samples_per_bin=1, gamma=1.0, convention="aligned"
        )

    (gradient,) = torch.autograd.grad(pool(offset).sum(), offset)
    step = torch.zeros_like(offset)
    step[0, 0] = 1e-4
    difference = (pool(offset + step) - pool(offset - step)) / 2e-4
    assert gradient[0, 0].item() == slope
    torch.testing.assert_close(difference.item(), slope, atol=1e-9, rtol=0)


def test_a_bin_without_samples_that_count_is_zero_and_passes_no_gradient(implementation):
    input = torch.ones(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    region = torch.tensor([[0, 0, 0, 7, 7]], dtype=torch.float64)
    offset = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    offset[0, 0, 0, 0] = -20  # 16 cells to the left
    offset.requires_grad_()
    output = deform_roi_pool(input, region, 2, offset=offset)
    assert output.flatten().tolist() == [0, 1, 1, 1]
    gradients = torch.autograd.grad(output[0, 0, 0, 0], [input, offset])
    assert all(gradient.count_nonzero() == 0 for gradient in gradients)


def test_gradients_of_regions_and_bins_that_are_ignored_are_zero_not_nan(implementation):
    input = torch.randn(1, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0, 1, 1, 6, 6], [0, math.nan, 1, 6, 6], [0, 1, 1, 6, 6]], dtype=torch.float64)
    offset = torch.zeros(3, 2, 2, 2, dtype=torch.float64)
    offset[2, 1, 0, 1] = math.nan
    mask = torch.ones(3, 1, 2, 2, dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (input, offset, mask)]
    for convention in ("authors", "aligned"):
        output = deform_roi_pool(input, rois, 2, 1.0, offset, mask, convention=convention)
        of_input, of_offset, of_mask = torch.autograd.grad(output.square().sum(), leaves)
        assert of_input.isfinite().all()
        assert of_offset[1].count_nonzero() == of_mask[1].count_nonzero() == 0
        assert of_offset[2, :, 0, 1].count_nonzero() == of_mask[2, 0, 0, 1].count_nonzero() == 0
        assert of_mask[0].count_nonzero() == 4
        assert of_offset[0].count_nonzero() > 0


@pytest.mark.parametrize("convention", ["authors", "aligned"])
def test_if_all_regions_are_ignored_gradients_are_zero_not_missing(implementation, convention):
    input = torch.full((1, 2, 8, 8), math.nan, dtype=torch.float64)
    rois = torch.tensor([[0, math.nan, 1, 6, 6], [0, 1, 1, math.inf, 6]], dtype=torch.float64)
    offset, mask = torch.zeros(2, 2, 2, 2).double(), torch.ones(2, 1, 2, 2).double()
    leaves = [tensor.requires_grad_() for tensor in (input, offset, mask)]
    output = deform_roi_pool(input, rois, 2, 1.0, offset, mask, convention=convention)
    assert output.count_nonzero() == 0
    for gradient in torch.autograd.grad(output.sum(), leaves):
        assert gradient.count_nonzero() == 0


@pytest.mark.parametrize("edge", [1e4, 1e8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_adaptive_samples_of_a_huge_region_take_no_time_with_several_bins(native, monkeypatch, edge, dtype):
    input = torch.ones(1, 2, 8, 8, dtype=dtype)
    region = torch.tensor([[0, -edge, -edge, edge, edge], [0, -2, -edge, 10, edge]], dtype=dtype)
    found = []
    for backend in ("native", "reference"):
        monkeypatch.setattr(call, "backend", lambda device, name=backend: name)
        found.append(deform_roi_pool(input, region, 3, samples_per_bin=0, convention="aligned"))
    torch.testing.assert_close(*found)
    assert found[0][1, 0, 1, 1] > 0  # the middle bin contains the map
