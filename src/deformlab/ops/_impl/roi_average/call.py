"""Runs the poolings that average: compiled or in plain PyTorch, with derivatives and torch.func."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from deformlab.ops import reference
from deformlab.ops._impl.arguments import autocast_dtype, cast
from deformlab.ops._impl.native import backend, native_status, warn_without_native
from deformlab.ops.reference.roi_average import Kind

__all__ = ["RoiAverage", "batched", "call_roi_average", "cast_for_autocast", "join_examples"]

_Axes = Sequence[int | None]


@dataclass(frozen=True)
class RoiAverage:
    """The rule of a pooling; see `deformlab.ops.reference.roi_average`.

    Attributes:
        name: The public operator, for messages.
        kind: Where the bins read.
        output_size: Bins along height and width.
        spatial_scale: Cells of the map per pixel of the network's input.
        samples: Samples per bin and axis; 0 for one per cell.
        groups: Channel groups along height and width.
        gamma: Factor on the offsets.
    """

    name: str
    kind: Kind
    output_size: tuple[int, int]
    spatial_scale: float
    samples: int = 0
    groups: tuple[int, int] = (1, 1)
    gamma: float = 0.1


def call_roi_average(
    input: Tensor, rois: Tensor, rule: RoiAverage, offset: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Pool regions. The caller has checked the arguments.

    Args:
        input: (N, C, H, W).
        rois: (K, 5), in float64 for float64 input and in float32 otherwise.
        rule: The rule.
        offset: As for `deform_roi_pool`, or None.
        mask: As for `deform_roi_pool`, or None.
    """
    # Atomics on the GPU add in any order; plain PyTorch has deterministic operations for that.
    deterministic = input.is_cuda and torch.are_deterministic_algorithms_enabled()
    if backend(input.device.type) != "native" or deterministic:
        if not deterministic:
            warn_without_native()
        return reference.roi_average(
            input,
            rois,
            offset,
            mask,
            kind=rule.kind,
            output_size=rule.output_size,
            spatial_scale=rule.spatial_scale,
            samples=rule.samples,
            groups=rule.groups,
            gamma=rule.gamma,
        )
    kind = get_args(Kind).index(rule.kind)
    options = (
        *(kind, list(rule.output_size), rule.spatial_scale, rule.samples),
        *(list(rule.groups), rule.gamma),
    )
    # torch.func and forward mode ignore `register_autograd`; forward mode would silently drop the tangents.
    if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
        return _transformed(input, rois, offset, mask, *options)
    return torch.ops.deformlab.roi_average(input, rois, offset, mask, *options)


def cast_for_autocast(*values: Any) -> tuple[Any, ...]:
    """The arguments as autocast casts them for a convolution; the first is the input."""
    dtype = autocast_dtype(values[0])
    return values if dtype is None else tuple(cast(value, dtype) for value in values)


# torch.compile cannot trace this function. The public `torch.compiler.disable` would load the compiler when
# this module is imported, which takes seconds.
@torch._disable_dynamo
def _transformed(*args: Any) -> Tensor:
    return _RoiAverage.apply(*args)


def _forward_fake(
    input: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    mask: Tensor | None,
    kind: int,
    output_size: list[int],
    spatial_scale: float,
    samples: int,
    groups: list[int],
    gamma: float,
) -> Tensor:
    return input.new_empty((rois.shape[0], input.shape[1] // (groups[0] * groups[1]), *output_size))


def _backward_fake(
    grad: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    mask: Tensor | None,
    kind: int,
    output_size: list[int],
    spatial_scale: float,
    samples: int,
    groups: list[int],
    gamma: float,
    needs_input: bool,
    needs_offset: bool,
    needs_mask: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    def gradient(tensor: Tensor | None, needed: bool) -> Tensor:
        if tensor is None or not needed:
            return (input if tensor is None else tensor).new_empty(0)
        return tensor.new_empty(tensor.shape)

    grad_input = gradient(input, needs_input)
    if needs_input and not input.is_contiguous() and input.is_contiguous(memory_format=torch.channels_last):
        grad_input = grad_input.contiguous(memory_format=torch.channels_last)
    return grad_input, gradient(offset, needs_offset), gradient(mask, needs_mask)


class _RoiAverage(torch.autograd.Function):
    """The operator with its derivatives in the form that `torch.func` needs."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        return torch.ops.deformlab.roi_average(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, rois, offset, mask, *ctx.options = inputs
        ctx.save_for_backward(input, rois, offset, mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, rois, offset, mask = ctx.saved_tensors
        needs = [ctx.needs_input_grad[i] for i in (0, 2, 3)]
        nothing = (None,) * len(ctx.options)
        if not any(needs):
            return (None, None, None, None, *nothing)
        gradients = _RoiAverageBackward.apply(grad, input, rois, offset, mask, *ctx.options, *needs)
        grad_input, grad_offset, grad_mask = (
            gradient if need else None for gradient, need in zip(gradients, needs, strict=True)
        )
        return (grad_input, None, grad_offset, grad_mask, *nothing)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> None:
        raise NotImplementedError(
            "pooling of regions: forward-mode differentiation is not supported; use reverse mode (backward, "
            "torch.func.jacrev) or deformlab.ops.reference.roi_average"
        )

    @staticmethod
    def vmap(info: Any, in_dims: _Axes, *args: Any) -> tuple[Tensor, int]:
        joined = join_examples(args[:4], in_dims[:4], info.batch_size)
        pooled = _RoiAverage.apply(*joined, *args[4:])
        return pooled.unflatten(0, (info.batch_size, -1)), 0


class _RoiAverageBackward(torch.autograd.Function):
    """The gradients of the operator. They cannot be differentiated again."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return torch.ops.deformlab.roi_average_backward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(
            "pooling of regions: its gradient cannot be differentiated again; for second derivatives use "
            "deformlab.ops.reference.roi_average"
        )

    @staticmethod
    def vmap(info: Any, in_dims: _Axes, grad: Tensor, *args: Any) -> tuple[tuple[Tensor, ...], _Axes]:
        examples = info.batch_size
        grads = batched(grad, in_dims[0], examples).flatten(0, 1)
        joined = join_examples(args[:4], in_dims[1:5], examples)
        gradients = _RoiAverageBackward.apply(grads, *joined, *args[4:])
        needed = args[-3:]
        return tuple(
            gradient.unflatten(0, (examples, -1)) if need else gradient
            for gradient, need in zip(gradients, needed, strict=True)
        ), tuple(0 if need else None for need in needed)


def batched(tensor: Tensor, dim: int | None, examples: int) -> Tensor:
    """The tensor with the examples in front."""
    return tensor.expand(examples, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def join_examples(args: Sequence[Any], in_dims: _Axes, examples: int) -> list[Any]:
    """One call for all examples: their images are numbered one after the other."""
    input, rois, *parts = (
        None if tensor is None else batched(tensor, dim, examples)
        for tensor, dim in zip(args, in_dims, strict=True)
    )
    assert input is not None
    assert rois is not None
    first = torch.arange(examples, device=rois.device, dtype=rois.dtype) * input.shape[1]
    index = rois[..., :1]
    # An image that does not exist must not become one of the next example.
    exists = (index >= 0) & (index < input.shape[1])
    index = torch.where(exists, index + first[:, None, None], -1)
    rois = torch.cat([index, rois[..., 1:]], dim=-1)
    return [None if tensor is None else tensor.flatten(0, 1) for tensor in (input, rois, *parts)]


if native_status().loaded:
    torch.library.register_fake("deformlab::roi_average", _forward_fake)
    torch.library.register_autograd(
        "deformlab::roi_average", _RoiAverage.backward, setup_context=_RoiAverage.setup_context
    )
    torch.library.register_fake("deformlab::roi_average_backward", _backward_fake)
    torch.library.register_autograd("deformlab::roi_average_backward", _RoiAverageBackward.backward)
