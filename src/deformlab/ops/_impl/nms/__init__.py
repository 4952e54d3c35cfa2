"""nms, batched_nms and soft_nms: argument checks, and the operators inside PyTorch."""

from deformlab.ops._impl.nms.checks import Method, check_nms, check_soft_nms
from deformlab.ops._impl.nms.operators import call_nms, call_soft_nms

__all__ = ["Method", "call_nms", "call_soft_nms", "check_nms", "check_soft_nms"]
