"""Checks and derivatives of the poolings that average."""

from deformlab.ops._impl.roi_average.call import RoiAverage, call_roi_average, cast_for_autocast

__all__ = ["RoiAverage", "call_roi_average", "cast_for_autocast"]
