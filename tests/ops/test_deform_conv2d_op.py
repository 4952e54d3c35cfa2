"""The native operator inside PyTorch: tracing, autocast, dtypes, gradients and determinism."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from deformlab.ops import deform_conv2d, reference
from deformlab.ops._impl.deform_conv2d import autograd

pytestmark = pytest.mark.usefixtures("native")
TENSORS = ("input", "offset", "weight", "bias", "mask")


def gradients(operator, args, grad=None):
    tensors = [args[name].detach().requires_grad_() for name in TENSORS if args.get(name) is not None]
    names = [name for name in TENSORS if args.get(name) is not None]
    output = operator(**(args | dict(zip(names, tensors, strict=True))))
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(output.shape, generator=generator).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, tensors, grad)]


def large_arguments(dtype: torch.dtype, groups: int, offset_groups: int, channels: int, taps: int = 3):
    """More than one tile of pixels; with 520 channels several slices, with 49 taps several stretches too."""
    generator = torch.Generator().manual_seed(0)
    N, H, W, outputs = 2, 40, 33, 12 * groups

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(dtype)

    return {
        "input": random(N, channels, H, W),
        "offset": random(N, 2 * offset_groups * taps**2, H, W),
        "weight": random(outputs, channels // groups, taps, taps),
        "bias": random(outputs),
        "mask": random(N, offset_groups * taps**2, H, W).sigmoid(),
        "padding": taps // 2,
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("groups", "offset_groups", "channels", "taps"),
    [(1, 1, 37, 3), (2, 3, 42, 3), (4, 1, 36, 3), (1, 2, 260, 3), (1, 2, 6, 7)],
)
def test_agrees_with_the_reference(dtype, groups, offset_groups, channels, taps):
    args = large_arguments(dtype, groups, offset_groups, channels, taps)
    in_float32 = {
        k: v.float() if isinstance(v, Tensor) and dtype != torch.float64 else v for k, v in args.items()
    }
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    for actual, expected in zip(
        gradients(deform_conv2d, args), gradients(reference.deform_conv2d, in_float32), strict=True
    ):
        assert actual.dtype == dtype
        assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", ["input", "weight"])
def test_channels_last_gives_the_same_gradients_in_the_same_format(name):
    args = large_arguments(torch.float32, 1, 1, 16)
    expected = gradients(deform_conv2d, args)
    args[name] = args[name].contiguous(memory_format=torch.channels_last)
    actual = gradients(deform_conv2d, args)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    gradient = actual[1 + TENSORS.index(name)]
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("clamp", [False, True])
def test_opcheck(arguments, modulated, memory_format, clamp):
    args = arguments(torch.float32, modulated=modulated)
    mask = args.get("mask")
    tensors = [args[name].requires_grad_() for name in TENSORS[:4]]
    tensors[0] = tensors[0].detach().contiguous(memory_format=memory_format).requires_grad_()
    sampling = [*(list(args[name]) for name in ("stride", "padding", "dilation")), clamp]
    torch.library.opcheck(torch.ops.deformlab.deform_conv2d.default, (*tensors, mask, *sampling))
    input, offset, weight, _ = (tensor.detach() for tensor in tensors)
    torch.library.opcheck(
        torch.ops.deformlab.deform_conv2d_backward.default,
        (torch.randn(2, 4, 2, 3), input, offset, weight, mask, *sampling, True, True, False, modulated),
    )


@pytest.mark.parametrize("boundary", ["zeros", "clamp"])
def test_compiles_without_a_graph_break(arguments, boundary):
    args = arguments(torch.float32) | {"boundary": boundary}

    def network(**args):
        return deform_conv2d(**args).relu()

    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    for actual, expected in zip(gradients(compiled, args), gradients(network, args), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_code_generated_by_torch_compile_runs(arguments, memory_format):
    """With the default backend, which requires the strides that the fake kernels predicted."""
    args = arguments(torch.float32)
    args["input"] = args["input"].contiguous(memory_format=memory_format)

    def network(**args):
        return deform_conv2d(**args).relu()

    compiled = torch.compile(network, fullgraph=True)
    for actual, expected in zip(gradients(compiled, args), gradients(network, args), strict=True):
        torch.testing.assert_close(actual, expected)
        assert actual.stride() == expected.stride()


@pytest.mark.parametrize("offset_dtype", [torch.float32, torch.bfloat16])
def test_autocast_casts_as_for_conv2d_and_keeps_the_offset(arguments, offset_dtype):
    args = arguments(torch.float32) | {"boundary": "clamp"}
    args["offset"] = args["offset"].to(offset_dtype)
    in_bfloat16 = {
        name: value.bfloat16() if isinstance(value, Tensor) and name != "offset" else value
        for name, value in args.items()
    }
    expected = deform_conv2d(**in_bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = gradients(deform_conv2d, args)
    assert torch.equal(actual[0], expected)
    assert [gradient.dtype for gradient in actual[1:]] == [
        offset_dtype if name == "offset" else torch.float32 for name in TENSORS
    ]


def test_autocast_keeps_float64_as_for_conv2d(arguments):
    args = arguments(torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = deform_conv2d(**args)
        assert output.dtype == torch.conv2d(args["input"], args["weight"], groups=2).dtype == torch.float64
    assert torch.equal(output, deform_conv2d(**args))


def test_backward_inside_autocast_keeps_float32(arguments, monkeypatch):
    overload = autograd._backward_overload
    autocast = []

    def watched(grad):
        autocast.append(torch.is_autocast_enabled("cpu"))  # it would cast the products inside
        return overload(grad)

    monkeypatch.setattr(autograd, "_backward_overload", watched)
    args = arguments(torch.float32)
    input = args["input"].requires_grad_()
    output = deform_conv2d(**args)
    expected = torch.autograd.grad(output.sum(), input, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = torch.autograd.grad(output.sum(), input)
    assert torch.equal(actual[0], expected[0])
    assert autocast == [False, False]


def test_gradients_that_are_not_needed_are_not_computed(arguments):
    args = arguments(torch.float32)
    empty = torch.ops.deformlab.deform_conv2d_backward(
        torch.randn(2, 4, 2, 3),
        *(args[name] for name in ("input", "offset", "weight", "mask")),
        *(list(args[name]) for name in ("stride", "padding", "dilation")),
        False,
        *(False, False, True, False),
    )
    assert [gradient.numel() for gradient in empty] == [0, 0, args["weight"].numel(), 0]
    weight = args["weight"].requires_grad_()
    output = deform_conv2d(**args)
    output.sum().backward()
    assert weight.grad is not None
    assert args["input"].grad is None


def test_double_backward_is_refused_with_a_helpful_error(arguments):
    args = arguments(torch.float64)
    input = args["input"].requires_grad_()
    (gradient,) = torch.autograd.grad(deform_conv2d(**args).square().sum(), input, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"second derivatives use deformlab.ops.reference"):
        gradient.sum().backward()


def test_double_backward_under_torch_compile_is_refused(arguments):
    args = arguments(torch.float64)
    input = args["input"].requires_grad_()
    output = torch.compile(deform_conv2d, backend="aot_eager")(**args)
    (gradient,) = torch.autograd.grad(output.square().sum(), input, create_graph=True)
    # The compiler of torch 2.13 raises an error itself; with torch 2.14, the operator raises it.
    with pytest.raises(
        RuntimeError, match=r"not currently support double backward|cannot be differentiated again"
    ):
        gradient.sum().backward()


def test_the_reference_has_the_derivatives_that_are_refused():
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 2, 3, 3), (1, 2 * 4, 2, 2), (2, 2, 2, 2), (1, 4, 2, 2)
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]

    def operator(input, offset, weight, mask):
        return reference.deform_conv2d(input, offset, weight, mask=mask)

    for tensor in tensors:
        tensor.requires_grad_()
    assert torch.autograd.gradgradcheck(operator, tensors, fast_mode=True)
    assert torch.autograd.gradcheck(operator, tensors, check_forward_ad=True, fast_mode=True)


@pytest.mark.parametrize(
    ("on_gpu", "wanted", "overload"),
    [(True, True, "deterministic"), (True, False, "default"), (False, True, "default")],
)
def test_deterministic_algorithms_select_the_deterministic_backward_pass_on_a_gpu(
    monkeypatch, on_gpu, wanted, overload
):
    overloads = SimpleNamespace(default="default", deterministic="deterministic")
    monkeypatch.setattr(torch.ops.deformlab, "deform_conv2d_backward", overloads)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: wanted)
    assert autograd._backward_overload(SimpleNamespace(is_cuda=on_gpu)) == overload


def test_deterministic_algorithms_change_nothing_on_the_cpu(arguments):
    args = arguments(torch.float32)
    expected = gradients(deform_conv2d, args)
    torch.use_deterministic_algorithms(True)
    try:
        actual = gradients(deform_conv2d, args)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


# float16 is not tested, because it is always computed in float32.
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("groups", "offset_groups", "channels", "taps"),
    [(1, 1, 37, 3), (2, 3, 42, 3), (1, 2, 8, 3), (1, 1, 520, 3), (40, 1, 40, 3), (1, 2, 6, 7)],
)
def test_any_number_of_threads_gives_the_same_bits(dtype, groups, offset_groups, channels, taps):
    args = large_arguments(dtype, groups, offset_groups, channels, taps)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            results.append(gradients(deform_conv2d, args))
    finally:
        torch.set_num_threads(before)
    for expected, *others in zip(*results, strict=True):
        assert all(torch.equal(other, expected) for other in others)


def test_the_raw_operator_refuses_arguments_that_would_read_out_of_bounds(arguments):
    args = arguments(torch.float32)
    geometry = [list(args[name]) for name in ("stride", "padding", "dilation")]
    with pytest.raises(RuntimeError, match=r"call it through deformlab\.ops"):
        torch.ops.deformlab.deform_conv2d(
            args["input"], args["offset"][:1], args["weight"], args["bias"], args["mask"], *geometry, False
        )


@pytest.mark.parametrize("name", ["stride", "padding", "dilation"])
def test_the_raw_operator_refuses_numbers_that_would_overflow_a_position(arguments, name):
    args = arguments(torch.float32) | {name: (2**62, 2**62)}
    geometry = [list(args[each]) for each in ("stride", "padding", "dilation")]
    with pytest.raises(RuntimeError, match=r"call it through deformlab\.ops"):
        torch.ops.deformlab.deform_conv2d(*(args[each] for each in TENSORS), *geometry, False)
