"""Derivatives of max pooling of regions."""

from deformlab.ops._impl.roi_pool.autograd import native_roi_pool

__all__ = ["native_roi_pool"]
