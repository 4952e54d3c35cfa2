"""Reads what modules of a running network take in and give out; the only place that adds forward hooks.

Offsets and modulation are read for effective dilation (DCNv1 section 3) and for pictures.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

from deformlab.layers.deform_conv import DeformConv2d

__all__ = ["record_forward", "record_modulation", "record_offsets"]

T = TypeVar("T")


@contextmanager
def record_forward(
    modules: Mapping[str, nn.Module], read: Callable[[str, Tensor, Tensor], T]
) -> Iterator[dict[str, T]]:
    """Keeps what `read` makes of each module's last forward pass inside the `with` block.

    `torch.compile` keeps the hooks that are there at a network's first call. If that call is outside such a
    block, put `torch.compiler.set_stance("force_eager")` around the block.

    Args:
        modules: The modules to watch, by a name of your choice.
        read: Called as `read(name, input, output)` after each forward pass, with the module's first input and
            its output, both with their gradients' graph. An error that it raises ends the forward pass.

    Yields:
        A dictionary that fills as the network runs: name to what `read` returned. It may be cleared.

    Example:
        >>> with record_forward({"conv": conv}, lambda name, input, output: output.detach()) as outputs:
        ...     model(image)
    """
    recorded: dict[str, T] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            recorded[name] = read(name, inputs[0], output)

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def record_offsets(layers: Mapping[str, nn.Conv2d]) -> Iterator[dict[str, Tensor]]:
    """Keeps the offsets of each layer's last forward pass inside the `with` block.

    For `torch.compile` see `record_forward`.

    Args:
        layers: The layers to watch, by the name that their offsets get. A plain `nn.Conv2d` counts as a
            deformable one that never moves.

    Yields:
        A dictionary that fills as the network runs: name to offsets (N, 2·G·K, H_out, W_out), (dy, dx)
        interleaved per tap, in cells, detached; zeros that take no memory for a plain convolution.

    Example:
        >>> with record_offsets({"layer4.2.conv2": model.backbone.layer4[2].conv2}) as offsets:
        ...     model(image)
        >>> offsets["layer4.2.conv2"].shape
    """

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
    """Keeps the modulation of each modulated layer's last forward pass inside the `with` block.

    Args:
        layers: The layers to watch, by name; those that are not modulated are left out.

    Yields:
        A dictionary that fills as the network runs: name to modulation (N, G·K, H_out, W_out) in
        [0, modulation_scale], detached.
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
