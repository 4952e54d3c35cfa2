"""Reads offsets and modulation of a running network for effective dilation (DCNv1 section 3) and pictures."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from deformlab.layers.deform_conv import DeformConv2d

__all__ = ["record_modulation", "record_offsets"]


@contextmanager
def record_offsets(layers: Mapping[str, nn.Conv2d]) -> Iterator[dict[str, Tensor]]:
    """Keeps the offsets of each layer's last forward pass inside the `with` block.

    `torch.compile` keeps the hooks that were there at a network's first call. Where that call was outside any
    such block, `torch.compiler.set_stance("force_eager")` around the block brings the offsets.

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

    def read(layer: nn.Conv2d, output: Tensor) -> Tensor:
        if isinstance(layer, DeformConv2d):
            return output[:, : 2 * layer.num_samples].detach()
        batch, _, height, width = output.shape
        channels = 2 * layer.kernel_size[0] * layer.kernel_size[1]
        return output.new_zeros(()).expand(batch, channels, height, width)

    with _recorded(layers, read) as offsets:
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

    def read(layer: nn.Conv2d, output: Tensor) -> Tensor:
        assert isinstance(layer, DeformConv2d)
        return layer.modulation_scale * output[:, 2 * layer.num_samples :].detach().sigmoid()

    modulated = {
        name: layer for name, layer in layers.items() if isinstance(layer, DeformConv2d) and layer.modulated
    }
    with _recorded(modulated, read) as modulation:
        yield modulation


@contextmanager
def _recorded(
    layers: Mapping[str, nn.Conv2d], read: Callable[[nn.Conv2d, Tensor], Tensor]
) -> Iterator[dict[str, Tensor]]:
    """What `read` makes of each layer and the output of its offset convolution, or of its own."""
    recorded: dict[str, Tensor] = {}

    def hook(name: str, layer: nn.Conv2d) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            recorded[name] = read(layer, output)

        return keep

    handles = [
        (layer.conv_offset if isinstance(layer, DeformConv2d) else layer).register_forward_hook(
            hook(name, layer)
        )
        for name, layer in layers.items()
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
