"""What a trained network does with one image, as panels that the figures draw, in pixels of the image."""

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

# Layers whose samples are drawn in one panel; more markers cannot be told apart.
SAMPLED_LAYERS = 3


@dataclass(frozen=True)
class SamplingPanel:
    """The samples of one unit of one network, in pixels of the image.

    Attributes:
        title: What lies under the unit.
        unit: Where the unit is.
        points: (P, 2), y and x of each sample.
        inside: (P,), whether the sample counts.
        weight: (P,), its modulation from 0 on; one where there is none.
        effective_dilation: Of the last layer's filter, in cells.
    """

    title: str
    unit: UnitMark
    points: NDArray[np.floating]
    inside: NDArray[np.bool_]
    weight: NDArray[np.floating]
    effective_dilation: float


@dataclass(frozen=True)
class MapPanel:
    """A map of one layer and where it lies on the image.

    Attributes:
        title: The layer.
        values: (H_f, W_f), in cells.
        extent: Left, right, bottom and top edge in pixels of the image, as matplotlib's `imshow` takes them.
    """

    title: str
    values: NDArray[np.floating]
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class OffsetPanel:
    """The offsets of one layer and where they lie on the image.

    Attributes:
        title: The network.
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
    """One unit of one network.

    Attributes:
        title: The unit and the network.
        unit: Where the unit is.
        samples: Name, positions (S, 2) in pixels of the image and strengths (S,) of each layer's samples.
        receptive_field: (h, w), gradient at each pixel of the network's input.
        saliency: (h, w), whether a pixel is in the saliency region.
        saliency_note: Its error and cost, for the title.
    """

    title: str
    unit: UnitMark
    samples: Sequence[tuple[str, NDArray[np.floating], NDArray[np.floating]]]
    receptive_field: NDArray[np.floating]
    saliency: NDArray[np.bool_]
    saliency_note: str


class Prediction(NamedTuple):
    """One image's prediction at the image's own size.

    Attributes:
        classes: Predicted class (H, W).
        entropy: Entropy of the class probabilities (H, W) in nat, from 0 to log C.
        wrong: Whether the prediction differs from the label (H, W), false where that is ignored; None without
            a label.
        accuracy: Share of labelled pixels that are right; None without one.
    """

    classes: NDArray[np.uint8]
    entropy: NDArray[np.float32]
    wrong: NDArray[np.bool_] | None
    accuracy: float | None


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nat of class probabilities (C, ...), which sum to 1: 0 if sure, log C if not at all."""
    return torch.special.entr(probabilities).sum(0)


def predict(network: TrainedNetwork, scene: Scene) -> Prediction:
    """Looks at the image once, as it is; an evaluation over several scales may predict otherwise."""
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
    """The names of `levels` consecutive 3x3 convolutions, of which `layer` (by default the last) is the last.

    Raises:
        ConfigError: There are not so many.
    """
    names = list(network.layers)
    names = names[: names.index(network.check_layer(layer)) + 1] if layer else names
    if not 1 <= levels <= len(names):
        raise ConfigError(
            f"--levels {levels}: choose 1 to {len(names)}, the 3x3 convolutions up to {names[-1]}"
        )
    return names[-levels:]


def cells_of(network: TrainedNetwork, scene: Scene, layer: str | None = None) -> Cells:
    """The output positions of a layer for an image; None for the last layer, or the class scores."""
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
    """The sampling locations of units through `levels` levels that end at `layer`.

    Args:
        network: The network.
        scene: The image.
        units: Units of that layer.
        levels: How many 3x3 convolutions are followed down.
        layer: The units' layer; None for the last one.
        group: The deform group.
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
    """Effective dilation of layers at every output position, averaged over deform groups."""
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
    """The offsets of a deform group of a layer."""
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
    """The three views of one unit.

    Args:
        network: The network.
        scene: The image.
        unit: A unit of `layer`.
        layer: A 3x3 convolution, whose response is the length of its feature vector; None for the class
            scores, where it is the score of the predicted class.
        error_bound: Of the saliency region.
        progress: As in `saliency_region`.
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
    """Per output position (H_f, W_f), of one deform group or averaged over all."""
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
    """Where a unit of a layer is on the image."""
    cells = _cells(network, scene, layer, output)
    return UnitMark(cells.position(unit.cell), cells.extent(unit.cell, (1, 1)))
