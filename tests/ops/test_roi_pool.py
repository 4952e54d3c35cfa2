"""Max pooling of regions: bins by hand, equal cells, NaN, gradients, odd regions; on each implementation."""

import pytest
import torch

from deformlab import ops
from deformlab.ops import reference

RAMP = torch.arange(8.0, dtype=torch.float64).expand(8, 8)[None, None].contiguous()  # f(y, x) = x
NAN, INF = float("nan"), float("inf")


class OnHost(torch.autograd.Function):
    """roi_pool from the CUDA source."""

    @staticmethod
    def forward(ctx, input, rois, size, scale):
        output, argmax = torch.ops.deformlab_cuda_on_host.roi_pool(input, rois, size, scale)
        ctx.save_for_backward(rois, argmax)
        ctx.input_size = list(input.shape)
        return output

    @staticmethod
    def backward(ctx, grad):
        backward = torch.ops.deformlab_cuda_on_host.roi_pool_backward
        return backward(grad, *ctx.saved_tensors, ctx.input_size), None, None, None


@pytest.fixture(params=["native", "reference", "cuda on host", pytest.param("cuda", marks=pytest.mark.gpu)])
def roi_pool(request):
    """Each implementation in turn, with square bins and tensors on the CPU."""
    if request.param == "cuda on host":
        request.getfixturevalue("host_operators")
        return lambda input, rois, bins, scale=1.0: OnHost.apply(input, rois, [bins, bins], scale)
    if request.param == "reference":
        return lambda input, rois, bins, scale=1.0: reference.roi_pool(input, rois, (bins, bins), scale)
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
        assert ops.backend("cuda") == "native", ops.native_status().reason
        return lambda input, rois, *args: ops.roi_pool(input.cuda(), rois.cuda(), *args).cpu()
    if ops.backend("cpu") != "native":
        pytest.skip("the native operators are not compiled")
    return ops.roi_pool


def regions(*rows, dtype=torch.float64):
    return torch.tensor(rows, dtype=dtype)


def random_case(dtype=torch.float64, channels=5, count=6, seed=0):
    """An input without equal cells, and regions, some of which reach beyond the map."""
    generator = torch.Generator().manual_seed(seed)
    size = 2 * channels * 7 * 9
    input = (torch.randperm(size, generator=generator).double() - size / 2).view(2, channels, 7, 9)
    corner = 8 + 8 * torch.randn((count, 2), generator=generator)
    sides = 14 * torch.rand((count, 2), generator=generator)
    image = torch.randint(0, 2, (count, 1), generator=generator)
    return input.to(dtype), torch.cat([image, corner, corner + sides], dim=1).double()


def test_the_last_cell_of_a_region_belongs_to_it(roi_pool):
    assert roi_pool(RAMP, regions([0, 0, 0, 3, 3]), 1).tolist() == [[[[3.0]]]]


def test_bins_overlap_where_the_size_is_no_multiple_of_them(roi_pool):
    # Five cells and two bins: cells 1 to 3 and 3 to 5.
    assert roi_pool(RAMP, regions([0, 1, 1, 5, 5]), 2)[0, 0].tolist() == [[3, 5], [3, 5]]
    lowest = roi_pool(-RAMP, regions([0, 1, 1, 5, 5]), 2)
    assert lowest[0, 0].tolist() == [[-1, -3], [-1, -3]]


def test_edges_are_scaled_then_rounded_with_halves_away_from_zero(roi_pool):
    # 0.5·5 = 2.5 becomes 3, where half to even would be 2; 0.5·-5 becomes -3: outside.
    assert roi_pool(-RAMP, regions([0, 5, 0, 8, 0]), 1, 0.5).item() == -3
    assert roi_pool(RAMP, regions([0, 0, 0, 5, 0]), 1, 0.5).item() == 3
    # Columns -3 to 0 in two bins: -3 to -2, which have no cell, and -1 to 0.
    assert roi_pool(RAMP + 1, regions([0, -5, 0, 0, 0]), 2, 0.5)[0, 0].tolist() == [[0, 1], [0, 1]]


def test_a_region_without_area_is_one_cell(roi_pool):
    for row in ([0, 4, 4, 4, 4], [0, 4, 4, 1, 1]):
        assert roi_pool(RAMP, regions(row), 2)[0, 0].tolist() == [[4, 4], [4, 4]]


@pytest.mark.parametrize(
    "row", [[0, NAN, 1, 5, 6], [0, 1, 1, INF, 6], [0, -3e9, 1, 5, 6], [1, 99, 99, 120, 110]]
)
def test_regions_that_are_not_finite_or_outside_pool_zeros_without_gradient(roi_pool, row):
    input, rois = random_case()
    input.requires_grad_()
    output = roi_pool(input, torch.cat([rois, regions(row)]), 2, 0.5)
    assert output[:-1].abs().max() > 0
    assert (output[-1] == 0).all()
    output[-1].sum().backward()
    assert (input.grad == 0).all()


def test_of_equal_cells_the_first_gets_the_gradient(roi_pool):
    input = torch.zeros(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    roi_pool(input, regions([0, 0, 0, 3, 3]), 2).sum().backward()
    assert input.grad[0, 0].tolist() == [[1, 0, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4]


def test_a_cell_that_is_the_maximum_of_several_bins_gets_the_sum(roi_pool):
    input = RAMP.clone().requires_grad_()
    roi_pool(input, regions([0, 1, 1, 5, 5], [0, 3, 1, 3, 1]), 2).sum().backward()
    # Bins that end in column 3: two of the first region (rows 1 and 3), four of the second.
    assert input.grad[0, 0, 1].tolist() == [0, 0, 0, 5, 0, 1, 0, 0]
    assert input.grad[0, 0, 3].tolist() == [0, 0, 0, 1, 0, 1, 0, 0]


def test_nan_is_larger_than_any_number_and_stays_in_its_channel_and_bin(roi_pool):
    input = RAMP.repeat(1, 20, 1, 1)
    input[0, 17, 1, 1:3] = NAN
    input.requires_grad_()
    output = roi_pool(input, regions([0, 0, 0, 7, 7]), 2)
    assert output.isnan().nonzero().tolist() == [[0, 17, 0, 0]]
    (gradient,) = torch.autograd.grad(output, input, torch.ones_like(output))
    assert gradient[0, 17, :4, :4].nonzero().tolist() == [[1, 2]]  # the last NaN
    assert gradient[0, 16, :4, :4].nonzero().tolist() == [[0, 3]]


def test_minus_infinity_is_a_value_like_others(roi_pool):
    input = torch.full_like(RAMP, -INF).requires_grad_()
    output = roi_pool(input, regions([0, 2, 2, 3, 3]), 1)
    assert output.item() == -INF
    output.backward()
    assert input.grad.nonzero().tolist() == [[0, 0, 2, 2]]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_maxima_are_exact_in_every_dtype_and_memory_format(roi_pool, dtype, memory_format):
    for channels in (1, 5, 37, 70):  # whole vectors and remainders
        input, rois = random_case(channels=channels, seed=channels)
        input = (input % 251 - 125).to(dtype)
        exact = input.double().requires_grad_()
        expected = reference.roi_pool(exact, rois.float(), (3, 3), 0.5)
        leaf = input.contiguous(memory_format=memory_format).requires_grad_()
        output = roi_pool(leaf, rois if dtype == torch.float64 else rois.float(), 3, 0.5)
        assert output.dtype == dtype
        assert torch.equal(output.double(), expected)
        weight = torch.arange(output.numel()).view(output.shape) % 3 - 1.0
        (gradient,) = torch.autograd.grad(output, leaf, weight.to(dtype))
        (exact_gradient,) = torch.autograd.grad(expected, exact, weight.double())
        assert gradient.dtype == dtype
        assert torch.equal(gradient.double(), exact_gradient)


def test_the_gradient_is_the_derivative(roi_pool):
    input, rois = random_case(channels=2, count=4)
    assert torch.autograd.gradcheck(lambda x: roi_pool(x, rois, 2, 0.5), input.requires_grad_())


def test_no_regions_and_no_images_give_empty_results(roi_pool):
    input, rois = random_case()
    input.requires_grad_()
    empty = roi_pool(input, rois[:0], 2)
    assert empty.shape == (0, 5, 2, 2)
    empty.sum().backward()
    assert (input.grad == 0).all()
    assert roi_pool(input.detach()[:0], rois[:0], 2).shape == (0, 5, 2, 2)


@pytest.mark.usefixtures("native")
def test_results_do_not_depend_on_the_number_of_threads():
    input, rois = random_case(torch.float32, channels=100, count=50)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = input.clone().requires_grad_()
            output = ops.roi_pool(leaf, rois.float(), 3, 0.5)
            found.append([output, *torch.autograd.grad((output / 7).sin().sum(), leaf)])
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


@pytest.mark.usefixtures("native")
def test_the_raw_operator_refuses_arguments_that_would_access_memory_out_of_bounds():
    input, rois = random_case()
    forward, backward = torch.ops.deformlab.roi_pool, torch.ops.deformlab.roi_pool_backward
    output, argmax = forward(input, rois, [2, 2], 0.5)
    for bad in (
        (input[0], rois, [2, 2]),
        (input, rois[:, :4], [2, 2]),
        (input, rois, [2]),
        (input, rois, [2, 0]),
        (input, rois, [2**40, 1]),
    ):
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            forward(*bad, 0.5)
    size = list(input.shape)
    for bad in (
        (output[:-1], rois, argmax, size),
        (output, rois[:-1], argmax, size),
        (output, rois, argmax[..., :1], size),
        (output, rois, argmax.long(), size),
        (output, rois, argmax, size[:3]),
        (output, rois, argmax, [2, 4, 7, 9]),
    ):
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            backward(*bad)
    # Cells and images outside the input are ignored.
    assert (backward(output, rois, argmax + 10**6, size) == 0).all()
    assert (backward(output, rois + 2, argmax, size) == 0).all()
