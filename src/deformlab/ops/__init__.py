"""Operators on tensors; needs nothing but PyTorch."""

from deformlab.ops import reference
from deformlab.ops._native import NativeStatus, backend, native_status
from deformlab.ops.deform_conv import deform_conv2d

__all__ = ["NativeStatus", "backend", "deform_conv2d", "native_status", "reference"]
