"""Random calls of the compiled operators for fuzz_ops.py, one module per operator or family."""

from fuzz.deform_conv2d import DeformConv2d
from fuzz.deform_roi_pool import DeformRoiPool
from fuzz.nms import Nms, SoftNms
from fuzz.operator import Operator
from fuzz.rois import PsRoiAlign, PsRoiPool, RoiAlign, RoiMeanPool, RoiPool

OPERATORS: tuple[type[Operator], ...] = (
    DeformConv2d,
    DeformRoiPool,
    Nms,
    PsRoiAlign,
    PsRoiPool,
    RoiAlign,
    RoiMeanPool,
    RoiPool,
    SoftNms,
)
"""Every operator that fuzz_ops.py calls. A new operator is a module here, and an entry in this tuple."""

__all__ = ["OPERATORS"]
