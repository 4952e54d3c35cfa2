"""RoIAlign and its position-sensitive form: the public functions.

Sources: Mask R-CNN (arXiv 1703.06870), section 3; for `aligned`, detectron2; Light-Head R-CNN (arXiv
1711.07264) for `ps_roi_align`.
"""

from torch import Tensor

from deformlab.ops._impl.arguments import LARGEST
from deformlab.ops._impl.roi_average import RoiAverage, call_roi_average, cast_for_autocast
from deformlab.ops._impl.rois import check_input, check_number, check_output_size, checked_rois

__all__ = ["ps_roi_align", "roi_align"]


def roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Average each bin of a region over bilinear samples, without rounding (RoIAlign).

    Arguments, values and gradients are those of `torchvision.ops.roi_align`. A sample more than one cell
    outside the map is zero but counts; within one cell, it has the value at the border and passes no gradient
    to positions.

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
        sampling_ratio: Samples per bin and axis; the samples are in the middle of equal parts of the bin. 0
            or less: one per cell of the bin, rounded up, different for each region.
        aligned: Whether coordinates are shifted by half a cell, so that pixel centres and cell centres
            coincide. Without it, a region is at least one cell wide and high.

    Returns:
        (K, C, height, width), in the dtype of the input.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal. The message names the argument, its value and what is
            legal.
    """
    (input,) = cast_for_autocast(input)
    check_input("roi_align", input)
    rois = checked_rois("roi_align", input, boxes)
    size = check_output_size("roi_align", output_size)
    scale = check_number("roi_align", "spatial_scale", spatial_scale)
    samples = check_samples("roi_align", "sampling_ratio", sampling_ratio)
    rule = RoiAverage("roi_align", "align_half" if aligned else "align", size, scale, samples)
    return call_roi_average(input, rois, rule)


def ps_roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> Tensor:
    """Average each bin over bilinear samples of its own channels (position-sensitive RoIAlign).

    Bin (p, q) of output channel o reads channel (o·height + p)·width + q of the input. Arguments, values and
    gradients are those of `torchvision.ops.ps_roi_align`, except that a region without area gives zeros
    instead of NaN when the number of samples is adaptive. The samples are those of `roi_align` with
    `aligned=True`.

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
        sampling_ratio: As for `roi_align`.

    Returns:
        (K, C / (height·width), height, width), in the dtype of the input.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal. The message names the argument, its value and what is
            legal.
    """
    (input,) = cast_for_autocast(input)
    check_input("ps_roi_align", input)
    rois = checked_rois("ps_roi_align", input, boxes)
    size = check_output_size("ps_roi_align", output_size)
    check_groups("ps_roi_align", input, size)
    scale = check_number("ps_roi_align", "spatial_scale", spatial_scale)
    samples = check_samples("ps_roi_align", "sampling_ratio", sampling_ratio)
    return call_roi_average(input, rois, RoiAverage("ps_roi_align", "align_half", size, scale, samples, size))


def check_samples(operator: str, name: str, value: int) -> int:
    """Return a legal number of samples; 0 for one per cell."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{operator}: {name} is {value!r}; it must be an integer")
    if value > LARGEST:
        raise ValueError(f"{operator}: {name} is {value!r}; it must be at most {LARGEST}")
    return max(value, 0)


def check_groups(operator: str, input: Tensor, groups: tuple[int, int]) -> None:
    """Check that the channels are a multiple of the groups.

    Raises:
        ValueError: They are not.
    """
    count = groups[0] * groups[1]
    if input.shape[1] % count:
        raise ValueError(
            f"{operator}: input has {input.shape[1]} channels; it must have a multiple of the {count} bins"
        )
