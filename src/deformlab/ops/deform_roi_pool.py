"""Deformable pooling of regions, plain and position-sensitive, v1 and modulated (v2): the public function.

Sources: DCNv1 (arXiv 1703.06211), section 2.2; for `mask`, DCNv2 (arXiv 1811.11168), section 3.2; the
authors' `deformable_psroi_pooling` and mmcv's `deform_roi_pool`.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from deformlab.ops._impl.arguments import LARGEST, check_tensor
from deformlab.ops._impl.roi_average import RoiAverage, call_roi_average, cast_for_autocast
from deformlab.ops._impl.rois import check_input, check_number, check_output_size, checked_rois
from deformlab.ops.roi_align import check_samples

__all__ = ["deform_roi_pool"]

Convention = Literal["authors", "aligned"]
_NAME = "deform_roi_pool"


def deform_roi_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    group_size: int = 1,
    part_size: int | None = None,
    samples_per_bin: int = 4,
    gamma: float = 0.1,
    convention: Convention = "authors",
) -> Tensor:
    """Average bins of a region after shifting each bin by its own offset.

    The papers use it in three ways: without offsets, to pool the features from which offsets are predicted;
    with `group_size` 1 for Faster R-CNN; and with `group_size` equal to the bins, for R-FCN, where bin (p, q)
    of output channel o reads channel (o·group_size + p)·group_size + q of the input.

    An offset of 1 shifts a bin by γ times the width (x) or height (y) of the region. The conventions:

    - `authors`: coordinates are rounded (halves away from zero); a region reaches from round(x1) to round(x2)
      + 1, so x2 is the last pixel (inclusive), and after scaling it is shifted by half a cell and at least
      0.1 cells wide and high. A bin has `samples_per_bin` bilinear samples per axis, at the start of equal
      parts. Samples more than half a cell outside the map are left out of the mean; others are moved into the
      map. The derivative with respect to an offset is zero for a sample at a whole cell.
    - `aligned` (mmcv): no rounding, x2 is the right edge; shifted by half a cell; samples in the middle of
      equal parts. A sample more than one cell outside the map is zero but counts. The gradient is the true
      derivative of these values. That of mmcv's kernel differs for samples in the last row or column and
      within one cell outside the map.

    A region with a coordinate that is NaN, infinite or larger than 1e9 gives zeros and no gradient, and so
    does a region outside the map. The same holds for a bin whose offset is NaN or infinite.

    Args:
        input: (N, C, H, W), in float64, float32, bfloat16 or float16. Contiguous or channels_last; the output
            is contiguous. N may be zero.
        boxes: (K, 5): the index of the image, then left, top, right and bottom in pixels of the network's
            input; or a list of N tensors (L, 4) without the index. K may be zero. Any floating-point dtype;
            coordinates are computed in float64 for float64 input and in float32 otherwise. No gradient.
        output_size: Bins per region, one number or (height, width), 1 to 4096.
        spatial_scale: Cells of the input per pixel of the network's input, > 0.
        offset: (K, 2·G, R, S): for each of G classes the shifts in x of R x S parts, then those in y. G must
            divide the output channels; consecutive output channels share a class. In the dtype of the input,
            or in float32 if the input is 16-bit. None: no shifts.
        mask: (K, G, R, S): factor on the pooled bins (modulation), in the dtype of the input. None: 1.
        group_size: Channel groups per axis, 1 to 4096; C must be a multiple of its square.
        part_size: R and S, for the check of the offset's shape; None for the bins. Bin p has part
            floor(p·R / height).
        samples_per_bin: Samples per bin and axis. With `aligned`, 0 means one per cell of the bin, rounded
            up.
        gamma: γ, > 0.
        convention: `authors` or `aligned`, see above.

    Returns:
        (K, C / group_size², height, width), in the dtype of the input.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal. The message names the argument, its value and what is
            legal.
    """
    input, mask = cast_for_autocast(input, mask)
    rois, rule = check_deform_roi_pool(
        input,
        boxes,
        output_size,
        spatial_scale,
        offset,
        mask,
        group_size=group_size,
        part_size=part_size,
        samples_per_bin=samples_per_bin,
        gamma=gamma,
        convention=convention,
    )
    return call_roi_average(input, rois, rule, offset, mask)


def check_deform_roi_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float,
    offset: Tensor | None,
    mask: Tensor | None,
    *,
    group_size: int,
    part_size: int | None,
    samples_per_bin: int,
    gamma: float,
    convention: str,
) -> tuple[Tensor, RoiAverage]:
    """Check all arguments of `deform_roi_pool`; return the regions (K, 5) and the rule of the pooling.

    Raises:
        TypeError: An argument has a wrong type, dtype or device.
        ValueError: A shape or number is not legal.
    """
    check_input(_NAME, input)
    if convention not in get_args(Convention):
        raise ValueError(f"{_NAME}: convention is {convention!r}; it must be 'authors' or 'aligned'")
    rois = checked_rois(_NAME, input, boxes)
    size = check_output_size(_NAME, output_size)
    scale = check_number(_NAME, "spatial_scale", spatial_scale)
    if isinstance(group_size, bool) or not isinstance(group_size, int) or not 1 <= group_size <= 4096:
        raise ValueError(f"{_NAME}: group_size is {group_size!r}; it must be an integer from 1 to 4096")
    if input.shape[1] % group_size**2:
        raise ValueError(
            f"{_NAME}: input has {input.shape[1]} channels; it must have a multiple of group_size² = "
            f"{group_size**2}"
        )
    samples = check_samples(_NAME, "samples_per_bin", samples_per_bin)
    if samples == 0 and (convention == "authors" or samples_per_bin < 0):
        least = 1 if convention == "authors" else 0
        raise ValueError(
            f"{_NAME}: samples_per_bin is {samples_per_bin!r}; it must be in {least} to {LARGEST}"
        )
    _check_parts(input, rois, size, group_size, part_size, offset, mask)
    return rois, RoiAverage(
        _NAME,
        "authors" if convention == "authors" else "align_half",
        size,
        scale,
        samples,
        (group_size, group_size),
        check_number(_NAME, "gamma", gamma),
    )


def _check_parts(
    input: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    group_size: int,
    part_size: int | None,
    offset: Any,
    mask: Any,
) -> None:
    """Check offset and mask against the regions, the output channels and each other."""
    beside = (input.dtype,)
    if part_size is not None and (
        isinstance(part_size, bool) or not isinstance(part_size, int) or not 1 <= part_size <= 4096
    ):
        raise ValueError(f"{_NAME}: part_size is {part_size!r}; it must be None or an integer from 1 to 4096")
    parts = size if part_size is None else (part_size, part_size)
    classes = None
    for name, tensor, per_class in (("offset", offset, 2), ("mask", mask, 1)):
        if tensor is None:
            continue
        float32_too = name == "offset" and input.dtype.itemsize == 2
        check_tensor(
            _NAME, name, tensor, 4, (*beside, torch.float32) if float32_too else beside, input.device
        )
        outputs = input.shape[1] // group_size**2
        channels = tensor.shape[1]
        if channels < 1 or channels % per_class or outputs % (channels // per_class):
            raise ValueError(
                f"{_NAME}: {name} has {channels} channels; it must have {per_class} per class, and the "
                f"number of classes must divide the {outputs} output channels"
            )
        if classes is not None and channels // per_class != classes:
            raise ValueError(
                f"{_NAME}: mask has {channels} channels; it must have one per class of offset, {classes}"
            )
        classes = channels // per_class
        expected = (rois.shape[0], channels, *parts)
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f"{_NAME}: {name} has shape {tuple(tensor.shape)}; with these regions and parts it must be "
                f"{expected}"
            )
