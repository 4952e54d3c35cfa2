"""What went into layers and came out of them in a forward pass."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deformlab.layers import DeformConv2d

__all__ = ["LayerPass", "Samples", "output_of", "record_passes", "samples_of"]


class LayerPass(NamedTuple):
    """Input (1, C_in, H, W) and output (1, C_out, H_out, W_out) of a layer, with their gradients' graph."""

    input: Tensor
    output: Tensor


class Samples(NamedTuple):
    """Where a layer looks.

    Attributes:
        offset: (N, 2·G·K, H_out, W_out), (dy, dx) interleaved per tap, in cells; zero where nothing moves.
        modulation: Weight of each sample (N, G·K, H_out, W_out); one where there is no modulation.
    """

    offset: Tensor
    modulation: Tensor


@contextmanager
def record_passes(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, LayerPass]]:
    """Keeps input and output of each layer's last forward pass inside the `with` block.

    Args:
        layers: The layers to watch, by the name that they get.

    Yields:
        A dictionary that fills as the network runs.
    """
    passes: dict[str, LayerPass] = {}

    def hook(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_hook(
            lambda module, inputs, output: passes.__setitem__(name, LayerPass(inputs[0], output))
        )

    handles = [hook(name, layer) for name, layer in layers.items()]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


class _LayerReachedError(Exception):
    """Ends a forward pass."""


def output_of(network: nn.Module, layer: str, image: Tensor) -> Tensor:
    """The output of a layer; what comes behind it in the network is not computed.

    Args:
        network: The network.
        layer: The layer, by its name in the network.
        image: The network's input.
    """
    reached: list[Tensor] = []

    def stop(module: nn.Module, inputs: object, output: Tensor) -> None:
        reached.append(output)
        raise _LayerReachedError

    handle = network.get_submodule(layer).register_forward_hook(stop)
    try:
        network(image)
    except _LayerReachedError:
        return reached[0]
    finally:
        handle.remove()
    raise ValueError(f"layer {layer!r} takes no part in the network's forward pass")


def samples_of(layer: nn.Conv2d, layer_pass: LayerPass) -> Samples:
    """Where a layer looked in a forward pass, without gradients.

    Args:
        layer: A convolution; a plain one counts as a deformable one that never moves.
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
