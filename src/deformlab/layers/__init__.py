"""Layers that learn their sampling positions, and context managers that record their offsets."""

from deformlab.layers.checkpoints import convert_offset_names
from deformlab.layers.deform_conv import DeformConv2d
from deformlab.layers.deform_roi_pooling import BinPositions, DeformPSRoIPool, DeformRoIPool
from deformlab.layers.recording import record_bins, record_forward, record_modulation, record_offsets

__all__ = [
    "BinPositions",
    "DeformConv2d",
    "DeformPSRoIPool",
    "DeformRoIPool",
    "convert_offset_names",
    "record_bins",
    "record_forward",
    "record_modulation",
    "record_offsets",
]
