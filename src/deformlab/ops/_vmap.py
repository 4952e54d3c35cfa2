"""Batching rules: `torch.func.vmap` over the operators is one call with more images or with more groups.

Where the examples share the weight, the new dimension joins the batch. Where they do not, it becomes groups:
B examples of C channels are B·C channels in B times as many weight groups and offset groups.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

__all__ = ["Axes", "vmap_backward", "vmap_forward"]

Axes = Sequence[int | None]


def vmap_forward(
    operator: Callable[..., Tensor], examples: int, in_dims: Axes, args: Sequence[Any]
) -> tuple[Tensor, int]:
    """Call `operator` once for all examples; `in_dims` is their axis in each argument, None if shared."""
    shared = in_dims[2] is None and in_dims[3] is None
    # The axis of input, offset, weight, bias and mask that the examples join.
    axes: Axes = (0, 0, None, None, 0) if shared else (1, 1, 0, 0, 1)
    axis = 0 if shared else 1
    return operator(*_join(args, in_dims, axes, examples)).unflatten(axis, (examples, -1)), axis


def vmap_backward(
    operator: Callable[..., tuple[Tensor, ...]], examples: int, in_dims: Axes, args: Sequence[Any]
) -> tuple[tuple[Tensor, ...], Axes]:
    """The same for the gradients; that of a shared weight is one per example."""
    needs_input, needs_offset, needs_weight, needs_mask = args[-4:]
    shared = in_dims[3] is None and not needs_weight
    # The axis of grad, input, offset, weight and mask that the examples join.
    axes: Axes = (0, 0, 0, None, 0) if shared else (1, 1, 1, 0, 1)
    gradients = operator(*_join(args, in_dims, axes, examples))
    needed = (needs_input, needs_offset, needs_weight, needs_mask)
    out_axes = tuple(axis if need else None for axis, need in zip(axes[1:], needed, strict=True))
    return tuple(
        gradient if axis is None else gradient.unflatten(axis, (examples, -1))
        for gradient, axis in zip(gradients, out_axes, strict=True)
    ), out_axes


def _join(args: Sequence[Any], in_dims: Axes, axes: Axes, examples: int) -> list[Any]:
    """Merge the examples of each tensor into its axis in `axes`; what has None there stays as it is."""
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
