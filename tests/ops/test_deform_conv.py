"""What deform_conv2d computes, whichever implementation runs."""

import math

import pytest
import torch
from torch.nn.functional import conv2d


def test_hand_computed_5x5_grid(operator):
    input = torch.arange(25.0).reshape(1, 1, 5, 5)
    weight = torch.ones(1, 1, 3, 3)
    offset = torch.zeros(1, 18, 3, 3)
    offset[:, 0::2] = 0.5  # every tap half a row further down, where the row below is 5 more
    offset[:, 1::2] = 1.0  # and one column to the right, where the last one falls off the image
    # Top left: rows 0.5, 1.5, 2.5 and columns 1, 2, 3 give 3·5·4.5 + 3·6. In the last row of outputs the
    # lowest taps lie half a cell below the image and keep half of their value; in the last column one is out.
    expected = torch.tensor([[85.5, 94.5, 66.0], [130.5, 139.5, 96.0], [135.0, 142.5, 97.5]])
    assert torch.equal(operator(input, offset, weight)[0, 0], expected)


@pytest.mark.parametrize("modulated", [False, True])
def test_zero_offsets_give_conv2d(operator, arguments, modulated):
    args = arguments(modulated=modulated)
    args["offset"].zero_()
    if modulated:
        args["mask"].fill_(1)
    mask = args.pop("mask", None)
    offset = args.pop("offset")
    expected = conv2d(**args, groups=2)
    torch.testing.assert_close(operator(**args, offset=offset, mask=mask), expected)


@pytest.mark.parametrize(("dy", "dx"), [(1, 0), (0, -2), (-1, 1)])
def test_whole_numbers_shift_the_input(operator, dy, dx):
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(1, 3, 6, 7, generator=generator)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    offset = torch.tensor([dy, dx], dtype=torch.float32).repeat(9)[:, None, None].expand(1, 18, 6, 7)
    padded = torch.nn.functional.pad(input, (3, 3, 3, 3))
    expected = conv2d(padded, weight)[:, :, 2 + dy : 8 + dy, 2 + dx : 9 + dx]
    torch.testing.assert_close(operator(input, offset, weight, padding=1), expected)


@pytest.mark.parametrize("modulated", [False, True])
def test_gradients_are_right(operator, arguments, modulated):
    args = arguments(modulated=modulated)
    names = [name for name, value in args.items() if isinstance(value, torch.Tensor)]
    tensors = [args.pop(name).requires_grad_() for name in names]
    assert torch.autograd.gradcheck(
        lambda *values: operator(**dict(zip(names, values, strict=True)), **args), tensors
    )


def test_mask_scales_each_sample_of_its_group(operator, arguments):
    args = arguments()
    args["bias"] = None
    doubled = args | {"mask": 2 * args["mask"]}
    torch.testing.assert_close(operator(**doubled), 2 * operator(**args))


@pytest.mark.parametrize(
    ("y", "value", "gradient"),
    [
        (-1.25, 0.0, 0.0),
        (-1.0, 0.0, 0.0),
        (-0.75, 0.25 * 1, 1.0),
        (0.0, 1.0, 2.0 - 1.0),
        (2.0, 4.0, 0.0 - 4.0),
        (2.75, 0.25 * 4, -4.0),
        (3.0, 0.0, 0.0),
        (3.25, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_border_follows_convention_b(operator, axis, y, value, gradient):
    """Values 1, 2, 4 along one axis: a sample counts where -1 < y < 3, and what is not there is zero."""
    column = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    input = column.reshape(1, 1, 3, 1) if axis == 0 else column.reshape(1, 1, 1, 3)
    input.requires_grad_()
    offset = torch.zeros(1, 2, *input.shape[2:], dtype=torch.float64)
    offset[0, axis, 0, 0] = y
    offset.requires_grad_()
    output = operator(input, offset, torch.ones(1, 1, 1, 1, dtype=torch.float64))[0, 0, 0, 0]
    output.backward()
    assert output.item() == pytest.approx(value)
    assert offset.grad[0, axis, 0, 0].item() == pytest.approx(gradient)
    assert input.grad.sum().item() == pytest.approx({-0.75: 0.25, 2.75: 0.25, 0.0: 1, 2.0: 1}.get(y, 0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e10, -1e10, 3e38])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_offsets_that_are_no_position_count_as_outside(operator, arguments, bad, dtype):
    args = arguments(dtype)
    args["offset"].fill_(bad)
    tensors = [args[name].requires_grad_() for name in ("input", "offset", "weight", "mask")]
    output = operator(**args)
    torch.testing.assert_close(output, args["bias"][:, None, None].expand_as(output))
    for gradient in torch.autograd.grad(output.sum(), tensors):
        assert not gradient.any()


def test_nan_in_the_input_stays_where_it_is_seen(operator):
    input = torch.ones(1, 1, 4, 4)
    input[0, 0, 0, 0] = math.nan
    offset = torch.zeros(1, 2, 4, 4)
    offset[0, 0, 1:] = -1e3
    output = operator(input, offset, torch.ones(1, 1, 1, 1))
    assert torch.equal(output.isnan().nonzero(), torch.tensor([[0, 0, 0, 0]]))


def test_empty_batch(operator, arguments):
    args = arguments(batch=0)
    tensors = [value.requires_grad_() for value in args.values() if isinstance(value, torch.Tensor)]
    output = operator(**args)
    assert output.shape == (0, 4, 2, 3)
    for tensor, gradient in zip(tensors, torch.autograd.grad(output.sum(), tensors), strict=True):
        assert gradient.shape == tensor.shape
        assert not gradient.any()


@pytest.mark.parametrize("kernel", [1, 2, 5, 7])
def test_one_pixel_image(operator, kernel):
    input = torch.full((1, 1, 1, 1), 3.0)
    pixels = kernel + 1 - kernel % 2
    offset = torch.zeros(1, 2 * kernel**2, pixels - kernel + 1, pixels - kernel + 1)
    weight = torch.ones(1, 1, kernel, kernel)
    output = operator(input, offset, weight, padding=kernel // 2)
    assert torch.equal(output, torch.full_like(output, 3.0))


def test_output_has_the_memory_format_of_the_input(operator, arguments):
    args = arguments()
    assert operator(**args).is_contiguous()
    if operator.__module__ == "deformlab.ops.deform_conv":
        args["input"] = args["input"].contiguous(memory_format=torch.channels_last)
        assert operator(**args).is_contiguous(memory_format=torch.channels_last)


def test_any_strides_are_read_right(operator, arguments):
    args = arguments()
    expected = operator(**args)
    for name in ("input", "offset", "weight", "mask"):
        args[name] = args[name].transpose(1, 3).contiguous().transpose(1, 3)
    torch.testing.assert_close(operator(**args), expected)
    args["input"] = torch.stack([args["input"]] * 2, dim=-1)[..., 0]
    torch.testing.assert_close(operator(**args), expected)
