"""Layers that learn their sampling positions, and context managers that record their offsets."""

from deformlab.layers.checkpoints import convert_offset_names
from deformlab.layers.deform_conv import DeformConv2d
from deformlab.layers.recording import record_forward, record_modulation, record_offsets

__all__ = ["DeformConv2d", "convert_offset_names", "record_forward", "record_modulation", "record_offsets"]
