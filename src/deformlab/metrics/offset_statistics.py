"""How far the offsets of a layer reach, from a few of its filters: cheap enough to follow while training.

K: taps of the kernel, G: deform groups, P: filters (output cells) that are looked at.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from deformlab.metrics.effective_dilation import effective_dilation

__all__ = ["FilterSample", "OffsetStatistics", "offset_statistics", "sample_filters"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LOW, HIGH = 0.1, 0.9


class FilterSample(NamedTuple):
    """The offsets of some filters of one forward pass.

    Attributes:
        offset: (N, 2·G·K, P), (dy, dx) interleaved per tap, in cells.
        mask_logits: (N, G·K, P), the modulation before its sigmoid; None for a layer that has none.
        cells: The P output cells, counted row by row.
        output_width: Cells in a row of the output.
        input_size: Height and width of the layer's input, in cells.
    """

    offset: Tensor
    mask_logits: Tensor | None
    cells: range
    output_width: int
    input_size: tuple[int, int]


class OffsetStatistics(NamedTuple):
    """What the offsets of one layer do.

    Attributes:
        filters: Number of filters that were looked at.
        length_q05: 5 % of the offsets are no longer than this, in cells of the layer's input.
        length_q25: 25 % are no longer.
        length_q50: The median length.
        length_q75: 75 % are no longer.
        length_q95: 95 % are no longer.
        length_over_side: Median of the length as a share of the input's shorter side.
        outside: Share of the samples that lie beyond the outer edge of the image's cells, in the padding.
        outside_undeformed: The same share if all offsets were zero.
        modulation_low: Share of samples whose modulation is below a tenth of its largest value; None for a
            layer without modulation.
        modulation_high: Share above nine tenths of it.
        effective_dilation: Mean over the filters, in cells; None for a 1x1 kernel, which has no neighbours.
    """

    filters: int
    length_q05: float
    length_q25: float
    length_q50: float
    length_q75: float
    length_q95: float
    length_over_side: float
    outside: float
    outside_undeformed: float
    modulation_low: float | None
    modulation_high: float | None
    effective_dilation: float | None


def sample_filters(
    output: Tensor, input_size: tuple[int, int], num_samples: int, count: int, phase: float
) -> FilterSample:
    """Copies the offsets at output cells that are spread evenly over the map.

    Args:
        output: (N, 2·G·K or 3·G·K, H_out, W_out), what a layer's `conv_offset` gave.
        input_size: Height and width of the layer's input, in cells.
        num_samples: G·K, the samples of one filter.
        count: About how many filters of the whole batch; at least one of each image is taken.
        phase: Where between two of the cells to begin, in [0, 1); another one sees other cells.
    """
    images, _, height, width = output.shape
    step = max(1, height * width * images // count)
    cells = range(int(phase * step) % (height * width), height * width, step)
    # Copied, so that the whole map is not kept alive.
    chosen = output.detach().flatten(2)[:, :, cells.start :: step].clone()
    logits = chosen[:, 2 * num_samples :] if chosen.shape[1] > 2 * num_samples else None
    return FilterSample(chosen[:, : 2 * num_samples], logits, cells, width, input_size)


def offset_statistics(samples: Sequence[FilterSample], layer: nn.Conv2d) -> OffsetStatistics:
    """Puts the samples of several forward passes together, on the CPU.

    Args:
        samples: One or more, of images of any size; none with an empty batch.
        layer: The layer they come from; its kernel, stride, padding and dilation are read.

    Returns:
        Statistics over all samples alike; lengths and effective dilation are nan where an offset is nan.
    """
    kernel_size, dilation = _pair(layer.kernel_size), _pair(layer.dilation)
    taps = kernel_size[0] * kernel_size[1]
    lengths, shares, outside, outside_undeformed, dilations, modulations = [], [], [], [], [], []
    for sample in samples:
        offset = sample.offset.cpu().float()
        undeformed = _undeformed_taps(sample, layer)
        moves = offset.unflatten(1, (-1, taps, 2)).movedim(3, -1)  # (N, G, K, P, 2)
        length = moves.norm(dim=-1)
        lengths.append(length.flatten())
        shares.append(length.flatten() / min(sample.input_size))
        outside.append(_outside(undeformed + moves, sample.input_size).flatten())
        outside_undeformed.append(_outside(undeformed, sample.input_size).expand(length.shape).flatten())
        if taps > 1:
            dilations.append(effective_dilation(offset[:, :, None], kernel_size, dilation).flatten())
        if sample.mask_logits is not None:
            modulations.append(sample.mask_logits.cpu().float().sigmoid().flatten())
    modulation = torch.cat(modulations) if modulations else None
    q05, q25, q50, q75, q95 = torch.cat(lengths).quantile(torch.tensor(QUANTILES)).tolist()
    return OffsetStatistics(
        filters=sum(len(sample.offset) * len(sample.cells) for sample in samples),
        length_q05=q05,
        length_q25=q25,
        length_q50=q50,
        length_q75=q75,
        length_q95=q95,
        length_over_side=torch.cat(shares).quantile(0.5).item(),
        outside=_share(torch.cat(outside)),
        outside_undeformed=_share(torch.cat(outside_undeformed)),
        modulation_low=None if modulation is None else _share(modulation < LOW),
        modulation_high=None if modulation is None else _share(modulation > HIGH),
        effective_dilation=torch.cat(dilations).mean().item() if dilations else None,
    )


def _undeformed_taps(sample: FilterSample, layer: nn.Conv2d) -> Tensor:
    """Where an undeformed filter would read, (K, P, 2) in cells of the layer's input."""
    (kernel_h, kernel_w), padding = _pair(layer.kernel_size), _pair(layer.padding)
    stride, dilation = _pair(layer.stride), _pair(layer.dilation)
    cells, taps = torch.tensor(sample.cells), torch.arange(kernel_h * kernel_w)
    corner_y = cells // sample.output_width * stride[0] - padding[0]
    corner_x = cells % sample.output_width * stride[1] - padding[1]
    y = corner_y + (taps // kernel_w * dilation[0])[:, None]
    x = corner_x + (taps % kernel_w * dilation[1])[:, None]
    return torch.stack([y, x], dim=-1)


def _outside(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether each (..., 2) position lies in no cell of the image; cells reach half a cell around centres."""
    inside = (positions >= -0.5) & (positions <= torch.tensor(size) - 0.5)
    return ~inside.all(-1)


def _share(chosen: Tensor) -> float:
    return chosen.float().mean().item()
