"""Properties of the CUDA source beyond the operator's specification, run on the host: dtypes, vectors, order
of sums.

The tests of the specification, in test_deform_conv2d.py, also run on this source ("cuda on host").
"""

import pytest
import torch

from deformlab.ops import reference

GEOMETRY = {"stride": (1, 2), "padding": (2, 1), "dilation": (1, 2)}
NAMES = ("input", "offset", "weight", "mask")


def make_arguments(dtype, channels=16, outputs=8, groups=1, offset_groups=1, batch=2, size=(7, 8), kernel=3):
    generator = torch.Generator().manual_seed(1)

    def random(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    (H, W), taps = size, kernel**2
    P, Q = (
        (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for length, stride, padding, dilation in zip((H, W), *GEOMETRY.values(), strict=True)
    )
    return {
        "input": random(batch, channels, H, W),
        "offset": 2 * random(batch, 2 * offset_groups * taps, P, Q),
        "weight": random(outputs, channels // groups, kernel, kernel),
        "mask": random(batch, offset_groups * taps, P, Q).sigmoid(),
    }


def run(operator, tensors):
    """The output and all gradients."""
    leaves = {name: value.detach().requires_grad_() for name, value in tensors.items()}
    output = operator(**leaves, **GEOMETRY)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return output.detach(), *torch.autograd.grad(output, list(leaves.values()), grad.to(output.dtype))


def raw_backward(operator, tensors, needs=(True, True, True, True), grad=None):
    if grad is None:
        shape = (len(tensors["input"]), len(tensors["weight"]), *tensors["offset"].shape[2:])
        grad = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sampling = [*map(list, GEOMETRY.values()), False]
    return operator(grad.to(tensors["input"].dtype), *(tensors[name] for name in NAMES), *sampling, *needs)


@pytest.mark.parametrize(
    ("channels", "groups", "offset_groups"),
    [
        pytest.param(16, 1, 1, id="whole vectors"),
        pytest.param(5, 1, 1, id="no whole vector"),
        pytest.param(32, 2, 4, id="vectors in groups"),
        pytest.param(24, 1, 2, id="3 vectors of fp32 for 4 threads"),
        pytest.param(48, 2, 3, id="groups that straddle"),
        pytest.param(288, 1, 1, id="more vectors than threads of a warp"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_agrees_with_the_reference_in_float64(cuda_on_host, dtype, channels, groups, offset_groups):
    size = (4, 4) if channels > 100 else (7, 8)
    tensors = make_arguments(dtype, channels, 8, groups, offset_groups, size=size)
    expected = run(reference.deform_conv2d, {name: value.double() for name, value in tensors.items()})
    # A rounded column or product is right to half a unit in its last place; sums of them a little less.
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 4 * torch.finfo(dtype).eps)
    for actual, exact in zip(run(cuda_on_host, tensors), expected, strict=True):
        assert actual.dtype == dtype
        assert (actual.double() - exact).abs().max() <= tolerance * exact.abs().max()


def test_float32_offsets_beside_16_bit_input_keep_their_precision(cuda_on_host):
    tensors = make_arguments(torch.bfloat16, size=(3, 300))
    tensors["offset"] = tensors["offset"].float() + 0.001
    exact = run(reference.deform_conv2d, {name: value.double() for name, value in tensors.items()})[0]
    rounded = tensors | {"offset": tensors["offset"].bfloat16()}
    error = (run(cuda_on_host, tensors)[0].double() - exact).abs().max()
    assert error < 4 * torch.finfo(torch.bfloat16).eps * exact.abs().max()
    assert error < (run(cuda_on_host, rounded)[0].double() - exact).abs().max()


@pytest.mark.parametrize("batch", [0, 1, 33])
def test_any_batch_size(cuda_on_host, batch):
    tensors = make_arguments(torch.float64, channels=4, batch=batch, size=(3, 4))
    torch.testing.assert_close(run(cuda_on_host, tensors), run(reference.deform_conv2d, tensors))


@pytest.mark.parametrize("kernel", [1, 2, 5])
def test_any_kernel_size(cuda_on_host, kernel):
    tensors = make_arguments(torch.float64, channels=4, kernel=kernel)
    torch.testing.assert_close(run(cuda_on_host, tensors), run(reference.deform_conv2d, tensors))


def test_input_that_is_not_aligned_for_vectors_gives_the_same_result(cuda_on_host):
    tensors = make_arguments(torch.float32)
    memory = torch.empty(tensors["input"].numel() + 1)
    N, C, H, W = tensors["input"].shape
    shifted = memory[1:].reshape(N, H, W, C).permute(0, 3, 1, 2)
    shifted.copy_(tensors["input"])
    torch.testing.assert_close(
        run(cuda_on_host, tensors | {"input": shifted}), run(cuda_on_host, tensors), check_stride=False
    )


def test_channels_last_stays_channels_last(cuda_on_host):
    tensors = make_arguments(torch.float32)
    last = tensors | {
        name: tensors[name].contiguous(memory_format=torch.channels_last) for name in ("input", "weight")
    }
    output, grad_input, grad_offset, grad_weight, _ = run(cuda_on_host, last)
    for tensor in (output, grad_input, grad_weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert grad_offset.is_contiguous()
    torch.testing.assert_close(run(cuda_on_host, last), run(cuda_on_host, tensors), check_stride=False)
    assert all(tensor.is_contiguous() for tensor in run(cuda_on_host, tensors))


@pytest.mark.parametrize("channels", [16, 6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_without_atomics_agree_with_those_with_atomics(host_operators, channels, dtype):
    tensors = make_arguments(dtype, channels, groups=2, offset_groups=2)
    atomic = raw_backward(host_operators.deform_conv2d_backward, tensors)
    ordered = raw_backward(host_operators.deform_conv2d_backward.deterministic, tensors)
    torch.testing.assert_close(ordered, atomic)


def test_gradients_without_atomics_if_all_taps_sample_one_cell(host_operators):
    tensors = make_arguments(torch.float64, channels=3, size=(1, 1), kernel=1)
    tensors["offset"].uniform_(-2, 0)
    atomic = raw_backward(host_operators.deform_conv2d_backward, tensors)
    ordered = raw_backward(host_operators.deform_conv2d_backward.deterministic, tensors)
    torch.testing.assert_close(ordered, atomic)
    assert ordered[0].abs().sum() > 0


@pytest.mark.parametrize("overload", ["default", "deterministic"])
@pytest.mark.parametrize("wanted", range(4))
def test_a_gradient_that_is_not_needed_is_empty(host_operators, overload, wanted):
    tensors = make_arguments(torch.float64)
    backward = getattr(host_operators.deform_conv2d_backward, overload)
    everything = raw_backward(backward, tensors)
    needs = [index == wanted for index in range(4)]
    for index, gradient in enumerate(raw_backward(backward, tensors, needs)):
        if index == wanted:
            torch.testing.assert_close(gradient, everything[index])
        else:
            assert gradient.numel() == 0


def test_shapes_that_do_not_fit_are_refused_before_any_kernel_runs(host_operators):
    tensors = make_arguments(torch.float64)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        raw_backward(host_operators.deform_conv2d_backward, tensors | {"mask": tensors["mask"][:, :-1]})
    with pytest.raises(RuntimeError, match="gradient does not have the output's shape"):
        raw_backward(host_operators.deform_conv2d_backward, tensors, grad=torch.zeros(1, 8, 1, 1).double())
