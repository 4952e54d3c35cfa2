"""Sampling locations of one layer, and of units through several layers (DCNv1, figures 5 and 6).

Shapes: M units, L levels, K taps of a filter (equal in all levels), P = K^L points.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deformlab.layers import DeformConv2d, record_forward

__all__ = ["LayerPass", "Samples", "SamplingLocations", "record_passes", "samples_of", "sampling_locations"]


class LayerPass(NamedTuple):
    """Input and output of a layer in one forward pass, attached to the autograd graph.

    Attributes:
        input: (1, C_in, H, W).
        output: (1, C_out, H_out, W_out).
    """

    input: Tensor
    output: Tensor


class Samples(NamedTuple):
    """Offsets and modulation of a layer. G is the number of offset groups.

    Attributes:
        offset: (N, 2·G·K, H_out, W_out), (dy, dx) interleaved per tap, in cells; 0 for plain convolutions.
        modulation: (N, G·K, H_out, W_out), weight of each sample; 1 without modulation.
    """

    offset: Tensor
    modulation: Tensor


@contextmanager
def record_passes(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, LayerPass]]:
    """Records input and output of each layer's last forward pass inside the `with` block.

    Args:
        layers: The layers to record, by name.

    Yields:
        A dictionary of passes by name, which is filled when the network runs.
    """
    with record_forward(layers, lambda name, input, output: LayerPass(input, output)) as passes:
        yield passes


def samples_of(layer: nn.Conv2d, layer_pass: LayerPass) -> Samples:
    """Offsets and modulation of a layer in a forward pass, without gradients.

    Args:
        layer: A convolution; a plain convolution gets zero offsets.
        layer_pass: Its input and output.
    """
    with torch.no_grad():
        if isinstance(layer, DeformConv2d):
            offset, modulation = layer.predict_offsets(layer_pass.input)
            return Samples(offset, torch.ones_like(offset[:, ::2]) if modulation is None else modulation)
        batch, _, height, width = layer_pass.output.shape
        taps = layer.kernel_size[0] * layer.kernel_size[1]
        offset = layer_pass.output.new_zeros(batch, 2 * taps, height, width)
        return Samples(offset, torch.ones_like(offset[:, ::2]))


class SamplingLocations(NamedTuple):
    """The points that units sample.

    Attributes:
        points: (M, P, 2), y and x in cells of the first layer's input; cell (i, j) has its centre at (i, j).
        inside: (M, P), whether a sample can be nonzero: less than one cell outside the feature map at every
            level.
        weight: (M, P), product of the modulations over all levels; 1 without modulation.
    """

    points: Tensor
    inside: Tensor
    weight: Tensor


def sampling_locations(
    layers: Sequence[nn.Conv2d], passes: Sequence[LayerPass], cells: Tensor, group: int = 0
) -> SamplingLocations:
    """Follows units down through their filters, tap by tap (DCNv1, figures 5 and 6).

    If a tap lies between cells of the level below, it uses the offsets there, interpolated bilinearly like
    the features. K taps therefore always have K² samples. Shortcuts and 1x1 convolutions do not change
    positions and are ignored.

    Args:
        layers: Consecutive convolutions in forward order; plain convolutions have zero offsets.
        passes: Input and output of each layer in one forward pass of one image.
        cells: (M, 2), row and column of each unit in the last layer's output; they may lie between cells.
        group: The offset group whose offsets are used; layers with fewer groups use their first one.

    Returns:
        Points in cells of the first layer's input.
    """
    assert len(layers) == len(passes) > 0
    points = cells.to(torch.float32)[:, None]
    inside = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
    weight = torch.ones(points.shape[:2], device=points.device)
    for layer, layer_pass in zip(reversed(layers), reversed(passes), strict=True):
        points, tap_weight = _taps(layer, layer_pass, points, group)
        size = torch.tensor(layer_pass.input.shape[-2:], device=points.device)
        counts = ((points > -1) & (points < size)).all(-1)
        inside = (inside[..., None] & counts).flatten(1)
        weight = (weight[..., None] * tap_weight).flatten(1)
        points = points.flatten(1, 2)
    return SamplingLocations(points, inside, weight)


def _taps(layer: nn.Conv2d, layer_pass: LayerPass, points: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Taps (M, P, K, 2) of filters at points (M, P, 2) of the layer's output, and weights (M, P, K)."""
    (kernel_h, kernel_w), taps = layer.kernel_size, layer.kernel_size[0] * layer.kernel_size[1]
    samples = samples_of(layer, layer_pass)
    group = group if (group + 1) * taps <= samples.modulation.shape[1] else 0
    offset = _lookup(samples.offset[0, 2 * taps * group :][: 2 * taps], points).unflatten(-1, (taps, 2))
    weight = _lookup(samples.modulation[0, taps * group :][:taps], points)

    def pair(values: object) -> Tensor:
        return torch.tensor(values, dtype=points.dtype, device=points.device)

    grid = torch.cartesian_prod(torch.arange(kernel_h), torch.arange(kernel_w)).to(points)
    base = points * pair(layer.stride) - pair(layer.padding)
    return base[:, :, None] + grid * pair(layer.dilation) + offset, weight


def _lookup(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (M, P, C) of maps (C, H, W) at points (M, P, 2), clamped to the border cells."""
    height, width = maps.shape[-2:]
    y, x = points.unbind(-1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    values = F.grid_sample(maps[None].float(), grid[None], padding_mode="border", align_corners=False)
    return values[0].permute(1, 2, 0)
