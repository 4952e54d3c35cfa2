"""Poolings of regions inside PyTorch: opcheck, autocast, tracing, export, torch.func, bad arguments.

`deform_roi_pool` has tests of its own in test_deform_roi_pool_op.py.
"""

import io
import math
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, vmap

from deformlab import ops
from deformlab.ops import reference
from deformlab.ops.reference.roi_average import Kind

native = pytest.mark.usefixtures("native")
# The function, its options, and the rule of the reference.
CASES = {
    "roi_align": (ops.roi_align, {}, ("align", 0)),
    "roi_align fixed": (ops.roi_align, {"sampling_ratio": 2, "aligned": True}, ("align_half", 2)),
    "ps_roi_align": (ops.ps_roi_align, {"sampling_ratio": 2}, ("align_half", 2)),
    "ps_roi_pool": (ops.ps_roi_pool, {}, ("mean_authors", 0)),
    "ps_roi_pool torchvision": (ops.ps_roi_pool, {"convention": "torchvision"}, ("mean_torchvision", 0)),
    "roi_mean_pool": (ops.roi_mean_pool, {}, ("mean", 0)),
    "roi_pool": (ops.roi_pool, {}, None),
}
SIZE = (2, 3)
FUNCTIONS = {function.__name__: function for function, _, _ in CASES.values()}


def is_sensitive(function):
    return function.__name__.startswith("ps_")


def tensors_of(name, dtype=torch.float64, regions=5, seed=0):
    """Input and regions for a case."""
    generator = torch.Generator().manual_seed(seed)
    channels = 4 * (SIZE[0] * SIZE[1] if is_sensitive(CASES[name][0]) else 1)
    input = torch.randn((2, channels, 6, 7), generator=generator, dtype=torch.float64)
    corner = 6 + 8 * torch.randn((regions, 2), generator=generator)
    size = 16 * torch.rand((regions, 2), generator=generator)
    image = torch.randint(0, 2, (regions, 1), generator=generator)
    return input.to(dtype), torch.cat([image, corner, corner + size], dim=1)


@pytest.fixture(params=CASES)
def case(request):
    """A function of input and regions, and its arguments in float64."""
    return pooling(request.param), *tensors_of(request.param)


def pooling(name):
    function, options, _ = CASES[name]

    def pool(input, boxes):
        return function(input, boxes, SIZE, 0.5, **options)

    return pool


def in_plain_pytorch(name, input, rois):
    rule = CASES[name][2]
    if rule is None:
        return reference.roi_pool(input, rois, SIZE, 0.5)
    groups = SIZE if is_sensitive(CASES[name][0]) else (1, 1)
    kind, samples = rule
    return reference.roi_average(
        input, rois, kind=kind, output_size=SIZE, spatial_scale=0.5, samples=samples, groups=groups
    )


def with_gradient(pool, input, boxes):
    """The output, and the gradient of the input."""
    leaf = input.detach().requires_grad_()
    output = pool(leaf, boxes)
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaf, weight)]


@native
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)],
)
@pytest.mark.parametrize("name", CASES)
def test_every_dtype_and_memory_format_agrees_with_the_reference(name, dtype, tolerance, memory_format):
    input, rois = tensors_of(name, dtype)
    input = input.contiguous(memory_format=memory_format)
    actual = with_gradient(pooling(name), input, rois)
    expected = with_gradient(lambda *args: in_plain_pytorch(name, *args), input.double(), rois)
    assert actual[0].is_contiguous()
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == dtype
        assert (ours.double() - theirs).abs().max() <= tolerance * theirs.abs().max()


@native
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CASES)
def test_opcheck(name, memory_format):
    input, rois = tensors_of(name, torch.float32)
    leaf = input.contiguous(memory_format=memory_format).requires_grad_()
    operators, rule = torch.ops.deformlab, CASES[name][2]
    if rule is None:
        options = (list(SIZE), 0.5)
        torch.library.opcheck(operators.roi_pool.default, (leaf, rois, *options))
        _, argmax = operators.roi_pool(leaf.detach(), rois, *options)
        grad = torch.randn(argmax.shape)
        torch.library.opcheck(operators.roi_pool_backward.default, (grad, rois, argmax, list(input.shape)))
        return
    groups = SIZE if is_sensitive(CASES[name][0]) else (1, 1)
    options = (get_args(Kind).index(rule[0]), list(SIZE), 0.5, rule[1], list(groups), 0.1)
    torch.library.opcheck(operators.roi_average.default, (leaf, rois, None, None, *options))
    grad = torch.randn(len(rois), 4, *SIZE)
    torch.library.opcheck(
        operators.roi_average_backward.default,
        (grad, leaf.detach(), rois, None, None, *options, True, False, False),
    )


@native
def test_compiles_without_a_graph_break(case):
    torch.compiler.reset()  # all cases compile the same code, and their number is limited
    pool, *tensors = case

    def network(input, boxes):
        return pool(input, boxes).relu()

    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    for actual, expected in zip(
        with_gradient(compiled, *tensors), with_gradient(network, *tensors), strict=True
    ):
        torch.testing.assert_close(actual, expected)


@native
@pytest.mark.slow
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_code_generated_by_torch_compile_runs(case, memory_format):
    """With the default backend, which requires the strides that the fake kernels predicted."""
    torch.compiler.reset()  # all cases compile the same code, and their number is limited
    pool, input, boxes = case
    input = input.contiguous(memory_format=memory_format)

    def network(input, boxes):
        return pool(input, boxes).relu()

    compiled = torch.compile(network, fullgraph=True)
    for actual, expected in zip(
        with_gradient(compiled, input, boxes), with_gradient(network, input, boxes), strict=True
    ):
        torch.testing.assert_close(actual, expected)
        assert actual.stride() == expected.stride()


@native
def test_exports_for_any_number_of_images_and_regions(case):
    pool, input, boxes = case

    class Pool(torch.nn.Module):
        def forward(self, input, boxes):
            return pool(input, boxes)

    sizes = {"input": {0: torch.export.Dim("images")}, "boxes": {0: torch.export.Dim("regions")}}
    program = torch.export.export(Pool(), (input, boxes), dynamic_shapes=sizes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    twice = torch.cat([input, input]), torch.cat([boxes, boxes])
    assert torch.equal(loaded(*twice), pool(*twice))
    assert loaded(input, boxes[:0]).shape == (0, 4, *SIZE)


@native
def test_autocast_casts_the_input_as_for_conv2d_and_keeps_the_boxes(case):
    pool, input, boxes = case
    expected = pool(input.bfloat16(), boxes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, gradient = with_gradient(pool, input.float(), boxes)
        kept = pool(input, boxes)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, expected)
    assert gradient.dtype == torch.float32
    assert torch.equal(kept, pool(input, boxes))  # float64


@native
def test_boxes_keep_their_precision_beside_16_bit_input(case):
    pool, input, boxes = case
    fine = boxes + torch.tensor([0, 1, 1, 1, 1]) / 256
    assert torch.equal(pool(input.bfloat16(), fine), pool(input.bfloat16().float(), fine).bfloat16())


@native
@pytest.mark.parametrize("mapped", [(0,), (1,), (0, 1)], ids=str)
def test_vmap_and_gradients_per_example_agree_with_a_loop(case, mapped):
    pool, *tensors = case
    tensors[1] = tensors[1].double()
    # Later examples are scaled, but not the index of the image.
    factors = torch.tensor([[1.0] * 5, [1, *[1.2] * 4], [1, *[0.7] * 4]]).double()
    stacked = [torch.stack([tensors[0] * (i + 1) for i in range(3)], 1), tensors[1][:, None] * factors]
    axes = tuple(1 if i in mapped else None for i in range(2))
    args = [stacked[i] if i in mapped else tensors[i] for i in range(2)]
    examples = [
        [arg if axis is None else arg[:, i] for arg, axis in zip(args, axes, strict=True)] for i in range(3)
    ]
    torch.testing.assert_close(vmap(pool, axes)(*args), torch.stack([pool(*each) for each in examples]))
    slope = grad(lambda *args: pool(*args).square().sum())
    loop = torch.stack([slope(*each) for each in examples])
    torch.testing.assert_close(vmap(slope, axes)(*args), loop)


@native
def test_jacobian(case):
    pool, input, boxes = case
    expected = torch.autograd.functional.jacobian(lambda x: pool(x, boxes), input)
    torch.testing.assert_close(jacrev(pool)(input, boxes), expected)


@native
def test_forward_mode_and_second_derivatives_are_refused_with_a_helpful_error(case):
    pool, input, boxes = case
    with pytest.raises(NotImplementedError, match=r"forward-mode differentiation is not supported"):
        jacfwd(pool)(input, boxes)
    leaf = input.requires_grad_()
    (slope,) = torch.autograd.grad(pool(leaf, boxes).square().sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"cannot be differentiated again; .*deformlab.ops.ref"):
        slope.sum().backward()


@native
def test_deterministic_algorithms_change_nothing_on_the_cpu(case):
    expected = with_gradient(*case)
    torch.use_deterministic_algorithms(True)
    try:
        actual = with_gradient(*case)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


def test_a_list_of_boxes_is_the_same_as_indexed_ones(case):
    pool, input, boxes = case
    boxes = boxes[boxes[:, 0].argsort(stable=True)]
    listed = [boxes[boxes[:, 0] == image, 1:] for image in range(2)]
    assert torch.equal(pool(input, listed), pool(input, boxes))
    assert pool(input, [boxes[:0, 1:]] * 2).shape == (0, 4, *SIZE)
    assert pool(input[:0], []).shape == (0, 4, *SIZE)


def test_the_meta_device_gives_the_shape(case):
    pool, input, boxes = case
    output = pool(input.to("meta"), boxes.to("meta"))
    assert (output.shape, output.device.type) == ((5, 4, *SIZE), "meta")


BOX = torch.tensor([[0.0, 1, 1, 5, 5], [1, 0, 0, 4, 4]])
BAD = [
    ({"input": [1]}, TypeError, "input is a list; it must be a tensor"),
    ({"input": torch.zeros(36, 6, 7)}, ValueError, r"input has shape \(36, 6, 7\); it must have 4 dim"),
    ({"input": torch.zeros(2, 36, 0, 7)}, ValueError, "only its batch size may be zero"),
    ({"input": torch.zeros(2, 36, 6, 7).long()}, TypeError, "input has dtype torch.int64; legal here"),
    ({"boxes": None}, TypeError, "boxes is a NoneType; it must be a tensor"),
    ({"boxes": torch.zeros(2, 4)}, ValueError, r"boxes has shape \(2, 4\); it must have 5 columns: the ind"),
    ({"boxes": torch.zeros(2, 5, device="meta")}, TypeError, "boxes is on meta; it must be on input's dev"),
    ({"boxes": [torch.zeros(2, 4)]}, ValueError, "boxes is a list of 1 tensors; it must have one for each"),
    ({"boxes": [torch.zeros(1, 5)] * 2}, ValueError, r"boxes\[0\] has shape \(1, 5\); it must have 4 col"),
    (
        {"boxes": BOX + 1},
        ValueError,
        "boxes has 2 as index of the image in row 1; it must be an integer from",
    ),
    ({"boxes": BOX - 1}, ValueError, "boxes has -1 as index of the image in row 0"),
    ({"boxes": BOX + 0.5}, ValueError, "boxes has 0.5 as index of the image in row 0"),
    ({"boxes": BOX * math.nan}, ValueError, "boxes has nan as index of the image in row 0"),
    ({"output_size": 0}, ValueError, "output_size is 0; its numbers must be at least 1"),
    ({"output_size": 3.0}, TypeError, "output_size is 3.0; it must be an integer or a pair"),
    ({"output_size": (3, 5000)}, ValueError, r"output_size is \(3, 5000\); its numbers must be at most 4096"),
    ({"spatial_scale": 0.0}, ValueError, "spatial_scale is 0.0; it must be finite and greater than 0"),
    ({"spatial_scale": math.nan}, ValueError, "spatial_scale is nan; it must be finite"),
    ({"spatial_scale": "1/16"}, TypeError, "spatial_scale is '1/16'; it must be a number"),
]
BAD_OPTIONS = [
    ("roi_align", {"sampling_ratio": 1.5}, TypeError, "sampling_ratio is 1.5; it must be an integer"),
    (
        "ps_roi_align",
        {"sampling_ratio": 2**31},
        ValueError,
        "sampling_ratio is 2147483648; it must be at most",
    ),
    (
        "ps_roi_align",
        {"input": torch.zeros(2, 35, 6, 7)},
        ValueError,
        "input has 35 channels; it must have a m",
    ),
    (
        "ps_roi_pool",
        {"output_size": 5},
        ValueError,
        "input has 36 channels; it must have a multiple of the 25",
    ),
    (
        "ps_roi_pool",
        {"convention": "mmcv"},
        ValueError,
        "convention is 'mmcv'; it must be 'authors' or 'torch",
    ),
]


@pytest.mark.parametrize(
    ("name", "changes", "error", "message"),
    [(name, *each) for name in FUNCTIONS for each in BAD] + BAD_OPTIONS,
)
def test_a_bad_argument_is_named_in_one_line(name, changes, error, message):
    legal = {"input": torch.zeros(2, 36, 6, 7), "boxes": BOX, "output_size": 3, "spatial_scale": 0.5}
    assert isinstance(FUNCTIONS[name](**legal), Tensor)
    with pytest.raises(error, match=message) as caught:
        FUNCTIONS[name](**(legal | changes))
    text = str(caught.value)
    assert text.startswith(f"{name}: ")
    assert "\n" not in text
    assert len(text) < 250
