"""Connects the compiled roi_pool to PyTorch: shapes for tracing, autograd and torch.func."""

from typing import Any

import torch
from torch import Tensor

from deformlab.ops._impl.native import native_status
from deformlab.ops._impl.roi_average.call import batched, join_examples

__all__ = ["native_roi_pool"]


def native_roi_pool(
    input: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float
) -> Tensor:
    """Call the compiled operator. The caller has checked the arguments, and the library is loaded."""
    options = (list(output_size), spatial_scale)
    # torch.func and forward mode ignore `register_autograd`; forward mode would silently drop the tangents.
    if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
        return _transformed(input, rois, *options)
    return torch.ops.deformlab.roi_pool(input, rois, *options)[0]


@torch._disable_dynamo
def _transformed(*args: Any) -> Tensor:
    return _RoIPool.apply(*args)[0]


def _forward_fake(
    input: Tensor, rois: Tensor, output_size: list[int], spatial_scale: float
) -> tuple[Tensor, Tensor]:
    size = (rois.shape[0], input.shape[1], *output_size)
    return input.new_empty(size), input.new_empty(size, dtype=torch.int32)


def _backward_fake(grad: Tensor, rois: Tensor, argmax: Tensor, input_size: list[int]) -> Tensor:
    return grad.new_empty(input_size)


class _RoIPool(torch.autograd.Function):
    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        return torch.ops.deformlab.roi_pool(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        input, rois, *_ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(rois, output[1])
        ctx.input_size = list(input.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any = None) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return _RoIPoolBackward.apply(grad, *ctx.saved_tensors, ctx.input_size), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> None:
        raise NotImplementedError(
            "roi_pool: forward-mode differentiation is not supported; use reverse mode (backward, "
            "torch.func.jacrev) or deformlab.ops.reference.roi_pool"
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        joined = join_examples(args[:2], in_dims[:2], info.batch_size)
        output, argmax = _RoIPool.apply(*joined, *args[2:])
        each = (info.batch_size, -1)
        return (output.unflatten(0, each), argmax.unflatten(0, each)), (0, 0)


class _RoIPoolBackward(torch.autograd.Function):
    @staticmethod
    def forward(*args: Any) -> Tensor:
        return torch.ops.deformlab.roi_pool_backward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(
            "roi_pool: its gradient cannot be differentiated again; for second derivatives use "
            "deformlab.ops.reference.roi_pool"
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, grad: Tensor, rois: Tensor, argmax: Tensor, input_size: list[int]
    ) -> tuple[Tensor, int]:
        examples = info.batch_size
        grads, arguments = (
            batched(tensor, dim, examples).flatten(0, 1)
            for tensor, dim in ((grad, in_dims[0]), (argmax, in_dims[2]))
        )
        like = rois.new_empty((input_size[0], 0))
        _, regions = join_examples((like, rois), (None, in_dims[1]), examples)
        size = [examples * input_size[0], *input_size[1:]]
        return _RoIPoolBackward.apply(grads, regions, arguments, size).unflatten(0, (examples, -1)), 0


if native_status().loaded:
    torch.library.register_fake("deformlab::roi_pool", _forward_fake)
    torch.library.register_autograd(
        "deformlab::roi_pool", _RoIPool.backward, setup_context=_RoIPool.setup_context
    )
    torch.library.register_fake("deformlab::roi_pool_backward", _backward_fake)
    torch.library.register_autograd("deformlab::roi_pool_backward", _RoIPoolBackward.backward)
