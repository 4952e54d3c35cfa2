"""Pooling that averages over the bins of regions, in plain PyTorch.

Sources: DCNv1 (arXiv 1703.06211), section 2.2; Mask R-CNN (arXiv 1703.06870), section 3, for RoIAlign; R-FCN
(arXiv 1605.06409), section 2.2, for position-sensitive pooling; the authors' and mmcv's kernels for the rules
of rounding and of samples at the border.

Shape letters: N images, C channels, H W size of the map; K regions, O output channels, P Q bins, G classes
that share offsets.
"""

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Kind", "roi_average"]

Kind = Literal["align", "align_half", "authors", "mean", "mean_authors", "mean_torchvision"]
# Regions with larger coordinates pool zeros, like those that are not finite.
_LARGEST = 1e9


def roi_average(
    input: Tensor,
    rois: Tensor,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    kind: Kind,
    output_size: tuple[int, int],
    spatial_scale: float = 1.0,
    samples: int = 0,
    groups: tuple[int, int] = (1, 1),
    gamma: float = 0.1,
) -> Tensor:
    """Compute the poolings of `deformlab.ops` that average, with operations that PyTorch differentiates.

    A bin is the weighted mean over cells of the map. The weight of a cell is the product of a weight for its
    row and one for its column.

    Args:
        input: (N, C, H, W).
        rois: (K, 5): index of the image, left, top, right and bottom in pixels of the network's input.
        offset: (K, 2·G, R, S) or None: for each class the shifts in x, then those in y, of R x S parts of the
            region, in units of γ times the region's size.
        mask: (K, G, R, S) or None: factor on the pooled bins.
        kind: `align` and `align_half`: RoIAlign without and with `aligned`; `authors`: the authors'
            deformable pooling; `mean`: DCNv1, equation 5; `mean_authors` and `mean_torchvision`:
            position-sensitive pooling by the authors and by torchvision.
        output_size: (P, Q).
        spatial_scale: Cells of the map per pixel of the network's input.
        samples: Bilinear samples per bin and axis; 0 for one per cell (`align` kinds only). No effect on
            means.
        groups: Number of channel groups along height and width; bin (p, q) reads one of them.
        gamma: γ.

    Returns:
        (K, C / (groups[0]·groups[1]), P, Q), in the dtype of the input.
    """
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    P, Q = output_size
    outputs = input.shape[1] // (groups[0] * groups[1])
    values = input.to(dtype).unflatten(1, (outputs, *groups))
    rois = rois.to(dtype)
    if len(rois) == 0:
        return (values.sum() * 0).to(input.dtype).expand(0, outputs, P, Q)
    pooled = [
        _pool(
            values,
            roi,
            None if offset is None else offset[k].to(dtype),
            None if mask is None else mask[k].to(dtype),
            kind,
            (P, Q),
            spatial_scale,
            samples,
            gamma,
        )
        for k, roi in enumerate(rois)
    ]
    return torch.stack(pooled).to(input.dtype)


def _pool(
    values: Tensor,
    roi: Tensor,
    offset: Tensor | None,
    mask: Tensor | None,
    kind: Kind,
    bins: tuple[int, int],
    scale: float,
    samples: int,
    gamma: float,
) -> Tensor:
    """Pool one region from (N, O, groups, groups, H, W); return (O, P, Q)."""
    outputs, group_h, group_w, H, W = values.shape[1:]
    P, Q = bins
    image, left, top, right, bottom = roi.tolist()
    if not (0 <= image < len(values) and all(abs(edge) <= _LARGEST for edge in (left, top, right, bottom))):
        zeros = values.new_zeros(outputs, P, Q)
        for tensor in (
            values,
            offset,
            mask,
        ):  # keeps them in the graph: their gradients are zero, not missing
            if tensor is not None:
                zeros = zeros + tensor.flatten()[:0].sum()
        return zeros
    features = values[int(image)]
    bin_p = torch.arange(P, device=values.device)
    bin_q = torch.arange(Q, device=values.device)
    shift_y = shift_x = None
    if offset is not None:
        R, S = offset.shape[-2:]
        parts = offset.unflatten(0, (-1, 2))[:, :, bin_p * R // P][..., bin_q * S // Q]
        shift_x, shift_y = gamma * parts[:, 0], gamma * parts[:, 1]
    rows, counted_y = _axis(kind, roi[2], roi[4], scale, P, bin_p[:, None], samples, shift_y, H)
    columns, counted_x = _axis(kind, roi[1], roi[3], scale, Q, bin_q[None, :], samples, shift_x, W)
    count = counted_y * counted_x
    classes = len(offset) // 2 if offset is not None else len(mask) if mask is not None else 1
    rows, columns = rows.expand(classes, P, Q, H), columns.expand(classes, P, Q, W)
    of_class = features.unflatten(0, (classes, -1))
    if group_h * group_w == 1:
        pooled = torch.einsum("gpqh,gohw->gopqw", rows, of_class[:, :, 0, 0])
    else:
        of_bin = of_class[:, :, bin_p * group_h // P][:, :, :, bin_q * group_w // Q]
        pooled = torch.einsum("gpqh,gopqhw->gopqw", rows, of_bin)
    pooled = torch.einsum("gpqw,gopqw->gopq", columns, pooled)
    pooled = torch.where(count > 0, pooled / count.clamp_min(1), torch.zeros_like(pooled))
    if mask is not None:
        R, S = mask.shape[-2:]
        pooled = pooled * mask[:, bin_p * R // P][..., bin_q * S // Q][:, None]
    return pooled.flatten(0, 1)


def _axis(
    kind: Kind,
    low: Tensor,
    high: Tensor,
    scale: float,
    bins: int,
    bin: Tensor,
    samples: int,
    shift: Tensor | None,
    length: int,
) -> tuple[Tensor, Tensor]:
    """Return the weights of the cells of one axis for each bin, and the number of samples that count.

    Both have the shape of the bins, (P, 1) or (1, Q), or with shifts (G, P, Q); the weights have one more
    dimension of `length`. With shifts, the count has a dimension for the outputs after the classes.
    """
    scale_ = torch.as_tensor(scale, dtype=low.dtype, device=low.device)
    cells = torch.arange(length, device=low.device, dtype=low.dtype)
    if kind == "mean_authors":
        start = scale_ * _round(low)
        size = (scale_ * (_round(high) + 1) - start).clamp_min(0.1)
        step = size / bins
        first, last = (bin * step + start).floor(), ((bin + 1) * step + start).ceil()
        return _mean(first, last, cells, length)
    if kind in ("mean", "mean_torchvision"):
        start = _round(low * scale_)
        size = (_round(high * scale_) - start + (1 if kind == "mean" else 0)).clamp_min(1)
        step = size / bins
        first, last = (bin * step).floor() + start, ((bin + 1) * step).ceil() + start
        # torchvision's kernel on the CPU never reads the last row and column.
        return _mean(first, last, cells, length if kind == "mean" else length - 1)

    if kind == "authors":
        start = _round(low) * scale_ - 0.5
        size = ((_round(high) + 1) * scale_ - 0.5 - start).clamp_min(0.1)
    else:
        half = 0.5 if kind == "align_half" else 0.0
        start = low * scale_ - half
        size = high * scale_ - half - start
        if kind == "align":
            size = size.clamp_min(1)
        if samples == 0:
            samples = min(max(math.ceil(float(size / bins)), 0), 10**9)
    if samples == 0:
        return torch.zeros(*bin.shape, length, device=low.device, dtype=low.dtype), bin.new_zeros(bin.shape)
    substep = size / bins / samples
    begin = start + bin * (size / bins)
    if shift is not None:
        begin = begin + shift * size
    margin = 0.5 if kind == "authors" else 1.0
    end = length - 0.5 if kind == "authors" else length
    first, last = (
        torch.zeros_like(begin, dtype=torch.int64),
        torch.full_like(begin, samples, dtype=torch.int64),
    )
    if samples > 64 and substep > 0:
        # A region may be much larger than the map: leave out the samples that are certainly outside.
        first = _clipped((-margin - begin.detach()) / substep - 2, samples)
        last = _clipped((end - begin.detach()) / substep + 2, samples)
    most = int((last - first).max().clamp_min(0)) if begin.numel() else 0
    number = first[..., None] + torch.arange(most, device=low.device)
    position = begin[..., None] + (number.to(low.dtype) + (0.0 if kind == "authors" else 0.5)) * substep
    inside = (position >= -margin) & (position <= end) & (number < last[..., None])
    zero = torch.zeros_like(position)
    position = torch.where(inside & (position > 0), position, zero)
    position = torch.where(position < length - 1, position, zero + (length - 1))
    below = position.detach().floor()
    fraction = position - below
    if kind == "authors":  # at a cell, the authors' slope is 0
        fraction = torch.where(fraction > 0, fraction, zero)
    of_below = torch.where(inside, 1 - fraction, zero)[..., None] * (cells == below[..., None])
    of_above = torch.where(inside, fraction, zero)[..., None] * (cells == below[..., None] + 1)
    weights = (of_below + of_above).sum(-2)
    counted = inside.sum(-1) if kind == "authors" else torch.full_like(inside.sum(-1), samples)
    return weights, counted if shift is None else counted[:, None]


def _clipped(value: Tensor, length: int) -> Tensor:
    """Round towards zero and clip to 0 to `length`; NaN gives 0."""
    # float32 does not have every integer: its largest one may be greater than `length`.
    return value.nan_to_num(0).clamp(0, length).long().clamp_max(length)


def _mean(first: Tensor, last: Tensor, cells: Tensor, length: int) -> tuple[Tensor, Tensor]:
    first, last = first.clamp(0, length), last.clamp(0, length)
    inside = (cells >= first[..., None]) & (cells < last[..., None])
    return inside.to(cells.dtype), (last - first).clamp_min(0)


def _round(value: Tensor) -> Tensor:
    """Round half away from zero, as C does; torch.round rounds half to even."""
    whole = value.trunc()
    return whole + ((value - whole).abs() >= 0.5) * value.sign()
