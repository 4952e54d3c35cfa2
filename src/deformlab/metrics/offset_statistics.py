"""Statistics of a layer's offsets, computed from some of its filters so that training can monitor them.

Shape letters: K taps of the kernel, G offset groups, P sampled filters (output cells) of an image,
(H, W) the size of the layer's input in cells.
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
    """The offsets of some filters in one forward pass of a layer.

    Attributes:
        offset: (N, 2·G·K, P), in cells of the layer's input, with (dy, dx) interleaved per tap.
        mask_logits: (N, G·K, P), the modulation before the sigmoid; None if the layer is not modulated.
        cells: Indices of the P output cells in the flattened output map.
        output_width: Width of the output map, in cells.
        input_size: Height and width of the layer's input, in cells.
    """

    offset: Tensor
    mask_logits: Tensor | None
    cells: range
    output_width: int
    input_size: tuple[int, int]


class OffsetStatistics(NamedTuple):
    """Statistics of the offsets of one layer.

    Lengths and effective dilation are in cells of the layer's input. Shares are fractions from 0 to 1.

    Attributes:
        filters: Number of filters that were sampled.
        length_q05: 5 % quantile of the length of the offset vectors.
        length_q25: 25 % quantile of the length.
        length_q50: Median of the length.
        length_q75: 75 % quantile of the length.
        length_q95: 95 % quantile of the length.
        length_over_side: Median of the length divided by the shorter side of the layer's input.
        outside: Share of the samples outside the input, that is, with y < -0.5, y > H - 0.5, x < -0.5 or
            x > W - 0.5.
        outside_undeformed: Share of the samples that would lie there if all offsets were zero.
        modulation_low: Share of the samples with a modulation below 0.1 times `modulation_scale`; None if the
            layer is not modulated.
        modulation_high: Share of the samples with a modulation above 0.9 times `modulation_scale`; None if
            the layer is not modulated.
        effective_dilation: Mean effective dilation of the filters; None for a 1x1 kernel, which has no
            neighbouring taps.
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
    """Copy the offsets of filters that are spread evenly over the output map.

    Args:
        output: (N, 2·G·K or 3·G·K, H_out, W_out), the output of a layer's `conv_offset`.
        input_size: Height and width of the layer's input, in cells.
        num_samples: Number of samples of one filter, G·K.
        count: Approximate number of filters to copy from the whole batch, >= 1. At least one is copied from
            each image.
        phase: Where to start, as a fraction of the distance between two sampled cells, 0 <= phase < 1.
            Different phases select different cells.

    Returns:
        The offsets of the chosen filters, detached, and their modulation if the layer is modulated.

    Raises:
        ValueError: `output` is empty, or has neither 2 nor 3 times `num_samples` channels; or `count` or
            `phase` is out of its range.
    """
    if output.dim() != 4 or not output.numel():
        raise ValueError(f"output must be (N, C, H_out, W_out) and not empty, got {tuple(output.shape)}")
    images, channels, height, width = output.shape
    if channels not in (2 * num_samples, 3 * num_samples):
        raise ValueError(
            f"output must have 2 or 3 times num_samples channels, got {channels} channels and "
            f"num_samples={num_samples}"
        )
    if count < 1:
        raise ValueError(f"count must be >= 1, got {count}")
    if not 0 <= phase < 1:
        raise ValueError(f"phase must be >= 0 and < 1, got {phase}")
    step = max(1, height * width * images // count)
    cells = range(int(phase * step) % (height * width), height * width, step)
    # A copy, so that the memory of the whole map can be freed.
    chosen = output.detach().flatten(2)[:, :, cells.start :: step].clone()
    logits = chosen[:, 2 * num_samples :] if channels > 2 * num_samples else None
    return FilterSample(chosen[:, : 2 * num_samples], logits, cells, width, input_size)


def offset_statistics(samples: Sequence[FilterSample], layer: nn.Conv2d) -> OffsetStatistics:
    """Compute the statistics of filters sampled in one or more forward passes, on the CPU.

    Args:
        samples: At least one `FilterSample`. The sizes of the images may differ, but no batch may be empty.
        layer: The layer whose filters they are. Its kernel size, stride, padding and dilation are read. The
            padding must be numeric; `DeformConv2d` replaces `same` and `valid` with numbers.

    Returns:
        Statistics in which every filter has the same weight. If an offset is nan, the lengths and effective
        dilation are nan, and that tap counts as outside.

    Raises:
        ValueError: `samples` is empty or does not fit the layer, or the layer's padding is not numeric.
    """
    kernel_size, dilation = _pair(layer.kernel_size), _pair(layer.dilation)
    taps = kernel_size[0] * kernel_size[1]
    if isinstance(layer.padding, str):
        raise ValueError(f"layer must have a numeric padding, got {layer.padding!r}")
    if not samples:
        raise ValueError("samples must contain at least one FilterSample, got none")
    for i, sample in enumerate(samples):
        _check_fit(i, sample, taps)
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


def _check_fit(index: int, sample: FilterSample, taps: int) -> None:
    """Refuse a sample that is empty or does not fit a layer with this number of taps."""
    shape, count = tuple(sample.offset.shape), len(sample.cells)
    if len(shape) != 3 or not sample.offset.numel() or shape[1] % (2 * taps) or shape[2] != count:
        raise ValueError(
            f"samples[{index}].offset must be (N, {2 * taps}·G, {count}) for this layer and not empty, got "
            f"{shape}"
        )
    logits = None if sample.mask_logits is None else tuple(sample.mask_logits.shape)
    expected = (shape[0], shape[1] // 2, shape[2])
    if logits not in (None, expected):
        raise ValueError(f"samples[{index}].mask_logits must be {expected} for these offsets, got {logits}")


def _undeformed_taps(sample: FilterSample, layer: nn.Conv2d) -> Tensor:
    """Return the positions (y, x) that undeformed filters sample, (K, P, 2), in cells of the input."""
    (kernel_h, kernel_w), padding = _pair(layer.kernel_size), _pair(layer.padding)
    stride, dilation = _pair(layer.stride), _pair(layer.dilation)
    cells, taps = torch.tensor(sample.cells), torch.arange(kernel_h * kernel_w)
    corner_y = cells // sample.output_width * stride[0] - padding[0]
    corner_x = cells % sample.output_width * stride[1] - padding[1]
    y = corner_y + (taps // kernel_w * dilation[0])[:, None]
    x = corner_x + (taps % kernel_w * dilation[1])[:, None]
    return torch.stack([y, x], dim=-1)


def _outside(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Return whether each (..., 2) position lies outside all cells; a cell extends 0.5 from its centre."""
    inside = (positions >= -0.5) & (positions <= torch.tensor(size) - 0.5)
    return ~inside.all(-1)


def _share(chosen: Tensor) -> float:
    return chosen.float().mean().item()
