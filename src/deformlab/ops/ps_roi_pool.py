"""Position-sensitive average pooling, and mean pooling of regions: the public functions.

Sources: R-FCN (arXiv 1605.06409), section 2.2; DCNv1 (arXiv 1703.06211), equation 5.
"""

from typing import Literal, get_args

from torch import Tensor

from deformlab.ops._impl.roi_average import RoiAverage, call_roi_average, cast_for_autocast
from deformlab.ops._impl.rois import check_input, check_number, check_output_size, checked_rois
from deformlab.ops.roi_align import check_groups

__all__ = ["ps_roi_pool", "roi_mean_pool"]

Convention = Literal["authors", "torchvision"]


def ps_roi_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    *,
    convention: Convention = "authors",
) -> Tensor:
    """Average each bin over whole cells of its own channels (position-sensitive RoI pooling, R-FCN).

    Bin (p, q) of output channel o reads channel (o·height + p)·width + q of the input. A bin covers all cells
    that it touches; a bin without cells is zero. The conventions differ in where a region begins and ends:

    - `authors`: coordinates are rounded, then scaled: from scale·round(x1) to scale·(round(x2) + 1), so x2 is
      the last pixel (inclusive). A region is at least 0.1 cells wide and high. Halves are rounded away from
      zero.
    - `torchvision`: coordinates are scaled, then rounded: from round(scale·x1) to round(scale·x2), at least
      one cell. Values are those of `torchvision.ops.ps_roi_pool` on the CPU, which never reads the last row
      and the last column of the map. The gradient is that of these values; torchvision's own backward pass
      reads them.

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
        convention: `authors` or `torchvision`, see above.

    Returns:
        (K, C / (height·width), height, width), in the dtype of the input.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal. The message names the argument, its value and what is
            legal.
    """
    (input,) = cast_for_autocast(input)
    check_input("ps_roi_pool", input)
    if convention not in get_args(Convention):
        raise ValueError(f"ps_roi_pool: convention is {convention!r}; it must be 'authors' or 'torchvision'")
    rois = checked_rois("ps_roi_pool", input, boxes)
    size = check_output_size("ps_roi_pool", output_size)
    check_groups("ps_roi_pool", input, size)
    scale = check_number("ps_roi_pool", "spatial_scale", spatial_scale)
    kind: Literal["mean_authors", "mean_torchvision"] = (
        "mean_authors" if convention == "authors" else "mean_torchvision"
    )
    return call_roi_average(input, rois, RoiAverage("ps_roi_pool", kind, size, scale, groups=size))


def roi_mean_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Average the cells of each bin (RoI pooling as DCNv1 writes it, equation 5).

    The bins are those of `roi_pool`, which takes the maximum, as the authors' code does.

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
    check_input("roi_mean_pool", input)
    rois = checked_rois("roi_mean_pool", input, boxes)
    size = check_output_size("roi_mean_pool", output_size)
    scale = check_number("roi_mean_pool", "spatial_scale", spatial_scale)
    return call_roi_average(input, rois, RoiAverage("roi_mean_pool", "mean", size, scale))
