"""Operators on tensors. This package needs only PyTorch."""

from deformlab.ops import reference
from deformlab.ops._impl.native import NativeStatus, backend, cpu_capability, native_status
from deformlab.ops.deform_conv2d import deform_conv2d
from deformlab.ops.onnx_translation import onnx_translation_table

__all__ = [
    "NativeStatus",
    "backend",
    "cpu_capability",
    "deform_conv2d",
    "native_status",
    "onnx_translation_table",
    "reference",
]
