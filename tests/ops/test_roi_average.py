"""The poolings that average: known answers, agreement of implementations, gradients, odd regions."""

import importlib
from typing import get_args

import pytest
import torch
from torch import Tensor

from deformlab import ops
from deformlab.ops import reference
from deformlab.ops._impl.roi_average import call
from deformlab.ops.reference.roi_average import Kind

# The packages have functions of the same names.
roi_align_module, ps_roi_pool_module, deform_roi_pool_module = (
    importlib.import_module(f"deformlab.ops.{name}")
    for name in ("roi_align", "ps_roi_pool", "deform_roi_pool")
)

RAMP = torch.arange(8.0, dtype=torch.float64).expand(8, 8)[None, None].contiguous()  # f(y, x) = x
REGION = torch.tensor([[0, 0, 0, 3, 3]], dtype=torch.float64)
POOLINGS = (
    "roi_align",
    "aligned",
    "ps_roi_align",
    "ps_roi_pool",
    "torchvision",
    "mean",
    "deform",
    "ps_deform",
    "mmcv",
)


@pytest.fixture(params=["native", "reference", "cuda on host"])
def implementation(request, monkeypatch):
    """Each implementation of the public functions in turn."""
    if request.param == "native" and ops.backend("cpu") != "native":
        pytest.skip("the native operators are not compiled")
    if request.param == "cuda on host":
        request.getfixturevalue("host_operators")
        monkeypatch.setattr(call, "call_roi_average", on_host)
        for module in (roi_align_module, ps_roi_pool_module, deform_roi_pool_module):
            monkeypatch.setattr(module, "call_roi_average", on_host)
    else:
        monkeypatch.setattr(call, "backend", lambda device: request.param)
    return request.param


class OnHost(torch.autograd.Function):
    """roi_average from the CUDA source."""

    @staticmethod
    def forward(ctx, *arguments):
        ctx.save_for_backward(*arguments[:4])
        ctx.options = arguments[4:]
        return torch.ops.deformlab_cuda_on_host.roi_average(*arguments)

    @staticmethod
    def backward(ctx, grad):
        needs = [ctx.needs_input_grad[i] for i in (0, 2, 3)]
        found = torch.ops.deformlab_cuda_on_host.roi_average_backward(
            grad, *ctx.saved_tensors, *ctx.options, *needs
        )
        input, offset, mask = (value if need else None for value, need in zip(found, needs, strict=True))
        return input, None, offset, mask, *(None,) * len(ctx.options)


def on_host(input, rois, rule, offset=None, mask=None):
    kind = get_args(Kind).index(rule.kind)
    options = (kind, list(rule.output_size), rule.spatial_scale, rule.samples, list(rule.groups), rule.gamma)
    return OnHost.apply(input, rois, offset, mask, *options)


def values(result: Tensor) -> list[float]:
    return [round(value, 12) for value in result.flatten().tolist()]


def shift(*t: float) -> Tensor:
    """Offsets (1, 2·G, 1, 1) of a single bin."""
    return torch.tensor(t, dtype=torch.float64).view(1, -1, 1, 1)


def test_one_bin_over_a_ramp_by_every_pooling(implementation):
    assert values(ops.roi_mean_pool(RAMP, REGION, 1)) == [1.5]
    assert values(ops.ps_roi_pool(RAMP, REGION, 1)) == [1.5]
    assert values(ops.ps_roi_pool(RAMP, REGION, 1, convention="torchvision")) == [1.0]
    assert values(ops.deform_roi_pool(RAMP, REGION, 1)) == [1.125]
    assert values(ops.deform_roi_pool(RAMP, REGION, 1, convention="aligned")) == [1.03125]
    assert values(ops.roi_align(RAMP, REGION, 1, sampling_ratio=4, aligned=True)) == [1.03125]
    assert values(ops.ps_roi_align(RAMP, REGION, 1, sampling_ratio=4)) == [1.03125]
    assert values(ops.roi_align(RAMP, REGION, 1, sampling_ratio=4)) == [1.5]


def test_a_shift_of_one_moves_a_bin_by_gamma_times_the_region(implementation):
    assert values(ops.deform_roi_pool(RAMP, REGION, 1, offset=shift(1, 0))) == [1.425]
    assert values(ops.deform_roi_pool(RAMP, REGION, 1, offset=shift(1, 0), convention="aligned")) == [1.3]
    assert values(ops.deform_roi_pool(RAMP, REGION, 1, offset=shift(1, 0), gamma=0.2)) == [1.8]
    assert values(ops.deform_roi_pool(RAMP.mT.contiguous(), REGION, 1, offset=shift(0, 1))) == [1.425]


def test_samples_outside_are_left_out_by_the_authors_and_zero_in_mmcv(implementation):
    offset = shift(-5, 0)
    assert values(ops.deform_roi_pool(RAMP, REGION, 1, offset=offset)) == [0.25]  # 8 of 16 count
    assert values(ops.deform_roi_pool(RAMP, REGION, 1, offset=offset, convention="aligned")) == [0.15625]


def test_the_derivative_of_a_shift_is_gamma_times_the_size_times_the_slope(implementation):
    offset = shift(1, 0).requires_grad_()
    ops.deform_roi_pool(RAMP, REGION, 1, offset=offset).sum().backward()
    assert values(offset.grad) == [0.3, 0.0]


def test_at_a_whole_cell_the_authors_slope_is_zero_and_the_aligned_one_is_not(implementation):
    # One sample per bin: the authors' is at the start of the region, here exactly at cell 2.
    region = torch.tensor([[0, 2.5, 0, 5.5, 3]], dtype=torch.float64)
    offset = shift(0, 0).requires_grad_()
    region_at_two = torch.tensor([[0, 5, 0, 8, 3]], dtype=torch.float64)
    ops.deform_roi_pool(RAMP, region_at_two, 1, 0.5, offset, samples_per_bin=1).sum().backward()
    assert values(offset.grad) == [0.0, 0.0]
    aligned = shift(0, 0).requires_grad_()
    ops.deform_roi_pool(
        RAMP, region, 1, 1.0, aligned, samples_per_bin=1, convention="aligned"
    ).sum().backward()
    assert values(aligned.grad) == [0.3, 0.0]


def test_scaled_regions_of_two_bins(implementation):
    first = torch.tensor([[0, 0, 0, 63, 63]], dtype=torch.float64)
    second = torch.tensor([[0, 16, 0, 79, 63]], dtype=torch.float64)
    assert values(ops.deform_roi_pool(RAMP, first, 2, 1 / 16))[:2] == [0.375, 2.25]
    assert values(ops.deform_roi_pool(RAMP, second, 2, 1 / 16))[:2] == [1.25, 3.25]
    four_groups = RAMP.expand(1, 4, 8, 8).contiguous()
    assert values(ops.ps_roi_pool(four_groups, first, 2, 1 / 16))[:2] == [0.5, 2.5]


def test_halves_are_rounded_away_from_zero(implementation):
    region = torch.tensor([[0, 4.5, 0, 20.5, 15]], dtype=torch.float64)
    assert values(ops.deform_roi_pool(RAMP, region, 1, 1 / 16, samples_per_bin=2)) == [0.171875]


def test_position_sensitive_bins_read_the_channels_of_their_group(implementation):
    maps = torch.arange(1.0, 9, dtype=torch.float64)[None, :, None, None].expand(1, 8, 8, 8).contiguous()
    for pooled in (
        ops.deform_roi_pool(maps, REGION, 2, group_size=2),
        ops.ps_roi_pool(maps, REGION, 2),
        ops.ps_roi_align(maps, REGION, 2),
    ):
        assert values(pooled) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert pooled.shape == (1, 2, 2, 2)


def test_fewer_groups_than_bins_are_shared_by_neighbouring_bins(implementation):
    maps = torch.arange(1.0, 5, dtype=torch.float64)[None, :, None, None].expand(1, 4, 8, 8).contiguous()
    pooled = ops.deform_roi_pool(maps, REGION, 4, group_size=2)
    assert pooled[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_each_class_of_offsets_moves_its_own_output_channels(implementation):
    maps = torch.stack([RAMP[0, 0], RAMP[0, 0].T])[None].contiguous()
    assert values(ops.deform_roi_pool(maps, REGION, 1, offset=shift(1, 0, 0, 1))) == [1.425, 1.425]
    assert values(ops.deform_roi_pool(maps, REGION, 1, offset=shift(1, 0))) == [1.425, 1.125]


def test_parts_larger_than_bins_share_their_offset(implementation):
    offset = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    offset[0, 0, 0, 1] = 1.0  # the right part of the upper half
    moved = ops.deform_roi_pool(RAMP, REGION, 4, offset=offset, part_size=2) - ops.deform_roi_pool(
        RAMP, REGION, 4
    )
    assert (moved[0, 0] > 0).tolist() == [[False, False, True, True]] * 2 + [[False] * 4] * 2


def test_a_mask_multiplies_the_bins(implementation):
    mask = torch.tensor([[[[0.5, 0.0], [2.0, 1.0]]]], dtype=torch.float64)
    plain = ops.deform_roi_pool(RAMP, REGION, 2)
    assert torch.equal(ops.deform_roi_pool(RAMP, REGION, 2, mask=mask), plain * mask)


def test_mmcvs_own_example(implementation):
    image = torch.tensor([[1.0, 2], [3, 4]], dtype=torch.float64)[None, None]
    region = torch.tensor([[0.0, 0, 0, 1, 1]], dtype=torch.float64)
    offset = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    pooled = ops.deform_roi_pool(image, region, 2, 1.0, offset, samples_per_bin=2, convention="aligned")
    assert values(pooled) == [1, 1.25, 1.5, 1.75]


def pool(name, input, rois, bins, offset=None, mask=None, scale=0.5):
    """One pooling by its name in POOLINGS."""
    if name in ("roi_align", "aligned"):
        return ops.roi_align(input, rois, bins, scale, -1, name == "aligned")
    if name == "ps_roi_align":
        return ops.ps_roi_align(input, rois, bins, scale, 2)
    if name in ("ps_roi_pool", "torchvision"):
        convention = "authors" if name == "ps_roi_pool" else name
        return ops.ps_roi_pool(input, rois, bins, scale, convention=convention)
    if name == "mean":
        return ops.roi_mean_pool(input, rois, bins, scale)
    options = {
        "deform": {"samples_per_bin": 3},
        "ps_deform": {"group_size": bins, "samples_per_bin": 2},
        "mmcv": {"convention": "aligned", "samples_per_bin": 0},
    }[name]
    return ops.deform_roi_pool(input, rois, bins, scale, offset, mask, gamma=0.3, **options)


def case(name, dtype=torch.float64, seed=0, bins=2, regions=5, memory_format=torch.contiguous_format):
    """Random arguments: input, regions, offset and mask."""
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    groups = bins * bins if name.startswith("ps") or name == "torchvision" else 1
    input = random(2, 6 * groups, 7, 9).to(dtype).to(memory_format=memory_format)
    corner = 8 + 8 * random(regions, 2)
    image = torch.randint(0, 2, (regions, 1), generator=generator).double()
    size = torch.rand((regions, 2), generator=generator, dtype=torch.float64) * 14
    rois = torch.cat([image, corner, corner + size], dim=1)
    return input, rois, random(regions, 6, bins, bins).to(dtype), random(regions, 3, bins, bins).to(dtype)


def both(monkeypatch, run):
    """The results of the native operators and of the reference."""
    results = []
    for name in ("native", "reference"):
        monkeypatch.setattr(call, "backend", lambda device, name=name: name)
        results.append(run())
    return results


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", POOLINGS)
def test_the_native_operator_agrees_with_the_reference(name, memory_format, native, monkeypatch):
    for seed in range(4):
        input, rois, *parts = case(name, seed=seed, bins=1 + seed, memory_format=memory_format)

        def run(input=input, rois=rois, parts=parts, bins=1 + seed):
            leaves = [tensor.detach().clone().requires_grad_() for tensor in (input, *parts)]
            output = pool(name, leaves[0], rois, bins, *leaves[1:])
            weight = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
            return [output, *torch.autograd.grad((output * weight).sum(), leaves, allow_unused=True)]

        for ours, expected in zip(*both(monkeypatch, run), strict=True):
            if expected is None:
                assert ours is None
            else:
                torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 5e-3)]
)
@pytest.mark.parametrize("name", POOLINGS)
def test_lower_precision_stays_close_to_float64(name, dtype, error, native):
    input, rois, *parts = case(name)
    expected = pool(name, input.to(dtype).double(), rois, 2, *(part.to(dtype).double() for part in parts))
    output = pool(name, input.to(dtype), rois.float(), 2, *(part.to(dtype) for part in parts))
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), expected, rtol=error, atol=error)


@pytest.mark.parametrize("name", POOLINGS)
def test_gradients_are_the_derivatives(name, implementation):
    input, rois, *parts = case(name, regions=3)
    leaves = [input.requires_grad_()]
    if name in ("deform", "ps_deform", "mmcv"):
        leaves += [part.requires_grad_() for part in parts]
    run = lambda *tensors: pool(name, tensors[0], rois, 2, *tensors[1:])  # noqa: E731
    # Each number of the input is a call: random projections suffice, except for one implementation, with
    # which the others agree.
    many = implementation != "cuda on host" or leaves[0].numel() > 1000
    assert torch.autograd.gradcheck(run, leaves, fast_mode=many)


ODD_REGIONS = {
    "NaN": [0, float("nan"), 1, 5, 6],
    "infinite": [0, 1, 1, float("inf"), 6],
    "huge": [0, -3e9, 1, 5, 6],
    "outside": [1, 500, 500, 540, 560],
}


@pytest.mark.parametrize("region", ODD_REGIONS)
@pytest.mark.parametrize("name", POOLINGS)
def test_regions_that_are_not_finite_or_outside_pool_zeros(name, region, implementation):
    input, rois, *parts = case(name)
    input.requires_grad_()
    rois = torch.cat([rois, torch.tensor([ODD_REGIONS[region]], dtype=torch.float64)])
    parts = [torch.cat([part, part[:1] * 0]) for part in parts]
    output = pool(name, input, rois, 2, *parts)
    assert output[:-1].abs().max() > 0
    assert (output[-1] == 0).all()
    output[-1].sum().backward()
    assert (input.grad == 0).all()


@pytest.mark.parametrize("name", POOLINGS)
def test_regions_without_area_and_inside_out_are_finite_and_alike(name, native, monkeypatch):
    input, _, *parts = case(name, regions=3)
    rois = torch.tensor([[0.0, 4, 4, 4, 4], [1, 9, 9, 3, 3], [0, 4, 4, 4.001, 12]], dtype=torch.float64)
    ours, expected = both(monkeypatch, lambda: pool(name, input, rois, 2, *parts))
    assert ours.isfinite().all()
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", POOLINGS)
def test_no_regions_and_no_images_give_empty_results(name, implementation):
    input, rois, *parts = case(name)
    input.requires_grad_()
    empty = pool(name, input, rois[:0], 2, *(part[:0] for part in parts))
    assert empty.shape[0] == 0
    empty.sum().backward()
    assert (input.grad == 0).all()
    assert pool(name, input.detach()[:0], rois[:0], 2, *(part[:0] for part in parts)).shape == empty.shape


@pytest.mark.parametrize("name", ["deform", "ps_deform", "mmcv"])
def test_bins_whose_offset_is_not_finite_are_zero(name, implementation):
    input, rois, offset, mask = case(name)
    expected = pool(name, input, rois, 2, offset, mask)
    offset[0, 0, 0, 0], offset[1, 1, 1, 1] = float("nan"), float("inf")
    output = pool(name, input, rois, 2, offset, mask)
    assert (output[0, :2, 0, 0] == 0).all()
    assert (output[1, :2, 1, 1] == 0).all()
    assert torch.equal(output[2:], expected[2:])


@pytest.mark.parametrize("name", POOLINGS)
def test_nan_in_one_channel_stays_in_it(name, native):
    input, rois, *parts = case(name)
    expected = pool(name, input, rois, 2, *parts)
    groups = input.shape[1] // 6
    input[:, :groups] = float("nan")
    output = pool(name, input, rois, 2, *parts)
    assert torch.equal(output[:, 1:], expected[:, 1:])


@pytest.mark.parametrize("name", POOLINGS)
def test_results_do_not_depend_on_the_number_of_threads(name, native):
    input, rois, *parts = case(name, torch.float32, regions=40)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = [tensor.clone().requires_grad_() for tensor in (input, *parts)]
            output = pool(name, leaves[0], rois, 2, *leaves[1:])
            gradients = torch.autograd.grad((output * output).sum(), leaves, allow_unused=True)
            found.append([output, *(gradient for gradient in gradients if gradient is not None)])
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


def test_a_list_of_boxes_is_the_same_as_indexed_ones():
    input, rois, _, _ = case("roi_align")
    rois = rois[rois[:, 0].argsort(stable=True)]
    boxes = [rois[rois[:, 0] == image, 1:] for image in range(2)]
    assert torch.equal(ops.roi_align(input, boxes, 3), ops.roi_align(input, rois, 3))


def test_a_huge_region_with_adaptive_samples_takes_no_time(implementation):
    region = torch.tensor([[0, -1e8, -1e8, 1e8, 1e8]], dtype=torch.float64)
    assert ops.roi_align(RAMP, region, 1).abs() < 1e-6
    assert ops.deform_roi_pool(RAMP, region, 1, samples_per_bin=0, convention="aligned").abs() < 1e-6


def test_the_reference_is_differentiable_twice():
    input, rois, offset, mask = case("deform", regions=2)

    def run(offset, mask):
        options = {"kind": "authors", "output_size": (2, 2), "samples": 2, "spatial_scale": 0.5}
        return reference.roi_average(input, rois, offset, mask, **options)

    assert torch.autograd.gradgradcheck(run, [offset.requires_grad_(), mask.requires_grad_()])
