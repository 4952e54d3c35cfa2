"""deform_conv2d on a real GPU: sizes, dtypes, streams and modes that only a device can test.

The tests of the specification also run on the GPU: `pytest -m gpu tests/ops`.
"""

import pytest
import torch

from deformlab.ops import backend, deform_conv2d, native_status, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(autouse=True)
def _compiled():
    assert backend("cuda") == "native", native_status().cuda_reason


@pytest.fixture
def conv5():
    """Make the arguments of a 3x3 layer of dilation 2 at VOC's size, modulated."""

    def make(dtype=torch.float32, batch=1, channels=512, size=(23, 32), device="cuda"):
        generator = torch.Generator(device).manual_seed(0)

        def random(*shape):
            return torch.randn(shape, generator=generator, device=device, dtype=torch.float32).to(dtype)

        return {
            "input": random(batch, channels, *size),
            "offset": 2 * random(batch, 18, *size),
            "weight": random(channels, channels, 3, 3) / (9 * channels) ** 0.5,
            "bias": random(channels),
            "padding": 2,
            "dilation": 2,
            "mask": random(batch, 9, *size).sigmoid(),
        }

    return make


def results(operator, args):
    """The output and the gradients of all tensors."""
    leaves = {
        name: value.detach().requires_grad_() if isinstance(value, torch.Tensor) else value
        for name, value in args.items()
    }
    output = operator(**leaves)
    tensors = [value for value in leaves.values() if isinstance(value, torch.Tensor)]
    return output.detach(), *torch.autograd.grad(output, tensors, torch.ones_like(output))


def in_float64(args):
    return {
        name: value.double() if isinstance(value, torch.Tensor) else value for name, value in args.items()
    }


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_agrees_with_the_reference_in_float64(conv5, dtype, memory_format):
    args = conv5(dtype, batch=2)
    args["input"] = args["input"].contiguous(memory_format=memory_format)
    tolerance = {torch.float64: 1e-11, torch.float32: 1e-5}.get(dtype, 4 * torch.finfo(dtype).eps)
    expected = results(reference.deform_conv2d, in_float64(args))
    for actual, exact in zip(results(deform_conv2d, args), expected, strict=True):
        assert actual.dtype == dtype
        assert (actual.double() - exact).abs().max() <= tolerance * exact.abs().max()


def test_gradients_are_those_of_finite_differences(conv5):
    args = conv5(torch.float64, channels=4, size=(3, 4))
    names = [name for name, value in args.items() if isinstance(value, torch.Tensor)]
    tensors = [args.pop(name).requires_grad_() for name in names]
    assert torch.autograd.gradcheck(
        lambda *values: deform_conv2d(**dict(zip(names, values, strict=True)), **args),
        tensors,
        nondet_tol=1e-10,  # atomics add in any order
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_deterministic_algorithms_give_the_same_bits(conv5, dtype, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    args = conv5(dtype, size=(64, 128))
    args["offset"] = args["offset"].clamp(-1, 1)  # many samples in each cell
    atomic = results(deform_conv2d, args)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (results(deform_conv2d, args) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for a, b in zip(first, atomic, strict=True):
        assert (a.double() - b.double()).abs().max() <= 4 * torch.finfo(dtype).eps * b.abs().max()


def test_work_is_queued_on_the_current_stream(conv5):
    args = conv5()
    expected = deform_conv2d(**args)
    late = args["input"].clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late.zero_()
        torch.cuda._sleep(50_000_000)  # whoever does not queue behind this reads zeros
        late.copy_(args["input"])
        output = deform_conv2d(**(args | {"input": late}))
    stream.synchronize()
    torch.testing.assert_close(output, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device")
def test_tensors_may_be_on_a_device_that_is_not_the_current_one(conv5):
    args = conv5(device="cuda:1")
    output = deform_conv2d(**args)
    assert output.device == args["input"].device
    on_cpu = {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in args.items()}
    torch.testing.assert_close(output.cpu(), deform_conv2d(**on_cpu), rtol=1e-3, atol=1e-3)


def test_more_than_2_to_the_31_column_elements(conv5):
    args = conv5(torch.bfloat16, channels=64, size=(2000, 2000))
    args["mask"] = None
    assert 9 * 64 * 2000 * 2000 > 2**31
    output = deform_conv2d(**args)
    # The last rows again, as an image of their own: nothing but offsets at its upper edge can differ.
    tail = {"input": args["input"][:, :, -60:], "offset": args["offset"][:, :, -60:]}
    expected = deform_conv2d(**(args | tail))
    torch.testing.assert_close(output[:, :, -30:], expected[:, :, -30:], rtol=0.02, atol=0.02)


def test_autocast_computes_in_its_type_and_keeps_the_offsets(conv5):
    args = conv5()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        output = deform_conv2d(**args)
    assert output.dtype == torch.bfloat16
    exact = deform_conv2d(**in_float64(args))
    assert (output.double() - exact).abs().max() <= 4 * torch.finfo(torch.bfloat16).eps * exact.abs().max()


def test_traces_as_one_graph(conv5):
    args = conv5(channels=32)
    compiled = torch.compile(deform_conv2d, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(results(compiled, args), results(deform_conv2d, args), rtol=1e-4, atol=1e-4)


def test_columns_take_the_memory_of_one_chunk(conv5):
    args = conv5(torch.bfloat16, size=(256, 512))
    columns = 9 * args["input"].numel() * 2
    deform_conv2d(**args)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    deform_conv2d(**args)
    assert torch.cuda.max_memory_allocated() - before < columns / 2
