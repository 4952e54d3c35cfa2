"""Reads the offsets of layers while a network runs, for effective dilation (DCNv1 section 3) and pictures."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from deformlab.layers.deform_conv import DeformConv2d

__all__ = ["record_offsets"]


@contextmanager
def record_offsets(layers: Mapping[str, nn.Conv2d]) -> Iterator[dict[str, Tensor]]:
    """Keeps the offsets of each layer's last forward pass inside the `with` block.

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
    offsets: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Conv2d, output: Tensor) -> None:
        if isinstance(layer, DeformConv2d):
            offsets[name] = output[:, : 2 * layer.num_samples].detach()
        else:
            batch, _, height, width = output.shape
            channels = 2 * layer.kernel_size[0] * layer.kernel_size[1]
            offsets[name] = output.new_zeros(()).expand(batch, channels, height, width)

    handles = []
    for name, layer in layers.items():
        watched = layer.conv_offset if isinstance(layer, DeformConv2d) else layer
        handles.append(
            watched.register_forward_hook(
                lambda module, inputs, output, name=name, layer=layer: keep(name, layer, output)
            )
        )
    try:
        yield offsets
    finally:
        for handle in handles:
            handle.remove()
