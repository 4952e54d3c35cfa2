"""`deform_roi_pool` inside PyTorch: dtypes, opcheck, autocast, tracing, export, torch.func, determinism."""

import io
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, vmap

from deformlab.ops import deform_roi_pool, reference
from deformlab.ops.reference.roi_average import Kind

pytestmark = pytest.mark.usefixtures("native")
USES = {
    "without offsets, position-sensitive": {"group_size": 3},
    "Faster R-CNN": {"samples_per_bin": 2},
    "R-FCN": {"group_size": 3},
    "aligned": {"convention": "aligned", "samples_per_bin": 2},
    "adaptive": {"convention": "aligned", "samples_per_bin": 0},
}
TENSORS = ("input", "offset", "mask")


@pytest.fixture(params=USES)
def use(request):
    """The arguments of each use; regions (K, 5) and 3 x 3 bins."""
    return arguments(request.param)


def arguments(use, dtype=torch.float64, regions=5):
    generator = torch.Generator().manual_seed(0)

    def random(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    options = USES[use]
    corner = 6 + 8 * torch.randn((regions, 2), generator=generator)
    size = 16 * torch.rand((regions, 2), generator=generator)
    image = torch.randint(0, 2, (regions, 1), generator=generator)
    args = {
        "input": random(2, 4 * options.get("group_size", 1) ** 2, 6, 7),
        "boxes": torch.cat([image, corner, corner + size], dim=1),
        "output_size": 3,
        "spatial_scale": 0.5,
        **options,
    }
    if use.startswith("without"):
        return args
    return args | {"offset": random(regions, 4, 3, 3), "mask": random(regions, 2, 3, 3).sigmoid()}


def gradients(operator, args):
    """The output, and the gradients of the tensors."""
    names = [name for name in TENSORS if name in args]
    leaves = {name: args[name].detach().requires_grad_() for name in names}
    output = operator(**(args | leaves))
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, list(leaves.values()), weight)]


def in_plain_pytorch(args):
    """The same call of the reference."""
    aligned = args.get("convention") == "aligned"
    group = args.get("group_size", 1)
    return reference.roi_average(
        args["input"],
        args["boxes"],
        args.get("offset"),
        args.get("mask"),
        kind="align_half" if aligned else "authors",
        output_size=(3, 3),
        spatial_scale=0.5,
        samples=args.get("samples_per_bin", 4),
        groups=(group, group),
    )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)],
)
@pytest.mark.parametrize("name", USES)
def test_every_dtype_and_memory_format_agrees_with_the_reference(name, dtype, tolerance, memory_format):
    args = arguments(name, dtype)
    args["input"] = args["input"].to(memory_format=memory_format)
    exact = {k: v.double() if isinstance(v, Tensor) else v for k, v in args.items()}
    actual, expected = (
        gradients(deform_roi_pool, args),
        gradients(lambda **a: in_plain_pytorch(a), exact),
    )
    assert actual[0].is_contiguous()
    if memory_format == torch.channels_last:
        assert actual[1].is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == dtype
        assert (ours.double() - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_offsets_beside_16_bit_input_keep_their_precision(dtype):
    args = arguments("Faster R-CNN", dtype)
    args["offset"] = args["offset"].float() + 1e-4
    coarse = args | {"offset": args["offset"].to(dtype)}
    exact = deform_roi_pool(**{k: v.double() if isinstance(v, Tensor) else v for k, v in args.items()})
    error, rounded = ((deform_roi_pool(**each).double() - exact).abs().mean() for each in (args, coarse))
    assert error < rounded
    assert gradients(deform_roi_pool, args)[2].dtype == torch.float32


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_opcheck(use, memory_format):
    args = {k: v.float() if isinstance(v, Tensor) else v for k, v in use.items()}
    input = args["input"].to(memory_format=memory_format).requires_grad_()
    parts = [args[name].requires_grad_() if name in args else None for name in ("offset", "mask")]
    kind = get_args(Kind).index("align_half" if "convention" in args else "authors")
    group = args.get("group_size", 1)
    options = (kind, [3, 3], 0.5, args.get("samples_per_bin", 4), [group, group], 0.1)
    torch.library.opcheck(torch.ops.deformlab.roi_average.default, (input, args["boxes"], *parts, *options))
    detached = [None if part is None else part.detach() for part in parts]
    torch.library.opcheck(
        torch.ops.deformlab.roi_average_backward.default,
        (
            torch.randn(5, 4, 3, 3),
            input.detach(),
            args["boxes"],
            *detached,
            *options,
            True,
            "offset" in args,
            False,
        ),
    )


def test_compiles_without_a_graph_break(use):
    torch.compiler.reset()  # all cases compile the same code, and their number is limited

    def network(**args):
        return deform_roi_pool(**args).relu()

    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    for actual, expected in zip(gradients(compiled, use), gradients(network, use), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_code_generated_by_torch_compile_runs(use, memory_format):
    """With the default backend, which requires the strides that the fake kernels predicted."""
    torch.compiler.reset()  # all cases compile the same code, and their number is limited
    use["input"] = use["input"].to(memory_format=memory_format)

    def network(**args):
        return deform_roi_pool(**args).relu()

    compiled = torch.compile(network, fullgraph=True)
    for actual, expected in zip(gradients(compiled, use), gradients(network, use), strict=True):
        torch.testing.assert_close(actual, expected)
        assert actual.stride() == expected.stride()


class Pool(torch.nn.Module):
    def __init__(self, args):
        super().__init__()
        self.options = {k: v for k, v in args.items() if not isinstance(v, Tensor)}

    def forward(self, input, boxes, offset=None, mask=None):
        return deform_roi_pool(input, boxes, offset=offset, mask=mask, **self.options)


def test_exports_for_any_number_of_images_and_regions(use):
    regions = torch.export.Dim("regions")
    tensors = {k: v for k, v in use.items() if isinstance(v, Tensor)}
    sizes = {k: {0: torch.export.Dim("images")} if k == "input" else {0: regions} for k in tensors}
    program = torch.export.export(Pool(use), (), tensors, dynamic_shapes=sizes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    twice = {k: torch.cat([v, v]) for k, v in tensors.items()}
    assert torch.equal(loaded(**twice), Pool(use)(**twice))
    none = {k: v if k == "input" else v[:0] for k, v in tensors.items()}
    assert loaded(**none).shape == (0, 4, 3, 3)


def test_autocast_casts_as_for_conv2d_and_keeps_offset_and_boxes(use):
    args = {k: v.float() if isinstance(v, Tensor) else v for k, v in use.items()}
    low = args | {k: args[k].bfloat16() for k in ("input", "mask") if k in args}
    expected = deform_roi_pool(**low)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = gradients(deform_roi_pool, args)
    assert torch.equal(actual[0], expected)
    assert all(gradient.dtype == torch.float32 for gradient in actual[1:])


def test_autocast_keeps_float64(use):
    expected = deform_roi_pool(**use)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = deform_roi_pool(**use)
    assert actual.dtype == torch.float64
    assert torch.equal(actual, expected)


def test_gradients_that_are_not_needed_are_not_computed():
    args = arguments("Faster R-CNN")
    kind = get_args(Kind).index("authors")
    for wanted in range(3):
        needs = [index == wanted for index in range(3)]
        results = torch.ops.deformlab.roi_average_backward(
            torch.ones(5, 4, 3, 3, dtype=torch.float64),
            args["input"],
            args["boxes"].double(),
            args["offset"],
            args["mask"],
            *(kind, [3, 3], 0.5, 2, [1, 1], 0.1),
            *needs,
        )
        assert [result.numel() > 0 for result in results] == needs


def test_any_number_of_threads_gives_the_same_bits():
    for name in USES:
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            args = arguments(name, dtype, regions=70)
            before, results = torch.get_num_threads(), []
            try:
                for threads in (1, 2, 3, 5):
                    torch.set_num_threads(threads)
                    results.append(gradients(deform_roi_pool, args))
            finally:
                torch.set_num_threads(before)
            for expected, *others in zip(*results, strict=True):
                assert all(torch.equal(other, expected) for other in others)


def test_deterministic_algorithms_change_nothing_on_the_cpu(use):
    expected = gradients(deform_roi_pool, use)
    torch.use_deterministic_algorithms(True)
    try:
        actual = gradients(deform_roi_pool, use)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


NAMES = ("input", "boxes", "offset", "mask")
MAPPED = [*((name,) for name in NAMES), ("input", "boxes"), ("offset", "mask"), NAMES]


def mapped(args, names, count=3):
    """Several examples of some tensors, as a function of the tensors, axes for vmap, and a list."""
    stacked = [
        torch.stack([args[name] * (1 if name == "boxes" else 1 + i / 5) for i in range(count)], dim=1)
        if name in names
        else args[name]
        for name in NAMES
    ]
    axes = tuple(1 if name in names else None for name in NAMES)
    examples = [
        [tensor if axis is None else tensor[:, i] for tensor, axis in zip(stacked, axes, strict=True)]
        for i in range(count)
    ]
    options = {k: v for k, v in args.items() if k not in NAMES}

    def operator(input, boxes, offset, mask):
        return deform_roi_pool(input, boxes, offset=offset, mask=mask, **options)

    return operator, stacked, axes, examples


@pytest.mark.parametrize("name", ["Faster R-CNN", "R-FCN", "adaptive"])
@pytest.mark.parametrize("names", MAPPED, ids=",".join)
def test_vmap_and_gradients_per_example_agree_with_a_loop(name, names):
    args = arguments(name)
    args["boxes"] = args["boxes"].double()
    operator, stacked, axes, examples = mapped(args, names)
    expected = torch.stack([operator(*example) for example in examples])
    torch.testing.assert_close(vmap(operator, axes)(*stacked), expected)
    slope = grad(lambda *tensors: operator(*tensors).square().sum(), (0, 2, 3))
    loop = [slope(*example) for example in examples]
    for actual, *each in zip(vmap(slope, axes)(*stacked), *loop, strict=True):
        torch.testing.assert_close(actual, torch.stack(each))


def test_jacobian():
    args = arguments("Faster R-CNN", regions=2)
    operator, values, _, _ = mapped(args, ())
    expected = torch.autograd.functional.jacobian(
        lambda input, offset, mask: operator(input, values[1], offset, mask),
        (values[0], values[2], values[3]),
    )
    for actual, other in zip(jacrev(operator, (0, 2, 3))(*values), expected, strict=True):
        torch.testing.assert_close(actual, other)


def test_forward_mode_and_second_derivatives_are_refused_with_a_helpful_error():
    operator, (input, *others), _, _ = mapped(arguments("Faster R-CNN", regions=2), ())
    with pytest.raises(NotImplementedError, match=r"forward-mode differentiation is not supported"):
        jacfwd(lambda input: operator(input, *others))(input)
    leaf = input.requires_grad_()
    (slope,) = torch.autograd.grad(operator(leaf, *others).square().sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"cannot be differentiated again; .*deformlab.ops.ref"):
        slope.sum().backward()


def test_the_raw_operator_refuses_arguments_that_would_access_memory_out_of_bounds():
    args = arguments("Faster R-CNN")
    tensors = [args["input"], args["boxes"].double(), args["offset"], args["mask"]]
    options = [get_args(Kind).index("authors"), [3, 3], 0.5, 2, [1, 1], 0.1]
    torch.ops.deformlab.roi_average(*tensors, *options)
    for index, value in enumerate(
        [tensors[0][:, :3], tensors[1][:, :4], tensors[2][:-1], tensors[3][..., :2]]
    ):
        changed = [*tensors[:index], value, *tensors[index + 1 :]]
        with pytest.raises(RuntimeError, match=r"call it through deformlab\.ops"):
            torch.ops.deformlab.roi_average(*changed, *options)
    for index, value in [(0, 6), (0, -1), (1, [0, 3]), (1, [2**40, 3]), (3, 2**40), (4, [0, 1]), (4, [3, 3])]:
        changed = [*options[:index], value, *options[index + 1 :]]
        with pytest.raises(RuntimeError, match=r"call it through deformlab\.ops"):
            torch.ops.deformlab.roi_average(*tensors, *changed)
