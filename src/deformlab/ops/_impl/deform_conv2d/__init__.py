"""deform_conv2d: argument checks, and the compiled operator with its derivatives."""

from deformlab.ops._impl.deform_conv2d.autograd import native_deform_conv2d
from deformlab.ops._impl.deform_conv2d.checks import Boundary, Geometry, check_deform_conv2d

__all__ = ["Boundary", "Geometry", "check_deform_conv2d", "native_deform_conv2d"]
