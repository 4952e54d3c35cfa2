"""Sizes with so many elements that indices do not fit into 32 bits.

Memory that is never written to is not allocated by the system, so most of these tests are fast. The others
take minutes and gigabytes: pytest -m slow tests/ops/test_large.py
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from deformlab.ops import deform_conv2d

TOO_LARGE = 2**31


def untouched_zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros that take no memory until something is written to them."""
    numpy_dtype = {torch.float32: np.float32, torch.bfloat16: np.int16}[dtype]
    try:
        return torch.from_numpy(np.zeros(shape, numpy_dtype)).view(dtype)
    except MemoryError:
        pytest.skip("the system does not promise that much memory")


# With bfloat16, the test takes seconds longer on processors where the kernels convert the input to float32.
@pytest.mark.parametrize(("batch", "dtype"), [(1, torch.float32), (2, torch.float32), (1, torch.bfloat16)])
def test_input_of_more_than_2_to_the_31_elements(native, cuda_on_host, batch, dtype):
    size, channels = (5800 if batch == 1 else 4100), 64
    input = untouched_zeros(batch, size, size, channels, dtype=dtype).permute(0, 3, 1, 2)
    assert input.numel() > TOO_LARGE
    assert input.is_contiguous(memory_format=torch.channels_last)
    values = torch.arange(1.0, 1 + channels, dtype=dtype)
    input[-1, :, -1, -1] = values
    offset = torch.zeros(batch, 2, 2, 2)
    offset[-1, 0, 1, 1] = 0.5  # half a row below the last cell
    weight = torch.eye(channels, dtype=dtype)[:8, :, None, None].requires_grad_()
    offset.requires_grad_()
    for operator in (deform_conv2d, cuda_on_host):
        output = operator(input, offset, weight, stride=size - 1)
        assert torch.equal(output[-1, :, 1, 1], values[:8] / 2)
        assert output.count_nonzero() == 8
        grad_offset, grad_weight = torch.autograd.grad(output.sum(), [offset, weight])
        assert grad_offset[-1, 0, 1, 1] == -values[:8].sum()
        assert torch.equal(grad_weight[:, :, 0, 0], (values / 2).expand(8, -1))


def test_more_cells_than_float32_can_number(operator):
    size = 4200
    assert size * size > 2**24
    input = untouched_zeros(1, 1, size, size)
    input[0, 0, -1, -4:] = torch.tensor([1.0, 2.0, 4.0, 8.0])
    offset = torch.zeros(1, 2, 2, 2)
    offset[0, 1, 1, 1] = -1.5
    output = operator(input, offset, torch.ones(1, 1, 1, 1), stride=size - 1)
    assert output.flatten().tolist() == [0, 0, 0, 3]


@pytest.fixture
def many_columns() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Arguments with 512 channels and 49 taps at each of 86·1024 positions, and the last rows of the same.

    The last four rows of outputs are the same in both, for no offset there reaches beyond the cut. All other
    samples lie outside, which is quicker.
    """
    height, width, channels, kernel = 86, 1024, 512, 7
    assert channels * kernel**2 * height * width > TOO_LARGE
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(1, height, width, channels, generator=generator).permute(0, 3, 1, 2)
    offset = torch.randn(1, 2 * kernel**2, height, width, generator=generator).clamp_(-4, 4)
    offset[:, :, :-4] = 1e4
    weight = torch.randn(1, channels, kernel, kernel, generator=generator) / 100
    tail = {"input": input[:, :, -20:], "offset": offset[:, :, -20:], "weight": weight}
    return {"input": input, "offset": offset, "weight": weight}, tail


def test_more_than_2_to_the_31_column_elements(native, many_columns):
    output, expected = (deform_conv2d(**args, padding=3) for args in many_columns)
    torch.testing.assert_close(output[:, :, -4:], expected[:, :, -4:], rtol=1e-4, atol=1e-4)
    assert not output[:, :, :-4].any()


@pytest.mark.slow
def test_gradients_through_more_than_2_to_the_31_column_elements(native, many_columns):
    results = []
    for args in many_columns:
        tensors = [tensor.detach().requires_grad_() for tensor in args.values()]
        output = deform_conv2d(*tensors, padding=3)[:, :, -4:]
        in_input, in_offset, in_weight = torch.autograd.grad(output.sum(), tensors)
        results.append((in_input[:, :, -20:], in_offset[:, :, -20:], in_weight))
    for actual, expected in zip(*results, strict=True):
        assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.slow
def test_offsets_of_more_than_2_to_the_31_elements(native):
    size, kernel = 4700, 7
    input = untouched_zeros(1, 1, size, size)
    input[0, 0, -1, -1] = 1
    offset = untouched_zeros(1, 2 * kernel**2, size, size)
    assert offset.numel() > TOO_LARGE
    offset[0, -2:, -4, -4] = (
        0.5  # the last tap there lies on the last cell: half a cell further down and right
    )
    weight = torch.arange(1.0, 1 + kernel**2).reshape(1, 1, kernel, kernel)
    output = deform_conv2d(input, offset, weight, padding=3)
    expected = weight[0, 0].flip(0, 1)[:4, :4].clone()
    expected[0, 0] /= 4
    assert torch.equal(output[0, 0, -4:, -4:], expected)
    assert output.count_nonzero() == 16
