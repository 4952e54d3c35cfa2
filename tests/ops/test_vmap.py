"""torch.func over deform_conv2d: each transform agrees with a loop over the examples."""

import pytest
import torch
from torch.func import grad, jacfwd, jacrev, vmap

from deformlab.ops import deform_conv2d

pytestmark = pytest.mark.usefixtures("native")
NAMES = ("input", "offset", "weight", "bias", "mask")
EXAMPLES = 3


@pytest.fixture
def tensors(arguments):
    """The tensors of one example, and the operator as a function of only these tensors."""
    args = arguments()
    values = [args.pop(name) for name in NAMES]
    return values, lambda *tensors: deform_conv2d(**dict(zip(NAMES, tensors, strict=True)), **args)


def many(tensors, names):
    """Stack several examples of the named tensors along axis 1; return also the axes and the examples."""
    axes = [1 if name in names else None for name in NAMES]
    stacked = [
        tensor if axis is None else torch.stack([(1 + i / 5) * tensor for i in range(EXAMPLES)], axis)
        for tensor, axis in zip(tensors, axes, strict=True)
    ]
    examples = [
        [
            tensor if axis is None else tensor.select(axis, i)
            for tensor, axis in zip(stacked, axes, strict=True)
        ]
        for i in range(EXAMPLES)
    ]
    return stacked, tuple(axes), examples


BATCHED = [*((name,) for name in NAMES), ("input", "offset", "mask"), ("weight", "bias"), NAMES]


@pytest.mark.parametrize("names", BATCHED, ids=",".join)
def test_vmap_agrees_with_a_loop_over_the_examples(tensors, names):
    values, operator = tensors
    stacked, axes, examples = many(values, names)
    expected = torch.stack([operator(*example) for example in examples])
    torch.testing.assert_close(vmap(operator, axes)(*stacked), expected)


@pytest.mark.parametrize("wanted", [(0,), (1, 4), (2, 3), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("names", BATCHED, ids=",".join)
def test_gradients_per_example_agree_with_a_loop(tensors, names, wanted):
    values, operator = tensors
    stacked, axes, examples = many(values, names)
    gradient = grad(lambda *tensors: operator(*tensors).square().sum(), wanted)
    expected = [gradient(*example) for example in examples]
    for actual, *each in zip(vmap(gradient, axes)(*stacked), *expected, strict=True):
        torch.testing.assert_close(actual, torch.stack(each))


@pytest.mark.parametrize("names", BATCHED, ids=",".join)
def test_the_gradient_of_vmap_agrees_with_that_of_the_loop(tensors, names):
    values, operator = tensors
    stacked, axes, _ = many(values, names)
    all_of_them = (0, 1, 2, 3, 4)
    actual = grad(lambda *tensors: vmap(operator, axes)(*tensors).square().sum(), all_of_them)(*stacked)
    leaves = [tensor.requires_grad_() for tensor in stacked]
    loop = 0
    for i in range(EXAMPLES):
        example = [t if axis is None else t.select(axis, i) for t, axis in zip(leaves, axes, strict=True)]
        loop = loop + operator(*example).square().sum()
    for gradient, expected in zip(actual, torch.autograd.grad(loop, leaves), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_nested_vmap(tensors):
    values, operator = tensors
    nested = [torch.stack([torch.stack([t, 2 * t]), torch.stack([3 * t, 4 * t])]) for t in values]
    actual = vmap(vmap(operator))(*nested)
    torch.testing.assert_close(actual[1, 0], operator(*(tensor[1, 0] for tensor in nested)))


def test_jacobian(tensors):
    values, operator = tensors
    expected = torch.autograd.functional.jacobian(operator, tuple(values))
    for actual, other in zip(jacrev(operator, (0, 1, 2, 3, 4))(*values), expected, strict=True):
        torch.testing.assert_close(actual, other)


def test_under_torch_compile_the_transforms_run_in_eager_mode(tensors):
    values, operator = tensors
    gradient = grad(lambda *tensors: operator(*tensors).square().sum())
    compiled = torch.compile(gradient, backend="aot_eager")
    torch.testing.assert_close(compiled(*values), gradient(*values))


def test_the_second_derivative_is_refused_with_a_helpful_error(tensors):
    values, operator = tensors
    slope = grad(lambda input: operator(input, *values[1:]).square().sum())
    with pytest.raises(NotImplementedError, match=r"second derivatives use deformlab\.ops\.reference"):
        grad(lambda input: slope(input).sum())(values[0])


def test_forward_mode_is_refused_instead_of_dropping_the_tangents(tensors):
    (input, *others), operator = tensors
    message = r"forward-mode differentiation is not supported; use reverse mode .*deformlab\.ops\.reference"
    with pytest.raises(NotImplementedError, match=message):
        jacfwd(lambda input: operator(input, *others))(input)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(input, torch.ones_like(input))
        with pytest.raises(NotImplementedError, match=message):
            operator(dual, *others)
