"""deformlab: semantic segmentation with Deformable ConvNets.

`deformlab.ops`, `deformlab.layers` and `deformlab.models` need only PyTorch. The other packages need the
training toolkit: `pip install 'deformlab[train]'`. Each is imported on demand.
"""

__version__ = "0.1.0"
