"""Which samples count at the border of the image, and with which gradients: worked out by hand."""

import math

import pytest
import torch

from deformlab.ops import reference

BOUNDARIES = ("zeros", "clamp")
EPS = 2.0**-20
# For an image of three cells with the values 1, 2 and 4. For each y: the sample, its derivative with respect
# to y, and the weight of each cell in it.
SAMPLES = {
    "zeros": {
        -1 - EPS: (0, 0, (0, 0, 0)),
        -1: (0, 0, (0, 0, 0)),
        -1 + EPS: (EPS, 1, (EPS, 0, 0)),
        -EPS: (1 - EPS, 1, (1 - EPS, 0, 0)),
        0: (1, 1, (1, 0, 0)),
        1.5: (3, 2, (0, 0.5, 0.5)),
        2: (4, -4, (0, 0, 1)),
        3 - EPS: (4 * EPS, -4, (0, 0, EPS)),
        3: (0, 0, (0, 0, 0)),
    },
    "clamp": {
        -1 - EPS: (0, 0, (0, 0, 0)),
        -1: (0, 0, (0, 0, 0)),
        -1 + EPS: (0, 0, (0, 0, 0)),
        -EPS: (0, 0, (0, 0, 0)),
        0: (1, 1, (1, 0, 0)),
        1.5: (3, 2, (0, 0.5, 0.5)),
        2: (4, 0, (0, 0, 1)),
        3 - EPS: (4, 0, (0, 0, 1)),
        3: (0, 0, (0, 0, 0)),
    },
}


@pytest.mark.parametrize(
    ("boundary", "y"), [(boundary, y) for boundary, samples in SAMPLES.items() for y in samples]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_sample_and_gradients_along_one_axis(operator, axis, boundary, y):
    input = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    input = input.reshape(1, 1, 3, 1) if axis == 0 else input.reshape(1, 1, 1, 3)
    offset = torch.zeros(1, 2, *input.shape[2:], dtype=torch.float64)
    offset[0, axis, 0, 0] = y
    weight = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
    mask = torch.full((1, 1, *input.shape[2:]), 0.5, dtype=torch.float64)
    tensors = [tensor.requires_grad_() for tensor in (input, offset, weight, mask)]

    output = operator(input, offset, weight, mask=mask, boundary=boundary)[0, 0, 0, 0]
    in_input, in_offset, in_weight, in_mask = torch.autograd.grad(output, tensors)

    sample, derivative, shares = SAMPLES[boundary][y]
    assert output == sample  # weight and mask cancel
    assert in_offset[0, axis, 0, 0] == derivative
    # Along the other axis, the image has one cell. Beyond it, the image is zero, or the cell is repeated.
    assert in_offset[0, 1 - axis, 0, 0] == (-sample if boundary == "zeros" else 0)
    assert in_input.flatten().tolist() == list(shares)
    assert in_weight == 0.5 * sample
    assert in_mask[0, 0, 0, 0] == 2 * sample


@pytest.mark.parametrize(
    ("boundary", "y", "x", "sample", "derivatives", "shares"),
    [
        ("zeros", 1.5, 0.25, 2.5, (-5, 2), (0, 0, 0.375, 0.125)),
        ("clamp", 1.5, 0.25, 5, (0, 4), (0, 0, 0.75, 0.25)),
        ("zeros", 1.5, 1.5, 2, (-4, -4), (0, 0, 0, 0.25)),
        ("clamp", 1.5, 1.5, 8, (0, 0), (0, 0, 0, 1)),
        ("zeros", 0.25, -0.5, 0.875, (1.5, 1.75), (0.375, 0, 0.125, 0)),
        ("clamp", 0.25, -0.5, 0, (0, 0), (0, 0, 0, 0)),
        ("zeros", 1, -1, 0, (0, 0), (0, 0, 0, 0)),
        ("clamp", 1, 0, 4, (0, 4), (0, 0, 1, 0)),
    ],
)
def test_sample_and_gradients_in_corners(operator, boundary, y, x, sample, derivatives, shares):
    input = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]], requires_grad=True)
    offset = torch.full((1, 2, 2, 2), -9.0)
    offset[0, :, 0, 0] = torch.tensor([y, x])
    offset.requires_grad_()
    output = operator(input, offset, torch.ones(1, 1, 1, 1), boundary=boundary)
    output.sum().backward()
    assert output.flatten().tolist() == [sample, 0, 0, 0]
    assert offset.grad[0, :, 0, 0].tolist() == list(derivatives)
    assert input.grad.flatten().tolist() == list(shares)


@pytest.mark.parametrize("modulated", [False, True])
def test_gradients_of_clamped_samples_are_those_of_finite_differences(operator, arguments, modulated):
    args = arguments(batch=1, modulated=modulated)
    names = [name for name, value in args.items() if isinstance(value, torch.Tensor)]
    tensors = [args.pop(name).requires_grad_() for name in names]
    assert torch.autograd.gradcheck(
        lambda *values: operator(**dict(zip(names, values, strict=True)), **args, boundary="clamp"), tensors
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_clamped_samples_agree_with_the_reference(operator, arguments, dtype):
    args = arguments(dtype) | {"boundary": "clamp"}
    in_float64 = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in args.items()}
    exact = reference.deform_conv2d(**in_float64)
    assert (exact - reference.deform_conv2d(**(in_float64 | {"boundary": "zeros"}))).abs().max() > 0.1
    tolerance = {torch.float32: 1e-6}.get(dtype, 2 * torch.finfo(dtype).eps) * exact.abs().max()
    torch.testing.assert_close(operator(**args).double(), exact, rtol=0, atol=tolerance.item())


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_zero_offsets_give_conv2d(operator, arguments, boundary):
    args = arguments(modulated=False)
    args["offset"].zero_()
    output = operator(**args, boundary=boundary)
    offset = args.pop("offset")
    assert offset.count_nonzero() == 0
    torch.testing.assert_close(output, torch.nn.functional.conv2d(**args, groups=2))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_taps_on_the_padding_get_no_gradient_where_offsets_start_at_zero(operator, boundary):
    input = torch.rand(1, 2, 4, 4, dtype=torch.float64) + 1
    offset = torch.zeros(1, 18, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(1, 2, 3, 3, dtype=torch.float64)
    operator(input, offset, weight, padding=1, boundary=boundary).sum().backward()
    first_row_of_taps = offset.grad.reshape(3, 3, 2, 4, 4)[0]
    assert not first_row_of_taps[..., 0, :].any()  # they lie exactly on -1
    assert offset.grad.any()


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e10, -1e10, 3e38])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_nan_infinite_and_huge_offsets_count_as_outside(operator, arguments, bad, dtype, boundary):
    args = arguments(dtype) | {"boundary": boundary}
    args["offset"].copy_(torch.tensor(bad))
    tensors = [args[name].requires_grad_() for name in ("input", "offset", "weight", "mask")]
    output = operator(**args)
    torch.testing.assert_close(output, args["bias"][:, None, None].expand_as(output))
    for gradient in torch.autograd.grad(output.sum(), tensors):
        assert not gradient.any()


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e10])
def test_a_nan_or_infinite_offset_affects_only_its_own_sample(operator, arguments, bad, boundary):
    names = ("input", "offset", "weight", "mask")

    def run(args):
        tensors = [args[name].requires_grad_() for name in names]
        output = operator(**args, boundary=boundary)
        gradients = torch.autograd.grad(output.square().sum(), tensors)
        return output.detach(), dict(zip(names, gradients, strict=True))

    broken, without = arguments(), arguments()
    broken["offset"][:, ::10] = bad  # dy of every fifth tap
    without["mask"][:, ::5] = 0
    output, gradients = run(broken)
    expected, expected_gradients = run(without)
    assert not gradients["mask"][:, ::5].any()
    expected_gradients["mask"][:, ::5] = 0
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradients, expected_gradients)
