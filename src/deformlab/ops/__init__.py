"""Operators on tensors. This package needs only PyTorch."""

from deformlab.ops import reference
from deformlab.ops._impl.native import NativeStatus, backend, cpu_capability, native_status
from deformlab.ops.deform_conv2d import deform_conv2d
from deformlab.ops.deform_roi_pool import deform_roi_pool
from deformlab.ops.nms import batched_nms, nms
from deformlab.ops.onnx_translation import onnx_translation_table
from deformlab.ops.ps_roi_pool import ps_roi_pool, roi_mean_pool
from deformlab.ops.roi_align import ps_roi_align, roi_align
from deformlab.ops.roi_pool import roi_pool
from deformlab.ops.soft_nms import soft_nms

__all__ = [
    "NativeStatus",
    "backend",
    "batched_nms",
    "cpu_capability",
    "deform_conv2d",
    "deform_roi_pool",
    "native_status",
    "nms",
    "onnx_translation_table",
    "ps_roi_align",
    "ps_roi_pool",
    "reference",
    "roi_align",
    "roi_mean_pool",
    "roi_pool",
    "soft_nms",
]
