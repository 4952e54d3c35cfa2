"""16-bit tensors are sampled at float32 coordinates, equally accurate on both sides of a wide image."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from deformlab.ops import reference

WIDTH, CHANNELS = 1100, 16
LEFT, RIGHT = slice(0, 100), slice(1000, 1100)


def rms(tensor: Tensor) -> float:
    return tensor.square().mean().sqrt().item()


@pytest.fixture
def wide():
    """Make input, offset and weight of a layer on a wide image."""

    def make(dtype, offset_dtype):
        generator = torch.Generator().manual_seed(0)
        input = torch.randn(1, CHANNELS, 3, WIDTH, generator=generator).to(dtype)
        offset = 2 * torch.randn(1, 18, 3, WIDTH, generator=generator)
        weight = torch.randn(8, CHANNELS, 3, 3, generator=generator) / (9 * CHANNELS) ** 0.5
        return input, offset.to(offset_dtype), weight.to(dtype)

    return make


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rounded_offsets", [False, True])
def test_errors_at_x_near_1000_are_no_larger_than_those_of_a_plain_convolution(
    operator, wide, dtype, rounded_offsets
):
    input, offset, weight = wide(dtype, dtype if rounded_offsets else torch.float32)
    plain = conv2d(input, weight, padding=1) - conv2d(input.double(), weight.double(), padding=1)
    exact = reference.deform_conv2d(input.double(), offset.double(), weight.double(), padding=1)
    error = operator(input, offset, weight, padding=1).double() - exact
    assert rms(error[..., RIGHT]) <= rms(plain[..., RIGHT])
    assert rms(error[..., RIGHT]) <= 1.1 * rms(error[..., LEFT])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_errors_of_whole_number_offsets_are_no_larger_than_those_of_a_shifted_convolution(
    operator, wide, dtype
):
    input, offset, weight = wide(dtype, dtype)
    offset.zero_()[:, 1::2] = -5
    exact = conv2d(input.double(), weight.double(), padding=1)[..., :-5]
    plain = conv2d(input, weight, padding=1)[..., :-5] - exact
    error = operator(input, offset, weight, padding=1)[..., 5:] - exact
    assert rms(error[..., 950:1090]) <= 1.001 * rms(plain[..., 950:1090])
    assert error[..., 950:1090].abs().max() <= 1.001 * plain[..., 950:1090].abs().max()


def test_coordinates_far_from_the_origin_are_exact_in_bfloat16(operator):
    """In bfloat16 a position near 1000 could only be a multiple of 4."""
    input = torch.arange(1024).remainder(2).reshape(1, 1, 1, 1024).bfloat16()
    offset = torch.zeros(1, 2, 1, 1024)
    offset[:, 1] = 0.25
    output = operator(input, offset, torch.ones(1, 1, 1, 1).bfloat16())
    assert output[0, 0, 0, 1000] == 0.25
    assert output[0, 0, 0, 1001] == 0.75
