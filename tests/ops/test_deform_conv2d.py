"""The results of deform_conv2d with each of its implementations."""

import math

import pytest
import torch
from torch.nn.functional import conv2d

from deformlab.ops import reference


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
def test_whole_number_offsets_shift_the_input(operator, dy, dx):
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(1, 3, 6, 7, generator=generator)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    offset = torch.tensor([dy, dx], dtype=torch.float32).repeat(9)[:, None, None].expand(1, 18, 6, 7)
    padded = torch.nn.functional.pad(input, (3, 3, 3, 3))
    expected = conv2d(padded, weight)[:, :, 2 + dy : 8 + dy, 2 + dx : 9 + dx]
    torch.testing.assert_close(operator(input, offset, weight, padding=1), expected)


@pytest.mark.parametrize(
    ("modulated", "memory"), [(False, "contiguous"), (True, "contiguous"), (True, "permuted")]
)
def test_gradients_are_those_of_finite_differences(operator, arguments, modulated, memory):
    args = arguments(batch=1, modulated=modulated)
    names = [name for name, value in args.items() if isinstance(value, torch.Tensor)]
    if memory == "permuted":
        for name in names:
            args[name] = args[name].mT.contiguous().mT if args[name].dim() == 4 else args[name]
    tensors = [args.pop(name).requires_grad_() for name in names]
    assert torch.autograd.gradcheck(
        lambda *values: operator(**dict(zip(names, values, strict=True)), **args), tensors
    )


def test_mask_scales_each_sample_of_its_group(operator, arguments):
    args = arguments()
    args["bias"] = None
    doubled = args | {"mask": 2 * args["mask"]}
    torch.testing.assert_close(operator(**doubled), 2 * operator(**args))


def test_nan_in_the_input_only_affects_outputs_that_sample_it(operator):
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


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 33])
def test_images_of_a_batch_do_not_affect_each_other(operator, arguments, batch):
    args = arguments(batch=batch)
    single = [
        operator(**(args | {name: args[name][n : n + 1] for name in ("input", "offset", "mask")}))
        for n in range(batch)
    ]
    torch.testing.assert_close(operator(**args), torch.cat(single))


def values_and_gradients(operator, args):
    tensors = [value.requires_grad_() for value in args.values() if isinstance(value, torch.Tensor)]
    output = operator(**args)
    return output.detach(), *torch.autograd.grad(output.sin().sum(), tensors)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (1, 7), (6, 2)])
def test_any_kernel_size(operator, kernel):
    H, W, taps = 5, 6, kernel[0] * kernel[1]
    P, Q = H + 7 - kernel[0], W + 7 - kernel[1]

    def make():
        generator = torch.Generator().manual_seed(0)
        shapes = {
            "input": (1, 2, H, W),
            "offset": (1, 2 * taps, P, Q),
            "weight": (3, 2, *kernel),
            "mask": (1, taps, P, Q),
        }
        args = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64)
            for name, shape in shapes.items()
        }
        return args | {"padding": 3}

    torch.testing.assert_close(
        values_and_gradients(operator, make()), values_and_gradients(reference.deform_conv2d, make())
    )


@pytest.mark.parametrize(
    ("channels", "outputs"), [(1, 1), (3, 17), (5, 31), (7, 2), (9, 33), (15, 5), (17, 16), (33, 3)]
)
def test_any_number_of_channels(operator, channels, outputs):
    def make(dtype):
        generator = torch.Generator().manual_seed(0)
        shapes = {
            "input": (2, channels, 4, 5),
            "offset": (2, 18, 4, 5),
            "weight": (outputs, channels, 3, 3),
            "bias": (outputs,),
        }
        args = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
        return args | {"padding": 1}

    actual = values_and_gradients(operator, make(torch.float32))
    expected = values_and_gradients(reference.deform_conv2d, make(torch.float64))
    for one, exact in zip(actual, expected, strict=True):
        assert (one - exact).abs().max() <= 1e-5 * exact.abs().max()


@pytest.mark.parametrize("kernel", range(1, 8))
def test_one_pixel_image(operator, kernel):
    input = torch.full((1, 1, 1, 1), 3.0, requires_grad=True)
    pixels = kernel + 1 - kernel % 2
    offset = torch.zeros(1, 2 * kernel**2, pixels - kernel + 1, pixels - kernel + 1)
    weight = torch.ones(1, 1, kernel, kernel, requires_grad=True)
    output = operator(input, offset, weight, padding=kernel // 2)
    assert torch.equal(output, torch.full_like(output, 3.0))
    in_input, in_weight = torch.autograd.grad(output.sum(), (input, weight))
    assert in_input == output.numel()  # each output reads it once
    assert in_weight.sum() == 3 * output.numel()


def test_output_has_the_memory_format_of_the_input(operator, arguments):
    args = arguments()
    assert operator(**args).is_contiguous()
    if operator.__module__ == "deformlab.ops.deform_conv2d":
        args["input"] = args["input"].contiguous(memory_format=torch.channels_last)
        assert operator(**args).is_contiguous(memory_format=torch.channels_last)


def test_tensors_of_any_strides_are_read_correctly(operator, arguments):
    args = arguments()
    expected = operator(**args)
    for name in ("input", "offset", "weight", "mask"):
        args[name] = args[name].transpose(1, 3).contiguous().transpose(1, 3)
    torch.testing.assert_close(operator(**args), expected)
    args["input"] = torch.stack([args["input"]] * 2, dim=-1)[..., 0]
    torch.testing.assert_close(operator(**args), expected)
