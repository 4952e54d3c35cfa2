"""Two of DCNv2's three views of a unit, by gradients: effective receptive field and sampling locations.

Deformable ConvNets v2 (arXiv 1811.11168), section 2; the third is in `saliency`.
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from deformlab.inspection.passes import LayerPass, record_passes, samples_of
from deformlab.layers import DeformConv2d
from deformlab.ops import deform_conv2d

__all__ = [
    "EffectiveSamples",
    "effective_receptive_field",
    "effective_sampling_locations",
    "unit_response",
]


class EffectiveSamples(NamedTuple):
    """The samples of one layer and how much each matters to a unit.

    Attributes:
        points: (S, 2), y and x in cells of the layer's input, for every tap of every filter and group.
        strength: (S,), length of the gradient of the unit's response with respect to the sample's place, in
            response per cell.
    """

    points: Tensor
    strength: Tensor


def unit_response(output: Tensor, cell: tuple[int, int], channel: int | None = None) -> Tensor:
    """A unit's response as one number.

    Args:
        output: A layer's output (1, C, H, W).
        cell: (row, column) of the unit.
        channel: Its channel; None for the length of the vector of all channels.
    """
    vector = output[0, :, cell[0], cell[1]]
    return vector.norm() if channel is None else vector[channel]


def effective_receptive_field(
    network: nn.Module, image: Tensor, layer: str, cell: tuple[int, int], channel: int | None = None
) -> Tensor:
    """How strongly a unit reacts to a small change of each pixel.

    Args:
        network: A network in evaluation mode.
        image: Its input (1, C, h, w).
        layer: The unit's layer, by its name in the network (`classifier` for the scores of a `DeepLab`).
        cell: (row, column) of the unit in the layer's output.
        channel: Its channel; None for the length of the vector of all channels.

    Returns:
        (h, w), length of the gradient over the image's channels, in response per unit of input.
    """
    image = image.detach().requires_grad_()
    with torch.enable_grad(), record_passes({layer: network.get_submodule(layer)}) as passes:
        network(image)
        response = unit_response(passes[layer].output, cell, channel)
        (gradient,) = torch.autograd.grad(response, image)
    return gradient[0].norm(dim=0)


def effective_sampling_locations(
    network: nn.Module,
    image: Tensor,
    layer: str,
    cell: tuple[int, int],
    channel: int | None = None,
    *,
    layers: Mapping[str, nn.Conv2d],
) -> dict[str, EffectiveSamples]:
    """How much the place of each sample matters to a unit.

    Args:
        network: A network in evaluation mode.
        image: Its input (1, C, h, w).
        layer: The unit's layer, by its name in the network.
        cell: (row, column) of the unit in the layer's output.
        channel: Its channel; None for the length of the vector of all channels.
        layers: Convolutions before the unit, whose samples are wanted, by name. The samples of a plain one
            are those of a deformable one that never moves.

    Returns:
        By the names of `layers`.
    """
    unit_layer = network.get_submodule(layer)
    image = image.detach().requires_grad_()
    with torch.enable_grad(), record_passes({**layers, "unit of interest": unit_layer}) as passes:
        network(image)
        response = unit_response(passes["unit of interest"].output, cell, channel)
        outputs = [passes[name].output for name in layers]
        gradients = torch.autograd.grad(response, outputs, allow_unused=True)
    return {
        name: _samples(convolution, passes[name], gradient)
        for (name, convolution), gradient in zip(layers.items(), gradients, strict=True)
    }


def _samples(layer: nn.Conv2d, layer_pass: LayerPass, gradient: Tensor | None) -> EffectiveSamples:
    features = layer_pass.input.detach()
    samples = samples_of(layer, layer_pass)
    offset = samples.offset.detach().requires_grad_()
    with torch.enable_grad():
        if isinstance(layer, DeformConv2d):
            output = layer.sample(features, offset, samples.modulation if layer.modulated else None)
        else:
            stride, padding, dilation = (
                cast("tuple[int, int]", pair) for pair in (layer.stride, layer.padding, layer.dilation)
            )
            output = deform_conv2d(features, offset, layer.weight, None, stride, padding, dilation)
        # A layer that the unit does not see, or one behind it.
        gradient = torch.zeros_like(output) if gradient is None else gradient
        (place_gradient,) = torch.autograd.grad(output, offset, gradient)
    strength = place_gradient[0].unflatten(0, (-1, 2)).norm(dim=1)
    return EffectiveSamples(_places(layer, samples.offset).reshape(-1, 2), strength.reshape(-1))


def _places(layer: nn.Conv2d, offset: Tensor) -> Tensor:
    """Where the samples of all filters lie, (G·K, H_out, W_out, 2) in cells of the layer's input."""
    height, width = offset.shape[-2:]
    taps = torch.cartesian_prod(torch.arange(layer.kernel_size[0]), torch.arange(layer.kernel_size[1]))
    cells = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1)

    def pair(values: object) -> Tensor:
        return torch.tensor(values, device=offset.device)

    taps, cells = taps.to(offset.device), cells.to(offset.device)
    base = cells * pair(layer.stride) - pair(layer.padding)
    grid = base + (taps * pair(layer.dilation))[:, None, None]
    moved = offset[0].unflatten(0, (-1, len(taps), 2)).permute(0, 1, 3, 4, 2)
    return (grid + moved).flatten(0, 1)
