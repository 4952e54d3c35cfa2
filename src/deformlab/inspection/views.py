"""Computes panels that show what a trained network does with one image, in pixels of the image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deformlab.errors import ConfigError
from deformlab.inspection.network import TrainedNetwork
from deformlab.inspection.sampling import LayerPass, record_passes, samples_of, sampling_locations
from deformlab.inspection.scene import Scene
from deformlab.inspection.support import (
    effective_receptive_field,
    effective_sampling_locations,
    saliency_region,
)
from deformlab.inspection.units import Cells, Unit, UnitMark, to_image
from deformlab.labels import IGNORED
from deformlab.metrics import effective_dilation

__all__ = [
    "MapPanel",
    "OffsetPanel",
    "Prediction",
    "SamplingPanel",
    "SupportPanels",
    "cells_of",
    "dilation_panels",
    "entropy",
    "level_names",
    "offset_panel",
    "predict",
    "sampling_panels",
    "support_panels",
]

# Number of layers whose samples are drawn in one panel; more markers would be hard to distinguish.
SAMPLED_LAYERS = 3


@dataclass(frozen=True)
class SamplingPanel:
    """The samples of one unit of one network, in pixels of the image.

    Attributes:
        title: What the unit lies on.
        unit: Position of the unit.
        points: (P, 2), y and x of each sample.
        inside: (P,), whether the sample is inside the feature map at every level.
        weight: (P,), product of the modulations, >= 0; 1 without modulation.
        effective_dilation: Effective dilation of the last layer's filter, in cells.
    """

    title: str
    unit: UnitMark
    points: NDArray[np.floating]
    inside: NDArray[np.bool_]
    weight: NDArray[np.floating]
    effective_dilation: float


@dataclass(frozen=True)
class MapPanel:
    """A map over one layer's output and its position on the image.

    Attributes:
        title: The layer.
        values: (H_f, W_f), in cells.
        extent: Left, right, bottom and top edge in pixels of the image, for matplotlib's `imshow`.
    """

    title: str
    values: NDArray[np.floating]
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class OffsetPanel:
    """The offsets of one layer and their position on the image.

    Attributes:
        title: The network and the layer.
        offset: (K, 2, H_f, W_f), dy and dx of each tap in cells of the layer's input.
        kernel_size: Rows and columns of the kernel, K taps in all.
        extent: As in `MapPanel`.
    """

    title: str
    offset: NDArray[np.floating]
    kernel_size: tuple[int, int]
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class SupportPanels:
    """What one unit of one network reacts to: DCNv2's three views of its spatial support.

    Attributes:
        title: The network and the unit.
        unit: Position of the unit.
        samples: For each layer its name, the positions (S, 2) of its samples in pixels of the image, and
            their strengths (S,).
        receptive_field: (h, w), size of the gradient at each pixel of the network's input.
        saliency: (h, w), whether a pixel is in the saliency region.
        saliency_note: Size and error bound of the saliency region, for the title.
    """

    title: str
    unit: UnitMark
    samples: Sequence[tuple[str, NDArray[np.floating], NDArray[np.floating]]]
    receptive_field: NDArray[np.floating]
    saliency: NDArray[np.bool_]
    saliency_note: str


class Prediction(NamedTuple):
    """The prediction for one image at its original size.

    Attributes:
        classes: (H, W), predicted classes.
        entropy: (H, W), entropy of the class probabilities in nats, from 0 to log C.
        wrong: (H, W), whether the prediction differs from the label; false on ignored pixels. None without a
            label.
        accuracy: Share of labelled pixels that are predicted correctly; None without labelled pixels.
    """

    classes: NDArray[np.uint8]
    entropy: NDArray[np.float32]
    wrong: NDArray[np.bool_] | None
    accuracy: float | None


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nats of class probabilities (C, ...) that sum to 1.

    Returns:
        (...), from 0 (certain) to log C (all classes equally likely).
    """
    return torch.special.entr(probabilities).sum(0)


def predict(network: TrainedNetwork, scene: Scene) -> Prediction:
    """Predicts the classes of an image in a single forward pass.

    The result may differ from an evaluation that averages over several scales or flips.
    """
    with torch.no_grad():
        scores = network.model(network.input(scene.image), size=scene.size)[0]
    classes = scores.argmax(0).to(torch.uint8).cpu().numpy()
    uncertainty = entropy(scores.softmax(0)).cpu().numpy()
    if scene.label is None:
        return Prediction(classes, uncertainty, None, None)
    counted = scene.label != IGNORED
    wrong = counted & (classes != scene.label)
    accuracy = 1 - float(wrong.sum() / counted.sum()) if counted.any() else None
    return Prediction(classes, uncertainty, wrong, accuracy)


def level_names(network: TrainedNetwork, levels: int, layer: str | None = None) -> list[str]:
    """Names of `levels` consecutive 3x3 convolutions that end at `layer`, by default at the last one.

    Raises:
        ConfigError: There are fewer, or the layer does not exist.
    """
    names = list(network.layers)
    names = names[: names.index(network.check_layer(layer)) + 1] if layer else names
    if not 1 <= levels <= len(names):
        raise ConfigError(
            f"--levels {levels}: choose 1 to {len(names)}, the number of 3x3 convolutions up to {names[-1]}"
        )
    return names[-levels:]


def cells_of(network: TrainedNetwork, scene: Scene, layer: str | None = None) -> Cells:
    """The output positions of a layer for an image.

    Args:
        network: The network.
        scene: The image.
        layer: A 3x3 convolution; None for the last one, whose positions are also those of the class scores.
    """
    name = layer or list(network.layers)[-1]
    return _cells(network, scene, name, _passes(network, scene, [name])[name].output)


def sampling_panels(
    network: TrainedNetwork,
    scene: Scene,
    units: Sequence[Unit],
    levels: int = 3,
    layer: str | None = None,
    group: int = 0,
) -> list[SamplingPanel]:
    """The sampling locations of units through `levels` consecutive layers that end at `layer`.

    Args:
        network: The network.
        scene: The image.
        units: Units of that layer.
        levels: Number of 3x3 convolutions through which units are followed.
        layer: The layer of the units; None for the last one.
        group: The offset group.

    Raises:
        ConfigError: There are fewer layers, or the layer does not exist.
    """
    names = level_names(network, levels, layer)
    passes = _passes(network, scene, names)
    convolutions = [network.layers[name] for name in names]
    cells = torch.tensor([unit.cell for unit in units], device=network.device)
    found = sampling_locations(convolutions, [passes[name] for name in names], cells, group)
    pixels = network.model.backbone.pixels_per_cell(names[0])
    dilation = _effective_dilation(convolutions[-1], passes[names[-1]], group)
    size = _input_size(network, scene)
    return [
        SamplingPanel(
            unit.name,
            _mark(network, scene, names[-1], unit, passes[names[-1]].output),
            to_image(found.points[i].cpu().numpy() * pixels, scene.size, size),
            found.inside[i].cpu().numpy(),
            found.weight[i].cpu().numpy(),
            float(dilation[unit.cell]),
        )
        for i, unit in enumerate(units)
    ]


def dilation_panels(network: TrainedNetwork, scene: Scene, layers: Sequence[str]) -> list[MapPanel]:
    """Effective dilation at every output position, averaged over offset groups.

    Args:
        network: The network.
        scene: The image.
        layers: Names of 3x3 convolutions.

    Returns:
        One panel per layer.
    """
    passes = _passes(network, scene, layers)
    return [
        MapPanel(
            name,
            _effective_dilation(network.layers[name], passes[name]),
            _cells(network, scene, name, passes[name].output).extent(),
        )
        for name in layers
    ]


def offset_panel(network: TrainedNetwork, scene: Scene, layer: str, group: int = 0) -> OffsetPanel:
    """The offsets of one offset group of a layer.

    Args:
        network: The network.
        scene: The image.
        layer: Name of a 3x3 convolution.
        group: The offset group.
    """
    layer_pass = _passes(network, scene, [layer])[layer]
    convolution = network.layers[layer]
    kernel_h, kernel_w = convolution.kernel_size
    offset = samples_of(convolution, layer_pass).offset[0].unflatten(0, (-1, kernel_h * kernel_w, 2))
    extent = _cells(network, scene, layer, layer_pass.output).extent()
    return OffsetPanel(f"{network.name}: {layer}", offset[group].cpu().numpy(), (kernel_h, kernel_w), extent)


def support_panels(
    network: TrainedNetwork,
    scene: Scene,
    unit: Unit,
    layer: str | None = None,
    error_bound: float = 0.1,
    progress: Callable[[int, int, int], None] | None = None,
) -> SupportPanels:
    """The three views of a unit's spatial support (DCNv2, section 2).

    Args:
        network: The network.
        scene: The image.
        unit: A unit of `layer`.
        layer: A 3x3 convolution; the response of its units is the norm of their feature vector. None for the
            class scores; the response is then the score of the predicted class.
        error_bound: Error bound of the saliency region.
        progress: As for `saliency_region`.

    Raises:
        ConfigError: The layer does not exist.
    """
    image = network.input(scene.image)
    module, channel = "classifier", None
    if layer is None:
        with torch.no_grad(), record_passes({module: network.model.classifier}) as passes:
            network.model(image)
        channel = int(passes[module].output[0, :, unit.cell[0], unit.cell[1]].argmax())
    else:
        module = f"backbone.{network.check_layer(layer)}"
    end = layer or list(network.layers)[-1]
    seen = list(network.layers)[: list(network.layers).index(end) + 1]
    tracked = [name for name in seen if name in network.deformable_layers] or seen
    sampled = {name: network.layers[name] for name in tracked[-SAMPLED_LAYERS:]}
    size = _input_size(network, scene)

    def positions(name: str, points: Tensor) -> NDArray[np.floating]:
        pixels = network.model.backbone.pixels_per_cell(name)
        return to_image(points.cpu().numpy() * pixels, scene.size, size)

    field = effective_receptive_field(network.model, image, module, unit.cell, channel)
    samples = effective_sampling_locations(network.model, image, module, unit.cell, channel, layers=sampled)
    region = saliency_region(
        network.model, image, module, unit.cell, error_bound=error_bound, progress=progress
    )
    share = 100 * float(region.mask.float().mean())
    return SupportPanels(
        f"{network.name}\nunit on {unit.name}",
        _mark(network, scene, end, unit, _passes(network, scene, [end])[end].output),
        [
            (name, positions(name, found.points), found.strength.cpu().numpy())
            for name, found in samples.items()
        ],
        field.cpu().numpy(),
        region.mask.cpu().numpy(),
        f"{share:.0f} % of the image: same response within {100 * error_bound:g} %",
    )


def _passes(network: TrainedNetwork, scene: Scene, names: Sequence[str]) -> dict[str, LayerPass]:
    with torch.no_grad(), record_passes({name: network.layers[name] for name in names}) as passes:
        network.model(network.input(scene.image))
    return passes


def _effective_dilation(layer: nn.Conv2d, layer_pass: LayerPass, group: int | None = None) -> NDArray:
    """Effective dilation (H_f, W_f) at each output position, of one offset group or averaged over all."""
    offset = samples_of(layer, layer_pass).offset
    kernel, dilation = tuple(layer.kernel_size), tuple(layer.dilation)
    groups = effective_dilation(offset, kernel, dilation)[0]  # type: ignore[arg-type]
    chosen = groups.mean(0) if group is None else groups[min(group, len(groups) - 1)]
    return chosen.cpu().numpy()


def _input_size(network: TrainedNetwork, scene: Scene) -> tuple[int, int]:
    height, width = network.data.eval_transform.image(scene.image).shape[-2:]
    return height, width


def _cells(network: TrainedNetwork, scene: Scene, layer: str, output: Tensor) -> Cells:
    stride = network.model.backbone.pixels_per_cell(layer) * network.layers[layer].stride[0]
    size = (output.shape[-2], output.shape[-1])
    return Cells(size, stride, _input_size(network, scene), scene.size)


def _mark(network: TrainedNetwork, scene: Scene, layer: str, unit: Unit, output: Tensor) -> UnitMark:
    """The position of a layer's unit on the image."""
    cells = _cells(network, scene, layer, output)
    return UnitMark(cells.position(unit.cell), cells.extent(unit.cell, (1, 1)))
