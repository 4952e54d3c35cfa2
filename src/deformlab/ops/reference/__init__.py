"""The operators in plain PyTorch: the specification of the native kernels, and their replacement.

One module per operator. These functions do not check their arguments; those of `deformlab.ops` do.
"""

from deformlab.ops.reference.deform_conv2d import deform_conv2d

__all__ = ["deform_conv2d"]
