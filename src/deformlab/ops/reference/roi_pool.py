"""Max pooling of regions in plain PyTorch.

Source: Fast R-CNN (arXiv 1504.08083), section 2.1; the bins are those of the authors' kernel.
"""

import torch
from torch import Tensor

__all__ = ["roi_pool"]

# Regions with larger coordinates pool zeros, like those that are not finite.
_LARGEST = 1e9


def roi_pool(input: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float) -> Tensor:
    """Compute the same as `deformlab.ops.roi_pool`, with operations that PyTorch differentiates.

    Args:
        input: (N, C, H, W).
        rois: (K, 5), index of the image, left, top, right, bottom.
        output_size: Bins along height and width.
        spatial_scale: Cells of the map per pixel of the network's input.

    Returns:
        (K, C, height, width).
    """
    N, C, H, W = input.shape
    P, Q = output_size
    rois = rois.to(torch.float64 if input.dtype == torch.float64 else torch.float32)
    regions = []
    for roi in rois:
        image, *edges = roi.tolist()
        if not (0 <= image < N and all(abs(edge) <= _LARGEST for edge in edges)):
            regions.append(_zeros(input, C, P, Q))
            continue
        rows = _bins(roi[2], roi[4], spatial_scale, P, H)
        columns = _bins(roi[1], roi[3], spatial_scale, Q, W)
        cells = [
            _maximum(input[int(image), :, top:bottom, left:right].flatten(1))
            if top < bottom and left < right
            else _zeros(input, C)
            for top, bottom in rows
            for left, right in columns
        ]
        regions.append(torch.stack(cells, dim=1).view(C, P, Q))
    return torch.stack(regions) if regions else (input.sum() * 0).expand(0, C, P, Q)


def _zeros(input: Tensor, *size: int) -> Tensor:
    """Zeros that stay in the graph, so that their gradient is zero, not missing."""
    return input.new_zeros(size) + input.flatten()[:0].sum()


def _maximum(cells: Tensor) -> Tensor:
    """The maximum of each row; its gradient goes to the first of equal cells, or to the last NaN."""
    first = cells.argmax(1, keepdim=True)
    last_nan = cells.shape[1] - 1 - cells.isnan().flip(1).int().argmax(1, keepdim=True)
    index = torch.where(cells.isnan().any(1, keepdim=True), last_nan, first)
    return cells.gather(1, index)[:, 0]


def _bins(low: Tensor, high: Tensor, scale: float, bins: int, length: int) -> list[tuple[int, int]]:
    """Return the first cell of each bin, and the one after its last."""
    start = _round(low * scale)
    step = (_round(high * scale) - start + 1).clamp_min(1) / bins
    number = torch.arange(bins, dtype=low.dtype, device=low.device)
    first = ((number * step).floor() + start).clamp(0, length)
    last = (((number + 1) * step).ceil() + start).clamp(0, length)
    return [(int(a), int(b)) for a, b in zip(first.tolist(), last.tolist(), strict=True)]


def _round(value: Tensor) -> Tensor:
    """Round half away from zero, as C does; torch.round rounds half to even."""
    whole = value.trunc()
    return whole + ((value - whole).abs() >= 0.5) * value.sign()
