"""Max pooling of regions: the public function.

Source: Fast R-CNN (arXiv 1504.08083), section 2.1.
"""

import torch
from torch import Tensor

from deformlab.ops import reference
from deformlab.ops._impl.native import backend, warn_without_native
from deformlab.ops._impl.roi_average import cast_for_autocast
from deformlab.ops._impl.roi_pool import native_roi_pool
from deformlab.ops._impl.rois import check_input, check_number, check_output_size, checked_rois

__all__ = ["roi_pool"]


def roi_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Take the maximum over the cells of each bin of a region (RoI max pooling).

    A region reaches from round(scale·x1) to round(scale·x2), inclusive, and is at least one cell wide and
    high; halves are rounded away from zero. Bin p covers the cells floor(p·size / bins) to ceil((p + 1)·size
    / bins), so neighbouring bins may overlap. A bin without cells is zero. Arguments, values and gradients
    are those of `torchvision.ops.roi_pool`: of equal cells, the first in reading order gets the gradient. NaN
    is larger than any number, which torchvision ignores.

    A region with a coordinate that is NaN, infinite or larger than 1e9 gives zeros and no gradient, and so
    does a region outside the map.

    Args:
        input: (N, C, H, W), in float64, float32, bfloat16 or float16. Contiguous or channels_last; the output
            is contiguous. N may be zero.
        boxes: (K, 5): the index of the image, then left, top, right and bottom in pixels of the network's
            input; or a list of N tensors (L, 4) without the index. K may be zero. Any floating-point dtype;
            coordinates are computed in float64 for float64 input and in float32 otherwise. No gradient.
        output_size: Bins per region, one number or (height, width), 1 to 4096.
        spatial_scale: Cells of the input per pixel of the network's input, > 0.

    Returns:
        (K, C, height, width), in the dtype of the input.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal. The message names the argument, its value and what is
            legal.
    """
    (input,) = cast_for_autocast(input)
    check_input("roi_pool", input)
    rois = checked_rois("roi_pool", input, boxes)
    size = check_output_size("roi_pool", output_size)
    scale = check_number("roi_pool", "spatial_scale", spatial_scale)
    # Atomics on the GPU add in any order; plain PyTorch has deterministic operations for that.
    deterministic = input.is_cuda and torch.are_deterministic_algorithms_enabled()
    if backend(input.device.type) == "native" and not deterministic:
        return native_roi_pool(input, rois, size, scale)
    if not deterministic:
        warn_without_native()
    return reference.roi_pool(input, rois, size, scale)
