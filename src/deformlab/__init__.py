"""deformlab: semantic segmentation with Deformable ConvNets.

Submodules are imported on demand: `deformlab.ops` and `deformlab.layers` need nothing but PyTorch.
"""

__version__ = "0.1.0"
