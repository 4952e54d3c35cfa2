"""Exports deform_conv2d to ONNX as the standard operator DeformConv, which opset 19 introduced."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from deformlab.ops._impl.native import native_status

__all__ = ["onnx_translation_table"]


def onnx_translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the table with which `torch.onnx.export` writes deformable convolution as ONNX's DeformConv.

    The runtime that loads the file must support DeformConv; ONNX Runtime does from version 1.25. The results
    equal those of `deform_conv2d` up to rounding, including samples at and outside the border. (The ONNX
    standard does not define samples less than one cell outside the image. Its reference implementation and
    ONNX Runtime interpolate with zeros there, as deformlab does.) 16-bit tensors are computed in float32,
    because 16-bit coordinates would be too coarse.

    Only `boundary="zeros"` can be exported, with `opset_version` >= 19; otherwise the export raises a
    ValueError.

    If the compiled library is not loaded, the table is empty: the plain PyTorch implementation runs instead,
    and it exports without a table.

    Returns:
        The argument `custom_translation_table` of `torch.onnx.export(..., dynamo=True)`.

    Raises:
        ImportError: The package onnxscript is not installed.

    Example:
        >>> from deformlab.ops import onnx_translation_table
        >>> torch.onnx.export(
        ...     network.eval(), (image,), "network.onnx", dynamo=True, opset_version=20,
        ...     custom_translation_table=onnx_translation_table(),
        ... )
    """
    try:
        from onnxscript import BFLOAT16, FLOAT, FLOAT16, evaluator, opset19
    except ImportError:
        raise ImportError(
            "onnx_translation_table: onnxscript is missing; install it with: pip install onnxscript"
        ) from None
    if not native_status().loaded:
        return {}

    # torch.onnx reads this signature: parameters that are lists become attributes of the ONNX node.
    def deform_conv2d(
        input: Any,
        offset: Any,
        weight: Any,
        bias: Any,
        mask: Any,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        clamp: bool,
    ) -> Any:
        if clamp:
            raise ValueError("deform_conv2d: ONNX's DeformConv has no boundary='clamp'; export with 'zeros'")
        recorder: Any = evaluator.default()
        opset = recorder.opset.version
        if opset < 19:
            raise ValueError(
                f"deform_conv2d: ONNX has DeformConv from opset 19 on; this export has opset_version={opset}"
            )
        tensors = [input, weight, offset, bias, mask]
        in_16_bits = input.dtype in (FLOAT16.dtype, BFLOAT16.dtype)
        if in_16_bits:
            tensors = [None if t is None else opset19.Cast(t, to=FLOAT.dtype) for t in tensors]
        kernel_h, kernel_w = weight.shape[2:]
        output = opset19.DeformConv(
            *tensors,
            kernel_shape=[kernel_h, kernel_w],
            strides=stride,
            pads=[*padding, *padding],
            dilations=dilation,
            group=input.shape[1] // weight.shape[1],
            offset_group=offset.shape[1] // (2 * kernel_h * kernel_w),
        )
        return opset19.Cast(output, to=input.dtype) if in_16_bits else output

    return {torch.ops.deformlab.deform_conv2d.default: deform_conv2d}
