"""Connects the compiled deform_conv2d to PyTorch: shapes for tracing, autograd and torch.func."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from deformlab.ops._impl.deform_conv2d.checks import Geometry
from deformlab.ops._impl.native import native_status

__all__ = ["native_deform_conv2d"]

_Axes = Sequence[int | None]


def native_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    geometry: Geometry,
    clamp: bool,
) -> Tensor:
    """Call the compiled operator. The caller has checked the arguments, and the library is loaded."""
    args = (input, offset, weight, bias, mask, *map(list, geometry), clamp)
    # torch.func and forward mode ignore `register_autograd`; forward mode would silently drop the tangents.
    if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
        return _transformed_deform_conv2d(*args)
    return torch.ops.deformlab.deform_conv2d(*args)


# torch.compile cannot trace this function. The public `torch.compiler.disable` would load the compiler when
# this module is imported, which takes seconds.
@torch._disable_dynamo
def _transformed_deform_conv2d(*args: Any) -> Tensor:
    return _DeformConv2d.apply(*args)


def _forward_fake(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    clamp: bool,
) -> Tensor:
    N, _, P, Q = offset.shape
    return input.new_empty((N, weight.shape[0], P, Q)).contiguous(memory_format=_memory_format(input))


def _backward_fake(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    clamp: bool,
    needs_input: bool,
    needs_offset: bool,
    needs_weight: bool,
    needs_mask: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def gradient(tensor: Tensor | None, needed: bool, memory_format: torch.memory_format) -> Tensor:
        if tensor is None or not needed:
            return (input if tensor is None else tensor).new_empty(0)
        return tensor.new_empty(tensor.shape).contiguous(memory_format=memory_format)

    return (
        gradient(input, needs_input, _memory_format(input)),
        gradient(offset, needs_offset, torch.contiguous_format),
        gradient(weight, needs_weight, _memory_format(weight)),
        gradient(mask, needs_mask, torch.contiguous_format),
    )


def _memory_format(tensor: Tensor) -> torch.memory_format:
    """Return the format that the kernels keep: channels_last for channels_last input, else contiguous."""
    if not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


class _DeformConv2d(torch.autograd.Function):
    """The operator with its derivatives in the form that `torch.func` needs."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        return torch.ops.deformlab.deform_conv2d(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, offset, weight, _bias, mask, *ctx.sampling = inputs
        ctx.save_for_backward(input, offset, weight, mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, offset, weight, mask = ctx.saved_tensors
        needs_input, needs_offset, needs_weight, needs_bias, needs_mask = ctx.needs_input_grad[:5]
        grad_bias = grad.sum((0, 2, 3)) if needs_bias else None
        needed = (needs_input, needs_offset, needs_weight, needs_mask)
        if not any(needed):
            return None, None, None, grad_bias, None, None, None, None, None
        # Autocast would change the dtype of the matrix products in the backward pass.
        with torch.autocast(grad.device.type, enabled=False):
            gradients = _DeformConv2dBackward.apply(
                _backward_overload(grad), grad, input, offset, weight, mask, *ctx.sampling, *needed
            )
        grad_input, grad_offset, grad_weight, grad_mask = (
            gradient if need else None for gradient, need in zip(gradients, needed, strict=True)
        )
        return grad_input, grad_offset, grad_weight, grad_bias, grad_mask, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> None:
        raise NotImplementedError(
            "deform_conv2d: forward-mode differentiation is not supported; use reverse mode (backward, "
            "torch.func.jacrev) or deformlab.ops.reference.deform_conv2d"
        )

    @staticmethod
    def vmap(info: Any, in_dims: _Axes, *args: Any) -> tuple[Tensor, int]:
        return _vmap_forward(_DeformConv2d.apply, info.batch_size, in_dims, args)


class _DeformConv2dBackward(torch.autograd.Function):
    """The gradients of the operator. They cannot be differentiated again."""

    @staticmethod
    def forward(overload: Any, *args: Any) -> tuple[Tensor, ...]:
        return overload(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(
            "deform_conv2d: its gradient cannot be differentiated again; for second derivatives use "
            "deformlab.ops.reference.deform_conv2d"
        )

    @staticmethod
    def vmap(info: Any, in_dims: _Axes, overload: Any, *args: Any) -> tuple[tuple[Tensor, ...], _Axes]:
        return _vmap_backward(
            partial(_DeformConv2dBackward.apply, overload), info.batch_size, in_dims[1:], args
        )


def _backward_overload(grad: Tensor) -> Any:
    # The CPU kernels are always deterministic.
    deterministic = grad.is_cuda and torch.are_deterministic_algorithms_enabled()
    backward = torch.ops.deformlab.deform_conv2d_backward
    return backward.deterministic if deterministic else backward.default


# `torch.func.vmap` makes a single call of the operator. If all examples share the weight, the mapped
# dimension is merged into the batch. Otherwise it becomes groups: B examples of C channels turn into one
# example of B·C channels with B times as many weight groups and offset groups.


def _vmap_forward(
    operator: Callable[..., Tensor], examples: int, in_dims: _Axes, args: Sequence[Any]
) -> tuple[Tensor, int]:
    """Call `operator` once for all examples.

    `in_dims` has the mapped axis of each argument, or None for an argument that all examples share.
    """
    shared = in_dims[2] is None and in_dims[3] is None
    # The axis of input, offset, weight, bias and mask into which the examples are merged.
    axes: _Axes = (0, 0, None, None, 0) if shared else (1, 1, 0, 0, 1)
    axis = 0 if shared else 1
    return operator(*_join(args, in_dims, axes, examples)).unflatten(axis, (examples, -1)), axis


def _vmap_backward(
    operator: Callable[..., tuple[Tensor, ...]], examples: int, in_dims: _Axes, args: Sequence[Any]
) -> tuple[tuple[Tensor, ...], _Axes]:
    """Do the same for the gradients; a shared weight gets one gradient per example."""
    needs_input, needs_offset, needs_weight, needs_mask = args[-4:]
    shared = in_dims[3] is None and not needs_weight
    # The axis of grad, input, offset, weight and mask into which the examples are merged.
    axes: _Axes = (0, 0, 0, None, 0) if shared else (1, 1, 1, 0, 1)
    gradients = operator(*_join(args, in_dims, axes, examples))
    needed = (needs_input, needs_offset, needs_weight, needs_mask)
    out_axes = tuple(axis if need else None for axis, need in zip(axes[1:], needed, strict=True))
    return tuple(
        gradient if axis is None else gradient.unflatten(axis, (examples, -1))
        for gradient, axis in zip(gradients, out_axes, strict=True)
    ), out_axes


def _join(args: Sequence[Any], in_dims: _Axes, axes: _Axes, examples: int) -> list[Any]:
    """Merge the examples of each tensor into its axis in `axes`; an argument with None there is unchanged."""
    joined = list(args)
    for index, axis in enumerate(axes):
        tensor, dim = args[index], in_dims[index]
        if tensor is None or axis is None:
            continue
        if dim is None:
            repeated = tensor.unsqueeze(axis).expand(*tensor.shape[:axis], examples, *tensor.shape[axis:])
        else:
            repeated = tensor.movedim(dim, axis)
        joined[index] = repeated.flatten(axis, axis + 1)
    return joined


def _register_backward(name: str) -> None:
    torch.library.register_fake(name, _backward_fake)
    torch.library.register_autograd(name, _DeformConv2dBackward.backward)


if native_status().loaded:
    torch.library.register_fake("deformlab::deform_conv2d", _forward_fake)
    torch.library.register_autograd(
        "deformlab::deform_conv2d", _DeformConv2d.backward, setup_context=_DeformConv2d.setup_context
    )
    _register_backward("deformlab::deform_conv2d_backward")
if native_status().cuda:
    _register_backward("deformlab::deform_conv2d_backward.deterministic")
