"""The operators in plain PyTorch: the specification of the native kernels, and their replacement.

One module per operator. These functions do not check their arguments; those of `deformlab.ops` do.
"""

from deformlab.ops.reference.deform_conv2d import deform_conv2d
from deformlab.ops.reference.nms import batched_nms, nms
from deformlab.ops.reference.roi_average import roi_average
from deformlab.ops.reference.roi_pool import roi_pool
from deformlab.ops.reference.soft_nms import soft_nms

__all__ = ["batched_nms", "deform_conv2d", "nms", "roi_average", "roi_pool", "soft_nms"]
