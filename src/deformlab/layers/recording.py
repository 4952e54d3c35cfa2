"""Records inputs and outputs of modules while a network runs. No other part of deformlab adds forward hooks.

The recorded offsets, modulation and bins serve to compute effective dilation (DCNv1, section 3) and the
displacement of bins, and to draw figures.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from deformlab.layers.deform_conv import DeformConv2d
from deformlab.layers.deform_roi_pooling import BinPositions, DeformPSRoIPool, DeformRoIPool

__all__ = ["record_bins", "record_forward", "record_modulation", "record_offsets"]

T = TypeVar("T")


@contextmanager
def record_forward(
    modules: Mapping[str, nn.Module], read: Callable[[str, Tensor, Tensor], T]
) -> Iterator[dict[str, T]]:
    """Call a function after each forward pass of some modules, and keep its last result for each module.

    Recording ends with the `with` block.

    `torch.compile` only sees the hooks that exist when the network is first called. If that call is outside
    the block, put `torch.compiler.set_stance("force_eager")` around the block.

    Args:
        modules: The modules to record, by a name of your choice.
        read: Called as `read(name, input, output)` after each forward pass of a module, with the first input
            and the output of the module. Both are still attached to the autograd graph. An error raised by
            `read` ends the forward pass. A module that is called with keyword arguments only is a TypeError.

    Yields:
        A dictionary from the name of a module to what `read` last returned for it. It fills while the network
        runs, and you may clear it.

    Example:
        >>> with record_forward({"conv": conv}, lambda name, input, output: output.detach()) as outputs:
        ...     model(image)
    """

    def read_first(name: str, inputs: tuple[Any, ...], output: Tensor) -> T:
        if not inputs:
            raise TypeError(f"{name} was called without positional arguments; pass its input as the first")
        return read(name, inputs[0], output)

    with _record(modules, read_first) as recorded:
        yield recorded


@contextmanager
def _record(
    modules: Mapping[str, nn.Module], read: Callable[[str, tuple[Any, ...], Tensor], T]
) -> Iterator[dict[str, T]]:
    """Do the same as `record_forward`, with all positional inputs of the module."""
    recorded: dict[str, T] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            recorded[name] = read(name, inputs, output)

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def record_offsets(layers: Mapping[str, nn.Conv2d]) -> Iterator[dict[str, Tensor]]:
    """Record the offsets of each layer's last forward pass inside the `with` block.

    For use with `torch.compile`, see `record_forward`.

    Args:
        layers: The layers to record, by a name of your choice. A plain `nn.Conv2d` is treated as a deformable
            layer whose offsets are always zero.

    Yields:
        A dictionary that fills while the network runs. It maps the name of a layer to its offsets
        (N, 2·G·K, H_out, W_out), in cells of the layer's input, with (dy, dx) interleaved per tap. The
        offsets are detached. For a plain convolution they are an expanded zero, which takes no memory.

    Example:
        >>> with record_offsets({"layer4.2.conv2": model.backbone.layer4[2].conv2}) as offsets:
        ...     model(image)
        >>> offsets["layer4.2.conv2"].shape

    Raises:
        TypeError: A layer is not a convolution.
    """
    for name, layer in layers.items():
        if not isinstance(layer, nn.Conv2d):
            raise TypeError(f"layer {name!r} is not a convolution")

    def read(name: str, input: Tensor, output: Tensor) -> Tensor:
        layer = layers[name]
        if isinstance(layer, DeformConv2d):
            return output[:, : 2 * layer.num_samples].detach()
        batch, _, height, width = output.shape
        channels = 2 * layer.kernel_size[0] * layer.kernel_size[1]
        return output.new_zeros(()).expand(batch, channels, height, width)

    modules = {
        name: layer.conv_offset if isinstance(layer, DeformConv2d) else layer
        for name, layer in layers.items()
    }
    with record_forward(modules, read) as offsets:
        yield offsets


@contextmanager
def record_modulation(layers: Mapping[str, nn.Conv2d]) -> Iterator[dict[str, Tensor]]:
    """Record the modulation of each modulated layer's last forward pass inside the `with` block.

    For use with `torch.compile`, see `record_forward`.

    Args:
        layers: The layers to record, by a name of your choice. Layers that are not modulated are skipped.

    Yields:
        A dictionary that fills while the network runs. It maps the name of a layer to its modulation
        (N, G·K, H_out, W_out), from 0 to `modulation_scale`, detached.
    """
    modulated = {
        name: layer for name, layer in layers.items() if isinstance(layer, DeformConv2d) and layer.modulated
    }

    def read(name: str, input: Tensor, output: Tensor) -> Tensor:
        layer = modulated[name]
        return layer.modulation_scale * output[:, 2 * layer.num_samples :].detach().sigmoid()

    modules = {name: layer.conv_offset for name, layer in modulated.items()}
    with record_forward(modules, read) as modulation:
        yield modulation


@contextmanager
def record_bins(layers: Mapping[str, DeformRoIPool | DeformPSRoIPool]) -> Iterator[dict[str, BinPositions]]:
    """Record where each layer reads the bins of its regions in its last forward pass inside the `with` block.

    For use with `torch.compile`, see `record_forward`.

    Args:
        layers: The layers to record, by a name of your choice.

    Yields:
        A dictionary that fills while the network runs. It maps the name of a layer to the bins of all its
        regions, their displacement and their mask, in pixels of the network's input, detached.

    Example:
        >>> with torch.no_grad(), record_bins({"pool": pool}) as bins:
        ...     pool(features, rois)
        >>> distance = bins["pool"].displacement.norm(dim=-1)  # pixels, (K, G, k, k)

    Raises:
        TypeError: A layer is no deformable pooling.
    """
    for name, layer in layers.items():
        if not isinstance(layer, DeformRoIPool | DeformPSRoIPool):
            raise TypeError(f"layer {name!r} is not a DeformRoIPool or DeformPSRoIPool")

    # The layer first pools without offsets, then with them; the last call is the one to keep.
    def read(name: str, inputs: tuple[Any, ...], output: Tensor) -> BinPositions:
        _, rois, offset, mask = (*inputs, None, None)[:4]
        sampler = layers[name].sampler
        with torch.no_grad():
            if offset is None:
                count, k = len(output), sampler.output_size
                offset = output.new_zeros(()).expand(count, 2, k, k)
            return sampler.positions(
                [boxes.detach() for boxes in rois] if isinstance(rois, list) else rois.detach(),
                offset.detach(),
                None if mask is None else mask.detach(),
            )

    with _record({name: layer.sampler for name, layer in layers.items()}, read) as bins:
        yield bins
