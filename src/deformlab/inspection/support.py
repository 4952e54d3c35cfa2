"""DCNv2's three views of a unit: effective receptive field, effective sampling locations, saliency region.

Deformable ConvNets v2 (arXiv 1811.11168), section 2. The first two are gradients. The third is the part of
the image that a unit needs to see to give nearly the same response. There are too many regions to try all of
them; the search here ends at a region of which no further block can be masked.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from deformlab.inspection.sampling import LayerPass, record_passes, samples_of
from deformlab.layers import DeformConv2d, record_forward
from deformlab.ops import deform_conv2d

__all__ = [
    "EffectiveSamples",
    "SaliencyRegion",
    "effective_receptive_field",
    "effective_sampling_locations",
    "saliency_region",
    "unit_response",
]

# Default number of blocks of an image in a search for a saliency region.
BLOCKS = 300


class EffectiveSamples(NamedTuple):
    """The samples of one layer and how much each matters to a unit.

    Attributes:
        points: (S, 2), y and x in cells of the layer's input, for every tap of every filter and group.
        strength: (S,), length of the gradient of the unit's response with respect to the sample's position,
            in response per cell.
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
    """How much the position of each sample matters to a unit.

    Args:
        network: A network in evaluation mode.
        image: Its input (1, C, h, w).
        layer: The unit's layer, by its name in the network.
        cell: (row, column) of the unit in the layer's output.
        channel: Its channel; None for the length of the vector of all channels.
        layers: Convolutions before the unit, by name. A plain convolution counts as a deformable one whose
            offsets are zero.

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
        # The layer does not influence the unit, or comes after it.
        gradient = torch.zeros_like(output) if gradient is None else gradient
        (position_gradient,) = torch.autograd.grad(output, offset, gradient)
    strength = position_gradient[0].unflatten(0, (-1, 2)).norm(dim=1)
    return EffectiveSamples(_positions(layer, samples.offset).reshape(-1, 2), strength.reshape(-1))


def _positions(layer: nn.Conv2d, offset: Tensor) -> Tensor:
    """Positions of the samples of all filters, (G·K, H_out, W_out, 2), in cells of the layer's input."""
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


class SaliencyRegion(NamedTuple):
    """What a unit needs to see.

    Attributes:
        mask: (h, w), true where the input was kept.
        error: Relative change of the response if the unit sees the region only.
        evaluations: Forward passes that the search took.
    """

    mask: Tensor
    error: float
    evaluations: int


def saliency_region(
    network: nn.Module,
    image: Tensor,
    layer: str,
    cell: tuple[int, int],
    *,
    error_bound: float = 0.1,
    block: int | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> SaliencyRegion:
    """Masks as much of the image as a unit can do without.

    The image is divided into square blocks. A masked block has the value zero, which is the mean colour of a
    normalised image. Each round orders the remaining blocks by gradient times input and tries to mask runs of
    them, the least important first. A run has half of all blocks in the first round, half as many in each
    following round, and finally one block, until none can be masked. A run stays masked if the response
    f(masked) to the rest of the image has `|f(masked) - f(image)| <= error_bound · |f(image)|`.

    The result is minimal: masking any further block would exceed the bound. Each tried run costs one forward
    pass, usually about one for each block in total, and each round one backward pass. There are about
    log2(blocks) rounds, and then as many as still find a block to mask. Layers after the unit's are not
    computed, and a block that was found necessary is not tried again before another one is masked.

    Args:
        network: A network in evaluation mode.
        image: Its input (1, C, h, w).
        layer: The unit's layer, by its name in the network. Its response f is the vector of all channels.
        cell: (row, column) of the unit in the layer's output.
        error_bound: Largest relative change of the response, in (0, 1).
        block: Side of a block in pixels, >= 1; None for the side that gives about 300 blocks.
        progress: Called after each forward pass with passes so far, blocks kept and blocks in all.

    Raises:
        ValueError: An argument is out of its range, or the unit's response is zero.
    """
    if not 0 < error_bound < 1:
        raise ValueError(f"error_bound must be above 0 and below 1, got {error_bound}")
    if block is None:
        block = max(1, round((image.shape[-2] * image.shape[-1] / BLOCKS) ** 0.5))
    if block < 1:
        raise ValueError(f"block must be at least 1 pixel, got {block}")
    search = _Search(network, image.detach(), layer, cell, block, progress)
    size = search.count
    while not search.is_minimal():
        size = max(1, size // 2)
        search.round(size, error_bound)
    return SaliencyRegion(search.pixels(search.kept)[0, 0].bool(), search.error, search.evaluations)


class _Search:
    """The blocks that are still kept, and the number of forward passes so far."""

    def __init__(
        self,
        network: nn.Module,
        image: Tensor,
        layer: str,
        cell: tuple[int, int],
        block: int,
        progress: Callable[[int, int, int], None] | None,
    ) -> None:
        self.network, self.image, self.layer, self.cell, self.block = network, image, layer, cell, block
        self.progress = progress
        self.grid = tuple(-(-side // block) for side in image.shape[-2:])
        self.count = self.grid[0] * self.grid[1]
        self.kept = torch.ones(self.count, dtype=torch.bool, device=image.device)
        # Kept blocks that cannot be masked: without one of them, the error exceeds the bound.
        self.necessary = torch.zeros_like(self.kept)
        self.error, self.evaluations = 0.0, 0
        self.wanted = self.response(image)
        if not self.wanted.norm() > 0:
            raise ValueError(
                f"the response of unit {cell} of {layer} is zero, so no part of the image matters"
            )

    def is_minimal(self) -> bool:
        """Whether it is known that no further block can be masked."""
        return bool(self.necessary[self.kept].all())

    def round(self, size: int, bound: float) -> None:
        """Tries runs of `size` blocks once, the least important first."""
        for run in self.least_important_first().split(size):
            # A longer run with a necessary block may be masked: responses are not sums over blocks.
            if len(run) == 1 and self.necessary[run]:
                continue
            candidate = self.kept.clone()
            candidate[run] = False
            error = self.change(self.response(self.image * self.pixels(candidate)))
            if error <= bound:
                self.kept, self.error = candidate, error
                self.necessary.zero_()
            elif len(run) == 1:
                self.necessary[run] = True
            if self.progress is not None:
                self.progress(self.evaluations, int(self.kept.sum()), self.count)

    def response(self, image: Tensor) -> Tensor:
        """The unit's response, (C,)."""
        self.evaluations += 1
        with torch.set_grad_enabled(image.requires_grad):
            return output_of(self.network, self.layer, image)[0, :, self.cell[0], self.cell[1]]

    def change(self, response: Tensor) -> float:
        """How far a response is from that to the whole image, relative to it."""
        return float((response - self.wanted).norm() / self.wanted.norm())

    def pixels(self, blocks: Tensor) -> Tensor:
        """A mask of blocks as a mask of pixels, (1, 1, h, w)."""
        height, width = self.image.shape[-2:]
        mask = blocks.reshape(self.grid).to(self.image.dtype)
        mask = mask.repeat_interleave(self.block, 0).repeat_interleave(self.block, 1)
        return mask[None, None, :height, :width]

    def least_important_first(self) -> Tensor:
        """The kept blocks by |gradient times input| of the response's length, ascending."""
        image = (self.image * self.pixels(self.kept)).requires_grad_()
        (gradient,) = torch.autograd.grad(self.response(image).norm(), image)
        share = (gradient * image.detach()).sum(1).abs()
        importance = torch.zeros(self.count, device=share.device).index_add_(
            0, self.block_of_pixel(), share.reshape(-1)
        )
        order = importance.argsort(stable=True)
        return order[self.kept[order]]

    def block_of_pixel(self) -> Tensor:
        """The index of each pixel's block, (h·w,)."""
        height, width = self.image.shape[-2:]
        rows = torch.arange(height, device=self.image.device) // self.block
        columns = torch.arange(width, device=self.image.device) // self.block
        return (rows[:, None] * self.grid[1] + columns).reshape(-1)


class _LayerReachedError(Exception):
    """Ends a forward pass; its argument is the layer's output."""


def output_of(network: nn.Module, layer: str, image: Tensor) -> Tensor:
    """The output of a layer; later layers are not computed.

    Args:
        network: The network.
        layer: The layer, by its name in the network.
        image: The network's input.
    """

    def stop(name: str, input: Tensor, output: Tensor) -> None:
        raise _LayerReachedError(output)

    try:
        with record_forward({layer: network.get_submodule(layer)}, stop):
            network(image)
    except _LayerReachedError as reached:
        output: Tensor = reached.args[0]
        return output
    raise ValueError(f"layer {layer!r} takes no part in the network's forward pass")
